"""What every metric here is made from: per query, how many items and how many relevant ones lie at each distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._histogram import Evaluation
from fasthash._labels import check_labels, label_masks, unlabelled
from fasthash.codes import check_packed

_CHUNK = 1 << 15  # cells of a histogram worked on at once: temporaries stay in the cache


@dataclass(frozen=True)
class Histograms:
    """Distances from each query to the database, all that a ranking with ties is known by."""

    counts: NDArray[np.int64]  # [nq, bits + 1] items at each distance
    relevant: NDArray[np.int64]  # [nq, bits + 1] relevant items at each distance

    @property
    def nq(self) -> int:
        """Number of queries."""
        return len(self.counts)

    @property
    def nb(self) -> int:
        """Number of database items."""
        return int(self.counts[0].sum())

    @property
    def bits(self) -> int:
        """Code length."""
        return self.counts.shape[1] - 1

    @property
    def total_relevant(self) -> NDArray[np.int64]:
        """int64 [nq], relevant items of each query, at any distance."""
        return np.asarray(self.relevant.sum(axis=1))

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
        """(rows, counts[rows], relevant[rows]), few rows at a time."""
        step = max(1, _CHUNK // self.counts.shape[1])
        for start in range(0, self.nq, step):
            rows = slice(start, start + step)
            yield rows, self.counts[rows], self.relevant[rows]


@dataclass(frozen=True)
class Inputs:
    """Checked inputs of a metric and their histograms."""

    evaluation: Evaluation
    histograms: Histograms
    unlabelled_queries: int
    unlabelled_items: int


def measure(
    query: Any, database: Any, query_labels: Any, database_labels: Any, *, bits: int, threads: int | None, op: str
) -> Inputs:
    """Check everything once and count. Errors start with op."""
    queries, items = check_packed(query, bits, op, "query"), check_packed(database, bits, op, "database")
    if len(queries) == 0 or len(items) == 0:
        raise ValueError(f"{op}: query and database must have at least one row, got {len(queries)} and {len(items)}")
    labels_q = check_labels(query_labels, len(queries), op, "query_labels")
    labels_d = check_labels(database_labels, len(items), op, "database_labels")
    if labels_q.shape[1:] != labels_d.shape[1:]:
        shapes = f"{labels_q.shape} and {labels_d.shape}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {shapes}")
    masks = label_masks(labels_q), label_masks(labels_d)
    evaluation = Evaluation(queries, items, bits, *masks, threads=threads, op=op)
    return Inputs(evaluation, Histograms(*evaluation.histogram()), *map(unlabelled, masks))


def histograms(
    query: Any, database: Any, query_labels: Any, database_labels: Any, *, bits: int, threads: int | None = None
) -> Histograms:
    """Histograms of distances, from which the other metrics of this module follow.

    Args:
        query, database: packed codes, uint8 [nq, ceil(bits / 8)] and [nb, ceil(bits / 8)]; NumPy or torch.
        query_labels, database_labels: multi-hot [n, c] of 0 and 1, or class ids [n]; an item is relevant to a query
            when they share a label. Rows without any label are taken: nothing is relevant to them.
        bits: code length.
        threads: None for all cores; the result does not depend on it.
    Raises:
        ValueError, TypeError: one line that names the argument.
    """
    return measure(
        query, database, query_labels, database_labels, bits=bits, threads=threads, op="histograms"
    ).histograms
