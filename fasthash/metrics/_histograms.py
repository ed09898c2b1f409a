"""What every metric here is made from: per query, how many items and how many relevant ones lie at each distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fasthash import _native
from fasthash._arguments import thread_count
from fasthash._histogram import Evaluation, histogram, kernel_labels
from fasthash._histograms import Histograms
from fasthash._labels import check_labels, label_masks, unlabelled
from fasthash._native import to_numpy
from fasthash.codes import check_packed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """Checked inputs of a metric and their histograms."""

    histograms: Histograms
    unlabelled_queries: int
    unlabelled_items: int
    make_evaluation: Callable[[], Evaluation]
    threads: int

    @cached_property
    def evaluation(self) -> Evaluation:
        """What passes beyond the histograms read, in memory; of codes on a CUDA device a copy, made at first use."""
        return self.make_evaluation()


def count_pairs(
    query: Any, database: Any, query_labels: Any, database_labels: Any, *, bits: int, threads: int | None, op: str,
    ordered: bool = False,
) -> Inputs:  # fmt: skip
    """Check everything once and count, on the device that a search of these codes would use. Errors start with op.

    ordered: whether the order of the database will be asked for, which a database that counts by itself does not tell.
    """
    if counts_itself(database):
        if ordered:
            raise ValueError(f'{op}: ties must be other than "stable" for a database in parts, {_of(database)}')
        return _count_parts(query, database, query_labels, database_labels, bits, threads, op)
    if _native.on_device(query, database):
        return _count_on_device(query, database, (query_labels, database_labels), bits, threads, op)
    evaluation = checked_evaluation(query, database, query_labels, database_labels, bits=bits, threads=threads, op=op)
    masks = cast("tuple[NDArray[Any], NDArray[Any]]", (evaluation.query_labels, evaluation.database_labels))
    return inputs_of(evaluation, Histograms(*evaluation.histogram()), masks)


def checked_evaluation(
    query: Any, database: Any, query_labels: Any, database_labels: Any, *, bits: int, threads: int | None, op: str
) -> Evaluation:
    """Codes and labels of any kind in the native module's form. Errors start with op."""
    if counts_itself(database):
        raise TypeError(f"{op}: database must be one array for grades by common labels, {_of(database)}")
    queries, items = check_packed(query, bits, op, "query"), check_packed(database, bits, op, "database")
    if len(queries) == 0 or len(items) == 0:
        raise ValueError(f"{op}: query and database must have at least one row, got {len(queries)} and {len(items)}")
    labels_q = check_labels(query_labels, len(queries), op, "query_labels")
    labels_d = check_labels(database_labels, len(items), op, "database_labels")
    _check_forms(labels_q.shape, labels_d.shape, op)
    return Evaluation(queries, items, bits, label_masks(labels_q), label_masks(labels_d), threads=threads, op=op)


def inputs_of(evaluation: Evaluation, histograms: Histograms, masks: tuple[Any, Any]) -> Inputs:
    """Inputs whose evaluation is there already; masks: labels of queries and database."""
    return Inputs(histograms, unlabelled(masks[0]), unlabelled(masks[1]), lambda: evaluation, evaluation.threads)


def _count_on_device(
    query: Any, database: Any, labels: tuple[Any, Any], bits: int, threads: int | None, op: str
) -> Inputs:
    """Histograms by csrc/cuda; whatever needs more than them copies codes and labels to the host."""
    pairs = zip(labels, (query, database), ("query_labels", "database_labels"), strict=True)
    masks = tuple(kernel_labels(x, codes, True, op, name) for x, codes, name in pairs)
    _check_forms(labels[0].shape, labels[1].shape, op)
    found = histogram(query, database, masks, bits=bits, threads=threads, op=op)
    counted = Histograms(to_numpy(found.counts, op, "counts"), to_numpy(found.relevant, op, "relevant"))

    def make() -> Evaluation:
        return checked_evaluation(query, database, *labels, bits=bits, threads=threads, op=op)

    without = [unlabelled(to_numpy(x, op, "labels")) for x in masks]
    return Inputs(counted, without[0], without[1], make, thread_count(threads, op))


def counts_itself(database: Any) -> bool:
    """Whether a database has a method ``histograms``: ``Shards``, ``ShardedIndex`` and whatever else is in parts."""
    return callable(getattr(database, "histograms", None))


def _of(database: Any) -> str:
    return f"got {type(database).__name__}, which is known by its histograms alone"


def _count_parts(
    query: Any, database: Any, query_labels: Any, database_labels: Any, bits: int, threads: int | None, op: str
) -> Inputs:
    """Histograms of a database that counts by itself."""
    if database.bits != bits:
        raise ValueError(f"{op}: database must have codes of {bits} bits, got {database.bits}")
    queries = check_packed(to_numpy(query, op, "query"), bits, op, "query")
    if len(queries) == 0 or len(database) == 0:
        sizes = f"{len(queries)} and {len(database)}"
        raise ValueError(f"{op}: query and database must have at least one row, got {sizes}")
    labels_q = check_labels(query_labels, len(queries), op, "query_labels")
    labels_d = to_numpy(database_labels, op, "database_labels")
    if labels_d.ndim not in (1, 2) or len(labels_d) != len(database):
        got = f"shape {labels_d.shape}"
        raise ValueError(f"{op}: database_labels must have {len(database)} rows like the codes, got {got}")
    _check_forms(labels_q.shape, labels_d.shape, op)
    masks = label_masks(labels_q)
    if labels_q.ndim == 1:
        found = database.histograms(queries, labels_q, database_labels, threads=threads)
        return Inputs(found, 0, 0, _no_evaluation, thread_count(threads, op))
    # One more query, with every label, finds the labelled items in the same pass over labels larger than memory.
    more = np.concatenate([queries, queries[:1]]), np.concatenate([labels_q, np.ones_like(labels_q[:1])])
    counted = database.histograms(*more, database_labels, threads=threads)
    found = Histograms(counted.counts[:-1], counted.relevant[:-1])
    without = len(database) - int(counted.relevant[-1].sum())
    return Inputs(found, unlabelled(masks), without, _no_evaluation, thread_count(threads, op))


def _no_evaluation() -> Evaluation:
    raise ValueError("metrics: the order of a database in parts is not known")


def _check_forms(query: Any, database: Any, op: str) -> None:
    if tuple(query)[1:] != tuple(database)[1:]:
        shapes = f"{tuple(query)} and {tuple(database)}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {shapes}")


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
    return count_pairs(
        query, database, query_labels, database_labels, bits=bits, threads=threads, op="histograms"
    ).histograms
