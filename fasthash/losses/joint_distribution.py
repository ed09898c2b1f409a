"""A joint affinity of two modalities whose extremes are pushed further apart, and codes that rebuild it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fasthash.ops import cosine_reconstruction
from fasthash.ops._checks import check_finite, check_matrix, check_same, check_share
from fasthash.ops._unit_rows import unit_rows

NAME = "JointDistribution"


@dataclass(frozen=True)
class AffinityDistribution:
    """How the affinities of training pairs are distributed: left of their peak like a normal, right like a Laplacian.

    Args:
        location_left, scale_left: mean and standard deviation of the normal distribution.
        location_right, scale_right: location and scale of the Laplace distribution.
        lowest, highest: of the affinities of different pairs.
    Source: Liu et al., Joint-modal Distribution-based Similarity Hashing, SIGIR 2020.
    """

    location_left: float
    scale_left: float
    location_right: float
    scale_right: float
    lowest: float
    highest: float

    @classmethod
    def fit(cls, values: Tensor) -> AffinityDistribution:
        """Of affinities [n]: one peak for both sides, scales by maximum likelihood on either side of it.

        The peak is the half-sample mode: the densest half of the values, its densest half, and so on.

        Raises:
            ValueError: no values, or one that is not finite.
        """
        if values.ndim != 1 or len(values) == 0 or not bool(torch.isfinite(values).all()):
            raise ValueError(f"AffinityDistribution.fit: values must be finite [n], got {list(values.shape)}")
        ordered = values.double().sort().values
        peak = _half_sample_mode(ordered)
        left, right = ordered[ordered <= peak] - peak, ordered[ordered >= peak] - peak
        scales = float(left.square().mean().sqrt()), float(right.abs().mean())
        return cls(peak, scales[0], peak, scales[1], float(ordered[0]), float(ordered[-1]))


def _half_sample_mode(ordered: Tensor) -> float:
    while len(ordered) > 2:
        half = -(-len(ordered) // 2)
        widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(widths.argmin())
        ordered = ordered[start : start + half]
    return float(ordered.mean())


class JointDistributionTerms(NamedTuple):
    """Terms of the loss, each with its weight."""

    reconstruction: Tensor
    pairs: Tensor


class JointDistribution(nn.Module):
    """2 <(cos(B_I, B_T) - T)^2> + intra [<(cos(B_I, B_I) - T)^2> + <(cos(B_T, B_T) - T)^2>] - pair <cos(b_I, b_T)>.

    With S_I and S_T the cosines of a batch's features (as 2 S - 1 when ``affine``) and ^ for rows of length 1,

        S = alpha S_I + beta S_T + gamma (S_I^ S_T^' + S_T^ S_I^') / 2
        T = mu w(S) S,  w = 1 + left_weight exp(lowest - S)    where S < location_left - left_scales scale_left
                          = 1 + right_weight exp(S - highest)  where S > location_right + right_scales scale_right
                          = 1                                  elsewhere.

    Args:
        alpha, beta, gamma: shares of the image affinity, the text affinity and their product, 0..1.
        mu: scale of the target.
        intra: weight of the image-image and the text-text term.
        pair: weight of the cosine between the two codes of a pair.
        left_weight, right_weight: how far affinities beyond the thresholds are pushed; 0: not at all.
        left_scales, right_scales: scales from the peak to the thresholds.
        affine: affinities as 2 S - 1, as in the authors' code.
    ``distribution`` is to be set before the loss is asked for: known, or by `fit`.
    Source: Liu et al., Joint-modal Distribution-based Similarity Hashing for Large-scale Unsupervised Deep Cross-modal
    Retrieval, SIGIR 2020; means, signs and constants as in the authors' code.
    """

    distribution: AffinityDistribution | None = None

    def __init__(
        self,
        *,
        alpha: float = 0.4,
        beta: float = 0.3,
        gamma: float = 0.3,
        mu: float = 1.4,
        intra: float = 0.1,
        pair: float = 1.0,
        left_weight: float = 0.2,
        right_weight: float = 0.2,
        left_scales: float = 2.0,
        right_scales: float = 4.0,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.alpha, self.beta = check_share(NAME, "alpha", alpha), check_share(NAME, "beta", beta)
        self.gamma, self.mu = check_share(NAME, "gamma", gamma), check_finite(NAME, "mu", mu)
        self.intra, self.pair = check_finite(NAME, "intra", intra), check_finite(NAME, "pair", pair)
        self.left_weight = check_finite(NAME, "left_weight", left_weight)
        self.right_weight = check_finite(NAME, "right_weight", right_weight)
        self.left_scales = check_finite(NAME, "left_scales", left_scales)
        self.right_scales = check_finite(NAME, "right_scales", right_scales)
        self.affine = bool(affine)

    @torch.no_grad()
    def affinity(self, f_image: Tensor, f_text: Tensor) -> Tensor:
        """S [m, m], symmetric, of the features [m, p_image] and [m, p_text] of m pairs.

        Raises:
            ValueError: shapes or devices disagree.
        """
        check_matrix(NAME, "f_image", f_image)
        check_matrix(NAME, "f_text", f_text)
        if len(f_image) != len(f_text) or f_image.device != f_text.device:
            want = f"{len(f_image)} rows on {f_image.device}"
            raise ValueError(f"{NAME}: f_text must have {want} like f_image, got {len(f_text)} on {f_text.device}")
        image, text = (self._cosines(f) for f in (f_image, f_text))
        s = self.alpha * image + self.beta * text
        if self.gamma:
            across = unit_rows(image)[0] @ unit_rows(text)[0].T
            s = s + self.gamma / 2 * (across + across.T)
        return s

    def _cosines(self, features: Tensor) -> Tensor:
        unit = unit_rows(features.to(torch.promote_types(features.dtype, torch.float32)))[0]
        return 2 * (unit @ unit.T) - 1 if self.affine else unit @ unit.T

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> AffinityDistribution:
        """Take ``distribution`` from batches of features, of 2 pairs or more each: all affinities of different pairs.

        A pair's affinity depends on its batch, so these are best as large as those of training.
        """
        values = []
        for f_image, f_text in batches:
            s = self.affinity(f_image, f_text)
            values.append(s[torch.triu(torch.ones_like(s), 1) > 0].cpu())
        self.distribution = AffinityDistribution.fit(torch.cat(values))
        return self.distribution

    def target(self, f_image: Tensor, f_text: Tensor) -> Tensor:
        """T [m, m]; shapes and errors as `affinity`."""
        s, known = self.affinity(f_image, f_text), self.distribution
        if known is None:
            raise ValueError(f"{NAME}: distribution must be set or fitted first, got None")
        weight = torch.ones_like(s)
        left = s < known.location_left - self.left_scales * known.scale_left
        right = s > known.location_right + self.right_scales * known.scale_right
        weight = torch.where(left, 1 + self.left_weight * torch.exp(known.lowest - s), weight)
        weight = torch.where(right, 1 + self.right_weight * torch.exp(s - known.highest), weight)
        return self.mu * weight * s

    def forward(self, b_image: Tensor, b_text: Tensor, f_image: Tensor, f_text: Tensor) -> JointDistributionTerms:
        """The terms of relaxed codes [m, d] of m pairs, whose features are [m, p_image] and [m, p_text].

        Raises:
            ValueError: shapes, dtypes or devices disagree.
        """
        check_matrix(NAME, "b_image", b_image)
        check_same(NAME, "b_text", b_text, "b_image", b_image, rows=True)
        target = self.target(f_image, f_text)
        # T is symmetric, so the term of texts against images is that of images against texts
        value = 2 * cosine_reconstruction(b_image, b_text, target)
        if self.intra:
            own = cosine_reconstruction(b_image, b_image, target) + cosine_reconstruction(b_text, b_text, target)
            value = value + self.intra * own
        pairs = (unit_rows(b_image)[0] * unit_rows(b_text)[0]).sum(dim=1).mean()
        return JointDistributionTerms(value, -self.pair * pairs)

    def extra_repr(self) -> str:
        names = ("alpha", "beta", "gamma", "mu", "intra", "pair", "left_weight", "right_weight", "left_scales")
        return ", ".join(f"{name}={getattr(self, name)}" for name in (*names, "right_scales", "affine"))
