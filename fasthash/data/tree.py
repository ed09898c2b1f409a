"""A label tree: layers of classes from coarse to fine, every item in one class of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_hot(ids: NDArray[np.int64], classes: int) -> NDArray[np.uint8]:
    """Class ids int64 [n] to labels uint8 [n, classes]."""
    out = np.zeros((len(ids), classes), np.uint8)
    out[np.arange(len(ids)), ids] = 1
    return out


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: its name, its classes, and the class of each item."""

    name: str
    classes: tuple[str, ...]
    ids: NDArray[np.int64]  # [n], index into classes

    @property
    def one_hot(self) -> NDArray[np.uint8]:
        """Labels uint8 [n, classes] with a single one in each row."""
        return one_hot(self.ids, len(self.classes))


@dataclass(frozen=True, eq=False)
class LabelTree:
    """Layers from coarse to fine. A class of a finer layer lies in one class of the next coarser one.

    Raises:
        ValueError: no layer, lengths differ, an id is out of range, or a class has two parents.
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("LabelTree: layers must be at least one, got none")
        for layer in self.layers:
            _check_layer(layer, len(self.layers[0].ids))
        for coarse, fine in zip(self.layers, self.layers[1:], strict=False):
            _parents(coarse, fine)

    @classmethod
    def from_names(cls, **layers: Sequence[str]) -> LabelTree:
        """A tree from the class name of every item in each layer, coarse to fine: ``category=[...], kind=[...]``.

        Classes are ordered by their names along the path from the root, so that the order follows from the set alone.
        """
        built: list[Layer] = []
        paths: list[tuple[str, ...]] = [()] * len(next(iter(layers.values()), ()))
        for name, values in layers.items():
            if len(values) != len(paths):
                raise ValueError(
                    f"LabelTree: layer {name} must have {len(paths)} items like the first, got {len(values)}"
                )
            paths = [(*path, value) for path, value in zip(paths, values, strict=True)]
            order = sorted(set(paths))
            index = {path: i for i, path in enumerate(order)}
            ids = np.array([index[path] for path in paths], np.int64)
            built.append(Layer(name, tuple(path[-1] for path in order), ids))
        return cls(tuple(built))

    @property
    def ids(self) -> NDArray[np.int64]:
        """Class ids int64 [n, layers], coarse to fine."""
        return np.stack([layer.ids for layer in self.layers], axis=1)

    @property
    def parents(self) -> tuple[NDArray[np.int64], ...]:
        """For each layer but the first, the class of the layer above that each of its classes lies in; -1 if empty."""
        return tuple(_parents(a, b) for a, b in zip(self.layers, self.layers[1:], strict=False))

    def take(self, rows: NDArray[np.int64]) -> LabelTree:
        """The tree of some items; the classes stay."""
        return LabelTree(tuple(Layer(layer.name, layer.classes, layer.ids[rows]) for layer in self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def __str__(self) -> str:
        return " > ".join(f"{layer.name} ({len(layer.classes)})" for layer in self.layers)


def _check_layer(layer: Layer, n: int) -> None:
    ids: Any = layer.ids
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.shape != (n,):
        got = f"{ids.dtype} {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise ValueError(f"LabelTree: layer {layer.name} ids must be int64 [{n}], got {got}")
    if n and not 0 <= int(ids.min()) <= int(ids.max()) < len(layer.classes):
        raise ValueError(
            f"LabelTree: layer {layer.name} ids must be from 0 to {len(layer.classes) - 1}, "
            f"got {int(ids.min())} to {int(ids.max())}"
        )


def _parents(coarse: Layer, fine: Layer) -> NDArray[np.int64]:
    out = np.full(len(fine.classes), -1, np.int64)
    out[fine.ids] = coarse.ids
    wrong = np.flatnonzero(out[fine.ids] != coarse.ids)
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"LabelTree: class {fine.classes[fine.ids[i]]!r} of layer {fine.name} must lie in one class of layer "
            f"{coarse.name}, got {coarse.classes[out[fine.ids[i]]]!r} and {coarse.classes[coarse.ids[i]]!r}"
        )
    return out
