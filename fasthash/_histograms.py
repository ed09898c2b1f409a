"""Histograms of distances of a batch of queries: what metrics are made from, and what parts of a database add up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 15  # cells of a histogram worked on at once: temporaries stay in the cache


@dataclass(frozen=True)
class Histograms:
    """Distances from each query to the database, all that a ranking with ties is known by.

    Those of parts of a database add up to those of the whole: ``a + b`` for the same queries, exactly.
    """

    counts: NDArray[np.int64]  # [nq, bits + 1] items at each distance
    relevant: NDArray[np.int64]  # [nq, bits + 1] relevant items at each distance

    def __add__(self, other: Histograms) -> Histograms:
        """ValueError: another number of queries or another code length."""
        if not isinstance(other, Histograms):
            return NotImplemented
        if self.counts.shape != other.counts.shape:
            mine, theirs = (f"{x.nq} queries and {x.bits} bits" for x in (self, other))
            raise ValueError(f"Histograms: both must be of the same queries and code length, got {mine}, {theirs}")
        return Histograms(self.counts + other.counts, self.relevant + other.relevant)

    @property
    def nq(self) -> int:
        """Number of queries."""
        return len(self.counts)

    @property
    def nb(self) -> int:
        """Number of database items."""
        return int(self.counts[0].sum()) if self.nq else 0

    @property
    def bits(self) -> int:
        """Code length."""
        return self.counts.shape[1] - 1

    @property
    def total_relevant(self) -> NDArray[np.int64]:
        """int64 [nq], relevant items of each query, at any distance."""
        return np.asarray(self.relevant.sum(axis=1))

    def rows(self, kept: NDArray[np.bool_]) -> Histograms:
        """Those of some of the queries."""
        return self if kept.all() else Histograms(self.counts[kept], self.relevant[kept])

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
        """(rows, counts[rows], relevant[rows]), few rows at a time."""
        step = max(1, _CHUNK // self.counts.shape[1])
        for start in range(0, self.nq, step):
            rows = slice(start, start + step)
            yield rows, self.counts[rows], self.relevant[rows]
