"""What an evaluation found."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash.metrics._histograms import Histograms

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PRCurve:
    """Precision and recall of looking up everything within a radius, radius 0 to bits, pooled over all queries."""

    radius: NDArray[np.int64]  # [bits + 1]
    precision: Floats  # [bits + 1] relevant / retrieved; 0 where nothing is retrieved
    recall: Floats  # [bits + 1] relevant / all relevant pairs; 0 where there are none
    retrieved: NDArray[np.int64]  # [bits + 1] pairs (query, item) within the radius
    relevant: NDArray[np.int64]  # [bits + 1] relevant pairs among them


@dataclass(frozen=True)
class Lookup:
    """Looking up everything within one radius, averaged over the queries."""

    radius: int
    precision: float  # mean of relevant / retrieved; a query that retrieves nothing counts 0
    recall: float  # mean of relevant / all relevant; a query without relevant items counts 0
    empty: int  # queries that retrieve nothing


@dataclass(frozen=True)
class Scores:
    """Result of `evaluate`.

    A query without any relevant item has AP 0; `queries_without_relevant` says how many there are.
    """

    value: float  # the mAP
    per_query: Floats  # [nq] AP of each query
    protocol: str
    ties: str
    k: int | None  # the cut, None for the whole database
    bits: int
    nq: int
    nb: int
    queries_without_relevant: int
    unlabelled_queries: int  # rows without any label
    unlabelled_items: int
    pr: PRCurve
    histograms: Histograms

    def lookup(self, radius: int = 2) -> Lookup:
        """Precision and recall within a radius, averaged over the queries."""
        return lookup_within(self.histograms, radius, "lookup")

    def __str__(self) -> str:
        cut = "" if self.k is None else f", k = {self.k}"
        lines = [
            f"mAP {self.value:.4f} ({self.protocol}{cut}, {self.ties} ties)",
            f"{self.nq:,} queries x {self.nb:,} items, {self.bits} bits; "
            f"precision within radius 2: {self.lookup().precision:.4f}",
        ]
        if self.queries_without_relevant:
            lines.append(f"{self.queries_without_relevant:,} queries without a relevant item count as 0")
        if self.unlabelled_items:
            lines.append(f"{self.unlabelled_items:,} database items without a label")
        return "\n".join(lines)


def pr_curve(histograms: Histograms) -> PRCurve:
    """The curve by radius of pooled counts."""
    retrieved = histograms.counts.sum(axis=0).cumsum()
    relevant = histograms.relevant.sum(axis=0).cumsum()
    precision = relevant / np.maximum(retrieved, 1)
    recall = relevant / max(int(relevant[-1]), 1)
    return PRCurve(np.arange(histograms.bits + 1), precision, recall, retrieved, relevant)


def lookup_within(histograms: Histograms, radius: int, op: str) -> Lookup:
    """Averages over the queries; a radius beyond the code length retrieves everything."""
    radius = whole_number(radius, 0, sys.maxsize - 1, op, "radius")
    within = slice(0, radius + 1)
    retrieved = histograms.counts[:, within].sum(axis=1)
    relevant = histograms.relevant[:, within].sum(axis=1)
    precision = relevant / np.maximum(retrieved, 1)
    recall = relevant / np.maximum(histograms.total_relevant, 1)
    return Lookup(radius, float(precision.mean()), float(recall.mean()), int((retrieved == 0).sum()))
