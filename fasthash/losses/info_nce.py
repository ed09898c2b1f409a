"""Contrast of matching vectors with all the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasthash.ops._checks import check_finite, describe

NAME = "InfoNCE"


class InfoNCE(nn.Module):
    """Cross entropy of finding the match of a vector by its cosines over a temperature, from either side.

    With s_ij = cos(a_i, b_j) / tau: the mean over i of -log softmax_j(s_ij) at j = i and of the same over columns,
    halved.

    Args:
        temperature: tau, above 0.
    Source: van den Oord et al., Representation Learning with Contrastive Predictive Coding, arXiv 1807.03748, 2018,
        in the two-sided form of Radford et al., ICML 2021.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = check_finite(NAME, "temperature", temperature)
        if self.temperature <= 0:
            raise ValueError(f"{NAME}: temperature must be above 0, got {temperature}")

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The loss [] of vectors [m, width], row i of both matching, or of m sets of k, [m, k, width], each by itself.

        Raises:
            ValueError: shapes differ or are of another number of dimensions.
        """
        if a.ndim not in (2, 3) or a.shape != b.shape or not a.numel():
            raise ValueError(f"{NAME}: a and b must both be [m, width] or [m, k, width], got {_both(a, b)}")
        a, b = (functional.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1) for x in (a, b))
        scores = (a @ b.mT) / self.temperature
        k = scores.shape[-1]
        wanted = torch.arange(k, device=scores.device).repeat(scores.numel() // (k * k))
        both = (functional.cross_entropy(s.reshape(-1, k), wanted) for s in (scores, scores.mT))
        return sum(both, torch.zeros((), device=scores.device)) / 2

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


def _both(a: Tensor, b: Tensor) -> str:
    return f"{describe(a)} and {describe(b)}"
