"""The folder of an index: its versions, one after the other, each on disk before anybody sees it.

A change writes new files beside the old ones, then ``shards.json``, whole or not at all: that moment makes it, in all
shards at once. What fails before it leaves everything as it was. Files of a version are removed when it is no longer
the last one and no question is being asked about it.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fasthash._files import locked_folder
from fasthash.distributed.sharded.changes import Change, Layout, Segment, spread
from fasthash.search import storage
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
from fasthash.search.shards import Shards, open_shards
from fasthash.search.snapshot import Snapshot

_WRITERS = 4  # files written at once
_TEMPORARY = re.compile(r"\.fasthash-[0-9a-f]{16}\.tmp")


@dataclass(frozen=True, eq=False)
class Version:
    """The files of every shard at one moment."""

    number: int
    layout: Layout

    @property
    def segments(self) -> list[Segment]:
        """All files, shard by shard."""
        return [segment for segments in self.layout for segment in segments]

    @property
    def rows(self) -> list[Snapshot]:
        """Those of ``segments``."""
        return [segment.rows for segment in self.segments]

    @property
    def size(self) -> int:
        """Rows of all shards."""
        return sum(rows.size for rows in self.rows)

    def files(self, shard: int) -> tuple[ShardEntry, ...]:
        """What ``shards.json`` says of the files of a shard."""
        return tuple(segment.entry for segment in self.layout[shard])


class Folder:
    """A folder of shards that one index reads, and writes if it may. ``changing`` is held by whoever changes it."""

    def __init__(self, path: Path, bits: int, layout: Layout, lock: ExitStack) -> None:
        self.path, self.bits = path, bits
        self.changing = threading.Lock()
        self._lock, self._state, self._closed = lock, threading.Lock(), False
        self._version = Version(0, layout)
        self._readers: Counter[Version] = Counter()
        self._retired: set[str] = set()
        self._read: ShardList | None = None  # ``shards.json`` when it was opened
        self._left_out: set[str] = set()  # files that are listed, but without rows: gone with the next version
        self._next = 1 + max(_numbers(path), default=-1)

    @classmethod
    def made(cls, path: Path, bits: int, shards: int) -> Folder:
        """A new folder of shards without rows, where there is none.

        Raises:
            FileExistsError: there is one.
        """
        lock = ExitStack() if is_folder_of_shards(path) else _locked(path)
        if is_folder_of_shards(path):  # looked at again: another process may have made it before the lock was taken
            lock.close()
            raise FileExistsError(f"ShardedIndex: {path} is a folder of shards already; open it with ShardedIndex.load")
        write_shard_list(path, ShardList(bits, ()))
        return cls(path, bits, ((),) * shards, lock)

    @classmethod
    def opened(cls, path: Path, shards: int | None, most: int, writable: bool) -> Folder:
        """A folder that is there; what a writer that was killed left behind is removed when it is to be written.

        shards: None for one a file, ``most`` of them at most.
        """
        lock = _locked(path) if writable and is_folder_of_shards(path) else ExitStack()
        try:
            listed, opened = _listed_and_opened(path)
        except BaseException:
            lock.close()
            raise
        rows = {entry: index._rows for entry, index in zip(listed.shards, opened.indexes, strict=True)}
        entries = [entry for entry in listed.shards if entry.count]
        count = max(1, min(len(entries), most)) if shards is None else shards
        layout = tuple(tuple(Segment(x, rows[x]) for x in some) for some in spread(entries, count))
        if writable:
            named = {entry.file for entry in listed.shards}
            for file in map(shard_file, _numbers(path)):
                if file not in named:
                    (path / file).unlink(missing_ok=True)
            for file in os.listdir(path):
                if _TEMPORARY.fullmatch(file):  # of ``replace_file``
                    (path / file).unlink(missing_ok=True)
        folder = cls(path, listed.bits, layout, lock)
        folder._read = listed
        folder._left_out = {entry.file for entry in listed.shards if not entry.count}
        return folder

    @property
    def version(self) -> Version:
        """The last one."""
        return self._version

    def is_last(self) -> bool:
        """Whether nobody has changed the folder since it was opened."""
        return read_shard_list(self.path) == self._read

    @contextmanager
    def reading(self) -> Iterator[Version]:
        """The last version, whose files stay until the end of the block."""
        with self._state:
            version = self._version
            self._readers[version] += 1
        try:
            yield version
        finally:
            with self._state:
                self._readers[version] -= 1
                self._sweep()

    def commit(self, changes: Sequence[Change]) -> None:
        """Write the files of the changes and make them the next version: all of them or, on an error, none.

        Raises:
            OSError: the disk is full, ...; nothing has changed. Of the last sync alone it comes when the change is made
                already, though a power cut might undo it whole.
        """
        if self._closed:
            raise RuntimeError("ShardedIndex: the index is closed")
        if not changes:
            return
        names = [shard_file(self._next + i) for i in range(len(changes))]
        self._next += len(changes)
        listed = None
        try:
            with ThreadPoolExecutor(_WRITERS) as pool:
                made = list(pool.map(self._written, names, [change.rows for change in changes]))
            layout = _changed(self._version.layout, changes, made)
            _sync(self.path)
            listed = ShardList(self.bits, tuple(x.entry for segments in layout for x in segments))
            write_shard_list(self.path, listed)
        except BaseException:
            if listed is None or read_shard_list(self.path) != listed:
                for name in names:
                    (self.path / name).unlink(missing_ok=True)
            else:  # an interrupt that came when the list was in its place already: the change is made
                self._adopt(layout)
            raise
        self._adopt(layout)
        _sync(self.path)

    def _adopt(self, layout: Layout) -> None:
        with self._state:
            self._retired |= self._left_out | {segment.entry.file for segment in self._version.segments}
            self._version, self._left_out = Version(self._version.number + 1, layout), set()
            self._sweep()

    def _written(self, name: str, rows: Snapshot) -> Segment | None:
        if rows.size == 0:
            return None
        path, first = self.path / name, int(rows.ids_between(0, 1)[0])
        in_a_row = rows.next_id() - first == rows.size  # as they ascend: no need to list them
        storage.write(path, self.bits, rows.codes, None if in_a_row else rows.ids, first=first if in_a_row else 0)
        entry = shard_entry(path)
        return Segment(entry, open_shard(self.path, self.bits, entry)._rows)

    def _sweep(self) -> None:
        self._readers += Counter()  # without those that are at 0
        used = {segment.entry.file for version in (self._version, *self._readers) for segment in version.segments}
        for file in self._retired - used:
            (self.path / file).unlink(missing_ok=True)
        self._retired &= used

    def discard(self) -> None:
        """Undo ``made``, and close: the folder is as it was, but there."""
        (self.path / LIST).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others write it, once a change that is being made is made; there is none afterwards."""
        with self.changing:
            self._closed = True
            self._lock.close()


