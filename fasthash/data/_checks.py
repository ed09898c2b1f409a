"""What a PairedDataset must satisfy. Each check is one line that names the data set, the field, and what came."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree, one_hot

_ROWS = 8192  # rows looked at together, so that a check needs no copy of the features


@dataclasses.dataclass(frozen=True, eq=False)
class Verified:
    """Features known to be finite and ids known to be distinct, these very objects; digests of the features by side."""

    image: NDArray[np.float32] | None = None
    text: NDArray[np.float32] | None = None
    ids: Sequence[str] | None = None
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def knows(self, side: str, values: Any) -> bool:
        """Whether ``values`` are those that were verified as "image", "text" or "ids"."""
        return values is not None and getattr(self, side) is values

    def digest(self, side: str, values: Any) -> str | None:
        """SHA-256 of what holds the features, where it is known."""
        return self.digests.get(side) if self.knows(side, values) else None


def as_features(values: Any) -> Any:
    """float32 of whatever numbers; a memory map stays one, and None None."""
    if values is None or (isinstance(values, np.memmap) and values.dtype == np.float32):
        return values
    return np.asarray(values, np.float32)


def check_sides(data: Any) -> str:
    """Each side has features or raw items; returns the field that says how many pairs there are."""
    for side, raw in (("image", "pictures"), ("text", "texts")):
        if getattr(data, side) is None and getattr(data, raw) is None:
            raise ValueError(f"{data.name}: {side} must be features, or {raw} be given, got neither")
    return next((side for side in ("image", "text") if getattr(data, side) is not None), "ids")


def check_widths(data: Any) -> None:
    """An extractor makes features of the width that is there."""
    for side, extractor in (("image", data.image_extractor), ("text", data.text_extractor)):
        width = data.width(side)
        if extractor is not None and width is not None and extractor.width != width:
            raise ValueError(f"{data.name}: {side}_extractor must be {width} wide like {side}, got {extractor.width}")


def check_features(
    name: str, field: str, features: Any, n: int | None, *, like: str = "image", finite: bool = True
) -> None:
    """float32, two-dimensional, as many rows as there are pairs; ``finite``: no NaN and nothing infinite in them."""
    if not isinstance(features, np.ndarray) or features.dtype != np.float32 or features.ndim != 2:
        raise ValueError(f"{name}: {field} must be float32 [n, width], got {_what(features)}")
    if features.shape[0] == 0 or features.shape[1] == 0:
        raise ValueError(f"{name}: {field} must have at least one row and one column, got shape {features.shape}")
    if n is not None and len(features) != n:
        raise ValueError(f"{name}: {field} must have {n} rows like {like}, got {len(features)}")
    for start in range(0, len(features) if finite else 0, _ROWS):
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


def check_labels(name: str, labels: Any, class_names: Sequence[str], n: int, *, like: str = "image") -> None:
    """Multi-hot uint8 with a name for each class, or no labels and no names."""
    if labels is None:
        if class_names:
            raise ValueError(f"{name}: class_names must be empty without labels, got {len(class_names)}")
        return
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"{name}: labels must be multi-hot uint8 [{n}, classes], got {_what(labels)}")
    if len(labels) != n:
        raise ValueError(f"{name}: labels must have {n} rows like {like}, got {len(labels)}")
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


def check_names(
    name: str, field: str, values: Sequence[Any] | None, n: int, *, like: str = "image", unique: bool = False
) -> None:
    """One value per pair; distinct where asked."""
    if values is None:
        return
    if len(values) != n:
        raise ValueError(f"{name}: {field} must be {n} like the rows of {like}, got {len(values)}")
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


def row_numbers(name: str, field: str, rows: Any, n: int) -> NDArray[np.int64]:
    """Row numbers from row numbers or booleans; their range and repeats are checked here, since indexing follows."""
    array = np.asarray(rows)
    if array.dtype == np.bool_:
        if array.shape != (n,):
            raise ValueError(f"{name}: {field} as booleans must be [{n}], got shape {array.shape}")
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name}: {field} must be row numbers or booleans [{n}], got {array.dtype} {array.shape}")
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= n or len(np.unique(array)) != len(array)):
        raise ValueError(f"{name}: {field} must be distinct row numbers from 0 to {n - 1}, got others")
    return array


def multi_hot(name: str, labels: NDArray[Any], class_names: Sequence[str] | None) -> NDArray[np.uint8]:
    """Multi-hot labels from multi-hot ones of any dtype, or from class ids."""
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and len(labels) and labels.min() >= 0:
        ids = labels.astype(np.int64)
        return one_hot(ids, max(len(class_names or ()), int(ids.max()) + 1))
    if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"{name}: labels must be multi-hot 0/1 [n, c] or class ids [n] from 0, got {labels.dtype} {labels.shape}"
        )
    return labels.astype(np.uint8)


def _what(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
