"""The public metrics: thin functions over the histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from fasthash._native import like
from fasthash.metrics._curves import (
    Lookup,
    PRCurve,
    RadiusCurve,
    RankCurve,
    check_ranks,
    check_within,
    counted_rows,
    lookup_within,
    pr_curve,
    radius_curve,
    rank_curve_of,
    usual_ranks,
)
from fasthash.metrics._histograms import Histograms, count_pairs
from fasthash.metrics._protocols import check_no_relevant, check_ties, measure_of
from fasthash.metrics._rankings import Rankings
from fasthash.metrics._scores import Scores, scores_of


def evaluate(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    protocol: str = "map_all",
    ties: str = "expected",
    k: int | None = None,
    no_relevant: str = "zero",
    threads: int | None = None,
) -> Scores:
    """Mean average precision of ranking a database by Hamming distance, with precision and recall by radius.

    Args:
        query, database: packed codes, uint8 [nq, ceil(bits / 8)] and [nb, ceil(bits / 8)]; NumPy or torch. Codes on a
            CUDA device are counted there; stable ties are worked out on the host. The database may also be a folder of
            shards (`fasthash.search.Shards`) or anything else with `histograms`, `bits` and a length: its parts are
            counted one by one and added up, to the same result. Only stable ties need one array.
        query_labels, database_labels: multi-hot [n, c] of 0 and 1, or class ids [n]; an item is relevant to a query
            when they share a label. Rows without any label are taken and counted: nothing is relevant to them. Those of
            shards are in the order of their `ids` and may be a `np.memmap` larger than memory.
        bits: code length.
        protocol: a name from `protocols()`; "map_all" ranks the whole database, "map_at_k" its first k items.
        ties: a rule of `TIES`: "expected", exact mean over all orders of the items at equal distance; "stable", order
            of the database; "optimistic" and "pessimistic", of them the relevant ones first or last. The last two are
            the best and the worst order but where the protocol divides by the hits found (map_at_k, map_at_k_hitonly):
            there one more hit, far down, can lower AP.
        k: the cut, for the protocols that have one (default 50, and 5000 of map_first_k_relevant).
        no_relevant: "zero", a query without relevant items has AP 0 and counts in the mean; "skip", it is left out.
        threads: None for all cores; the result does not depend on it.
    Returns:
        Scores; 0 where the mean is over no query.
    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    Memory: two int64 histograms [nq, bits + 1]; never a matrix of nq x nb, never a sort.
    """
    measure = measure_of(protocol, ties, k, no_relevant, "evaluate")
    sets, stable = (query, database, query_labels, database_labels), measure.ties == "stable"
    inputs = count_pairs(*sets, bits=bits, threads=threads, op="evaluate", ordered=stable)
    kept = inputs.histograms.rows(counted_rows(inputs.histograms, no_relevant))
    return scores_of(inputs, Rankings(inputs, [measure]), measure, pr_curve(kept))


def average_precision(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    protocol: str = "map_all",
    ties: str = "expected",
    k: int | None = None,
    threads: int | None = None,
) -> Any:
    """AP of each query, float64 [nq], of the kind and on the device of `query`; arguments as in `evaluate`."""
    op = "average_precision"
    measure = measure_of(protocol, ties, k, "zero", op)
    sets, stable = (query, database, query_labels, database_labels), measure.ties == "stable"
    inputs = count_pairs(*sets, bits=bits, threads=threads, op=op, ordered=stable)
    return like(Rankings(inputs, [measure]).average_precisions(measure)[1], query)


def precision_recall(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    no_relevant: str = "zero",
    threads: int | None = None,
) -> PRCurve:
    """Precision and recall of hash lookup by radius, pooled over the queries; arguments as in `evaluate`."""
    sets = query, database, query_labels, database_labels
    return pr_curve(_counted(*sets, bits=bits, no_relevant=no_relevant, threads=threads, op="precision_recall"))


def precision_recall_by_radius(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    no_relevant: str = "zero",
    threads: int | None = None,
) -> RadiusCurve:
    """Precision and recall of hash lookup by radius, averaged over the queries; arguments as in `evaluate`."""
    sets, op = (query, database, query_labels, database_labels), "precision_recall_by_radius"
    return radius_curve(_counted(*sets, bits=bits, no_relevant=no_relevant, threads=threads, op=op))


def precision_recall_by_rank(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    n: Sequence[int] | None = None,
    *,
    bits: int,
    ties: str = "expected",
    no_relevant: str = "zero",
    threads: int | None = None,
) -> RankCurve:
    """Precision and recall of the n nearest items, averaged over the queries; other arguments as in `evaluate`.

    Args:
        n: numbers of items, each from 1 to nb; None: about 60, evenly spread on a logarithmic scale.
    """
    sets, op = (query, database, query_labels, database_labels), "precision_recall_by_rank"
    return _by_rank(sets, n, bits=bits, ties=ties, no_relevant=no_relevant, threads=threads, op=op)


def precision_at(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    n: int | Sequence[int],
    *,
    bits: int,
    ties: str = "expected",
    no_relevant: str = "zero",
    threads: int | None = None,
) -> Any:
    """Share of relevant items among the n nearest, mean over the queries; other arguments as in `evaluate`.

    Args:
        n: one number, or several for a curve of precision at top-n, each from 1 to nb.
    Returns:
        float for one number, float64 [len(n)] (NumPy) for several.
    """
    sets = query, database, query_labels, database_labels
    curve = _by_rank(
        sets, _several(n), bits=bits, ties=ties, no_relevant=no_relevant, threads=threads, op="precision_at"
    )
    return _in_order(n, curve, curve.precision)


def recall_at(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    n: int | Sequence[int],
    *,
    bits: int,
    ties: str = "expected",
    no_relevant: str = "zero",
    threads: int | None = None,
) -> Any:
    """Share of a query's relevant items that the n nearest hold, mean over the queries; arguments as `precision_at`."""
    sets = query, database, query_labels, database_labels
    curve = _by_rank(sets, _several(n), bits=bits, ties=ties, no_relevant=no_relevant, threads=threads, op="recall_at")
    return _in_order(n, curve, curve.recall)


