"""What a method trains on, made of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fasthash import methods
from fasthash._raw_inputs import raw_rows
from fasthash.data import PairedDataset
from fasthash.losses import Shard
from fasthash.models import FeatureRows, MappedRows, Rows, feature_rows
from fasthash.models.mapped import is_mapped


def train_data(
    data: PairedDataset,
    device: torch.device,
    options: methods.Options,
    seed: int,
    *,
    supervision: str,
    local: bool,
    entries: bool,
    shard: Shard | None = None,
) -> methods.TrainData:
    """The training rows; ``entries``: features that are mostly zeros may be handled entry by entry.

    Every process has the features and labels of all rows; ``shard``: those whose codes it keeps.

    A side whose features are a memory map, and more of it than `models.mapped.MAPPED_FROM`, is read from its file batch
    by batch. What then still grows with the number n of training pairs, beside what a method keeps (banks of codes):
    labels n x classes bytes, of each layer of a tree; their bit masks, 8 n bytes for each 64 classes; the split and an
    epoch's order of rows, 8 n bytes each; and of raw texts 256 n bytes of tokens.
    """
    rows = data.split.train

    def part(values: Any, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.asarray(values)[rows]).to(device, dtype)

    labels: Tensor | None = None
    layers: tuple[Tensor, ...] = ()
    if supervision != "none":
        labels = part(data.labels, torch.uint8)
    if supervision == "label tree":
        assert data.tree is not None
        layers = tuple(part(layer.one_hot, torch.uint8) for layer in data.tree.layers)
    rows_of = feature_rows if entries else FeatureRows

    def side(name: str) -> Rows:
        raw = raw_rows(name, data, options, device, seed)
        if raw is not None:
            return raw
        features = data.features(name, op="train")
        if is_mapped(features, rows):
            return MappedRows(features, rows, device)
        return rows_of(part(features, torch.float32))

    image, text = side("image"), side("text")
    regions, words = (
        part(values, torch.float32) if local and values is not None else None
        for values in (data.image_local, data.text_local)
    )
    return methods.TrainData(image, text, labels, layers, regions, words, shard)
