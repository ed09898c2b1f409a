"""An activation that learns how sharp it is, unit by unit."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

SATURATED = 10.0  # of the argument of sinh: tanh(sinh(10)) is 1 in float64, and sinh of much more overflows


class AdaptiveTanh(nn.Module):
    """ATanh: h [n, bits] -> tanh(s(h)) in -1..1, with the sign of h, and s a scaling by a > 0, learned for each unit.

    Args:
        bits: units.
        scaling: "linear", s(h) = a h; "nonlinear", s(h) = sinh(a h), as steep at 0 and steeper away from it. The paper
            compares a linear and a nonlinear scaling; this form of the second one is fasthash's own.
    Source: Hu, Nie, Li, Deep Binary Reconstruction for Cross-Modal Hashing, IEEE Trans. Multimedia 21(4), 2019.
    """

    def __init__(self, bits: int, scaling: Literal["linear", "nonlinear"] = "linear") -> None:
        super().__init__()
        self.scaling = scaling
        self.raw = nn.Parameter(torch.full((bits,), math.log(math.expm1(1.0))))  # a = 1

    @property
    def scale(self) -> Tensor:
        """a [bits], positive whatever a step does."""
        return softplus(self.raw)

    def forward(self, h: Tensor) -> Tensor:
        scaled = self.scale * h
        if self.scaling == "nonlinear":
            scaled = torch.sinh(scaled.clamp(-SATURATED, SATURATED))
        return torch.tanh(scaled)

    def penalty(self) -> Tensor:
        """[] sum of 1 / a^2: what drives the units towards signs."""
        return self.scale.square().reciprocal().sum()
