"""The rows of an index in its folder: what the process of the index reads and changes by itself, without an actor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash.codes import check_packed
from fasthash.distributed.sharded import changes
from fasthash.distributed.sharded.folder import Folder
from fasthash.search import shard_order
from fasthash.search.shards import write_shards
from fasthash.search.snapshot import MAX_ID, check_ids, read_only, sorted_by_id

_FILE_ROWS = 1 << 24  # of a file that ``save`` writes, at most


class StoredRows:
    """The part of ``BinaryIndex``'s interface that is about rows."""

    _folder: Folder
    _read_only: bool

    def __len__(self) -> int:
        return self._folder.version.size

    @property
    def bits(self) -> int:
        """Code length."""
        return self._folder.bits

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder.path

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self._folder.version.layout)

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [n], ascending, read-only; 8 bytes a code, made on demand."""
        parts = [ids for ids, _ in self.batches(1 << 20)]
        return read_only(np.concatenate(parts) if parts else np.empty(0, np.int64))

    def batches(self, size: int = 65536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """The rows as they are now by ascending id, read from the folder: as ``fasthash.search.Shards.batches``."""
        step = whole_number(size, 1, MAX_ID, f"{type(self).__name__}.batches", "size")
        rows = self._folder.version.rows
        return (
            (read_only(shard_order.ids_of(rows, window)), read_only(shard_order.codes_of(rows, window)))
            for window in shard_order.windows(rows, step)
        )

    def add(self, packed: Any, ids: Any = None) -> None:
        """Add codes, to the shards that have fewest; all of them or, on an error, none. On disk when it returns.

        Args, Raises: as ``BinaryIndex.add``; OSError when the disk is full, ..., and then nothing has changed.
        """
        op = self._check_writable("add")
        codes = check_packed(packed, self.bits, op, "packed")
        if len(codes) == 0:
            raise ValueError(f"{op}: packed must have at least one row, got an empty array")
        given = None
        if ids is not None:
            codes, given = sorted_by_id(codes, check_ids(ids, op, len(codes), "packed"), op)
        with self._folder.changing:
            version = self._folder.version
            start = max((rows.next_id() for rows in version.rows), default=0)
            if given is None:
                if start + len(codes) > MAX_ID:
                    raise ValueError(f"{op}: no ids are left after {start - 1}; give ids")
                given = np.arange(start, start + len(codes), dtype=np.int64)
            elif given[0] < start:
                taken = given[~changes.missing(version.layout, given)]
                if len(taken):
                    raise ValueError(f"{op}: id {taken[0]} is already in the index")
            self._folder.commit(changes.added(version.layout, codes, given))

    def update(self, ids: Any, packed: Any) -> None:
        """Give ids other codes; all of them or, on an error, none. On disk when it returns.

        Costs writing every file that has one of them: update many at once.

        Args, Raises: as ``BinaryIndex.update``; OSError when the disk is full, ..., and then nothing has changed.
        """
        op = self._check_writable("update")
        codes = check_packed(packed, self.bits, op, "packed")
        codes, given = sorted_by_id(codes, check_ids(ids, op, len(codes), "packed"), op)
        with self._folder.changing:
            layout = self._folder.version.layout
            self._refuse_missing(given, op)
            self._folder.commit(changes.updated(layout, codes, given))

    def remove(self, ids: Any) -> None:
        """Remove codes; all of them or, on an error, none. On disk when it returns.

        Costs writing every file that has one of them: remove many at once.

        Args, Raises: as ``BinaryIndex.remove``; OSError when the disk is full, ..., and then nothing has changed.
        """
        op = self._check_writable("remove")
        gone = check_ids(ids, op)
        with self._folder.changing:
            self._refuse_missing(gone, op)
            self._folder.commit(changes.removed(self._folder.version.layout, gone))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new folder of shards with these rows by ascending id, at least a file for each shard.

        Raises: as ``fasthash.search.write_shards``.
        """
        size = min(_FILE_ROWS, max(1, -(-len(self) // self.shards)))
        write_shards(path, self.batches(1 << 20), self.bits, rows_per_shard=size)

    def _check_writable(self, method: str) -> str:
        """The caller's name for errors."""
        op = f"{type(self).__name__}.{method}"
        self._check_open(op)
        if self._read_only:
            raise RuntimeError(f"{op}: the index is mapped from its folder, read-only; load it with mmap=False")
        return op

    def _refuse_missing(self, ids: NDArray[np.int64], op: str) -> None:
        missing = changes.missing(self._folder.version.layout, ids)
        if missing.any():
            raise ValueError(f"{op}: id {ids[missing.argmax()]} is not in the index")

    def _check_open(self, op: str) -> None:
        """RuntimeError after ``close``."""
        raise NotImplementedError
