"""An exact index: packed codes with ids, in memory or in a mapped file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import _hamming
from fasthash._native import like, to_numpy
from fasthash.codes import check_bits, check_packed, packed_width
from fasthash.search import storage

_MAX_ID = 2**63 - 1


class BinaryIndex:
    """Exact scan over codes with ids of your own.

    Rows are kept in ascending order of id, whatever the order they were added in, so that equal distances come by
    ascending id at no cost. Adding ids larger than all before is cheap (amortised growth); ids in between move the
    rows behind them. Not to be changed by one thread while another searches.
    """

    def __init__(self, bits: int) -> None:
        """An empty index for codes of this length, 1 to 4096."""
        self._bits = check_bits(bits, "BinaryIndex")
        self._codes: NDArray[np.uint8] = np.empty((0, packed_width(self._bits)), np.uint8)  # [capacity, width]
        self._ids: NDArray[np.int64] | None = None  # [capacity]; None: row i has id i
        self._count = 0
        self._mapped = False

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        where = ", mapped" if self._mapped else ""
        return f"BinaryIndex(bits={self._bits}, codes={self._count}{where})"

    @property
    def bits(self) -> int:
        """Code length."""
        return self._bits

    @property
    def codes(self) -> NDArray[np.uint8]:
        """uint8 [n, ceil(bits / 8)], in the order of ``ids``; a read-only view, never a copy.

        Good until the next add or remove."""
        return _read_only(self._codes[: self._count])

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [n], ascending; a read-only view (made on demand while the ids are 0, 1, 2, ...)."""
        return _read_only(np.arange(self._count, dtype=np.int64) if self._ids is None else self._ids[: self._count])

    def add(self, packed: Any, ids: Any = None) -> None:
        """Add codes; all of them or, on an error, none.

        Args:
            packed: uint8 [n, ceil(bits / 8)], n >= 1.
            ids: int64 [n], >= 0, no two alike and none in the index; None continues after the largest one.
        Raises:
            ValueError: wrong shapes or dtypes, a non-zero padding bit, or an id that is negative or already taken.
            RuntimeError: the index is mapped from a file.
        """
        self._check_writable("add")
        rows = check_packed(packed, self._bits, "BinaryIndex.add", "packed")
        if len(rows) == 0:
            raise ValueError("BinaryIndex.add: packed must have at least one row, got an empty array")
        if ids is None:
            start = self._next_id()
            if start + len(rows) > _MAX_ID:
                raise ValueError(f"BinaryIndex.add: no ids are left after {start - 1}; give ids")
            new = np.arange(start, start + len(rows), dtype=np.int64)
        else:
            new = _check_ids(ids, "add")
            if len(new) != len(rows):
                raise ValueError(f"BinaryIndex.add: ids must be int64 [{len(rows)}] like packed, got shape {new.shape}")
        order = None if _ascending(new) else np.argsort(new, kind="stable")
        if order is not None:
            rows, new = rows[order], new[order]
            self._refuse_taken(new[1:][new[1:] == new[:-1]], "twice in ids")
        if new[0] >= self._next_id():
            self._append(rows, new)
        else:
            self._insert(rows, new)

    def remove(self, ids: Any) -> None:
        """Remove codes; all of them or, on an error, none.

        Costs a copy of every code and id that stays, however few are removed: remove many at once.

        Args:
            ids: int64 [m], all in the index; naming one twice is the same as once.
        Raises:
            ValueError: an id is not in the index: the first such one is named.
            RuntimeError: the index is mapped from a file.
        """
        self._check_writable("remove")
        gone = _check_ids(ids, "remove")
        missing = ~self._contains(gone)
        if missing.any():
            raise ValueError(f"BinaryIndex.remove: id {gone[missing.argmax()]} is not in the index")
        keep = np.ones(self._count, np.bool_)
        keep[np.searchsorted(self.ids, gone)] = False
        kept = self.ids[keep]
        self._codes[: len(kept)] = self._codes[: self._count][keep]
        self._ids, self._count = kept, len(kept)

    def search(self, queries: Any, k: int, allow: Any = None, threads: int | None = None) -> tuple[Any, Any]:
        """The k nearest codes of each query, by (distance, id) ascending.

        Args, Returns, Raises: as ``fasthash.search.knn``, with this index's ids instead of rows. ``allow`` is bool [n]
        or a packed bitmask, in the order of ``ids``. ValueError when the index is empty.
        """
        distances, rows = _hamming.topk(
            self._queries(queries, "search"), self._base("search"), k,
            bits=self._bits, allow=allow, threads=threads, op="BinaryIndex.search", trusted=True,
        )  # fmt: skip
        return like(distances, queries), like(self._to_ids(rows), queries)

    def range_search(
        self, queries: Any, radius: int, allow: Any = None, threads: int | None = None
    ) -> tuple[Any, Any, Any]:
        """Every code at distance <= radius: as ``fasthash.search.range_search``, with this index's ids."""
        lims, distances, rows = _hamming.range_search(
            self._queries(queries, "range_search"), self._base("range_search"), radius,
            bits=self._bits, allow=allow, threads=threads, op="BinaryIndex.range_search", trusted=True,
        )  # fmt: skip
        return like(lims, queries), like(distances, queries), like(self._to_ids(rows), queries)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as one safetensors file, whole or not at all; ``load`` reads it.

        Raises:
            OSError: the folder does not exist, the disk is full, ...; an older file at ``path`` is then untouched.
        """
        storage.write(path, self._bits, self.codes, None if self._ids is None else self.ids)

    def _base(self, op: str) -> NDArray[np.uint8]:
        if self._count == 0:
            raise ValueError(f"BinaryIndex.{op}: the index is empty; add codes first")
        return self._codes[: self._count]

    def _queries(self, queries: Any, op: str) -> NDArray[Any]:
        return to_numpy(queries, f"BinaryIndex.{op}", "queries")  # the codes are on the CPU: the queries come to them

    def _to_ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows if self._ids is None else np.where(rows < 0, _hamming.NO_ID, self._ids[rows])

    def _next_id(self) -> int:
        if self._count == 0:
            return 0
        return self._count if self._ids is None else int(self._ids[self._count - 1]) + 1

    def _contains(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self._ids is None:
            return ids < self._count
        mine = self.ids
        at = np.searchsorted(mine, ids)
        return (at < len(mine)) & (mine[np.minimum(at, len(mine) - 1)] == ids) if len(mine) else at < 0

    def _refuse_taken(self, taken: NDArray[np.int64], where: str) -> None:
        if len(taken):
            raise ValueError(f"BinaryIndex.add: id {taken[0]} is {where}")

    def _check_writable(self, op: str) -> None:
        if self._mapped:
            raise RuntimeError(f"BinaryIndex.{op}: the index is mapped from a file, read-only; load it with mmap=False")

    def _append(self, rows: NDArray[np.uint8], ids: NDArray[np.int64]) -> None:
        total = self._count + len(rows)
        if self._ids is None and ids[0] == self._count and ids[-1] == total - 1:
            new_ids = None
        else:
            new_ids = _grown(self.ids if self._ids is None else self._ids, self._count, total)
            new_ids[self._count : total] = ids
        self._codes = _grown(self._codes, self._count, total)
        self._codes[self._count : total] = rows
        self._ids, self._count = new_ids, total

    def _insert(self, rows: NDArray[np.uint8], ids: NDArray[np.int64]) -> None:
        self._refuse_taken(ids[self._contains(ids)], "already in the index")
        at = np.searchsorted(self.ids, ids)
        codes, all_ids = np.insert(self.codes, at, rows, axis=0), np.insert(self.ids, at, ids)
        self._codes, self._ids, self._count = codes, all_ids, len(all_ids)


def load(path: str | os.PathLike[str], mmap: bool = True, verify: bool | None = None) -> BinaryIndex:
    """An index written by ``BinaryIndex.save``.

    Args:
        path: the file.
        mmap: map the file and search it in place, read-only: it may be larger than memory, and opening it reads the
            header and the ids (8 bytes a code; none while the ids are 0, 1, 2, ...) alone. The codes are then trusted:
            padding bits that are not zero would count in the distances. False: read it into memory; it can then be
            changed.
        verify: read everything once and check checksum and padding bits. None: only with mmap=False. Whether the ids
            ascend is always checked.
    Raises:
        FileNotFoundError: no such file.
        ValueError: not an index file, truncated, damaged, or of a newer version; one line says which.
    """
    stored = storage.read(path, mmap=mmap, verify=not mmap if verify is None else verify)
    index = BinaryIndex(stored.bits)
    index._codes, index._ids, index._count, index._mapped = stored.codes, stored.ids, len(stored.codes), mmap
    return index


def _check_ids(ids: Any, op: str) -> NDArray[np.int64]:
    values = to_numpy(ids, f"BinaryIndex.{op}", "ids")
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"BinaryIndex.{op}: ids must be int64 [n], got {values.dtype} {values.shape}")
    if values.dtype == np.uint64 and len(values) and values.max() > _MAX_ID:
        raise ValueError(f"BinaryIndex.{op}: ids must fit int64, got {values.max()}")
    if len(values) and values.min() < 0:
        raise ValueError(f"BinaryIndex.{op}: ids must not be negative, got {values.min()}")
    return values.astype(np.int64, copy=False)


def _ascending(ids: NDArray[np.int64]) -> bool:
    return bool((ids[1:] > ids[:-1]).all())


def _grown(buffer: NDArray[Any], used: int, total: int) -> NDArray[Any]:
    """A buffer of at least ``total`` rows that begins with the first ``used`` of this one; this one if it is enough."""
    if len(buffer) >= total and buffer.flags.writeable:
        return buffer
    larger = np.empty((max(total, used + used // 2), *buffer.shape[1:]), buffer.dtype)
    larger[:used] = buffer[:used]
    return larger


def _read_only(view: NDArray[Any]) -> NDArray[Any]:
    view = view.view()
    view.flags.writeable = False
    return view
