"""Checksums of a data set: over what is trained on and measured, and over the ids of its split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.splits import Split

if TYPE_CHECKING:
    from fasthash.data.dataset import PairedDataset

_ROWS = 8192  # read together, so that features in a file stay there


def of_data(data: PairedDataset) -> str:
    """See `PairedDataset.checksum`."""
    digest = hashlib.sha256()

    def add(array: NDArray[Any] | None) -> None:
        if array is not None:
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            for start in range(0, len(array), _ROWS):
                digest.update(np.ascontiguousarray(array[start : start + _ROWS]).data)

    for side, raw in (("image", data.ids), ("text", data.texts)):
        features = getattr(data, side)
        known = data.verified.digest(side, features)
        if features is None:
            for value in raw or data.ids:
                digest.update(f"{side} {value}\0".encode())
        elif known is not None:
            digest.update(f"{features.dtype.str} {features.shape} sha256 {known}".encode())
        else:
            add(features)
    split = (data.split.query, data.split.database, data.split.train)
    for array in (data.labels, *split, data.image_local, data.text_local):
        add(array)
    for layer in () if data.tree is None else data.tree.layers:
        digest.update(f"{layer.name} {layer.classes}".encode())
        digest.update(np.ascontiguousarray(layer.ids).data)
    return digest.hexdigest()[:16]


def of_split(split: Split, ids: Sequence[str]) -> str:
    """See `PairedDataset.split_checksum`."""
    digest = hashlib.sha256()
    for part in (split.query, split.database, split.train):
        digest.update(f"{len(part)}\0".encode())
        for row in part:
            digest.update(f"{ids[row]}\0".encode())
    return digest.hexdigest()[:16]