def _changed(layout: Layout, changes: Sequence[Change], made: Sequence[Segment | None]) -> Layout:
    found = [list(segments) for segments in layout]
    for change, segment in zip(changes, made, strict=True):
        dropped = {old.entry.file for old in change.dropped}
        kept = [old for old in found[change.shard] if old.entry.file not in dropped]
        found[change.shard] = kept + ([] if segment is None else [segment])
    return tuple(map(tuple, found))


def _numbers(path: Path) -> list[int]:
    return [number for file in os.listdir(path) if (number := shard_number(file)) is not None]


def _sync(path: Path) -> None:
    """Make the folder's list of files durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locked(path: Path) -> ExitStack:
    """Nobody else writes the folder, as index or by ``write_shards``, until this is closed or its process ends.

    Raises:
        RuntimeError: somebody else does.
    """
    lock = ExitStack()
    lock.enter_context(locked_folder(path, f"ShardedIndex: {path} is open for changes already, here or elsewhere"))
    return lock


def _listed_and_opened(path: Path) -> tuple[ShardList, Shards]:
    """``shards.json`` and the files of that very list, whoever replaces it meanwhile."""
    while True:
        listed, opened = read_shard_list(path), open_shards(path)
        if read_shard_list(path) == listed:
            return listed, opened
