"""Sums and hits within cuts of the rankings, under every rule for ties, each worked out once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.metrics import _expected
from fasthash.metrics._buckets import extreme_first_sums, hits_at, precision_sums
from fasthash.metrics._histograms import Floats, Inputs
from fasthash.metrics._protocols import Measure


class Rankings:
    """The rankings of a database by all queries.

    Args:
        inputs: what was counted.
        measures: those that will be asked for; the stable ones among them share a pass.
        ranks: cuts of which hits will be asked for in the order of the database.
    """

    def __init__(self, inputs: Inputs, measures: Iterable[Measure] = (), ranks: Iterable[int] = ()) -> None:
        self.inputs = inputs
        self.histograms = inputs.histograms
        self.total = self.histograms.total_relevant
        stable = [measure for measure in measures if measure.ties == "stable"]
        by_hits = [measure.protocol == "map_first_k_relevant" for measure in stable]
        cuts = [self.within(measure.cut) for measure in stable]
        self._ranks = sorted({*ranks, *(cut for cut, hits in zip(cuts, by_hits, strict=True) if not hits)})
        self._hits = sorted({cut for cut, hits in zip(cuts, by_hits, strict=True) if hits})
        self._known: dict[Any, Any] = {}

    def within(self, cut: int | None) -> int:
        """A cut that is not beyond the database."""
        return min(cut or self.histograms.nb, self.histograms.nb)

    def average_precisions(self, measure: Measure) -> tuple[float, Floats, NDArray[np.bool_]]:
        """(mAP, AP of each query, whether each is in the mean)."""
        ap, hit = self.average_precision(measure)
        value, counted = mean_of(measure, ap, hit, self.total)
        return value, ap, counted

    def average_precision(self, measure: Measure) -> tuple[Floats, Floats]:
        """(AP, probability of a hit) of each query."""
        return self._average_precisions(measure.protocol, self.within(measure.cut), measure.ties)

    def hits(self, ranks: Sequence[int], ties: str) -> Floats:
        """float64 [nq, len(ranks)]: (expected) relevant items of ranks 1 to each of ranks."""
        if ties == "stable":
            return np.stack([self._stable[1][rank] for rank in ranks], axis=1).astype(np.float64)
        return hits_at(self.histograms, np.asarray(ranks, np.int64), ties)

    def _average_precisions(self, protocol: str, k: int, ties: str) -> tuple[Floats, Floats]:
        """(AP, probability of a hit) of each query."""
        if protocol == "map_first_k_relevant":
            sums, denominator = self._first_sums(k, ties), np.minimum(self.total, k)
        elif protocol in ("map_all", "map_at_k_minR"):
            sums, denominator = self._sums(k, ties), np.minimum(self.total, k)
        elif ties == "expected":
            return self._per_hit(k)
        else:
            sums, denominator = self._sums(k, ties), self.hits([k], ties)[:, 0]
        return sums / np.maximum(denominator, 1), (denominator > 0).astype(np.float64)

    def _sums(self, k: int, ties: str) -> Floats:
        if ties == "stable":
            return self._stable[0][k]
        return self._once(("sums", k, ties), lambda: precision_sums(self.histograms, np.full(self.nq, k), ties))

    def _first_sums(self, k: int, ties: str) -> Floats:
        if ties == "stable":
            return self._stable[2][k]
        kept = np.minimum(self.total, k)
        if ties == "expected":
            return _expected.first_sums(self.histograms, kept, self.inputs.threads)
        return extreme_first_sums(self.histograms, kept, ties)

    def _per_hit(self, k: int) -> tuple[Floats, Floats]:
        found: tuple[Floats, Floats] = self._once(
            ("per hit", k), lambda: _expected.precision_per_hit(self.histograms, k, self.inputs.threads)
        )
        return found

    @property
    def nq(self) -> int:
        """Number of queries."""
        return self.histograms.nq

    @cached_property
    def _stable(self) -> tuple[dict[int, Floats], dict[int, NDArray[np.int64]], dict[int, Floats]]:
        """Sums and hits by rank, sums by number of hits."""
        evaluation, counted = self.inputs.evaluation, (self.histograms.counts, self.histograms.relevant)
        if len(self._ranks) == 1 and not self._hits:  # a pass of its own for a single cut is several times as fast
            (k,) = self._ranks
            sums, hits = evaluation.stable_precision(*counted, k)
            return {k: sums}, {k: hits}, {}
        found = evaluation.stable_cuts(*counted, self._ranks, self._hits)
        by_rank, hits_by_rank, by_hits = (np.ascontiguousarray(array.T) for array in found)
        return (
            dict(zip(self._ranks, by_rank, strict=True)),
            dict(zip(self._ranks, hits_by_rank, strict=True)),
            dict(zip(self._hits, by_hits, strict=True)),
        )

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def mean_of(measure: Measure, ap: Floats, hit: Floats, total: NDArray[np.int64]) -> tuple[float, NDArray[np.bool_]]:
    """(mAP, whether each query is in the mean) from AP, probability of a hit, and number of relevant items of each."""
    counted = np.ones(len(ap), bool) if measure.no_relevant == "zero" else total > 0
    if measure.protocol == "map_at_k_hitonly":
        return _expected.mean_over_hit_queries(ap, hit), hit > 0
    return mean(ap, counted), counted


def mean(values: Floats, counted: NDArray[np.bool_]) -> float:
    """Mean over the queries counted; 0 when there are none."""
    return float(values[counted].mean()) if counted.any() else 0.0
