"""Labels as users have them -> what `fasthash._histogram` reads. Relevant means: at least one common label."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._native import to_numpy


def check_labels(labels: Any, rows: int, op: str, name: str, first: int = 0) -> NDArray[Any]:
    """labels as bool [n, c] multi-hot or int64 [n] class ids.

    Args:
        labels: multi-hot of 0 and 1, any real or bool dtype, or class ids, any integer dtype; NumPy or torch.
        rows: how many the codes have.
        first: the number that errors give to the first row, for labels that are part of larger ones.
    Raises:
        ValueError: another number of rows, NaN or values other than 0 and 1, a negative id, no class at all.
        TypeError: no array, or class ids that are not integers.
    """
    values = to_numpy(labels, op, name)
    if values.ndim not in (1, 2):
        raise ValueError(f"{op}: {name} must be multi-hot [n, c] or class ids [n], got shape {values.shape}")
    if len(values) != rows:
        raise ValueError(f"{op}: {name} must have {rows} rows like the codes, got {len(values)}")
    return _class_ids(values, op, name, first) if values.ndim == 1 else _multi_hot(values, op, name, first)


def _class_ids(values: NDArray[Any], op: str, name: str, first: int) -> NDArray[np.int64]:
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{op}: {name} of shape [n] must be integer class ids, got {values.dtype}")
    if np.issubdtype(values.dtype, np.unsignedinteger) and len(values) and values.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{op}: {name} must be class ids below 2**63, got {values.max()}")
    ids = values.astype(np.int64, copy=False)
    if len(ids) and ids.min() < 0:
        row = int(np.argmin(ids))
        raise ValueError(f"{op}: {name} must be class ids of 0 or more, got {ids[row]} in row {first + row}")
    return ids


def _multi_hot(values: NDArray[Any], op: str, name: str, first: int) -> NDArray[np.bool_]:
    if values.shape[1] == 0:
        raise ValueError(f"{op}: {name} must have at least one class, got shape {values.shape}")
    if values.dtype == np.bool_:
        return values
    if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f"{op}: {name} must hold booleans or real numbers, got {values.dtype}")
    ones = values == 1
    if np.count_nonzero(ones) != np.count_nonzero(values):  # NaN counts as not zero
        row, column = np.argwhere(~ones & (values != 0))[0]
        value = values[row, column]
        raise ValueError(f"{op}: {name} must be 0 or 1, got {value} in row {first + row} (class ids have shape [n])")
    return ones


def label_masks(values: NDArray[Any]) -> NDArray[Any]:
    """Multi-hot rows as uint64 bitmasks [n, ceil(c / 64)]; class ids as they are."""
    if values.ndim == 1:
        return values
    packed = np.packbits(values, axis=1)
    words = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view(np.uint64)


def unlabelled(masks: NDArray[Any]) -> int:
    """How many rows of `label_masks` have no label at all."""
    return 0 if masks.ndim == 1 else int(np.count_nonzero(reduce(np.bitwise_or, masks.T) == 0))
