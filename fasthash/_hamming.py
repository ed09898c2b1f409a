"""Exact Hamming search: the checks of every argument, then the native engine. Works with NumPy alone."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import _native
from fasthash._arguments import bitmask, check_shapes, thread_count, whole_number
from fasthash.codes import MAX_BITS, check_packed

NO_DISTANCE = 2147483647  # of a missing hit
NO_ID = -1
MAX_K = 2147483647


def topk(
    queries: Any,
    database: Any,
    k: int,
    *,
    bits: int | None = None,
    allow: Any = None,
    threads: int | None = None,
    op: str = "knn",
    trusted: bool = False,
) -> tuple[Any, Any]:
    """``fasthash.search.knn``; ``op`` names the caller in errors, ``trusted`` leaves out the check of the padding bits.

    ``fasthash._native.on_device`` says whether ``fasthash._hamming_cuda`` searches on a device, otherwise the CPU does.
    """
    k = whole_number(k, 1, MAX_K, op, "k")
    if _native.on_device(queries, database):
        from fasthash import _hamming_cuda  # late: for CUDA tensors alone

        thread_count(threads, op)
        return _hamming_cuda.topk(queries, database, k, bits=bits, allow=allow, op=op, trusted=trusted)
    search, arrays = make_search(queries, database, bits, allow, threads, op, trusted)
    distances = np.empty((len(arrays[0]), k), np.int32)
    ids = np.empty((len(arrays[0]), k), np.int64)
    _native.load().hamming_topk(search, k, _native.address(distances), _native.address(ids))
    return _native.like(distances, queries), _native.like(ids, queries)


def range_search(
    queries: Any,
    database: Any,
    radius: int,
    *,
    bits: int | None = None,
    allow: Any = None,
    threads: int | None = None,
    op: str = "range_search",
    trusted: bool = False,
) -> tuple[Any, Any, Any]:
    """``fasthash.search.range_search``; the device is chosen as by ``topk``."""
    radius = whole_number(radius, 0, sys.maxsize, op, "radius")
    if _native.on_device(queries, database):
        from fasthash import _hamming_cuda

        thread_count(threads, op)
        return _hamming_cuda.range_search(queries, database, radius, bits=bits, allow=allow, op=op, trusted=trusted)
    search, arrays = make_search(queries, database, bits, allow, threads, op, trusted)
    hits = _native.load().hamming_range(search, min(radius, MAX_BITS))
    lims = np.empty(len(arrays[0]) + 1, np.int64)
    hits.lims(_native.address(lims))
    distances, ids = np.empty(lims[-1], np.int32), np.empty(lims[-1], np.int64)
    hits.take(_native.address(distances), _native.address(ids))
    return _native.like(lims, queries), _native.like(distances, queries), _native.like(ids, queries)


def make_search(
    queries: Any, database: Any, bits: int | None, allow: Any, threads: int | None, op: str, trusted: bool
) -> tuple[Any, tuple[NDArray[np.uint8], ...]]:
    """The native module's description of a search, and the arrays that it points into, the queries first."""
    rows, base = _native.to_numpy(queries, op, "queries"), _native.to_numpy(database, op, "database")
    bits = check_shapes(rows, base, bits, op)
    rows = np.ascontiguousarray(check_packed(rows, bits, op, "queries"))
    if not trusted:
        base = check_packed(base, bits, op, "database")
    if not base.flags.c_contiguous:  # a silent copy of a database could be larger than the memory
        raise ValueError(
            f"{op}: database must be C-contiguous to be searched in place, got strides {base.strides}; "
            "copy it once with np.ascontiguousarray"
        )
    mask = bitmask(allow, len(base), op)
    search = _native.load().HammingSearch(
        _native.address(rows), len(rows), _native.address(base), len(base), base.shape[1], _native.address(mask),
        thread_count(threads, op), _native.isa(), _native.kernel(),
    )  # fmt: skip
    return search, (rows, base) if mask is None else (rows, base, mask)
