"""Graded relevance: normalised discounted cumulative gain of a ranking with ties, from histograms.

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
from fasthash._histogram import Evaluation, GradedHistogram
from fasthash._labels import check_labels, label_masks
from fasthash.metrics._histograms import Floats, Histograms, checked_evaluation, count_pairs
from fasthash.metrics._protocols import check_no_relevant
from fasthash.metrics._rankings import mean

GAINS = ("exponential", "linear")
_CHUNK = 1 << 18  # pairs of label rows looked at together


@dataclass(frozen=True)
class GradedScores:
    """Result of `ndcg`. A query that shares no label with any item has 0; `no_relevant` says whether it counts."""

    value: float  # mean over the queries counted
    per_query: Floats  # [nq]
    counted: NDArray[np.bool_]  # [nq] whether the query is in the mean
    gains: tuple[float, ...]  # of each layer, or of 1, 2, .. common labels
    graded_by: str  # "layers" or "labels"
    k: int | None  # the cut, None for the whole database
    no_relevant: str
    bits: int
    nq: int
    nb: int
    queries_without_relevant: int

    def __str__(self) -> str:
        cut = "" if self.k is None else f" at {self.k}"
        shown = ", ".join(f"{gain:g}" for gain in self.gains[:4]) + (", ..." if len(self.gains) > 4 else "")
        by = "the layers" if self.graded_by == "layers" else "1, 2, .. common labels"
        return f"nDCG{cut} {self.value:.4f} (gains of {by} {shown}; expected ties)"


def ndcg(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    gains: str | Sequence[float] = "exponential",
    k: int | None = None,
    no_relevant: str = "zero",
    threads: int | None = None,
) -> GradedScores:
    """Normalised discounted cumulative gain of ranking a database by Hamming distance, in expectation over ties.

    An item at rank j counts gain / log2(1 + j); divided by the sum of the best possible ranking. Labels of a single
    kind grade an item by the number g of labels that it shares with the query; labels in layers by those layers in
    which it shares one, whose gains are added up. Items at equal distance are in random order, so that each of their
    places has their mean gain in expectation: exact, and no sort.

    Args:
        query, database: packed codes, uint8 [nq, ceil(bits / 8)] and [nb, ceil(bits / 8)]; NumPy or torch.
        query_labels, database_labels: multi-hot [n, c] of 0 and 1, or class ids [n]; or a list or tuple of such, one of
            each layer, coarse to fine.
        bits: code length.
        gains: "exponential", 2^g - 1 of g labels, and of layers 1, 2, 4, ..., so that in a tree an item that shares g
            layers gains 2^g - 1; "linear", g, and 1 of every layer; or finite numbers > 0, one a layer or for 1, 2, ..
            common labels, the last of them for more as well.
        k: only ranks 1 to k count, in the best ranking as well; None: all.
        no_relevant: "zero", a query that shares no label with any item counts 0; "skip", it is left out.
        threads: None for all cores; the result does not depend on it.
    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    Memory: a few arrays [nq, bits + 1] and one of the ranks counted; never a matrix of nq x nb.
    """
    if k is not None:
        k = whole_number(k, 1, sys.maxsize, "ndcg", "k")
    check_no_relevant(no_relevant, "ndcg")
    if isinstance(query_labels, (list, tuple)) or isinstance(database_labels, (list, tuple)):
        return _by_layers(
            query, database, query_labels, database_labels, bits=bits, gains=gains, k=k, no_relevant=no_relevant,
            threads=threads,
        )  # fmt: skip
    evaluation = checked_evaluation(
        query, database, query_labels, database_labels, bits=bits, threads=threads, op="ndcg"
    )
    return graded_scores(evaluation, gains, k, no_relevant, "ndcg")[1]


def graded_scores(
    evaluation: Evaluation, gains: str | Sequence[float], k: int | None, no_relevant: str, op: str
) -> tuple[Histograms, GradedScores]:
    """Histograms and nDCG by the number of common labels, from one pass."""
    assert evaluation.query_labels is not None
    by_id = evaluation.query_labels.ndim == 1
    most = 1 if by_id else evaluation.most_labels()
    weights = _label_gains(gains, max(most, 1), op)
    if by_id:
        counts, relevant = evaluation.histogram()
        found = GradedHistogram(
            counts, relevant, relevant * np.float64(weights[0]), relevant.sum(axis=1, keepdims=True)
        )
    else:
        found = evaluation.graded_histogram(np.array(weights))
    histograms = Histograms(found.counts, found.relevant)
    discount = _discount(min(k or histograms.nb, histograms.nb))
    best = _best_by_number(found.totals, np.array(weights), discount)
    return histograms, _scores(histograms, found.gained, best, discount, weights, "labels", k, no_relevant)


def _by_layers(
    query: Any, database: Any, query_layers: Any, database_layers: Any, *, bits: int, gains: str | Sequence[float],
    k: int | None, no_relevant: str, threads: int | None,
) -> GradedScores:  # fmt: skip
    queries, items = _layers(query_layers, "query_labels"), _layers(database_layers, "database_labels")
    if len(queries) != len(items):
        raise ValueError(f"ndcg: database_labels must be {len(queries)} layers like query_labels, got {len(items)}")
    weights = _gains(gains, len(queries))
    gained: Any = 0.0
    for weight, *labels in zip(weights, queries, items, strict=True):
        seen = count_pairs(query, database, *labels, bits=bits, threads=threads, op="ndcg").histograms
        gained = gained + weight * seen.relevant
    discount = _discount(min(k or seen.nb, seen.nb))
    best = _best(queries, items, (seen.nq, seen.nb), weights, discount)
    return _scores(seen, gained, best, discount, weights, "layers", k, no_relevant)


def _scores(
    seen: Histograms, gained: Floats, best: Floats, discount: Floats, weights: tuple[float, ...], graded_by: str,
    k: int | None, no_relevant: str,
) -> GradedScores:  # fmt: skip
    per_query = np.where(best > 0, _expected(seen, gained, discount) / np.where(best > 0, best, 1.0), 0.0)
    counted = np.ones(seen.nq, bool) if no_relevant == "zero" else best > 0
    without = int((best == 0).sum())
    return GradedScores(
        mean(per_query, counted), per_query, counted, weights, graded_by, k, no_relevant, seen.bits, seen.nq, seen.nb,
        without,
    )  # fmt: skip


def _discount(cut: int) -> Floats:
    """Of ranks 1 to j together, for j = 0 .. cut."""
    discount = np.zeros(cut + 1)
    for start in range(1, cut + 1, _CHUNK):  # one array of this length is enough
        part = discount[start : start + _CHUNK]
        part[:] = 1 / np.log2(np.arange(start + 1, start + 1 + len(part)))
    return np.cumsum(discount, out=discount)


def _layers(layers: Any, name: str) -> list[Any]:
    """The layers' labels; what they hold is checked where they are counted."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(
            f"ndcg: {name} must be a list or tuple of labels, one entry a layer, like those of the other side, got "
            f"{type(layers).__name__}"
        )
    if not layers:
        raise ValueError(f"ndcg: {name} must have at least one layer, got none")
    return list(layers)


