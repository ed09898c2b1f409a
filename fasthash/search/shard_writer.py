"""Writing a folder of shards from a stream of rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._files import locked_folder
from fasthash._native import to_numpy
from fasthash.codes import check_bits, check_packed, packed_width
from fasthash.search import storage
from fasthash.search.index import BinaryIndex
from fasthash.search.shard_files import (
    LIST,
    ShardEntry,
    ShardList,
    is_folder_of_shards,
    open_shard,
    read_shard_list,
    shard_entry,
    shard_file,
    shard_number,
    write_shard_list,
)
from fasthash.search.snapshot import MAX_ID, check_ids, grown, sorted_by_id

if TYPE_CHECKING:
    from fasthash.features._progress import Progress

_SHARD_BYTES = 1 << 28  # of codes and ids
Opened = TypeVar("Opened")


def write(
    folder: str | os.PathLike[str],
    rows: Iterable[Any],
    bits: int,
    rows_per_shard: int | None,
    overwrite: bool,
    count: int | None,
    progress: Progress,
    opened: Callable[[Path, int, Sequence[BinaryIndex], str], Opened],
) -> Opened:
    """What ``write_shards`` does; ``opened`` makes of folder, bits, indexes and the caller's name what it returns."""
    op = "write_shards"
    bits = check_bits(bits, op)
    size = rows_of_a_shard(bits)
    if rows_per_shard is not None:
        size = whole_number(rows_per_shard, 1, MAX_ID, op, "rows_per_shard")
    total = 0 if count is None else whole_number(count, 0, MAX_ID, op, "count")
    if isinstance(rows, np.ndarray) or not isinstance(rows, Iterable):
        raise TypeError(f"{op}: rows must be an iterable of blocks, got {type(rows).__name__}")
    from fasthash.features._progress import progress_bar  # late: extractors of features come with it

    with progress_bar("shards", total, progress) as report, _Writer(Path(folder), bits, size, overwrite) as writer:
        for i, block in enumerate(rows):
            writer.add(*_block(block, i, bits, writer.next_id))
            report(writer.count)
        return writer.finish(opened)


def rows_of_a_shard(bits: int) -> int:
    """How many rows a shard has unless told otherwise."""
    return max(1, _SHARD_BYTES // (packed_width(bits) + 8))


def _block(block: Any, i: int, bits: int, start: int) -> tuple[Any, Any]:
    """ids and codes of a block."""
    op = "write_shards"
    pair = isinstance(block, (tuple, list))
    if pair and len(block) != 2:
        raise TypeError(f"{op}: rows[{i}] must be packed codes or a pair (ids, codes), got {len(block)} values")
    codes = check_packed(to_numpy(block[1] if pair else block, op, f"rows[{i}]"), bits, op, f"rows[{i}]")
    if pair:
        return check_ids(block[0], op, len(codes), f"codes of rows[{i}]"), codes
    if start + len(codes) > MAX_ID:
        raise ValueError(f"{op}: no ids are left after {start - 1}; give ids")
    return np.arange(start, start + len(codes), dtype=np.int64), codes


class _Writer:
    """Collects rows and writes every ``size`` of them; what was written is removed again unless it is finished."""

    def __init__(self, folder: Path, bits: int, size: int, overwrite: bool) -> None:
        self._folder, self._bits, self._size, self._overwrite = folder, bits, size, overwrite
        self._refuse_existing()
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"write_shards: folder must be one or not yet exist, got the file {folder}")
        if not folder.parent.is_dir():
            raise FileNotFoundError(f"write_shards: the folder {folder.parent} does not exist")
        self.count = self.next_id = 0
        self._entries: list[ShardEntry] = []
        self._written: list[str] = []  # files, before the first byte of each
        self._used = 0
        self._codes = np.empty((0, packed_width(bits)), np.uint8)
        self._ids = np.empty(0, np.int64)

    def __enter__(self) -> _Writer:
        self._made = not self._folder.is_dir()
        self._folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            refusal = f"write_shards: somebody else is writing shards into {self._folder}"
            stack.enter_context(locked_folder(self._folder, refusal))
            self._refuse_existing()  # whoever held the lock may have made it
            self._lock = stack.pop_all()
        # The old shards stay as they are until shards.json no longer names them: the new ones have other names.
        there = [shard_number(file) for file in os.listdir(self._folder)] if is_folder_of_shards(self._folder) else []
        self._first = 1 + max((number for number in there if number is not None), default=-1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            if kind is not None:
                self._undo()

    def _undo(self) -> None:
        kept: set[str] = set()  # an interrupt may come when the list is in its place already
        with contextlib.suppress(OSError, ValueError):
            kept.update(entry.file for entry in read_shard_list(self._folder).shards)
        for file in self._written:
            if file not in kept:
                (self._folder / file).unlink(missing_ok=True)
        if self._made:
            with contextlib.suppress(OSError):  # somebody else has put a file there
                self._folder.rmdir()

    def _refuse_existing(self) -> None:
        if is_folder_of_shards(self._folder) and not self._overwrite:
            there = f"{self._folder} has a {LIST} already"
            raise FileExistsError(f"write_shards: {there}; give overwrite=True to replace it")

    def add(self, ids: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
        """Take rows, and write every shard that they fill."""
        if len(ids):
            self.next_id = max(self.next_id, int(ids.max()) + 1)
        begin = 0
        while begin < len(ids):
            end = min(len(ids), begin + self._size - self._used)
            total = self._used + end - begin
            self._codes, self._ids = (grown(array, self._used, total) for array in (self._codes, self._ids))
            self._codes[self._used : total], self._ids[self._used : total] = codes[begin:end], ids[begin:end]
            self._used, begin = total, end
            if self._used == self._size:
                self._write()
        self.count += len(ids)

    def _write(self) -> None:
        codes, ids = sorted_by_id(self._codes[: self._used], self._ids[: self._used], "write_shards")
        path = self._folder / shard_file(self._first + len(self._entries))
        first = int(ids[0])
        # As they ascend, there is no need to list them; but no file says that it ends with the largest of all.
        in_a_row = ids[-1] - first == len(ids) - 1 and first + len(ids) <= MAX_ID
        self._written.append(path.name)
        storage.write(path, self._bits, codes, None if in_a_row else ids, first=first if in_a_row else 0)
        self._entries.append(shard_entry(path))
        self._used = 0

    def finish(self, opened: Callable[[Path, int, Sequence[BinaryIndex], str], Opened]) -> Opened:
        """Write what is left, open it all, and write ``shards.json``."""
        if self._used:
            self._write()
        listed = ShardList(self._bits, tuple(self._entries))
        indexes = [open_shard(self._folder, self._bits, entry) for entry in self._entries]
        shards = opened(self._folder, self._bits, indexes, "write_shards")
        write_shard_list(self._folder, listed)
        named = {entry.file for entry in listed.shards}
        for file in os.listdir(self._folder):  # of the folder as it was, or of a writer that was killed
            left = shard_number(file) is not None and file not in named
            if left or (file.startswith(".fasthash-") and file.endswith(".tmp")):
                (self._folder / file).unlink(missing_ok=True)
        return shards
