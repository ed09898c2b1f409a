"""Exact Hamming search: the checks of every argument, then the native engine. Works with NumPy alone."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import _native
from fasthash.codes import MAX_BITS, check_bits, check_packed

NO_DISTANCE = 2147483647  # of a missing hit
NO_ID = -1
MAX_K = 2147483647
MAX_THREADS = 4096


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

    CUDA tensors are searched on their device, on torch's current stream, everything else on the CPU.
    """
    k = whole_number(k, 1, MAX_K, op, "k")
    if _native.is_cuda(queries) or _native.is_cuda(database):
        thread_count(threads, op)
        return _topk_cuda(queries, database, k, bits, allow, op)
    rows, base, mask = _arguments(queries, database, bits, allow, op, trusted)
    workers = thread_count(threads, op)
    distances = np.empty((len(rows), k), np.int32)
    ids = np.empty((len(rows), k), np.int64)
    address = _native.address
    _native.load().hamming_topk(
        address(rows), len(rows), address(base), len(base), base.shape[1], address(mask), workers, _native.isa(),
        k, address(distances), address(ids),
    )  # fmt: skip
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
    """``fasthash.search.range_search``; always on the CPU: CUDA tensors are copied to the host and the hits back."""
    radius = whole_number(radius, 0, sys.maxsize, op, "radius")
    rows, base, mask = _arguments(queries, database, bits, allow, op, trusted)
    workers = thread_count(threads, op)
    address = _native.address
    hits = _native.load().hamming_range(
        address(rows), len(rows), address(base), len(base), base.shape[1], address(mask), workers, _native.isa(),
        min(radius, MAX_BITS),
    )  # fmt: skip
    lims = np.empty(len(rows) + 1, np.int64)
    hits.lims(address(lims))
    distances, ids = np.empty(lims[-1], np.int32), np.empty(lims[-1], np.int64)
    hits.take(address(distances), address(ids))
    return _native.like(lims, queries), _native.like(distances, queries), _native.like(ids, queries)


def thread_count(threads: int | None, op: str) -> int:
    """threads itself, or for None the number of cores this process may use."""
    if threads is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(usable, MAX_THREADS)
    return whole_number(threads, 1, MAX_THREADS, op, "threads")


