"""Precision and recall along a radius and along the ranks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash.metrics._histograms import Floats, Histograms, Ints
from fasthash.metrics._rankings import Rankings, mean


@dataclass(frozen=True)
class PRCurve:
    """Precision and recall of looking up everything within a radius, radius 0 to bits, pooled over all queries."""

    radius: Ints  # [bits + 1]
    precision: Floats  # [bits + 1] relevant / retrieved; 0 where nothing is retrieved
    recall: Floats  # [bits + 1] relevant / all relevant pairs; 0 where there are none
    retrieved: Ints  # [bits + 1] pairs (query, item) within the radius
    relevant: Ints  # [bits + 1] relevant pairs among them

    @property
    def area(self) -> float:
        """Area under the curve: sum of precision times the recall gained at each radius, as of a step function.

        The average precision of all pairs as one ranking; straight lines between the points would flatter it (Davis and
        Goadrich, The Relationship Between Precision-Recall and ROC Curves, ICML 2006).
        """
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())


@dataclass(frozen=True)
class RadiusCurve:
    """Precision and recall of looking up everything within a radius, radius 0 to bits, averaged over the queries."""

    radius: Ints  # [bits + 1]
    precision: Floats  # [bits + 1] a query that retrieves nothing counts 0
    recall: Floats  # [bits + 1] a query without relevant items counts 0, or is left out
    empty: Ints  # [bits + 1] queries that retrieve nothing


@dataclass(frozen=True)
class RankCurve:
    """Precision and recall of the n nearest items, averaged over the queries."""

    n: Ints  # [m] ascending
    precision: Floats  # [m]
    recall: Floats  # [m] a query without relevant items counts 0, or is left out
    ties: str


@dataclass(frozen=True)
class Lookup:
    """Looking up everything within one radius, averaged over the queries."""

    radius: int
    precision: float  # mean of relevant / retrieved; a query that retrieves nothing counts 0
    recall: float  # mean of relevant / all relevant; a query without relevant items counts 0, or is left out
    empty: int  # queries that retrieve nothing


def counted_rows(histograms: Histograms, no_relevant: str) -> NDArray[np.bool_]:
    """bool [nq]: the queries that means are over."""
    return np.ones(histograms.nq, bool) if no_relevant == "zero" else histograms.total_relevant > 0


def pr_curve(histograms: Histograms) -> PRCurve:
    """The curve by radius of pooled counts."""
    retrieved = histograms.counts.sum(axis=0).cumsum()
    relevant = histograms.relevant.sum(axis=0).cumsum()
    precision = relevant / np.maximum(retrieved, 1)
    recall = relevant / max(int(relevant[-1]), 1)
    return PRCurve(np.arange(histograms.bits + 1), precision, recall, retrieved, relevant)


def radius_curve(histograms: Histograms) -> RadiusCurve:
    """The curve by radius of means over the queries; 0 throughout when there is no query."""
    width = histograms.bits + 1
    precision, recall, empty = np.zeros(width), np.zeros(width), np.zeros(width, np.int64)
    for _, counts, relevant in histograms.chunks():
        retrieved, found = counts.cumsum(axis=1), relevant.cumsum(axis=1)
        precision += (found / np.maximum(retrieved, 1)).sum(axis=0)
        recall += (found / np.maximum(found[:, -1:], 1)).sum(axis=0)
        empty += (retrieved == 0).sum(axis=0)
    number = max(histograms.nq, 1)
    return RadiusCurve(np.arange(width), precision / number, recall / number, empty)


def lookup_within(histograms: Histograms, radius: int, op: str) -> Lookup:
    """Averages over the queries; a radius beyond the code length retrieves everything."""
    radius = whole_number(radius, 0, sys.maxsize - 1, op, "radius")
    within = slice(0, radius + 1)
    retrieved = histograms.counts[:, within].sum(axis=1)
    relevant = histograms.relevant[:, within].sum(axis=1)
    every = np.ones(histograms.nq, bool)
    precision = relevant / np.maximum(retrieved, 1)
    recall = relevant / np.maximum(histograms.total_relevant, 1)
    return Lookup(radius, mean(precision, every), mean(recall, every), int((retrieved == 0).sum()))


def rank_curve_of(rankings: Rankings, n: Sequence[int], ties: str, counted: NDArray[np.bool_]) -> RankCurve:
    """The curve by rank of means over the queries counted."""
    ranks = np.asarray(n, np.int64)
    hits = rankings.hits(n, ties)[counted]
    if not len(hits):
        return RankCurve(ranks, np.zeros(len(ranks)), np.zeros(len(ranks)), ties)
    recall = hits / np.maximum(rankings.total[counted], 1)[:, None]
    return RankCurve(ranks, hits.mean(axis=0) / ranks, recall.mean(axis=0), ties)


def check_ranks(n: Sequence[int], op: str) -> list[int]:
    """n as ascending whole numbers, each from 1; ValueError or TypeError."""
    return sorted({whole_number(rank, 1, sys.maxsize, op, "n") for rank in n})


def check_within(n: Sequence[int], nb: int, op: str) -> None:
    """ValueError for a number of hits beyond the database."""
    if n and max(n) > nb:
        raise ValueError(f"{op}: n must be at most the {nb} database items, got {max(n)}")


def usual_ranks(nb: int) -> list[int]:
    """About 60 ranks from 1 to nb, as many between 1 and 10 as between 10 and 100, with 1, 5, 10, 50, 100 and so on."""
    spread = {round(rank) for rank in np.geomspace(1, nb, 60).tolist()}
    decades = {step * 10**power for power in range(len(str(nb))) for step in (1, 5)}
    return sorted(rank for rank in spread | decades if rank <= nb)
