"""How many codes, and how many relevant ones, lie at each distance from each query."""

from __future__ import annotations

from typing import Any

from fasthash import _histogram, _native
from fasthash._histogram import Histogram


def histogram(
    queries: Any,
    database: Any,
    *,
    bits: int | None = None,
    query_labels: Any = None,
    database_labels: Any = None,
    threads: int | None = None,
) -> Histogram:
    """Histograms of Hamming distances: all that a ranking by distance is known by, ties and all, without a ranking.

    Args:
        queries: uint8 [nq, ceil(bits / 8)], nq >= 1; NumPy or torch, CPU or CUDA.
        database: uint8 [nb, ceil(bits / 8)], nb >= 1, C-contiguous; read in place. On the CPU nb is below 2**32.
        bits: code length; 8 x bytes when left out.
        query_labels, database_labels: both or neither: multi-hot [n, c] of 0 and 1, or integer class ids [n] of 0 or
            more; NumPy or torch, on any device. A code is relevant to a query when they share a label; rows without any
            are relevant to none.
        threads: CPU threads at most; None for every core this process may use. The result does not depend on it.
    Returns:
        Histogram(counts, relevant), each int64 [nq, bits + 1] with distance d in column d; rows of counts add up to nb;
        relevant is None without labels. Of the queries' kind and device.
    Raises:
        TypeError: an argument is no array, threads no whole number, or class ids that are not integers.
        ValueError: wrong dtype, shape or form, an empty input, a non-zero padding bit, labels of one side alone, a
            negative class id, or a label that is neither 0 nor 1.
    Devices: where the work is done is chosen as by ``knn``. There nothing waits for the device but copies from the host
        and to it; therefore padding bits and labels that are on a device are not checked: such padding bits count in
        no distance, and all but 0 in a multi-hot matrix means that the row has the label.
    """
    op = "histogram"
    rows, base = (
        x if _native.is_torch(x) or _native.is_cuda(x) else _native.to_numpy(x, op, name)
        for x, name in ((queries, "queries"), (database, "database"))
    )
    if (query_labels is None) != (database_labels is None):
        raise ValueError(f"{op}: labels must be given for queries and database, or for neither")
    labels = None
    if query_labels is not None:
        there = _native.on_device(rows, base)
        sides = (query_labels, rows, "query_labels"), (database_labels, base, "database_labels")
        labels = tuple(_histogram.kernel_labels(x, codes, there, op, name) for x, codes, name in sides)
        _check_forms(query_labels, database_labels, op)
    return _histogram.histogram(rows, base, labels, bits=bits, threads=threads, op=op)


def _check_forms(query_labels: Any, database_labels: Any, op: str) -> None:
    shapes = tuple(query_labels.shape), tuple(database_labels.shape)
    if shapes[0][1:] != shapes[1][1:]:
        got = f"{shapes[0]} and {shapes[1]}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {got}")
