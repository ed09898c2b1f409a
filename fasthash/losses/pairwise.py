"""Losses over pairs of a batch and a bank."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fasthash.ops import PackedLabels, cosine_reconstruction, margin_euclidean, pairwise_nll
from fasthash.ops._checks import check_choice, check_finite
from fasthash.ops.margin_euclidean import check_margin
from fasthash.ops.pairwise_nll import check_layers

Labels = Tensor | PackedLabels | None


class PairwiseNLL(nn.Module):
    """Negative log-likelihood of label similarity under theta = scale * a @ b.T; see ``fasthash.ops.pairwise_nll``.

    Args:
        scale: factor of the inner product (unitless); 0.5 in the paper.
        reduction: "sum" (the paper's) or "mean" over the n * m pairs.
        layer_weights: codes of several layers stand side by side, each with class ids of its own; weights of their
            losses.
        layer_bits: widths of the layers' codes; equal ones unless given.
    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, first term of the objective (equation 1); layers: Sun et
    al., Supervised Hierarchical Cross-Modal Hashing, SIGIR 2019.
    """

    def __init__(
        self,
        scale: float = 0.5,
        reduction: str = "sum",
        *,
        layer_weights: Sequence[float] | None = None,
        layer_bits: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.scale = check_finite("PairwiseNLL", "scale", scale)
        self.reduction = check_choice("PairwiseNLL", "reduction", reduction, ("sum", "mean"))
        self.layer_weights, self.layer_bits = check_layers("PairwiseNLL", layer_weights, layer_bits)

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        labels_a: Labels = None,
        labels_b: Labels = None,
        *,
        sim: Tensor | None = None,
        pair_weights: Tensor | None = None,
        row_weights_a: Tensor | None = None,
        row_weights_b: Tensor | None = None,
    ) -> Tensor:
        """Codes [n, d] and [m, d] with labels of both, or sim [n, m]; returns the loss []."""
        return pairwise_nll(
            a, b, labels_a, labels_b, sim=sim, layer_weights=self.layer_weights, layer_bits=self.layer_bits,
            pair_weights=pair_weights, row_weights_a=row_weights_a, row_weights_b=row_weights_b, scale=self.scale,
            reduction=self.reduction,
        )  # fmt: skip

    def extra_repr(self) -> str:
        layers = "" if self.layer_weights is None else f", layer_weights={self.layer_weights}"
        layers += "" if self.layer_bits is None else f", layer_bits={self.layer_bits}"
        return f"scale={self.scale}, reduction={self.reduction!r}{layers}"


class CosineReconstruction(nn.Module):
    """Squared differences of the codes' cosines from a target; see ``fasthash.ops.cosine_reconstruction``.

    Args:
        reduction: "mean" or "sum" over the n * m pairs.
    Source: the terms of Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equation 8.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = check_choice("CosineReconstruction", "reduction", reduction, ("sum", "mean"))

    def forward(self, a: Tensor, b: Tensor, target: Tensor) -> Tensor:
        """Codes [n, d] and [m, d] and their target [n, m]; returns the loss []."""
        return cosine_reconstruction(a, b, target, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MarginEuclidean(nn.Module):
    """Distances of similar codes, and what dissimilar ones lack to a margin; see ``fasthash.ops.margin_euclidean``.

    Args:
        margin: distance from which dissimilar codes are far enough, > 0; ``fasthash.ops.margin_for(bits, threshold)``
            has the paper's.
        reduction: "mean" (the paper's) or "sum" over the n * m pairs.
    Source: Tu et al., Differentiable Cross-modal Hashing via Multimodal Transformers, ACM Multimedia 2022.
    """

    def __init__(self, margin: float, reduction: str = "mean") -> None:
        super().__init__()
        self.margin = check_margin("MarginEuclidean", margin)
        self.reduction = check_choice("MarginEuclidean", "reduction", reduction, ("sum", "mean"))

    def forward(
        self, a: Tensor, b: Tensor, labels_a: Labels = None, labels_b: Labels = None, *, sim: Tensor | None = None
    ) -> Tensor:
        """Codes [n, d] and [m, d] with labels of both, or sim [n, m]; returns the loss []."""
        return margin_euclidean(a, b, labels_a, labels_b, sim=sim, margin=self.margin, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, reduction={self.reduction!r}"
