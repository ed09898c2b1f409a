"""A tower whose outputs are used as they are, between -1 and 1."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from fasthash.models.encoder import encoder_kind
from fasthash.models.tower import Tower, TowerConfig


@dataclasses.dataclass(frozen=True)
class BoundedTowerConfig(TowerConfig):
    """As a tower's; ``bits`` is the width of the vectors."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BoundedTowerConfig:
        made = super().from_dict({key: value for key, value in values.items() if key != "kind"})
        assert isinstance(made, cls)
        return made

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"kind": BoundedTower.kind}


@encoder_kind
class BoundedTower(Tower):
    """A row's features [n, width] -> vectors tanh(h) [n, bits]."""

    kind = "bounded_tower"
    config_type = BoundedTowerConfig

    def head(self, f: Tensor) -> Tensor:
        return torch.tanh(super().head(f))
