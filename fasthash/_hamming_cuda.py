"""Hamming search on a CUDA device: where the arrays go, memory for the results, then csrc/cuda. Needs torch.

Where the work is done: on the database's device when it is a CUDA tensor, the queries being moved to it; on the
queries' device when the database is on the CPU, which then streams through it in chunks, as ``_hamming_stream`` says.
All is queued on torch's current stream of that device. Padding bits of codes that are on a device are not looked at,
since that would wait for it: they count in no distance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fasthash import _hamming_stream, _native
from fasthash._arguments import bitmask, check_allow, check_shapes
from fasthash._hamming_stream import Search
from fasthash.codes import check_packed

RANGE_SCRATCH = 128 << 20  # bytes on the device while hits are counted and placed
_UPLOAD_BYTES = 64 << 20


def topk(
    queries: Any, database: Any, k: int, *, bits: int | None, allow: Any, op: str, trusted: bool,
    device: Any = None, to_ids: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """``fasthash._hamming.topk`` where queries or database are on a device. Waits only for copies from and to the host.

    device: where to work; None: as said above. to_ids: from rows of the database, on the device, to ids there.
    """
    search = prepare(queries, database, bits, allow, op, trusted, device)
    with sys.modules["torch"].cuda.device(search.device):
        if search.streamed:
            distances, ids = _hamming_stream.topk(search, k, topk_on_device)
        else:
            distances, ids = topk_on_device(search.queries, search.database, search.allow, k, search.bits)
        return like(distances, queries), like(to_ids(ids) if to_ids else ids, queries)


def range_search(
    queries: Any, database: Any, radius: int, *, bits: int | None, allow: Any, op: str, trusted: bool,
    device: Any = None, to_ids: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """``fasthash._hamming.range_search`` where queries or database are on a device.

    Waits for the device once (streamed: once a chunk): the number of hits is the size of the result.
    """
    search = prepare(queries, database, bits, allow, op, trusted, device)
    with sys.modules["torch"].cuda.device(search.device):
        if search.streamed:
            lims, distances, ids = _hamming_stream.range_search(search, radius, range_on_device)
        else:
            lims, distances, ids = range_on_device(search.queries, search.database, search.allow, radius, search.bits)
        ids = to_ids(ids) if to_ids else ids
        return like(lims, queries), like(distances, queries), like(ids, queries)


def topk_on_device(rows: Any, base: Any, allow: Any, k: int, bits: int, kernel: str = "") -> tuple[Any, Any]:
    """distances int32 [nq, k], ids int64 [nq, k] of tensors on the current device.

    kernel: one of csrc/cuda/hamming_topk.h by name; "" for the one that fits sizes and device.
    """
    torch, native = sys.modules["torch"], _native.load()
    (nq, width), nb, on = rows.shape, len(base), {"device": rows.device}
    distances, ids = torch.empty((nq, k), dtype=torch.int32, **on), torch.empty((nq, k), dtype=torch.int64, **on)
    scratch = torch.empty(native.hamming_topk_cuda_scratch(nq, nb, width, k), dtype=torch.uint8, **on)
    native.hamming_topk_cuda(
        rows.data_ptr(), nq, base.data_ptr(), nb, width, bits, address(allow), k, distances.data_ptr(),
        ids.data_ptr(), scratch.data_ptr(), scratch.numel(), torch.cuda.current_stream().cuda_stream, kernel,
    )  # fmt: skip
    return distances, ids


def range_on_device(rows: Any, base: Any, allow: Any, radius: int, bits: int) -> tuple[Any, Any, Any]:
    """lims int64 [nq + 1], distances int32 and ids int64 [lims[nq]]; the host waits for lims[nq]."""
    torch, native = sys.modules["torch"], _native.load()
    (nq, width), nb, on = rows.shape, len(base), {"device": rows.device}
    radius = min(radius, bits)
    lims = torch.empty(nq + 1, dtype=torch.int64, **on)
    scratch = torch.empty(
        native.hamming_range_cuda_scratch(nq, nb, width, radius, RANGE_SCRATCH), dtype=torch.uint8, **on
    )
    arguments = (
        rows.data_ptr(), nq, base.data_ptr(), nb, width, bits, address(allow), radius, scratch.data_ptr(),
        scratch.numel(), RANGE_SCRATCH, torch.cuda.current_stream().cuda_stream, lims.data_ptr(),
    )  # fmt: skip
    native.hamming_range_count_cuda(*arguments)
    hits = int(lims[-1])
    distances, ids = torch.empty(hits, dtype=torch.int32, **on), torch.empty(hits, dtype=torch.int64, **on)
    if hits:
        native.hamming_range_emit_cuda(*arguments, distances.data_ptr(), ids.data_ptr())
    return lims, distances, ids


def prepare(
    queries: Any, database: Any, bits: int | None, allow: Any, op: str, trusted: bool = False, device: Any = None
) -> Search:
    """Check everything, choose the device, where none is given, and bring the queries to it."""
    for x, name in ((queries, "queries"), (database, "database")):
        if _native.is_cuda(x) and not _native.is_torch(x):
            raise TypeError(f"{op}: on a GPU {name} must be a torch tensor, got {type(x).__name__}")
    device = _device(queries, database, op) if device is None else device
    resident = _native.is_cuda(database)
    base: Any = database if resident or _pinned(database) else _native.to_numpy(database, op, "database")
    rows = queries if _native.is_torch(queries) else _native.to_numpy(queries, op, "queries")
    bits = check_shapes(rows, base, bits, op)
    rows = on_device(_check_codes(rows, bits, op, "queries"), device).contiguous()
    if not (base.is_contiguous() if _native.is_torch(base) else base.flags.c_contiguous):
        raise ValueError(f"{op}: database must be C-contiguous to be searched in place; make it so once, outside")
    _check_dtype(base, bits, op, "database")
    return Search(rows, base, _mask(allow, len(base), device if resident else None, op), bits, device, op, trusted)


def like(result: Any, origin: Any) -> Any:
    """A tensor as the kind of array, and on the device, that origin is; a copy to the host waits for the device."""
    return result.to(origin.device) if _native.is_torch(origin) else result.cpu().numpy()


def _device(queries: Any, database: Any, op: str) -> Any:
    device = (database if _native.is_cuda(database) else queries).device
    why = _native.cuda_reason()
    if why is not None:
        raise RuntimeError(f"{op}: cannot search on {device}: {why}")
    return device


def _check_dtype(x: Any, bits: int, op: str, name: str) -> None:
    dtype, width = str(x.dtype).removeprefix("torch."), (bits + 7) // 8
    if dtype != "uint8":
        raise ValueError(f"{op}: {name} must be packed uint8, got {dtype} (pack them with fasthash.codes.pack)")
    if x.shape[1] != width:
        raise ValueError(f"{op}: {name} must be [n, {width}] for {bits} bits, got shape {tuple(x.shape)}")


def _check_codes(x: Any, bits: int, op: str, name: str) -> Any:
    """x itself; padding bits are checked where that costs no waiting."""
    if _native.is_cuda(x):
        _check_dtype(x, bits, op, name)
        return x
    return check_packed(x, bits, op, name)


def _pinned(x: Any) -> bool:
    return _native.is_torch(x) and not x.is_cuda and x.is_pinned()


def on_device(x: Any, device: Any) -> Any:
    """An array of any kind as a tensor there. A mapped one passes through memory a part at a time."""
    if _native.is_torch(x):
        return x.to(device)
    torch = sys.modules["torch"]
    result = torch.empty(x.shape, dtype=torch.from_numpy(np.empty(0, x.dtype)).dtype, device=device)
    step = max(_UPLOAD_BYTES // max(x[:1].nbytes, 1), 1)
    for start in range(0, len(x), step):
        result[start : start + step].copy_(torch.from_numpy(np.array(x[start : start + step])))
    return result


def _mask(allow: Any, nb: int, device: Any, op: str) -> Any:
    """allow as a packed bitmask on the device or, with None for it, on the host."""
    if allow is None or device is None or not _native.is_cuda(allow):
        mask = bitmask(allow, nb, op)
        return mask if mask is None or device is None else on_device(mask, device)
    check_allow(allow, nb, op)
    torch = sys.modules["torch"]
    allow = allow.to(device)
    if allow.dtype == torch.uint8:
        return allow.contiguous()
    return pack_bits(torch.nn.functional.pad(allow, (0, -nb % 8)))


def pack_bits(values: Any) -> Any:
    """np.packbits over the last axis, whose length is a multiple of 8, of a bool tensor."""
    torch = sys.modules["torch"]
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=values.device)  # made there: no copy to wait for
    return (values.unflatten(-1, (-1, 8)).to(torch.uint8) * weights).sum(dim=-1, dtype=torch.uint8)


def address(x: Any) -> int:
    """Of a tensor's first byte; 0 for None."""
    return 0 if x is None else int(x.data_ptr())
