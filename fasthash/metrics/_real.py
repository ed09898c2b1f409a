"""Rankings by real-valued scores, the highest first, under the protocols that codes are measured by.

Items of equal score stand where items at equal Hamming distance do: each query has its own groups of them, and what
follows from the sizes of groups is worked out by the same formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import thread_count
from fasthash._histogram import Evaluation
from fasthash._labels import check_labels, label_masks, unlabelled
from fasthash._native import to_numpy
from fasthash.metrics._histograms import Floats, Histograms, Inputs
from fasthash.metrics._protocols import Measure
from fasthash.metrics._rankings import Rankings, mean_of
from fasthash.metrics._scores import RankingScores

BLOCK = 1 << 20  # pairs of a query and an item looked at together
_MAGNITUDE = np.int64(2**63 - 1)  # every bit of a float64 but its sign
_USUAL = {name: Measure(name) for name in ("map_all", "map_at_k", "map_at_k_hitonly")}

Bools = NDArray[np.bool_]
Labels = NDArray[Any]


def evaluate_scores(
    scores: Any,
    query_labels: Any,
    database_labels: Any,
    measures: Mapping[str, Measure] = _USUAL,
    *,
    threads: int | None = None,
) -> dict[str, RankingScores]:
    """Mean average precision of ranking a database by real-valued scores, the highest first.

    Args:
        scores: [nq, nb], or a function from a slice of the queries to their rows [m, nb]; finite. Two scores are equal
            where they differ in the last bit of float64 at most.
        query_labels, database_labels: multi-hot [n, c] of 0 and 1, or class ids [n]; an item is relevant to a query
            when they share a label.
        measures: name -> measure; by default map_all, map_at_k and map_at_k_hitonly with k = 50 and expected ties.
        threads: None for all cores; the result does not depend on it.
    Returns:
        name -> scores.
    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    Memory: blocks of about a million pairs, beside ``scores`` where they are given as an array.
    """
    op = "evaluate_scores"
    labels = [to_numpy(x, op, n) for x, n in ((query_labels, "query_labels"), (database_labels, "database_labels"))]
    nq, nb = (len(x) if x.ndim else 0 for x in labels)
    queries, items = check_labels(labels[0], nq, op, "query_labels"), check_labels(labels[1], nb, op, "database_labels")
    if queries.shape[1:] != items.shape[1:]:
        shapes = f"{queries.shape} and {items.shape}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {shapes}")
    if not nq or not nb:
        raise ValueError(f"{op}: query_labels and database_labels must have at least one row, got {nq} and {nb}")
    totals: list[NDArray[np.int64]] = []
    found: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in measures}
    for block, rows in _blocks(scores, nq, nb, op):
        ranked = _Block(block, _relevant(queries[rows], items), thread_count(threads, op))
        totals.append(ranked.total)
        for name, measure in measures.items():
            found[name].append(ranked.average_precisions(measure))
    total = np.concatenate(totals)
    without = [unlabelled(label_masks(x)) for x in (queries, items)]
    return {name: _scores(measure, found[name], total, nb, without) for name, measure in measures.items()}


def _scores(
    measure: Measure, parts: list[tuple[Floats, Floats]], total: NDArray[np.int64], nb: int, without: list[int]
) -> RankingScores:
    """Of the (AP, probability of a hit) of all blocks of queries."""
    ap, hit = (np.concatenate(x) for x in zip(*parts, strict=True))
    value, counted = mean_of(measure, ap, hit, total)
    return RankingScores(
        value=value,
        per_query=ap,
        counted=counted,
        protocol=measure.protocol,
        ties=measure.ties,
        k=measure.cut,
        no_relevant=measure.no_relevant,
        nq=len(ap),
        nb=nb,
        queries_without_relevant=int((total == 0).sum()),
        unlabelled_queries=without[0],
        unlabelled_items=without[1],
    )


def _blocks(scores: Any, nq: int, nb: int, op: str) -> Iterator[tuple[Floats, slice]]:
    """Scores float64 [m, nb] of some queries, and which."""
    made: Callable[[slice], Any]
    if callable(scores):
        made = scores
    else:
        given = to_numpy(scores, op, "scores")
        if given.shape != (nq, nb):
            raise ValueError(f"{op}: scores must be [{nq}, {nb}] like the labels, got {given.shape}")
        made = given.__getitem__
    for start in range(0, nq, step := max(1, BLOCK // nb)):
        rows = slice(start, min(start + step, nq))
        block = np.ascontiguousarray(to_numpy(made(rows), op, "scores"), np.float64)
        if block.shape != (rows.stop - start, nb):
            raise ValueError(f"{op}: scores must make [{rows.stop - start}, {nb}] of {rows}, got {block.shape}")
        if not np.isfinite(block).all():
            bad = start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise ValueError(f"{op}: scores must be finite, those of query {bad} are not")
        yield block, rows


def _relevant(queries: Labels, items: Labels) -> Bools:
    """[m, nb], whether a label is shared."""
    if queries.ndim == 1:
        return np.asarray(queries[:, None] == items)
    return np.asarray(queries.astype(np.float32) @ items.T.astype(np.float32) > 0.5)


class _Block:
    """The rankings of some queries."""

    def __init__(self, scores: Floats, relevant: Bools, threads: int) -> None:
        self.scores, self.relevant, self.threads = scores, relevant, threads
        self.total = relevant.sum(axis=1)

    def average_precisions(self, measure: Measure) -> tuple[Floats, Floats]:
        """(AP, probability of a hit) of each query."""
        if measure.ties == "stable":
            return self._stable.average_precision(replace(measure, ties="expected"))
        return self._grouped.average_precision(measure)

    @cached_property
    def _grouped(self) -> Rankings:
        return self._rankings(equal_groups(self.scores, self.relevant))

    @cached_property
    def _stable(self) -> Rankings:
        """Each item a group of its own, in the order of the database where scores are equal."""
        order = np.argsort(-self.scores, axis=1, kind="stable")
        hits = np.take_along_axis(self.relevant, order, axis=1).astype(np.int64)
        return self._rankings(Histograms(np.ones_like(hits), hits))

    def _rankings(self, histograms: Histograms) -> Rankings:
        return Rankings(Inputs(histograms, 0, 0, _no_codes, self.threads))


def _no_codes() -> Evaluation:
    raise RuntimeError("rankings by real-valued scores have no codes behind them")


def equal_groups(scores: Floats, relevant: Bools) -> Histograms:
    """Items and relevant items in each group of equal scores, the highest first; groups of no items fill up the rows.

    Args:
        scores: float64 [m, nb], finite. relevant: bool [m, nb].
    """
    bits = scores.view(np.int64)
    # integers in the order of the scores, whose last bit tells what is relevant: sorted without an index beside them
    order = np.where(bits < 0, -(bits & _MAGNITUDE), bits)
    keys = -((order >> 1 << 1) | relevant)
    keys.sort(axis=1)
    groups, hits = -keys >> 1, -keys & 1
    first = np.ones(keys.shape, bool)
    first[:, 1:] = groups[:, 1:] != groups[:, :-1]
    starts = np.flatnonzero(first)
    row = starts // keys.shape[1]
    place = np.arange(len(starts)) - np.searchsorted(row, np.arange(len(keys)))[row]
    counts = np.zeros((len(keys), int(place.max()) + 1), np.int64)
    relevant_counts = np.zeros_like(counts)
    counts[row, place] = np.diff(starts, append=keys.size)
    relevant_counts[row, place] = np.add.reduceat(hits.ravel(), starts)
    return Histograms(counts, relevant_counts)
