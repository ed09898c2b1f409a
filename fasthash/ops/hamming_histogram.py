"""Histograms of Hamming distances, of all codes and of the relevant ones, as a torch operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasthash import _histogram
from fasthash._arguments import MAX_THREADS
from fasthash._histogram import Histogram
from fasthash.codes import check_bits
from fasthash.ops._checks import check_codes, check_tensor, reference_distances
from fasthash.ops._registry import define, register
from fasthash.ops.labels import PackedLabels, check_class_ids, check_label_kinds, label_words, share_label

_OP = "hamming_histogram"
Counts = tuple[Tensor, Tensor]


def _fake(
    queries: Tensor, database: Tensor, bits: int, query_labels: Tensor | None, database_labels: Tensor | None
) -> Counts:
    nq = queries.shape[0]
    counts = queries.new_empty((nq, bits + 1), dtype=torch.int64)
    return counts, queries.new_empty((0 if query_labels is None else nq, bits + 1), dtype=torch.int64)


def _check(
    queries: Tensor, database: Tensor, bits: int, query_labels: Tensor | None, database_labels: Tensor | None
) -> None:
    """Everything that costs nothing to know; padding bits are looked at by the backends."""
    check_codes(_OP, queries, database, bits)
    if query_labels is None or database_labels is None:
        if query_labels is not database_labels:
            raise ValueError(f"{_OP}: labels must be given for queries and database, or for neither")
        return
    for name, x, codes in (("query_labels", query_labels, queries), ("database_labels", database_labels, database)):
        check_class_ids(_OP, name, x)
        if x.dtype != torch.int64 or x.ndim not in (1, 2) or len(x) != len(codes):
            want = f"int64 class ids [{len(codes)}] or mask words [{len(codes)}, w]"
            raise ValueError(f"{_OP}: {name} must be {want}, got {x.dtype} {list(x.shape)}")
    if query_labels.shape[1:] != database_labels.shape[1:]:
        got = f"{list(query_labels.shape)} and {list(database_labels.shape)}"
        raise ValueError(f"{_OP}: query_labels and database_labels must be of one form and width, got {got}")


# labels: class ids int64 [n] or mask words int64 [n, w]; without any, the second result has no row.
define(
    "hamming_histogram(Tensor queries, Tensor database, int bits, Tensor? query_labels, Tensor? database_labels)"
    " -> (Tensor, Tensor)",
    fake=_fake,
    check=_check,
)


@register(_OP, "reference")
def _reference(
    queries: Tensor, database: Tensor, bits: int, query_labels: Tensor | None, database_labels: Tensor | None
) -> Counts:
    counts, relevant = (x.zero_() for x in _fake(queries, database, bits, query_labels, database_labels))
    for q, row in enumerate(reference_distances(_OP, queries, database, bits)):
        counts[q].index_add_(0, row, torch.ones_like(row))
        if query_labels is not None and database_labels is not None:
            relevant[q].index_add_(0, row, share_label(query_labels[q : q + 1], database_labels)[0].long())
    return counts, relevant


@register(_OP, "cpp")
def _cpp(
    queries: Tensor, database: Tensor, bits: int, query_labels: Tensor | None, database_labels: Tensor | None
) -> Counts:
    labels = None
    if query_labels is not None and database_labels is not None:
        labels = _unsigned(query_labels), _unsigned(database_labels)
    threads = min(torch.get_num_threads(), MAX_THREADS)
    found = _histogram.histogram(queries, database, labels, bits=bits, threads=threads, op=_OP)
    return found.counts, queries.new_empty((0, bits + 1), dtype=torch.int64) if labels is None else found.relevant


def _unsigned(labels: Tensor) -> NDArray[Any]:
    """Mask words as uint64, class ids as they are."""
    return labels.numpy().view(np.uint64) if labels.ndim == 2 else labels.numpy()


@register(_OP, "cuda")
def _cuda(
    queries: Tensor, database: Tensor, bits: int, query_labels: Tensor | None, database_labels: Tensor | None
) -> Counts:
    labels = None if query_labels is None else (query_labels, database_labels)
    found = _histogram.histogram(queries, database, labels, bits=bits, op=_OP)
    return found.counts, queries.new_empty((0, bits + 1), dtype=torch.int64) if labels is None else found.relevant


def hamming_histogram(
    queries: Tensor,
    database: Tensor,
    *,
    bits: int | None = None,
    query_labels: Tensor | PackedLabels | None = None,
    database_labels: Tensor | PackedLabels | None = None,
) -> Histogram:
    """How many codes, and how many relevant ones, lie at each Hamming distance from each query; exact on every backend.

    Args:
        queries: uint8 [nq, ceil(bits / 8)], nq >= 1.
        database: uint8 [nb, ceil(bits / 8)], nb >= 1, contiguous, on the device of ``queries``.
        bits: code length; 8 x bytes when left out.
        query_labels, database_labels: both or neither, on that device. A matrix [n, c] of any dtype is multi-hot
            (non-zero: has the label), a vector int64 [n] holds class ids (>= 0, checked on the CPU), and labels packed
            beforehand are a PackedLabels from ``pack_labels``. A code is relevant to a query when they share a label.
    Returns:
        Histogram(counts, relevant), each int64 [nq, bits + 1] with distance d in column d; relevant is None without
        labels. Nothing here has a gradient.
    Raises:
        TypeError: an argument is no tensor.
        ValueError: wrong dtype, shape, device or form of labels, or a non-zero padding bit on the CPU.
    Threads: on ``cpp`` those of ``torch.get_num_threads()``.
    Memory: the result alone on ``cuda``, where nothing waits for the device: padding bits are not checked there, they
        count in no distance. Beyond the packed labels, O(nb * labels of an item) on ``cpp``.
    """
    for name, x in (("queries", queries), ("database", database)):
        check_tensor(_OP, name, x)
    if bits is None:
        bits = 8 * database.shape[1] if database.ndim == 2 else 8  # the op itself refuses other shapes
    bits = check_bits(bits, _OP)
    if query_labels is None or database_labels is None:
        if query_labels is not database_labels:
            raise ValueError(f"{_OP}: labels must be given for queries and database, or for neither")
        return Histogram(torch.ops.fasthash.hamming_histogram(queries, database, bits, None, None)[0], None)
    words_q, classes_q = label_words(_OP, "query_labels", query_labels, queries)
    words_d, classes_d = label_words(_OP, "database_labels", database_labels, database)
    check_label_kinds(_OP, ("query_labels", classes_q), ("database_labels", classes_d))
    return Histogram(*torch.ops.fasthash.hamming_histogram(queries, database, bits, words_q, words_d))
