"""How far apart relevant and irrelevant pairs lie: what a model has learnt, before any ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.metrics._histograms import Histograms

Floats = NDArray[np.float64]

SHARED = 0.05  # share of irrelevant pairs with one code from which classes are said to share codes ...
CHANCE = 4.0  # ... where random codes of that length would share fewer than a fourth of it
NO_BETTER = 0.52  # an area under the curve up to this is hardly more than chance


@dataclass(frozen=True)
class Separation:
    """Distances of relevant and of irrelevant pairs (query, item), pooled over the queries."""

    relevant: NDArray[np.int64]  # [bits + 1] relevant pairs at each distance
    irrelevant: NDArray[np.int64]  # [bits + 1]

    @property
    def bits(self) -> int:
        """Code length."""
        return len(self.relevant) - 1

    @property
    def relevant_mean(self) -> float | None:
        """Mean distance of the relevant pairs; None where there is none."""
        return _mean(self.relevant)

    @property
    def irrelevant_mean(self) -> float | None:
        """Mean distance of the irrelevant pairs; None where there is none."""
        return _mean(self.irrelevant)

    @property
    def auc(self) -> float | None:
        """Probability that a relevant pair is closer than an irrelevant one, a tie counting half.

        The area under the ROC curve of the distance; 0.5 knows nothing. None where either kind has no pair.
        """
        if not self._both:
            return None
        near, far = _shares(self.relevant), _shares(self.irrelevant)
        farther = 1.0 - np.cumsum(far)  # irrelevant pairs beyond each distance
        return float(np.clip((near * (farther + far / 2)).sum(), 0.0, 1.0))

    @property
    def overlap(self) -> float | None:
        """Area that both distributions have in common: 0 where they are apart, 1 where they are the same."""
        return float(np.minimum(_shares(self.relevant), _shares(self.irrelevant)).sum()) if self._both else None

    @property
    def shared(self) -> float | None:
        """Share of the irrelevant pairs whose codes are equal; None where there is no such pair."""
        return float(_shares(self.irrelevant)[0]) if self.irrelevant.any() else None

    @property
    def signs(self) -> tuple[str, ...]:
        """The signs of a collapse, each in words; empty for healthy codes."""
        if self.shared is None or self.shared < max(SHARED, CHANCE * 2.0**-self.bits):
            return ()
        return (f"classes share one code: {self.shared:.0%} of the irrelevant pairs have distance 0",)

    @property
    def _both(self) -> bool:
        return bool(self.relevant.any() and self.irrelevant.any())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: both distributions, what follows from them, and the signs of collapse."""
        arrays = {"relevant": self.relevant.tolist(), "irrelevant": self.irrelevant.tolist()}
        names = ("relevant_mean", "irrelevant_mean", "auc", "overlap", "shared")
        return arrays | {name: getattr(self, name) for name in names} | {"signs": list(self.signs)}

    def __str__(self) -> str:
        near, far, auc = self.relevant_mean, self.irrelevant_mean, self.auc
        if near is None or far is None or auc is None:
            return f"no {'relevant' if near is None else 'irrelevant'} pair"
        chance = ", hardly more than chance" if auc <= NO_BETTER else ""
        return (
            f"relevant pairs at distance {near:.1f} of {self.bits}, irrelevant ones at {far:.1f}; a relevant pair is "
            f"the closer one with probability {auc:.3f}{chance}"
        )


def separation(histograms: Histograms) -> Separation:
    """Distances of relevant and irrelevant pairs, from what `histograms` returns."""
    relevant = histograms.relevant.sum(axis=0)
    return Separation(relevant, histograms.counts.sum(axis=0) - relevant)


def _shares(counts: NDArray[np.int64]) -> Floats:
    return np.asarray(counts / counts.sum())


def _mean(counts: NDArray[np.int64]) -> float | None:
    return float(_shares(counts) @ np.arange(len(counts))) if counts.any() else None
