"""Rows of length 1, and the way back through the normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST = (
    1e-12  # shorter rows have no direction: cosine 0, and no gradient; torch's normalize would give 1e12 times it
)


def unit_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """(rows of length 1, and one over their lengths [n, 1]); zeros and 0 where a row has no direction."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    short = length < SHORTEST  # false for NaN, which must reach the loss
    inverse = torch.where(short, 0.0, 1 / torch.where(short, 1.0, length))
    return x * inverse, inverse


def through_unit_rows(grad: Tensor, unit: Tensor, inverse: Tensor) -> Tensor:
    """The gradient of rows from that of rows of length 1: what changes the length only does not count."""
    along = (grad * unit).sum(dim=1, keepdim=True)
    return torch.addcmul(grad, along, unit, value=-1).mul_(inverse)
