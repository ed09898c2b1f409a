"""One modality's part of a network whose hash layer sees both modalities, and its code when the other is missing."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from fasthash.models import backbones
from fasthash.models.encoder import encoder_kind
from fasthash.models.tower import Tower, TowerConfig


@dataclasses.dataclass(frozen=True)
class JointSideConfig(TowerConfig):
    """As a tower's."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> JointSideConfig:
        made = super().from_dict({key: value for key, value in values.items() if key != "kind"})
        assert isinstance(made, cls)
        return made

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"kind": JointSide.kind}


@encoder_kind
class JointSide(Tower):
    """A row's features [n, width] -> h [n, bits] = share(x) + missing, the code of this modality alone.

    A linear hash layer on the concatenation of two encoders' outputs is the sum of a share of each, so each side keeps
    its own part of that layer. A missing modality is a row of zeros after centring and scaling; its share is a vector,
    which the side that is there keeps in ``missing`` [bits].
    """

    kind = "joint_side"
    config_type = JointSideConfig

    missing: Tensor

    def __init__(self, config: TowerConfig, backbone: backbones.Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.register_buffer("missing", torch.zeros(config.bits))

    def share(self, x: Any) -> Tensor:
        """[m, bits] of a batch: what this modality adds to the hash layer."""
        return super().forward(x)

    def share_of_nothing(self) -> Tensor:
        """[1, bits], what it adds when it is missing: a layer makes its bias of a row of zeros."""
        bias: Any = self.layers[0].bias
        return bias[None] if len(self.layers) == 1 else self.head(self.layers[1:-1](bias[None]))

    @torch.no_grad()
    def take_missing(self, other: JointSide) -> None:
        """Keep the share of the other modality's absence, as its network is now."""
        self.missing.copy_(other.share_of_nothing()[0])

    def forward(self, x: Any) -> Tensor:
        return self.share(x) + self.missing
