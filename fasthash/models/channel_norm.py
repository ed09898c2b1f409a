"""Normalisation across neighbouring channels, in one pass over them where PyTorch's pools them as pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ALPHA, BASE = 1e-4, 2.0
REACH = 2  # neighbours on each side


class ChannelNorm(nn.Module):
    """Rows [n, width], each entry over (2 + 1e-4 * squares of itself and two neighbours on each side) ** 0.75.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012, section 3.3.
    """

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = _Norm.apply(x)
        return made


class _Norm(torch.autograd.Function):
    """y = x d^-3/4, with d = 2 + alpha W x^2 and W the sum over neighbours, its own transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        d = _neighbours(x.square()).mul_(ALPHA).add_(BASE)
        power = d.rsqrt()
        power *= power.sqrt()
        ctx.save_for_backward(x, d, power)
        return x * power

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # dx = g d^-3/4 - 3/2 alpha x W(g x d^-7/4)
        x, d, power = ctx.saved_tensors
        of_y = grad * power
        made: Tensor = of_y.addcmul(x, _neighbours((of_y * x).div_(d)), value=-1.5 * ALPHA)
        return made


def _neighbours(x: Tensor) -> Tensor:
    """[n, width]: sums of each entry and its neighbours."""
    made = x.clone()
    for step in range(1, REACH + 1):
        made[:, step:] += x[:, :-step]
        made[:, :-step] += x[:, step:]
    return made
