"""What a method trains on, made of a data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash import methods
from fasthash._raw_inputs import raw_rows
from fasthash.data import PairedDataset
from fasthash.models import FeatureRows, feature_rows


def train_data(
    data: PairedDataset,
    device: torch.device,
    options: methods.Options,
    seed: int,
    *,
    supervision: str,
    local: bool,
    entries: bool,
) -> methods.TrainData:
    """The training rows; ``entries``: features that are mostly zeros may be handled entry by entry."""
    rows = data.split.train

    def part(values: Any, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(values[rows]).to(device, dtype)

    labels: Tensor | None = None
    layers: tuple[Tensor, ...] = ()
    if supervision != "none":
        labels = part(data.labels, torch.uint8)
    if supervision == "label tree":
        assert data.tree is not None
        layers = tuple(part(layer.one_hot, torch.uint8) for layer in data.tree.layers)
    rows_of = feature_rows if entries else FeatureRows
    image = raw_rows("image", data, options, device, seed) or rows_of(part(data.image, torch.float32))
    text = raw_rows("text", data, options, device, seed) or rows_of(part(data.text, torch.float32))
    regions, words = (
        part(values, torch.float32) if local and values is not None else None
        for values in (data.image_local, data.text_local)
    )
    return methods.TrainData(image, text, labels, layers, regions, words)
