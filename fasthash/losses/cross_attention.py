"""Ranking of images and captions by their stacked cross attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasthash.ops import PackedLabels, cross_attention_score
from fasthash.ops._checks import check_choice, check_finite, check_tensor, describe
from fasthash.ops.cross_attention import POOL_TEMPERATURES, TEMPERATURES
from fasthash.ops.labels import check_class_ids, label_words, share_label

NAME = "CrossAttention"


class CrossAttention(nn.Module):
    """Hinge loss of the scores of m matching pairs against those of pairs that do not match.

    With A the mean of the scores of both directions: sum over i of max(0, margin - A_ii + A_ij) for the hardest caption
    j of image i, and likewise for the hardest image of each caption. Pairs that share a label are no negatives.

    Args:
        margin: of the scores, >= 0; they are cosines when the pool is "mean".
        hardest: the one negative of highest score for each row and column; False: all of them, added up.
        temperature, pool_temperature: of t2i and i2t, one for both or a pair; see ``cross_attention_score``.
        pool: "mean" or "lse".
        leak: slope of negative similarities, 0..1.
        reduction: "sum" (the paper's) or "mean" over the m pairs.
    Source: Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018, equations 7 and 8.
    """

    def __init__(
        self,
        margin: float = 0.2,
        *,
        hardest: bool = True,
        temperature: float | tuple[float, float] = TEMPERATURES,
        pool: str = "mean",
        pool_temperature: float | tuple[float, float] = POOL_TEMPERATURES,
        leak: float = 0.1,
        reduction: str = "sum",
    ) -> None:
        super().__init__()
        self.margin = check_finite(NAME, "margin", margin)
        if self.margin < 0:
            raise ValueError(f"{NAME}: margin must be at least 0, got {margin}")
        self.hardest = hardest
        self.temperature, self.pool, self.pool_temperature, self.leak = temperature, pool, pool_temperature, leak
        self.reduction = check_choice(NAME, "reduction", reduction, ("sum", "mean"))

    def forward(
        self,
        regions: Tensor,
        words: Tensor,
        labels: Tensor | PackedLabels | None = None,
        word_mask: Tensor | None = None,
        region_mask: Tensor | None = None,
        *,
        sim: Tensor | None = None,
    ) -> Tensor:
        """The loss [] of m pairs.

        Args:
            regions, words: [m, R, D] and [m, T, D]; row i of both belongs together. With masks as in
                ``cross_attention_score``.
            labels: of the m pairs: class ids int64 [m], multi-hot [m, c] or PackedLabels; or
            sim: [m, m], not 0 where image i and caption j are similar. With neither, only pair i itself is no negative.
        Raises:
            ValueError: as many images as captions are wanted; labels or sim do not fit.
        """
        scores = cross_attention_score(
            regions, words, word_mask, region_mask, direction="both", temperature=self.temperature, pool=self.pool,
            pool_temperature=self.pool_temperature, leak=self.leak,
        )  # fmt: skip
        m = scores.shape[0]
        if scores.shape[1] != m:
            raise ValueError(f"{NAME}: words must have the {m} rows of regions, got {scores.shape[1]}")
        allowed = self._negatives(scores, labels, sim)
        own = scores.diagonal()
        costs = [(self.margin - own[:, None] + scores).clamp(min=0), (self.margin - own[None, :] + scores).clamp(min=0)]
        # what is not allowed adds 0, the least there is: a row without negatives needs no other rule
        kept = (torch.where(allowed, cost, 0.0) for cost in costs)
        loss = sum((x.amax(dim) if self.hardest else x.sum(dim)).sum() for x, dim in zip(kept, (1, 0), strict=True))
        assert isinstance(loss, Tensor)
        return loss / m if self.reduction == "mean" else loss

    @staticmethod
    def _negatives(scores: Tensor, labels: Tensor | PackedLabels | None, sim: Tensor | None) -> Tensor:
        """bool [m, m]: pairs that the loss pushes apart."""
        others = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        if labels is not None and sim is not None:
            raise ValueError(f"{NAME}: expected labels or sim, got both")
        if sim is not None:
            check_tensor(NAME, "sim", sim)
            if sim.shape != scores.shape or sim.device != scores.device:
                raise ValueError(f"{NAME}: sim must be {list(scores.shape)} on {scores.device}, got {describe(sim)}")
            return others & (sim == 0)
        if labels is None:
            return others
        words = label_words(NAME, "labels", labels, scores)[0]
        if not torch.compiler.is_compiling():
            check_class_ids(NAME, "labels", words)
        return others & ~share_label(words, words)

    def extra_repr(self) -> str:
        names = ("margin", "hardest", "temperature", "pool", "pool_temperature", "leak", "reduction")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
