"""One modality's hash network on precomputed features: fully connected layers that end in ``bits`` outputs."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """Shape of a tower; JSON-able, so that a model file rebuilds it."""

    width: int  # features in
    hidden: tuple[int, ...]  # hidden layers, each followed by ReLU and dropout; () is a linear hash layer
    bits: int  # relaxed code out
    centre: bool = True  # subtract the training mean, held in a buffer
    normalize: bool = False  # then scale rows to unit length, times the square root of the width
    dropout: float = 0.0
    init_std: float | None = None  # weights and biases from N(0, init_std^2); None: PyTorch's default

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TowerConfig:
        return cls(**{**values, "hidden": tuple(values["hidden"])})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Tower(nn.Module):
    """Features [n, width] -> relaxed codes h [n, bits], before any sign or tanh."""

    mean: Tensor

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.width))
        widths = [config.width, *config.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
        layers.append(nn.Linear(widths[-1], config.bits))
        self.layers = nn.Sequential(*layers)
        if config.init_std is not None:
            for parameter in self.layers.parameters():
                nn.init.normal_(parameter, std=config.init_std)

    @torch.no_grad()
    def fit_mean(self, features: Tensor) -> None:
        """Take the centre from training features [n, width]; does nothing when the tower does not centre."""
        if self.config.centre:
            self.mean.copy_(features.mean(dim=0))

    def forward(self, features: Tensor) -> Tensor:
        x = features - self.mean
        if self.config.normalize:
            # unit rows times sqrt(width): entries of order one, so the layers' default initialisation fits
            x = nn.functional.normalize(x, eps=1e-12) * self.config.width**0.5
        return self.layers(x)
