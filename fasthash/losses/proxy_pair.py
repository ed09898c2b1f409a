"""Learnable class proxies, and pairs of codes as near as their labels are: the losses of DCGH and DSPH."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from fasthash.ops import PackedLabels, ProxyPairTerms, proxy_pair
from fasthash.ops._checks import check_choice, check_finite
from fasthash.ops.proxy_pair import VARIANCE_FORMS

# Largest known minimum distance of a binary linear code of length `bits` and dimension k = 1, 2, ... 7: reached by
# repetition (k = 1), repeated simplex codes with a short code beside them (2 to 5), first-order Reed-Muller codes, the
# extended BCH code [16, 7, 6] and a code [32, 7, 14].
_DISTANCES = {
    16: (16, 10, 8, 8, 8, 6, 6),
    32: (32, 21, 18, 16, 16, 16, 14),
    64: (64, 42, 36, 33, 32, 32, 32),
    128: (128, 85, 72, 68, 64, 64, 64),
}


def dsph_threshold(bits: int, classes: int) -> float:
    """The cosine that DSPH lets dissimilar codes have, 1 - 2 delta / bits: codes of the classes can be that far apart.

    delta is the largest known minimum distance of a binary linear code with ``bits`` bits and at least as many words as
    there are classes.

    Args:
        bits: code length, 16, 32, 64 or 128.
        classes: number of classes, 2 to 128.
    Returns:
        The threshold (unitless): 0.25 for 16 bits and 80 classes; below 0 for few classes.
    Raises:
        ValueError: no table for these bits or so many classes.
    Source: Huo et al., Deep Semantic-aware Proxy Hashing, TCSVT 2024 (0 for 21 and 24 classes, 0.25, 0.125 and 0 for 80
        classes at 16, 32 and 64 bits); distances as in M. Grassl, Bounds on the minimum distance of linear codes.
    """
    if bits not in _DISTANCES:
        raise ValueError(f"dsph_threshold: bits must be one of {', '.join(map(str, _DISTANCES))}, got {bits!r}")
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= 128:
        raise ValueError(f"dsph_threshold: classes must be an integer from 2 to 128, got {classes!r}")
    dimension = (classes - 1).bit_length()  # the smallest k with 2^k >= classes
    return 1 - 2 * _DISTANCES[bits][dimension - 1] / bits


class ProxyPair(nn.Module):
    """Codes near the proxies of their classes, far from others, and pairs as near as their labels are: DCGH's loss.

    ``ProxyPair.dsph(classes, bits)`` has the settings of DSPH. See ``fasthash.ops.proxy_pair`` for the five terms.

    Args:
        classes: number of classes.
        bits: code length.
        threshold: cosine that dissimilar codes, and codes and proxies, may have.
        negative_pairs, positive_pairs, variance: weights of the terms.
        variance_form: "official" (all classes) or "relevant" (a row's own).
        tanh: proxies begin as tanh of normal numbers (DCGH) and not as these themselves (DSPH).
    Attributes:
        proxies: parameter [classes, bits]; its own optimiser in both papers: SGD, 0.02, momentum 0.9, decay 5e-4.
    Raises:
        ValueError: a size is not positive, or a setting not legal.
    Source: Chen et al., Deep Class-guided Hashing for Multi-label Cross-modal Retrieval, arXiv 2410.15387, as in its
        released code; Huo et al., Deep Semantic-aware Proxy Hashing, TCSVT 2024.
    """

    def __init__(
        self, classes: int, bits: int, *, threshold: float = 0.0, negative_pairs: float = 0.8,
        positive_pairs: float = 0.05, variance: float = 1.0, variance_form: str = "official", tanh: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, size in (("classes", classes), ("bits", bits)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"ProxyPair: {name} must be a positive integer, got {size!r}")
        self.threshold = check_finite("ProxyPair", "threshold", threshold)
        self.negative_pairs = check_finite("ProxyPair", "negative_pairs", negative_pairs)
        self.positive_pairs = check_finite("ProxyPair", "positive_pairs", positive_pairs)
        self.variance = check_finite("ProxyPair", "variance", variance)
        self.variance_form = check_choice("ProxyPair", "variance_form", variance_form, VARIANCE_FORMS)
        self.tanh = tanh
        self.proxies = nn.Parameter(torch.empty(classes, bits))
        self.reset_parameters()

    @classmethod
    def dsph(cls, classes: int, bits: int, *, threshold: float | None = None) -> ProxyPair:
        """DSPH's: a threshold for dissimilar ones, by default ``dsph_threshold``; no positive pairs, no variance."""
        if threshold is None:
            threshold = dsph_threshold(bits, classes)
        return cls(classes, bits, threshold=threshold, positive_pairs=0.0, variance=0.0, tanh=False)

    def reset_parameters(self) -> None:
        """Kaiming normal numbers by fan-out, which is the number of classes here, as both released codes have it."""
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")
        if self.tanh:
            with torch.no_grad():
                self.proxies.tanh_()

    @overload
    def forward(
        self, x: Tensor, y: Tensor, labels: Tensor | PackedLabels, *, with_terms: Literal[False] = ...
    ) -> Tensor: ...
    @overload
    def forward(
        self, x: Tensor, y: Tensor, labels: Tensor | PackedLabels, *, with_terms: bool
    ) -> Tensor | tuple[Tensor, ProxyPairTerms]: ...
    def forward(
        self, x: Tensor, y: Tensor, labels: Tensor | PackedLabels, *, with_terms: bool = False
    ) -> Tensor | tuple[Tensor, ProxyPairTerms]:
        """Relaxed codes [m, bits] of both modalities and labels [m, classes]; the loss [], or (loss, terms) for a log.

        Codes are of the proxies' dtype, or of any under autocast.
        """
        return proxy_pair(
            x, y, self.proxies, labels, threshold=self.threshold, negative_pairs=self.negative_pairs,
            positive_pairs=self.positive_pairs, variance=self.variance, variance_form=self.variance_form,
            with_terms=with_terms,
        )  # fmt: skip

    def extra_repr(self) -> str:
        names: tuple[Any, ...] = ("threshold", "negative_pairs", "positive_pairs", "variance", "variance_form")
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        classes, bits = self.proxies.shape
        return f"classes={classes}, bits={bits}, {settings}"
