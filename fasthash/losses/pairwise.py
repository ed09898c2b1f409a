"""Losses over pairs of a batch and a bank."""

from __future__ import annotations

from torch import Tensor, nn

from fasthash.ops import PackedLabels, pairwise_nll
from fasthash.ops._checks import check_choice, check_finite


class PairwiseNLL(nn.Module):
    """Negative log-likelihood of label similarity under theta = scale * a @ b.T; see ``fasthash.ops.pairwise_nll``.

    Args:
        scale: factor of the inner product (unitless); 0.5 in the paper.
        reduction: "sum" (the paper's) or "mean" over the n * m pairs.
    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, first term of the objective (equation 1).
    """

    def __init__(self, scale: float = 0.5, reduction: str = "sum") -> None:
        super().__init__()
        self.scale = check_finite("PairwiseNLL", "scale", scale)
        self.reduction = check_choice("PairwiseNLL", "reduction", reduction, ("sum", "mean"))

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        labels_a: Tensor | PackedLabels | None = None,
        labels_b: Tensor | PackedLabels | None = None,
        *,
        sim: Tensor | None = None,
    ) -> Tensor:
        """Codes [n, d] and [m, d] with labels of both, or sim [n, m]; returns the loss []."""
        return pairwise_nll(a, b, labels_a, labels_b, sim=sim, scale=self.scale, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, reduction={self.reduction!r}"
