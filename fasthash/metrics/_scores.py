"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasthash.metrics._curves import Lookup, PRCurve, lookup_within
from fasthash.metrics._histograms import Floats, Histograms, Inputs
from fasthash.metrics._protocols import Measure
from fasthash.metrics._rankings import Rankings


@dataclass(frozen=True)
class RankingScores:
    """One measure of a ranking of a database by each query.

    A query without any relevant item has AP 0; `queries_without_relevant` says how many there are, and `no_relevant`
    whether they are in the means.
    """

    value: float  # the mAP
    per_query: Floats  # [nq] AP of each query
    # [nq] whether the query is in the mean; for map_at_k_hitonly, whether it can have a hit: with expected ties the
    # value is then the expected mean over those that do have one, and not the mean of per_query
    counted: NDArray[np.bool_]
    protocol: str
    ties: str
    k: int | None  # the cut, None for the whole database
    no_relevant: str
    nq: int
    nb: int
    queries_without_relevant: int
    unlabelled_queries: int  # rows without any label
    unlabelled_items: int

    def __str__(self) -> str:
        return "\n".join(self._lines(f"{self.nq:,} queries x {self.nb:,} items"))

    def _lines(self, sizes: str) -> list[str]:
        cut = "" if self.k is None else f", k = {self.k}"
        lines = [f"mAP {self.value:.4f} ({self.protocol}{cut}, {self.ties} ties)", sizes]
        if self.queries_without_relevant:
            treated = "count as 0" if self.no_relevant == "zero" else "are left out"
            lines.append(f"{self.queries_without_relevant:,} queries without a relevant item {treated}")
        if self.unlabelled_items:
            lines.append(f"{self.unlabelled_items:,} database items without a label")
        return lines


@dataclass(frozen=True)
class Scores(RankingScores):
    """Result of `evaluate`: of a ranking by Hamming distance."""

    bits: int
    pr: PRCurve
    histograms: Histograms

    def lookup(self, radius: int = 2) -> Lookup:
        """Precision and recall within a radius, averaged over the queries."""
        kept = self.histograms
        if self.no_relevant == "skip":
            kept = kept.rows(kept.total_relevant > 0)
        return lookup_within(kept, radius, "lookup")

    def __str__(self) -> str:
        within = f"precision within radius 2: {self.lookup().precision:.4f}"
        return "\n".join(self._lines(f"{self.nq:,} queries x {self.nb:,} items, {self.bits} bits; {within}"))


def scores_of(inputs: Inputs, rankings: Rankings, measure: Measure, pr: PRCurve) -> Scores:
    """Scores of one measure."""
    value, per_query, counted = rankings.average_precisions(measure)
    histograms = inputs.histograms
    return Scores(
        value=value,
        per_query=per_query,
        counted=counted,
        protocol=measure.protocol,
        ties=measure.ties,
        k=measure.cut,
        no_relevant=measure.no_relevant,
        bits=histograms.bits,
        nq=histograms.nq,
        nb=histograms.nb,
        queries_without_relevant=int((rankings.total == 0).sum()),
        unlabelled_queries=inputs.unlabelled_queries,
        unlabelled_items=inputs.unlabelled_items,
        pr=pr,
        histograms=histograms,
    )
