"""The public metrics: thin functions over the histograms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._native import like
from fasthash.metrics import _expected
from fasthash.metrics._histograms import Inputs, measure
from fasthash.metrics._protocols import TIES, average_precisions, find
from fasthash.metrics._scores import Lookup, PRCurve, Scores, lookup_within, pr_curve


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
    threads: int | None = None,
) -> Scores:
    """Mean average precision of ranking a database by Hamming distance, with precision and recall by radius.

    Args:
        query, database: packed codes, uint8 [nq, ceil(bits / 8)] and [nb, ceil(bits / 8)]; NumPy or torch.
        query_labels, database_labels: multi-hot [n, c] of 0 and 1, or class ids [n]; an item is relevant to a query
            when they share a label. Rows without any label are taken and counted: nothing is relevant to them.
        bits: code length.
        protocol: a name from `protocols()`; "map_all" ranks the whole database, "map_at_k" its first k items.
        ties: "expected", exact mean over all orders of the items at equal distance, or "stable", order of the database.
        k: the cut, for the protocols that have one (default 50).
        threads: None for all cores; the result does not depend on it.
    Returns:
        Scores; AP of a query without relevant items is 0, and it counts in the mean.
    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    Memory: two int64 histograms [nq, bits + 1]; never a matrix of nq x nb, never a sort.
    """
    chosen, cut = find(protocol, ties, k, "evaluate")
    inputs = measure(query, database, query_labels, database_labels, bits=bits, threads=threads, op="evaluate")
    value, per_query = average_precisions(inputs, chosen, ties, cut)
    histograms = inputs.histograms
    return Scores(
        value=value,
        per_query=per_query,
        protocol=protocol,
        ties=ties,
        k=cut,
        bits=histograms.bits,
        nq=histograms.nq,
        nb=histograms.nb,
        queries_without_relevant=int((histograms.total_relevant == 0).sum()),
        unlabelled_queries=inputs.unlabelled_queries,
        unlabelled_items=inputs.unlabelled_items,
        pr=pr_curve(histograms),
        histograms=histograms,
    )


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
    chosen, cut = find(protocol, ties, k, "average_precision")
    inputs = measure(query, database, query_labels, database_labels, bits=bits, threads=threads, op="average_precision")
    return like(average_precisions(inputs, chosen, ties, cut)[1], query)


def precision_recall(
    query: Any, database: Any, query_labels: Any, database_labels: Any, *, bits: int, threads: int | None = None
) -> PRCurve:
    """Precision and recall of hash lookup by radius, pooled over the queries; arguments as in `evaluate`."""
    inputs = measure(query, database, query_labels, database_labels, bits=bits, threads=threads, op="precision_recall")
    return pr_curve(inputs.histograms)


def precision_at(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    n: int | Sequence[int],
    *,
    bits: int,
    ties: str = "expected",
    threads: int | None = None,
) -> Any:
    """Share of relevant items among the n nearest, mean over the queries; other arguments as in `evaluate`.

    Args:
        n: one number, or several for a curve of precision at top-n, each from 1 to nb.
    Returns:
        float for one number, float64 [len(n)] (NumPy) for several.
    """
    if ties not in TIES:
        raise ValueError(f"precision_at: ties must be one of {', '.join(TIES)}, got {ties!r}")
    one = np.ndim(n) == 0
    ranks = [whole_number(rank, 1, sys.maxsize, "precision_at", "n") for rank in cast(Sequence[int], [n] if one else n)]
    inputs = measure(query, database, query_labels, database_labels, bits=bits, threads=threads, op="precision_at")
    if ranks and max(ranks) > inputs.histograms.nb:
        raise ValueError(f"precision_at: n must be at most the {inputs.histograms.nb} database items, got {max(ranks)}")
    means = np.array([_precision_at(inputs, rank, ties).mean() for rank in ranks])
    return float(means[0]) if one else means


def _precision_at(inputs: Inputs, n: int, ties: str) -> NDArray[np.float64]:
    if ties == "expected":
        return _expected.precision_at(inputs.histograms, n)
    hits = inputs.evaluation.stable_precision(inputs.histograms.counts, inputs.histograms.relevant, n)[1]
    return np.asarray(hits / n)


def lookup(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    radius: int = 2,
    threads: int | None = None,
) -> Lookup:
    """Precision and recall of everything within a radius, averaged over the queries; arguments as in `evaluate`."""
    inputs = measure(query, database, query_labels, database_labels, bits=bits, threads=threads, op="lookup")
    return lookup_within(inputs.histograms, radius, "lookup")