def lookup(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    radius: int = 2,
    no_relevant: str = "zero",
    threads: int | None = None,
) -> Lookup:
    """Precision and recall of everything within a radius, averaged over the queries; arguments as in `evaluate`."""
    sets = query, database, query_labels, database_labels
    kept = _counted(*sets, bits=bits, no_relevant=no_relevant, threads=threads, op="lookup")
    return lookup_within(kept, radius, "lookup")


def _counted(*sets: Any, bits: int, no_relevant: str, threads: int | None, op: str) -> Histograms:
    """Histograms of the queries that means are over."""
    check_no_relevant(no_relevant, op)
    histograms = count_pairs(*sets, bits=bits, threads=threads, op=op).histograms
    return histograms.rows(counted_rows(histograms, no_relevant))


def _by_rank(
    sets: Sequence[Any],
    n: Sequence[int] | None,
    *,
    bits: int,
    ties: str,
    no_relevant: str,
    threads: int | None,
    op: str,
) -> RankCurve:
    check_ties(ties, op)
    check_no_relevant(no_relevant, op)
    ranks = None if n is None else check_ranks(n, op)
    inputs = count_pairs(*sets, bits=bits, threads=threads, op=op, ordered=ties == "stable")
    nb = inputs.histograms.nb
    ranks = usual_ranks(nb) if ranks is None else ranks
    check_within(ranks, nb, op)
    rankings = Rankings(inputs, ranks=ranks if ties == "stable" else ())
    return rank_curve_of(rankings, ranks, ties, counted_rows(inputs.histograms, no_relevant))


def _several(n: int | Sequence[int]) -> Sequence[int]:
    return cast(Sequence[int], [n] if np.ndim(n) == 0 else n)


def _in_order(n: int | Sequence[int], curve: RankCurve, values: Any) -> Any:
    found = values[np.searchsorted(curve.n, _several(n))]
    return float(found[0]) if np.ndim(n) == 0 else found
