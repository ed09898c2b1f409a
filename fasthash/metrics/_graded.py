"""Graded relevance: normalised discounted cumulative gain of a ranking with ties, from a histogram for each layer.

Sources: Jarvelin and Kekalainen, Cumulated Gain-based Evaluation of IR Techniques, ACM TOIS 20(4), 2002; gains of
2^grade - 1: Burges et al., Learning to Rank using Gradient Descent, ICML 2005; ties: McSherry and Najork, ECIR 2008.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._labels import check_labels, label_masks
from fasthash.metrics._histograms import Histograms, measure

Floats = NDArray[np.float64]
_CHUNK = 1 << 18  # pairs of label rows looked at together


@dataclass(frozen=True)
class GradedScores:
    """Result of `ndcg`. A query that shares no label with any item has 0, and counts in the mean."""

    value: float  # mean over the queries
    per_query: Floats  # [nq]
    gains: tuple[float, ...]  # of each layer
    k: int | None  # the cut, None for the whole database
    bits: int
    nq: int
    nb: int
    queries_without_relevant: int

    def __str__(self) -> str:
        cut = "" if self.k is None else f" at {self.k}"
        gains = ", ".join(f"{gain:g}" for gain in self.gains)
        return f"nDCG{cut} {self.value:.4f} (gains of the layers {gains}; expected ties)"


def ndcg(
    query: Any,
    database: Any,
    query_layers: Sequence[Any],
    database_layers: Sequence[Any],
    *,
    bits: int,
    gains: Sequence[float] | None = None,
    k: int | None = None,
    threads: int | None = None,
) -> GradedScores:
    """Normalised discounted cumulative gain of ranking a database by Hamming distance, in expectation over ties.

    An item gains the sum of the gains of those layers in which it shares a label with the query; an item at rank j
    counts gain / log2(1 + j); divided by the sum of the best possible ranking. Items at equal distance are in random
    order, so that each of their places has their mean gain in expectation: exact, and no sort.

    Args:
        query, database: packed codes, uint8 [nq, ceil(bits / 8)] and [nb, ceil(bits / 8)]; NumPy or torch.
        query_layers, database_layers: labels of each layer, coarse to fine: multi-hot [n, c] of 0 and 1, or class ids
            [n]. Grades by the number of common labels: each label as a layer of its own.
        bits: code length.
        gains: of each layer, finite and > 0; default 1, 2, 4, ...: in a tree an item that shares g layers gains
            2^g - 1. All ones: g.
        k: only ranks 1 to k count, in the best ranking as well; None: all.
        threads: None for all cores; the result does not depend on it.
    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    Memory: a few arrays [nq, bits + 1] and one of the ranks counted; never a matrix of nq x nb.
    """
    if k is not None:
        k = whole_number(k, 1, sys.maxsize, "ndcg", "k")
    queries, items = _layers(query_layers, "query_layers"), _layers(database_layers, "database_layers")
    if len(queries) != len(items):
        raise ValueError(f"ndcg: database_layers must be {len(queries)} like query_layers, got {len(items)}")
    weights = _gains(gains, len(queries))
    gained: Any = 0.0
    for weight, *labels in zip(weights, queries, items, strict=True):
        seen = measure(query, database, *labels, bits=bits, threads=threads, op="ndcg").histograms
        gained = gained + weight * seen.relevant
    cut = min(k or seen.nb, seen.nb)
    discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, cut + 2)))])  # of ranks 1 to j together
    best = _best(queries, items, (seen.nq, seen.nb), weights, discount)
    per_query = np.where(best > 0, _expected(seen, gained, discount) / np.where(best > 0, best, 1.0), 0.0)
    without = int((best == 0).sum())
    return GradedScores(float(per_query.mean()), per_query, weights, k, seen.bits, seen.nq, seen.nb, without)


def _layers(layers: Any, name: str) -> list[Any]:
    """The layers' labels; what they hold is checked where they are counted."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(
            f"ndcg: {name} must be a list or tuple of labels, one entry a layer, got {type(layers).__name__}"
        )
    if not layers:
        raise ValueError(f"ndcg: {name} must have at least one layer, got none")
    return list(layers)


def _gains(gains: Sequence[float] | None, layers: int) -> tuple[float, ...]:
    weights = tuple(2.0**layer for layer in range(layers)) if gains is None else tuple(map(float, gains))
    if len(weights) != layers or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"ndcg: gains must be {layers} finite numbers > 0, one a layer, got {gains!r}")
    return weights


def _expected(histograms: Histograms, gained: Floats, discount: Floats) -> Floats:
    """float64 [nq]: expected discounted gain; gained [nq, bits + 1] is that of all items at each distance."""
    cut = len(discount) - 1
    sums = np.empty(histograms.nq)
    for rows, counts, _ in histograms.chunks():
        end = np.cumsum(counts, axis=1)
        weight = discount[np.minimum(end, cut)] - discount[np.minimum(end - counts, cut)]
        sums[rows] = (gained[rows] / np.maximum(counts, 1) * weight).sum(axis=1)
    return sums


def _best(
    queries: list[Any], items: list[Any], sizes: tuple[int, int], weights: tuple[float, ...], discount: Floats
) -> Floats:
    """float64 [nq]: discounted gain of the ranking by gain; worked out once for queries of the same labels."""
    cut = len(discount) - 1
    kinds_q, which, _ = _kinds(queries, sizes[0], "query_layers")
    kinds_d, _, number = _kinds(items, sizes[1], "database_layers")
    best = np.empty(len(kinds_q[0]))
    step = max(1, _CHUNK // len(number))
    for start in range(0, len(best), step):
        rows = slice(start, start + step)
        gain: Any = 0.0
        for weight, a, b in zip(weights, kinds_q, kinds_d, strict=True):
            gain = gain + weight * _share(a[rows], b)
        order = np.argsort(-gain, axis=1)
        end = np.cumsum(number[order], axis=1)
        weight = discount[np.minimum(end, cut)] - discount[np.minimum(end - number[order], cut)]
        best[rows] = (np.take_along_axis(gain, order, axis=1) * weight).sum(axis=1)
    return np.asarray(best[which])


def _kinds(layers: list[Any], n: int, name: str) -> tuple[list[NDArray[Any]], NDArray[np.int64], NDArray[np.int64]]:
    """Labels of each layer of the distinct rows, which of these each row is, and how many rows are alike."""
    values = [label_masks(check_labels(layer, n, "ndcg", name)) for layer in layers]
    together = np.hstack([x.view(np.int64).reshape(n, -1) for x in values])
    _, first, which, number = np.unique(together, axis=0, return_index=True, return_inverse=True, return_counts=True)
    return [x[first] for x in values], which.reshape(-1), number


def _share(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [len(a), len(b)]: equal ids, or a common bit of masks."""
    if a.ndim == 1:
        return np.asarray(a[:, None] == b)
    found = np.zeros((len(a), len(b)), bool)
    for x, y in zip(a.T, b.T, strict=True):
        found |= (x[:, None] & y) != 0
    return found
