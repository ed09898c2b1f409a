"""Histograms of Hamming distances on a CUDA device: labels in the kernel's form, then csrc/cuda. Needs torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fasthash import _hamming_stream, _native
from fasthash._hamming_cuda import address, like, on_device, pack_bits, prepare


def histogram(
    queries: Any, database: Any, labels: tuple[Any, Any] | None, *, bits: int | None, op: str
) -> tuple[Any, Any]:
    """counts and relevant int64 [nq, bits + 1], the latter [0, bits + 1] without labels; of the queries' kind.

    labels: of queries and database, both bitmasks [n, words] or both class ids [n]; uint64 or int64, on any device.
    Nothing here waits for the device but copies from the host and to it.
    """
    search = prepare(queries, database, bits, None, op)
    _check_labels(labels, len(search.queries), len(search.database), op)
    with sys.modules["torch"].cuda.device(search.device):
        sides = None
        if labels is not None:
            mine, theirs = (_signed(x) for x in labels)
            theirs = theirs if search.streamed else on_device(theirs, search.device)
            sides = on_device(mine, search.device).contiguous(), theirs
        if search.streamed:
            found = _hamming_stream.histogram(search, sides, histogram_on_device)
        else:
            found = histogram_on_device(search.queries, search.database, sides, search.bits)
        return like(found[0], queries), like(found[1], queries)


def histogram_on_device(rows: Any, base: Any, labels: tuple[Any, Any] | None, bits: int) -> tuple[Any, Any]:
    """counts, relevant of tensors on the current device; labels int64."""
    torch, on = sys.modules["torch"], {"device": rows.device}
    counts = torch.zeros((len(rows), bits + 1), dtype=torch.int64, **on)
    relevant = torch.zeros((len(rows) if labels else 0, bits + 1), dtype=torch.int64, **on)
    mine, theirs = (x.contiguous() for x in labels) if labels else (None, None)
    words = 0 if mine is None or mine.ndim == 1 else mine.shape[1]
    _native.load().hamming_histogram_cuda(
        rows.data_ptr(), len(rows), base.data_ptr(), len(base), rows.shape[1], bits, address(mine), address(theirs),
        words, torch.cuda.current_stream().cuda_stream, counts.data_ptr(), relevant.data_ptr() if labels else 0,
    )  # fmt: skip
    return counts, relevant


def label_masks(labels: Any, rows: int, op: str, name: str) -> Any:
    """Labels that are on a device in the form, and the order of bits, of ``fasthash._labels.label_masks``, as int64.

    Values are not looked at, since that would wait for the device: in a multi-hot matrix all but 0 means that the row
    has the label, and a class id may be any number.
    """
    torch = sys.modules["torch"]
    if labels.ndim not in (1, 2) or len(labels) != rows or labels.shape[1:].numel() == 0:
        form = f"multi-hot [{rows}, c] or class ids [{rows}]"
        raise ValueError(f"{op}: {name} must be {form}, got shape {tuple(labels.shape)}")
    if labels.ndim == 1:
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise TypeError(f"{op}: {name} of shape [n] must be integer class ids, got {labels.dtype}")
        return labels.to(torch.int64)
    return pack_bits(torch.nn.functional.pad(labels != 0, (0, -labels.shape[1] % 64))).view(torch.int64)


def _check_labels(labels: tuple[Any, Any] | None, nq: int, nb: int, op: str) -> None:
    if labels is None:
        return
    for x, rows, name in ((labels[0], nq, "query_labels"), (labels[1], nb, "database_labels")):
        if len(x) != rows:
            raise ValueError(f"{op}: {name} must have {rows} rows like the codes, got {len(x)}")
    if labels[0].shape[1:] != labels[1].shape[1:]:
        shapes = f"{tuple(labels[0].shape)} and {tuple(labels[1].shape)}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {shapes}")


def _signed(x: Any) -> Any:
    """Bitmasks of NumPy as int64, which torch has."""
    return x.view(np.int64) if isinstance(x, np.ndarray) else x
