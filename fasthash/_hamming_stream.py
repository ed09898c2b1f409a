"""A database on the host, of any size, searched on a CUDA device: it passes through in chunks, merged as they come.

Two sets of buffers take turns: while one chunk is searched, the next one is copied into pinned memory by this thread
and from there to the device on a stream of its own. A tensor that is pinned already is copied from where it lies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthash import _native
from fasthash.codes import check_packed

CHUNK_BYTES = 64 << 20  # of codes: some milliseconds on the bus, far more than a launch takes
PINNED = True  # copies from other memory would make this thread wait
_DISTANCES = 1 << 13  # more than there are


@dataclass(frozen=True)
class Search:
    """Checked codes. queries: uint8 [nq, width] on device; database: the same there, or on the host to be streamed."""

    queries: Any
    database: Any  # to be streamed: NumPy, or a pinned tensor
    allow: Any  # packed bitmask, where the database is, or None
    bits: int
    device: Any
    op: str
    trusted: bool  # padding bits of a database on the host need no check

    @property
    def streamed(self) -> bool:
        return not _native.is_torch(self.database) or not _native.is_cuda(self.database)


def plan(nb: int, width: int, chunk_bytes: int = CHUNK_BYTES) -> list[tuple[int, int]]:
    """The database as [start, stop) ranges of rows; a start is a multiple of 8, so that bitmasks are cut there too."""
    rows = max(chunk_bytes // width // 8 * 8, 8)
    return [(start, min(start + rows, nb)) for start in range(0, nb, rows)]


def merge(best: tuple[Any, Any] | None, part: tuple[Any, Any], k: int) -> tuple[Any, Any]:
    """The k best of two results for the same queries, each by (distance, id), where every id of part is the larger."""
    if best is None:
        return part
    torch = sys.modules["torch"]
    distances, ids = (torch.cat(pair, dim=1) for pair in zip(best, part, strict=True))
    distances, order = torch.sort(distances, dim=1, stable=True)  # stable: equal distances stay by id
    return distances[:, :k].contiguous(), ids.gather(1, order[:, :k])


def merge_ranges(parts: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """Range results (lims, distances, ids) for the same queries as one; the ids of each part are above those before."""
    if len(parts) == 1:
        return parts[0]
    torch = sys.modules["torch"]
    numbers = torch.arange(len(parts[0][0]) - 1, device=parts[0][0].device)
    rows = [numbers.repeat_interleave(lims.diff(), output_size=len(ids)) for lims, _, ids in parts]
    lims = torch.stack([lims for lims, _, _ in parts]).sum(dim=0)
    distances, ids = (torch.cat([part[i] for part in parts]) for i in (1, 2))
    order = torch.sort(torch.cat(rows) * _DISTANCES + distances, stable=True).indices
    return lims, distances[order], ids[order]


def topk(search: Search, k: int, run: Callable[..., tuple[Any, Any]]) -> tuple[Any, Any]:
    """distances, ids [nq, k] on the device; run(queries, database, allow, k, bits) searches one chunk."""
    torch = sys.modules["torch"]
    best: tuple[Any, Any] | None = None
    for start, codes, allow in _coded_chunks(search):
        distances, ids = run(search.queries, codes, allow, min(k, len(codes)), search.bits)
        best = merge(best, (distances, torch.where(ids < 0, ids, ids + start)), k)
    assert best is not None
    missing = k - best[0].shape[1]
    pad = torch.nn.functional.pad
    return pad(best[0], (0, missing), value=2147483647), pad(best[1], (0, missing), value=-1)


def range_search(search: Search, radius: int, run: Callable[..., tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """lims, distances, ids on the device; run(queries, database, allow, radius, bits) searches one chunk."""
    parts = []
    for start, codes, allow in _coded_chunks(search):
        lims, distances, ids = run(search.queries, codes, allow, radius, search.bits)
        parts.append((lims, distances, ids + start))
    return merge_ranges(parts)


def histogram(search: Search, labels: tuple[Any, Any] | None, run: Callable[..., tuple[Any, Any]]) -> tuple[Any, Any]:
    """counts, relevant on the device; run(queries, database, labels, bits) counts one chunk.

    labels: of the queries on the device, of the database int64 on the host or the device.
    """
    total: tuple[Any, Any] | None = None
    beside = [] if labels is None else [(labels[1], 1)]
    for _, codes, *chunk_labels in chunks(search, beside):
        part = run(search.queries, codes, (labels[0], chunk_labels[0]) if labels else None, search.bits)
        total = part if total is None else (total[0] + part[0], total[1] + part[1])
    assert total is not None
    return total


def chunks(search: Search, beside: Iterable[tuple[Any, int]] = ()) -> Iterator[tuple[Any, ...]]:
    """(start, codes, ...) of each chunk, on the device, good until the next one is asked for.

    beside: further arrays and how many codes one of their rows belongs to; their rows for the chunk follow the codes.
    """
    torch = sys.modules["torch"]
    parts = plan(len(search.database), search.database.shape[1])
    current, copier = torch.cuda.current_stream(), torch.cuda.Stream(search.device)
    copier.wait_stream(current)  # the device buffers may be memory that earlier work still uses
    sources = [(search.database, 1), *beside]
    slots = [_Slot(sources, parts[0][1], search.device) for _ in parts[:2]]
    try:
        slots[0].fill(*parts[0], copier, search)
        for i, (start, stop) in enumerate(parts):
            slot = slots[i % 2]
            if i + 1 < len(parts):
                slots[(i + 1) % 2].fill(*parts[i + 1], copier, search)
            current.wait_event(slot.copied)
            yield start, *slot.views(start, stop)
            slot.searched.record(current)
    finally:
        current.wait_stream(copier)  # the buffers are given back to the current stream
        if _native.is_torch(search.database):  # copied from where it lies: its owner may write there after the search
            for slot in slots:
                slot.copied.synchronize()


def _coded_chunks(search: Search) -> Iterator[tuple[int, Any, Any]]:
    """(start, codes, allow) of each chunk."""
    for start, codes, *allow in chunks(search, [] if search.allow is None else [(search.allow, 8)]):
        yield start, codes, allow[0] if allow else None


class _Slot:
    """One of the two sets of buffers, and the events after which it may be read or filled again."""

    def __init__(self, sources: list[tuple[Any, int]], rows: int, device: Any) -> None:
        torch = sys.modules["torch"]
        self._sources, self._host, self._device = sources, [], []
        for source, codes_per_row in sources:
            dtype = source.dtype if _native.is_torch(source) else torch.from_numpy(np.empty(0, source.dtype)).dtype
            shape = (-(-rows // codes_per_row), *source.shape[1:])
            self._host.append(None if _native.is_torch(source) else torch.empty(shape, dtype=dtype, pin_memory=PINNED))
            self._device.append(torch.empty(shape, dtype=dtype, device=device))
        self.copied, self.searched = torch.cuda.Event(), torch.cuda.Event()

    def fill(self, start: int, stop: int, copier: Any, search: Search) -> None:
        """Queue the copy of rows [start, stop); the host waits only while the buffer is still being copied from."""
        torch = sys.modules["torch"]
        if search.bits % 8 and not search.trusted:
            check_packed(search.database[start:stop], search.bits, search.op, f"database[{start}:{stop}]")
        self.copied.synchronize()
        copier.wait_event(self.searched)
        for (source, codes_per_row), host, device in zip(self._sources, self._host, self._device, strict=True):
            rows = source[start // codes_per_row : -(-stop // codes_per_row)]
            if host is not None:
                np.copyto(host.numpy()[: len(rows)], rows)
                rows = host[: len(rows)]
            with torch.cuda.stream(copier):
                device[: len(rows)].copy_(rows, non_blocking=True)
        self.copied.record(copier)

    def views(self, start: int, stop: int) -> list[Any]:
        pairs = zip(self._device, self._sources, strict=True)
        return [buffer[: -(-(stop - start) // codes_per_row)] for buffer, (_, codes_per_row) in pairs]