def _gains(gains: str | Sequence[float], layers: int) -> tuple[float, ...]:
    if isinstance(gains, str):
        return tuple(
            _named_gain(gains, layer + 1, "ndcg") - _named_gain(gains, layer, "ndcg") for layer in range(layers)
        )
    weights = _numbers(gains, "ndcg")
    if len(weights) != layers or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"ndcg: gains must be {layers} finite numbers > 0, one a layer, got {gains!r}")
    return weights


def _label_gains(gains: str | Sequence[float], most: int, op: str) -> tuple[float, ...]:
    """Of 1 to `most` common labels."""
    if isinstance(gains, str):
        return tuple(_named_gain(gains, number, op) for number in range(1, most + 1))
    weights = _numbers(gains, op)
    if not weights or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"{op}: gains must be finite numbers > 0, of 1, 2, .. common labels, got {gains!r}")
    return tuple(weights[min(number, len(weights)) - 1] for number in range(1, most + 1))


def _numbers(gains: Sequence[float], op: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, gains))
    except (TypeError, ValueError):
        raise TypeError(f"{op}: gains must be one of {', '.join(GAINS)} or numbers, got {gains!r}") from None


def _named_gain(gains: str, grade: int, op: str) -> float:
    if gains not in GAINS:
        raise ValueError(f"{op}: gains must be one of {', '.join(GAINS)} or numbers, got {gains!r}")
    return float(grade) if gains == "linear" else 2.0 ** min(grade, 1000) - 1.0


def _best_by_number(totals: NDArray[np.int64], weights: Floats, discount: Floats) -> Floats:
    """float64 [nq]: discounted gain of the ranking by gain, from how many items share 1, 2, .. labels."""
    cut = len(discount) - 1
    order = np.argsort(-weights, kind="stable")
    number = totals[:, order]
    end = np.cumsum(number, axis=1)
    places = discount[np.minimum(end, cut)] - discount[np.minimum(end - number, cut)]
    return np.asarray(places @ weights[order])


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
    kinds_q, which, _ = _kinds(queries, sizes[0], "query_labels")
    kinds_d, _, number = _kinds(items, sizes[1], "database_labels")
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
