"""A hash network that chooses each bit between two logits, and one that shortens a long code of that kind."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from fasthash.models import backbones
from fasthash.models.encoder import encoder_kind
from fasthash.models.tower import Tower, TowerConfig


@dataclasses.dataclass(frozen=True)
class PairTowerConfig(TowerConfig):
    """Shape of a `PairTower`."""

    # weights Kaiming uniform by fan-out, which is 2 for each bit's own layer, and biases 0: DCHMT's released code
    by_fan_out: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PairTowerConfig:
        made = super().from_dict({key: value for key, value in values.items() if key != "kind"})
        assert isinstance(made, cls)
        return made

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"kind": "pair_tower"}


@encoder_kind
class PairTower(Tower):
    """A row's features [n, width] -> two logits for each bit; a bit is +1 unless the first is the larger one.

    What is trained on is the softmax of each pair, two numbers of sum 1 that stand for -1 and +1. It depends on the
    difference of the logits alone: h is the second one less the first, and the probability of +1 is sigmoid(h).
    Nothing may come between the logits and their comparison: behind a ReLU both would often be 0, a tie that always
    falls to the same side.

    Source: Tu et al., Differentiable Cross-modal Hashing via Multimodal Transformers, ACM Multimedia 2022.
    """

    kind = "pair_tower"
    config_type = PairTowerConfig

    config: PairTowerConfig

    def __init__(self, config: PairTowerConfig, backbone: backbones.Backbone | None = None) -> None:
        super().__init__(config, backbone)
        if config.by_fan_out:
            *hidden, last = (layer for layer in self.layers if isinstance(layer, nn.Linear))
            for layer in hidden:
                _kaiming_uniform(layer, layer.out_features)
            _kaiming_uniform(last, 2)

    def _outputs(self) -> int:
        return 2 * self.config.bits

    def logits(self, x: Any) -> Tensor:
        """[n, bits, 2]: of -1, and of +1."""
        return self.head(self.trunk(x)).unflatten(1, (-1, 2))

    def forward(self, x: Any) -> Tensor:
        logits = self.logits(x)
        return logits[..., 1] - logits[..., 0]


@torch.no_grad()
def _kaiming_uniform(layer: nn.Linear, fan_out: int) -> None:
    bound = math.sqrt(6 / fan_out)
    layer.weight.uniform_(-bound, bound)
    layer.bias.zero_()


def pairs(h: Tensor) -> Tensor:
    """[n, 2 bits] probabilities of -1 and +1, bit by bit, from differences of logits h [n, bits]: DCHMT's code u."""
    return torch.stack([torch.sigmoid(-h), torch.sigmoid(h)], dim=2).flatten(1)


@dataclasses.dataclass(frozen=True)
class ShortenedTowerConfig(PairTowerConfig):
    """Shape of a `ShortenedTower`."""

    long_bits: int = 512

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"kind": "shortened_tower"}


@encoder_kind
class ShortenedTower(PairTower):
    """A `PairTower` of long codes, and the fixed matrix that turns their pairs into the pairs of shorter codes.

    Attributes:
        transform: buffer [2 long_bits, 2 bits], T; the logits of the short code are u T for the pairs u of the long
            one. Zeros until it is filled.
    Source: Tu et al., Two-Step Discrete Hashing for Cross-Modal Retrieval, IEEE Transactions on Multimedia, 2024.
    """

    kind = "shortened_tower"
    config_type = ShortenedTowerConfig

    config: ShortenedTowerConfig
    transform: Tensor

    def __init__(self, config: ShortenedTowerConfig, backbone: backbones.Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.register_buffer("transform", torch.zeros(2 * config.long_bits, 2 * config.bits))

    def _outputs(self) -> int:
        return 2 * self.config.long_bits

    def long(self, x: Any) -> Tensor:
        """h [n, long_bits] of the long code."""
        return super().forward(x)

    def shorten(self, h: Tensor) -> Tensor:
        """h [n, bits] of the short code from that of the long one."""
        return pairs(h) @ (self.transform[:, 1::2] - self.transform[:, ::2])

    def forward(self, x: Any) -> Tensor:
        return self.shorten(self.long(x))
