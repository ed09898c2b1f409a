"""Codes that rebuild a graph's affinity, join the two codes of a pair and agree across modalities."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fasthash.ops import cosine_reconstruction
from fasthash.ops._checks import check_finite, check_matrix, check_same
from fasthash.ops._pair_loss import check_pair_matrix
from fasthash.ops._unit_rows import unit_rows

NAME = "GraphCoherence"


class GraphCoherenceTerms(NamedTuple):
    """Terms of the loss, each with its weight."""

    pairs: Tensor
    reconstruction: Tensor
    consistency: Tensor


class GraphCoherence(nn.Module):
    """pair <(cos(b_I, b_T) - K)^2> + coherence J_S + consistency J_C, for a given affinity S.

    With C_IT, C_II, C_TT the cosines of the codes of m pairs, and means over all m x m entries,

        J_S = the squares of C - S for C in C_II, C_IT, C_TT, entries i = j left out of the sums,
        J_C = <(C_IT - C_II)^2> + <(C_IT - C_TT)^2> + <(C_II - C_TT)^2> + <(C_IT - C_IT^T)^2>.

    Args:
        target: K, of the cosines of the codes of a pair; above 1 it is never reached and always pulls.
        pair, coherence, consistency: weights.
    Source: Yu, Zhou, Zhan, Tao, Deep Graph-neighbor Coherence Preserving Network for Unsupervised Cross-modal Hashing,
    AAAI 2021; means and constants as in the authors' code.
    """

    def __init__(
        self, *, target: float = 1.5, pair: float = 1.0, coherence: float = 1.0, consistency: float = 1.0
    ) -> None:
        super().__init__()
        self.target, self.pair = check_finite(NAME, "target", target), check_finite(NAME, "pair", pair)
        self.coherence = check_finite(NAME, "coherence", coherence)
        self.consistency = check_finite(NAME, "consistency", consistency)

    def forward(self, b_image: Tensor, b_text: Tensor, affinity: Tensor) -> GraphCoherenceTerms:
        """The terms of relaxed or binary codes [m, d] of m pairs, with S [m, m], a constant.

        Raises:
            ValueError: shapes, dtypes or devices disagree.
        """
        check_matrix(NAME, "b_image", b_image)
        check_same(NAME, "b_text", b_text, "b_image", b_image, rows=True)
        check_pair_matrix(NAME, "affinity", affinity, b_image, b_text)
        image, text = unit_rows(b_image)[0], unit_rows(b_text)[0]
        matching = (image * text).sum(dim=1)
        return GraphCoherenceTerms(
            self.pair * (matching - self.target).square().mean(),
            self.coherence * self._coherence(b_image, b_text, affinity, matching.detach()),
            self.consistency * _consistency(image, text),
        )

    @staticmethod
    def _coherence(b_image: Tensor, b_text: Tensor, affinity: Tensor, matching: Tensor) -> Tensor:
        # a diagonal that is the target's own misses nothing and pulls at nothing: as if it were not there
        own, across = affinity.clone(), affinity.clone()
        own.diagonal().fill_(1.0)
        across.diagonal().copy_(matching)
        value = cosine_reconstruction(b_image, b_text, across)
        return value + cosine_reconstruction(b_image, b_image, own) + cosine_reconstruction(b_text, b_text, own)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in ("target", "pair", "coherence", "consistency"))


def _consistency(image: Tensor, text: Tensor) -> Tensor:
    across, own = image @ text.T, (image @ image.T, text @ text.T)
    misses = (across - own[0], across - own[1], own[0] - own[1], across - across.T)
    return torch.stack([miss.square().mean() for miss in misses]).sum()
