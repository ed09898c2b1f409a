"""Tables over substrings of codes, and the searches through them: the layout, then the native engine. NumPy alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import _native
from fasthash._arguments import thread_count, whole_number
from fasthash._hamming import MAX_K, make_search
from fasthash.codes import MAX_BITS

MAX_TABLES = 64
MAX_WIDTH = 24  # bits of a substring: 64 MiB of offsets
MAX_ROWS = 2**32 - 1
COPY_BITS = 128  # codes up to this long stand in every table again unless told otherwise

# Measured at 1 and 10 million clustered codes: a bucket of about 2^5 codes side by side costs as much to look up as to
# compare; of codes that must be fetched one by one about 2^2 do.
_BUCKET_BITS = {True: 5, False: 2}
_MIN_WIDTH = 8
_CHOSEN_TABLES = 32  # at most, unless told otherwise

_patience = 1.0

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Tables:
    """One table for each substring: the codes sorted by it."""

    starts: tuple[int, ...]  # first bit of each substring
    widths: tuple[int, ...]  # and its bits
    # [sum(2^width + 1)] of table after table: bucket b is rows[offsets[b] : offsets[b + 1]]
    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint32]  # [tables, n], within a bucket ascending
    codes: NDArray[np.uint64] | None  # [tables, n, ceil(bits / 64)] the codes in the order of rows, zero padded

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.offsets.nbytes + self.rows.nbytes + (0 if self.codes is None else self.codes.nbytes)

    @cached_property
    def native(self) -> Any:
        """The tables as searches of the native module take them; it points into the arrays."""
        return _native.load().SubstringTables(self.addresses())

    def addresses(self) -> list[tuple[int, int, int, int, int]]:
        """start, width and the addresses of offsets, rows and codes of each table."""
        places = np.cumsum([0, *((1 << width) + 1 for width in self.widths)])
        return [
            (
                start, width, _native.address(self.offsets[places[t] :]), _native.address(self.rows[t]),
                0 if self.codes is None else _native.address(self.codes[t]),
            )
            for t, (start, width) in enumerate(zip(self.starts, self.widths, strict=True))
        ]  # fmt: skip


@contextmanager
def use_patience(value: float) -> Iterator[None]:
    """Inside the ``with`` block a query stays with the tables for ``value`` times a scan's cost (tests, benchmarks).

    0 sends every query to the scan, infinity none.
    """
    global _patience
    before, _patience = _patience, value
    try:
        yield
    finally:
        _patience = before


def layout(bits: int, count: int, tables: int | None, copies: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First bit and width of each substring: even shares of the code, and of a share what ``count`` codes repay."""
    depth = math.log2(max(count, 2))
    if tables is None:
        width = min(max(depth - _BUCKET_BITS[copies], _MIN_WIDTH), MAX_WIDTH)
        tables = min(max(round(bits / width), 1), _CHOSEN_TABLES)
    tables = min(tables, bits)
    ends = [bits * t // tables for t in range(tables + 1)]
    most = min(max(math.ceil(depth), _MIN_WIDTH), MAX_WIDTH)
    return tuple(ends[:-1]), tuple(min(end - start, most) for start, end in pairwise(ends))


def offsets_size(widths: tuple[int, ...]) -> int:
    """Numbers in the offsets of all tables."""
    return sum((1 << width) + 1 for width in widths)


def build(
    codes: NDArray[np.uint8],
    bits: int,
    tables: int | None,
    copies: bool,
    threads: int | None,
    progress: Progress | None,
    op: str,
) -> Tables:
    """The tables over these rows; ``op`` names the caller in errors."""
    count, width = codes.shape
    if count > MAX_ROWS:
        raise ValueError(f"{op}: tables hold up to {MAX_ROWS} codes, got {count}")
    workers = thread_count(threads, op)
    starts, widths = layout(bits, count, tables, copies)
    built = Tables(
        starts,
        widths,
        np.empty(offsets_size(widths), np.uint32),
        np.empty((len(widths), count), np.uint32),
        np.empty((len(widths), count, (width + 7) // 8), np.uint64) if copies else None,
    )
    scratch = np.empty(count * (1 + (width + 7) // 8 if copies else 1), np.uint64)
    for done, (start, size, *arrays) in enumerate(built.addresses()):
        if progress is not None:
            progress(done, len(widths))
        _native.load().multi_index_build(
            _native.address(codes), count, width, start, size, workers, _native.address(scratch), *arrays
        )
    if progress is not None:
        progress(len(widths), len(widths))
    return built


def topk(
    queries: Any, database: NDArray[np.uint8], tables: Tables, k: int, *, bits: int, allow: Any, threads: Any, op: str
) -> tuple[NDArray[np.int32], NDArray[np.int64], Any]:
    """``_hamming.topk`` through the tables; also what they did for it (csrc/multi_index.h: MultiIndexStats)."""
    k = whole_number(k, 1, MAX_K, op, "k")
    search, arrays = make_search(queries, database, bits, allow, threads, op, True)
    distances = np.empty((len(arrays[0]), k), np.int32)
    ids = np.empty((len(arrays[0]), k), np.int64)
    stats = _native.load().multi_index_topk(
        search, tables.native, _patience, k, _native.address(distances), _native.address(ids)
    )
    return distances, ids, stats


def range_search(
    queries: Any, database: NDArray[np.uint8], tables: Tables, radius: int, *,
    bits: int, allow: Any, threads: Any, op: str,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], Any]:  # fmt: skip
    """``_hamming.range_search`` through the tables; also what they did for it."""
    radius = whole_number(radius, 0, sys.maxsize, op, "radius")
    search, arrays = make_search(queries, database, bits, allow, threads, op, True)
    hits, stats = _native.load().multi_index_range(search, tables.native, _patience, min(radius, MAX_BITS))
    lims = np.empty(len(arrays[0]) + 1, np.int64)
    hits.lims(_native.address(lims))
    distances, ids = np.empty(lims[-1], np.int32), np.empty(lims[-1], np.int64)
    hits.take(_native.address(distances), _native.address(ids))
    return lims, distances, ids, stats
