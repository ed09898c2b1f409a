"""What a PairedDataset must satisfy. Each check is one line that names the data set, the field, and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree

_ROWS = 8192  # rows looked at together, so that a check needs no copy of the features


def check_features(name: str, field: str, features: Any, n: int | None) -> None:
    """float32, two-dimensional, as many rows as there are pairs, finite."""
    if not isinstance(features, np.ndarray) or features.dtype != np.float32 or features.ndim != 2:
        raise ValueError(f"{name}: {field} must be float32 [n, width], got {_what(features)}")
    if features.shape[0] == 0 or features.shape[1] == 0:
        raise ValueError(f"{name}: {field} must have at least one row and one column, got shape {features.shape}")
    if n is not None and len(features) != n:
        raise ValueError(f"{name}: {field} must have {n} rows like image, got {len(features)}")
    for start in range(0, len(features), _ROWS):
        bad = np.flatnonzero(~np.isfinite(features[start : start + _ROWS]).all(axis=1))
        if len(bad):
            row = start + int(bad[0])
            value = features[row][~np.isfinite(features[row])][0]
            raise ValueError(f"{name}: {field} must be finite, got {value} in row {row}")


def check_local(name: str, field: str, features: Any, n: int) -> None:
    """float32 [n, parts, width], as many rows as there are pairs, finite; or None."""
    if features is None:
        return
    if not isinstance(features, np.ndarray) or features.dtype != np.float32 or features.ndim != 3:
        raise ValueError(f"{name}: {field} must be float32 [{n}, parts, width], got {_what(features)}")
    check_features(name, field, features.reshape(len(features), -1), n)


def check_labels(name: str, labels: Any, class_names: Sequence[str], n: int) -> None:
    """Multi-hot uint8 with a name for each class, or no labels and no names."""
    if labels is None:
        if class_names:
            raise ValueError(f"{name}: class_names must be empty without labels, got {len(class_names)}")
        return
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"{name}: labels must be multi-hot uint8 [{n}, classes], got {_what(labels)}")
    if len(labels) != n:
        raise ValueError(f"{name}: labels must have {n} rows like image, got {len(labels)}")
    if labels.shape[1] != len(class_names):
        raise ValueError(
            f"{name}: class_names must be {labels.shape[1]} like the columns of labels, got {len(class_names)}"
        )
    if labels.size and int(labels.max()) > 1:
        raise ValueError(f"{name}: labels must be 0 and 1, got {int(labels.max())}")


def check_tree(name: str, tree: LabelTree | None, labels: NDArray[np.uint8] | None, classes: Sequence[str]) -> None:
    """The finest layer of the tree is what labels and class_names say."""
    if tree is None:
        return
    if labels is None:
        raise ValueError(f"{name}: labels must be given with a tree: the multi-hot form of its finest layer")
    finest = tree.layers[-1]
    if len(finest.ids) != len(labels):
        raise ValueError(f"{name}: tree must have {len(labels)} items like labels, got {len(finest.ids)}")
    if tuple(classes) != finest.classes:
        raise ValueError(f"{name}: class_names must be the classes of the finest layer {finest.name}, got other names")
    wrong = np.flatnonzero((labels.sum(axis=1) != 1) | (labels[np.arange(len(labels)), finest.ids] != 1))
    if len(wrong):
        raise ValueError(f"{name}: labels must be the finest layer {finest.name} of the tree, row {wrong[0]} is not")


def check_names(name: str, field: str, values: Sequence[Any] | None, n: int, *, unique: bool = False) -> None:
    """One value per pair; distinct where asked."""
    if values is None:
        return
    if len(values) != n:
        raise ValueError(f"{name}: {field} must be {n} like the rows of image, got {len(values)}")
    if unique and len(set(values)) != n:
        seen: set[Any] = set()
        twice = next(value for value in values if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise ValueError(f"{name}: {field} must be distinct, got {twice!r} more than once")


def check_split(name: str, split: Split, n: int) -> None:
    """Row numbers in range, each once; queries apart from database and training rows; none of the three empty."""
    parts = {"query": split.query, "database": split.database, "train": split.train}
    for field, rows in parts.items():
        if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 1:
            raise ValueError(f"{name}: split.{field} must be int64 row numbers, got {_what(rows)}")
        if len(rows) == 0:
            raise ValueError(f"{name}: split.{field} must have at least one row, got none")
        if int(rows.min()) < 0 or int(rows.max()) >= n:
            raise ValueError(
                f"{name}: split.{field} must be row numbers from 0 to {n - 1}, got {rows.min()} to {rows.max()}"
            )
        if len(np.unique(rows)) != len(rows):
            raise ValueError(
                f"{name}: split.{field} must have each row once, got {len(rows) - len(np.unique(rows))} twice"
            )
    for field in ("database", "train"):
        both = np.intersect1d(split.query, parts[field])
        if len(both):
            raise ValueError(
                f"{name}: split.query and split.{field} must have no row in common, got {len(both)}, first {both[0]}"
            )


def _what(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