def whole_number(value: Any, low: int, high: int, op: str, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{op}: {name} must be a whole number, got {type(value).__name__}")
    if not low <= value <= high:
        bounds = f"from {low} to {high}" if high < sys.maxsize else f"of at least {low}"
        raise ValueError(f"{op}: {name} must be a whole number {bounds}, got {value}")
    return int(value)


def _check_shapes(queries: Any, database: Any, bits: int | None, op: str) -> int:
    """The code length, after checking that both are non-empty matrices; of NumPy arrays or torch tensors."""
    for x, name in ((queries, "queries"), (database, "database")):
        if x.ndim != 2:
            raise ValueError(f"{op}: {name} must be packed codes [n, ceil(bits / 8)], got shape {tuple(x.shape)}")
        if x.shape[0] == 0:
            raise ValueError(f"{op}: {name} must have at least one row, got shape {tuple(x.shape)}")
    width = int(database.shape[1])
    if queries.shape[1] != width:
        raise ValueError(f"{op}: queries must be [nq, {width}] like the database, got shape {tuple(queries.shape)}")
    if bits is None and not 1 <= width <= MAX_BITS // 8:
        raise ValueError(f"{op}: codes must have 1 to {MAX_BITS // 8} bytes, got {width}")
    return 8 * width if bits is None else check_bits(bits, op)


def _arguments(
    queries: Any, database: Any, bits: int | None, allow: Any, op: str, trusted: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
    rows, base = _native.to_numpy(queries, op, "queries"), _native.to_numpy(database, op, "database")
    bits = _check_shapes(rows, base, bits, op)
    rows = check_packed(rows, bits, op, "queries")
    if not trusted:
        base = check_packed(base, bits, op, "database")
    if not base.flags.c_contiguous:  # a silent copy of a database could be larger than the memory
        raise ValueError(
            f"{op}: database must be C-contiguous to be searched in place, got strides {base.strides}; "
            "copy it once with np.ascontiguousarray"
        )
    return np.ascontiguousarray(rows), base, _bitmask(allow, len(base), op)


def _bitmask(allow: Any, nb: int, op: str) -> NDArray[np.uint8] | None:
    if allow is None:
        return None
    mask = _native.to_numpy(allow, op, "allow")
    check_allow(mask, nb, op)
    return np.packbits(mask) if mask.dtype == np.bool_ else np.ascontiguousarray(mask)


def check_allow(mask: Any, nb: int, op: str) -> None:
    """ValueError unless mask, an array of any kind, is bool [nb] or uint8 [ceil(nb / 8)]."""
    dtype = str(mask.dtype).removeprefix("torch.")
    size = {"bool": nb, "uint8": (nb + 7) // 8}.get(dtype)
    if size is None:
        raise ValueError(f"{op}: allow must be bool [{nb}] or a packed uint8 bitmask [{(nb + 7) // 8}], got {dtype}")
    if tuple(mask.shape) != (size,):
        raise ValueError(f"{op}: allow of {dtype} must have shape ({size},) for {nb} codes, got {tuple(mask.shape)}")


def _topk_cuda(queries: Any, database: Any, k: int, bits: int | None, allow: Any, op: str) -> tuple[Any, Any]:
    for x, name in ((queries, "queries"), (database, "database")):
        if not _native.is_torch(x):
            raise TypeError(f"{op}: on a GPU {name} must be a torch tensor, got {type(x).__name__}")
    if queries.device != database.device:
        raise ValueError(f"{op}: queries are on {queries.device}, the database is on {database.device}")
    why = _native.cuda_reason()
    if why is not None:
        raise RuntimeError(f"{op}: cannot search on {queries.device}: {why}")
    torch = sys.modules["torch"]
    _check_cuda_codes(queries, database, _check_shapes(queries, database, bits, op), op)
    (nq, width), nb = queries.shape, len(database)
    mask = None if allow is None else _bitmask_cuda(torch.as_tensor(allow).to(queries.device), nb, op)
    native = _native.load()
    with torch.cuda.device(queries.device):
        rows = queries.contiguous()
        distances = torch.empty((nq, k), dtype=torch.int32, device=queries.device)
        ids = torch.empty((nq, k), dtype=torch.int64, device=queries.device)
        scratch = torch.empty(native.hamming_topk_cuda_scratch(nq, nb, width, k), dtype=torch.uint8, device=rows.device)
        native.hamming_topk_cuda(
            rows.data_ptr(), nq, database.data_ptr(), nb, width, 0 if mask is None else mask.data_ptr(), k,
            distances.data_ptr(), ids.data_ptr(), scratch.data_ptr(), scratch.numel(),
            torch.cuda.current_stream().cuda_stream,
        )  # fmt: skip
    return distances, ids


def _check_cuda_codes(queries: Any, database: Any, bits: int, op: str) -> None:
    """With bits % 8, when there is padding, this waits for the device and takes nb bytes there for a moment."""
    width = (bits + 7) // 8
    for x, name in ((queries, "queries"), (database, "database")):
        dtype = str(x.dtype).removeprefix("torch.")
        if dtype != "uint8":
            raise ValueError(f"{op}: {name} must be packed uint8, got {dtype} (pack them with fasthash.codes.pack)")
        if x.shape[1] != width:
            raise ValueError(f"{op}: {name} must be [n, {width}] for {bits} bits, got shape {tuple(x.shape)}")
        if bits % 8 and bool((x[:, -1] & ((1 << (8 - bits % 8)) - 1)).any()):
            raise ValueError(f"{op}: {name} has a non-zero padding bit after bit {bits}")
    if not database.is_contiguous():
        raise ValueError(f"{op}: database must be contiguous, got strides {database.stride()}; use .contiguous()")


def _bitmask_cuda(allow: Any, nb: int, op: str) -> Any:
    torch = sys.modules["torch"]
    check_allow(allow, nb, op)
    if allow.dtype == torch.uint8:
        return allow.contiguous()
    padded = torch.nn.functional.pad(allow, (0, -nb % 8)).view(-1, 8).to(torch.uint8)
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=allow.device)
    return (padded * weights).sum(dim=1, dtype=torch.uint8)
