"""Histograms of Hamming distances and precision sums of the stable ranking: checks, then the native module."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash import _native
from fasthash._arguments import check_shapes, thread_count, whole_number
from fasthash._labels import check_labels, label_masks
from fasthash.codes import check_packed

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)  # bits of a byte
MAX_DATABASE = 2**32 - 1  # ranks are counted in 32 bits


class Histogram(NamedTuple):
    """How the distances from each query are distributed: int64 [nq, bits + 1], column d for distance d.

    counts: codes of the database at each distance; a row adds up to nb.
    relevant: those of them that share a label with the query; None where no labels were given.
    """

    counts: Any
    relevant: Any


class StableCuts(NamedTuple):
    """What the cuts of `Evaluation.stable_cuts` keep."""

    rank_sums: NDArray[np.float64]  # [nq, ranks] precision summed over the relevant items within each rank
    rank_hits: NDArray[np.int64]  # [nq, ranks] their number
    hit_sums: NDArray[np.float64]  # [nq, hits] precision summed over the first so many relevant items


class GradedHistogram(NamedTuple):
    """What `Evaluation.graded_histogram` counted."""

    counts: NDArray[np.int64]  # [nq, bits + 1] items at each distance
    relevant: NDArray[np.int64]  # [nq, bits + 1] those that share a label with the query
    gained: NDArray[np.float64]  # [nq, bits + 1] their gains, added up
    totals: NDArray[np.int64]  # [nq, grades] items that share 1, 2, .. labels


def kernel_labels(labels: Any, codes: Any, there: bool, op: str, name: str) -> Any:
    """Labels in the form that the kernels read, checked; those on a device stay there if the work is done `there`."""
    if there and _native.is_cuda(labels) and _native.is_torch(labels):
        from fasthash import _histogram_cuda  # late: needs torch

        return _histogram_cuda.label_masks(labels, len(codes), op, name)
    return label_masks(check_labels(labels, len(codes), op, name))


def histogram(
    queries: Any,
    database: Any,
    labels: tuple[Any, Any] | None,
    *,
    bits: int | None = None,
    threads: int | None = None,
    op: str = "histogram",
) -> Histogram:
    """``fasthash.search.histogram`` with the labels of queries and database in the form that the kernels read.

    labels: both uint64 bitmasks [n, words] or both int64 class ids [n], for tensors int64 either way; None: no labels.
    """
    if _native.on_device(queries, database):
        from fasthash import _histogram_cuda  # late: for CUDA tensors alone

        thread_count(threads, op)
        counts, relevant = _histogram_cuda.histogram(queries, database, labels, bits=bits, op=op)
        return Histogram(counts, None if labels is None else relevant)
    rows, base = _native.to_numpy(queries, op, "queries"), _native.to_numpy(database, op, "database")
    bits = check_shapes(rows, base, bits, op)
    check_packed(rows, bits, op, "queries")
    if not base.flags.c_contiguous:  # a silent copy of a database could be larger than the memory
        raise ValueError(f"{op}: database must be C-contiguous to be read in place, got strides {base.strides}")
    evaluation = Evaluation(rows, base, bits, *(labels or ()), threads=threads, op=op)
    counts, relevant = (_native.like(x, queries) for x in evaluation.histogram())
    return Histogram(counts, None if labels is None else relevant)


class Evaluation:
    """Queries, database and labels, checked and held in the form that the native module reads.

    Args:
        queries, database: packed codes, uint8 [nq, ceil(bits / 8)] and [nb, ceil(bits / 8)]; NumPy or torch.
        bits: code length.
        query_labels, database_labels: uint64 bitmasks [nq, words] and [nb, words] (relevant: a common bit), or int64
            class ids [nq] and [nb], 0 or more (relevant: equal), or None (nothing is relevant).
        threads: None for all cores this process may use; results do not depend on it.
        op: the name that errors start with.
    Raises:
        ValueError: shapes, dtypes or padding bits are wrong; a negative class id; too large a database.
        TypeError: no array, or threads that are no whole number.
    """

    def __init__(
        self,
        queries: Any,
        database: Any,
        bits: int,
        query_labels: NDArray[Any] | None = None,
        database_labels: NDArray[Any] | None = None,
        *,
        threads: int | None = None,
        op: str = "hamming_histogram",
    ) -> None:
        self.op, self.bits, self.threads = op, bits, thread_count(threads, op)
        self.queries = np.ascontiguousarray(check_packed(queries, bits, op, "query"))
        self.database = np.ascontiguousarray(check_packed(database, bits, op, "database"))
        self.nq, self.nb = len(self.queries), len(self.database)
        if self.nb > MAX_DATABASE:
            raise ValueError(f"{op}: database must have at most {MAX_DATABASE} rows, got {self.nb}")
        self.query_labels, self.database_labels = self._labels(query_labels, database_labels)

    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Items, and relevant items, at each distance.

        Returns:
            (counts, relevant), both int64 [nq, bits + 1]; the rows of counts add up to nb.
        """
        counts = np.empty((self.nq, self.bits + 1), np.int64)
        relevant = np.empty_like(counts)
        _native.load().hamming_histogram(*self.arguments(), _native.address(counts), _native.address(relevant))
        return counts, relevant

    def stable_precision(
        self, counts: NDArray[np.int64], relevant: NDArray[np.int64], k: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The ranking by (distance, database index): precision summed over the ranks of relevant items.

        Args:
            counts, relevant: what `histogram` returned.
            k: only ranks 1 to k; 0 for all.
        Returns:
            (sums, hits): float64 [nq] and int64 [nq], the number of relevant items within the cut.
        """
        k = min(whole_number(k, 0, sys.maxsize, self.op, "k"), self.nb)
        self._check_histograms(counts, relevant)
        sums, hits = np.empty(self.nq), np.empty(self.nq, np.int64)
        given, results = (counts, relevant), (sums, hits)
        addresses = [_native.address(array) for array in given], [_native.address(array) for array in results]
        _native.load().hamming_stable_precision(*self.arguments(), *addresses[0], k, *addresses[1])
        return sums, hits

    def stable_cuts(
        self, counts: NDArray[np.int64], relevant: NDArray[np.int64], ranks: Sequence[int], hits: Sequence[int]
    ) -> StableCuts:
        """Many cuts of the ranking by (distance, database index) in one pass.

        Args:
            counts, relevant: what `histogram` returned.
            ranks: cuts after these ranks, ascending, 1 or more.
            hits: cuts after so many relevant items, ascending, 1 or more.
        """
        self._check_histograms(counts, relevant)
        by_rank, by_hits = (np.ascontiguousarray(cuts, np.int64) for cuts in (ranks, hits))
        for name, cuts in (("ranks", by_rank), ("hits", by_hits)):
            if cuts.ndim != 1 or (len(cuts) and cuts[0] < 1) or (np.diff(cuts) < 0).any():
                raise ValueError(f"{self.op}: {name} must be ascending numbers of at least 1, got {cuts.tolist()}")
        made = StableCuts(
            np.zeros((self.nq, len(by_rank))), np.zeros((self.nq, len(by_rank)), np.int64),
            np.zeros((self.nq, len(by_hits))),
        )  # fmt: skip
        _native.load().hamming_stable_cuts(
            *self.arguments(), _native.address(counts), _native.address(relevant), _native.address(by_rank),
            len(by_rank), _native.address(by_hits), len(by_hits), *map(_native.address, made),
        )  # fmt: skip
        return made

    def most_labels(self) -> int:
        """Labels of the query that has most."""
        labels = self.query_labels
        if labels is None or labels.ndim != 2:
            raise ValueError(f"{self.op}: grades by common labels need labels as bitmasks")
        return int(_ONES[labels.view(np.uint8)].sum(axis=1).max(initial=0))

    def graded_histogram(self, gains: NDArray[np.float64]) -> GradedHistogram:
        """`histogram` and, in the same pass, gains of the number of labels that items share with the query.

        Args:
            gains: float64 [grades] of 1, 2, .. common labels, as many as a query has at most. Labels must be bitmasks.
        """
        gains = np.ascontiguousarray(gains, np.float64)
        if len(gains) < self.most_labels():
            raise ValueError(f"{self.op}: gains must be of {self.most_labels()} common labels, got {len(gains)}")
        counts = np.empty((self.nq, self.bits + 1), np.int64)
        made = GradedHistogram(
            counts, np.empty_like(counts), np.empty(counts.shape), np.empty((self.nq, len(gains)), np.int64)
        )
        _native.load().hamming_graded_histogram(
            *self.arguments(), _native.address(gains), len(gains), *map(_native.address, made)
        )
        return made

    def _check_histograms(self, *histograms: NDArray[np.int64]) -> None:
        want = (self.nq, self.bits + 1)
        for name, array in zip(("counts", "relevant"), histograms, strict=True):
            if array.dtype != np.int64 or array.shape != want or not array.flags.c_contiguous:
                raise ValueError(f"{self.op}: {name} must be contiguous int64 {want}, got {array.dtype} {array.shape}")

    def _labels(
        self, query_labels: NDArray[Any] | None, database_labels: NDArray[Any] | None
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        if query_labels is None or database_labels is None:
            if query_labels is not database_labels:
                raise ValueError(f"{self.op}: labels must be given for queries and database, or for neither")
            return None, None
        sides = (("query_labels", query_labels, self.nq), ("database_labels", database_labels, self.nb))
        for name, labels, rows in sides:
            if len(labels) != rows:
                raise ValueError(f"{self.op}: {name} must have {rows} rows like the codes, got {len(labels)}")
            if (labels.dtype, labels.ndim) not in ((np.uint64, 2), (np.int64, 1)):
                form = "uint64 bitmasks [n, words] or int64 class ids [n]"
                raise ValueError(f"{self.op}: {name} must be {form}, got {labels.dtype} {labels.shape}")
        if query_labels.shape[1:] != database_labels.shape[1:]:
            shapes = f"{query_labels.shape} and {database_labels.shape}"
            raise ValueError(f"{self.op}: query_labels and database_labels must be of one form and width, got {shapes}")
        if query_labels.ndim == 1:
            query_labels, database_labels = self._ids(query_labels, database_labels)
        return np.ascontiguousarray(query_labels), np.ascontiguousarray(database_labels)

    def _ids(self, query: NDArray[Any], database: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The ids themselves, or smaller ones of the same meaning: the native side keeps a table up to the largest."""
        for name, ids in (("query_labels", query), ("database_labels", database)):
            if len(ids) and ids.min() < 0:
                row = int(np.argmin(ids))
                raise ValueError(f"{self.op}: {name} must be class ids of 0 or more, got {ids[row]} in row {row}")
        if not len(database) or database.max() <= 4 * len(database) + 1024:
            return query, database
        known, database = np.unique(database, return_inverse=True)
        place = np.minimum(np.searchsorted(known, query), len(known) - 1)
        return np.where(known[place] == query, place, len(known)).astype(np.int64), database.astype(np.int64)

    def arguments(self) -> tuple[int, ...]:
        labels = self.query_labels
        words = labels.shape[1] if labels is not None and labels.ndim == 2 else 0
        return (
            _native.address(self.queries), self.nq, _native.address(self.database), self.nb, self.queries.shape[1],
            self.bits, _native.address(labels), _native.address(self.database_labels), words, self.threads,
            _native.isa(),
        )  # fmt: skip
