"""What runs in an actor: one replica of a shard, which reads the shard's files and answers for them.

It keeps nothing that is not in the files: one that is lost is replaced by another that opens them. Every question names
the files that it is about, so that an answer is always of one state of the whole index, however old the actor's own is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash import _hamming
from fasthash._histogram import Evaluation
from fasthash.search.hits import merge_range, merge_topk
from fasthash.search.index import to_ids
from fasthash.search.shard_files import ShardEntry, open_shard
from fasthash.search.snapshot import Snapshot


class _File(NamedTuple):
    """A file of the shard, and how long it is; the handle tells whether it still is."""

    rows: Snapshot
    handle: BinaryIO
    size: int

    def whole(self) -> bool:
        """Whether nobody has cut the file short, whose lost bytes would be zeros, or the end of this process."""
        return os.fstat(self.handle.fileno()).st_size == self.size


Masks = Sequence[NDArray[np.uint8]] | None  # one packed bitmask a file


class ShardUnreadable(Exception):
    """A file of the shard is missing, damaged, or another than it should be; the text names it."""


class ShardReader:
    """The rows of one shard; any number of threads may ask."""

    def __init__(self, folder: str, bits: int, mmap: bool) -> None:
        self._folder, self._bits, self._mmap = folder, bits, mmap
        self._open: dict[ShardEntry, _File] = {}
        self._newest = -1
        self._lock = threading.Lock()

    def about(self) -> tuple[str, int]:
        """The node's id in hex and the process id."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def open(self, version: int, files: Sequence[ShardEntry]) -> str:
        """Open the files; the node's id in hex."""
        with self._rows(version, files):
            return self.about()[0]

    def search(
        self, version: int, files: Sequence[ShardEntry], queries: NDArray[np.uint8], k: int, masks: Masks, threads: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The k best of the shard, or all its codes when they are fewer."""
        parts = []
        with self._rows(version, files) as opened:
            for i, rows in enumerate(opened):
                distances, found = _hamming.topk(
                    queries, rows.codes, min(k, rows.size), bits=self._bits, allow=None if masks is None else masks[i],
                    threads=threads, op="search", trusted=True,
                )  # fmt: skip
                parts.append((distances, to_ids(rows, found, "search")))
        return parts[0] if len(parts) == 1 else merge_topk(parts, min(k, sum(rows.size for rows in opened)))

    def range_search(
        self, version: int, files: Sequence[ShardEntry], queries: NDArray[np.uint8], radius: int, masks: Masks,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:  # fmt: skip
        """Every code of the shard within the radius."""
        parts = []
        with self._rows(version, files) as opened:
            for i, rows in enumerate(opened):
                lims, distances, found = _hamming.range_search(
                    queries, rows.codes, radius, bits=self._bits, allow=None if masks is None else masks[i],
                    threads=threads, op="range_search", trusted=True,
                )  # fmt: skip
                parts.append((lims, distances, to_ids(rows, found, "range_search")))
        return merge_range(parts)

    def histogram(
        self, version: int, files: Sequence[ShardEntry], piece: tuple[int, int, int], queries: NDArray[np.uint8],
        query_labels: NDArray[Any], labels: NDArray[Any], threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
        """Items and relevant items at each distance, of rows start to stop - 1 of one of the files."""
        file, start, stop = piece
        with self._rows(version, files) as opened:
            codes = opened[file].codes[start:stop]
            evaluation = Evaluation(queries, codes, self._bits, query_labels, labels, threads=threads, op="histograms")
            return evaluation.histogram()

    @contextmanager
    def _rows(self, version: int, files: Sequence[ShardEntry]) -> Iterator[list[Snapshot]]:
        """The rows of the files; ShardUnreadable, also when one was cut short before the end of the block."""
        with self._lock:
            found = {file: self._opened(file) for file in files}
            if version >= self._newest:  # what only older versions have is closed once a newer one is asked for
                self._open, self._newest = found, version
        yield [file.rows for file in found.values()]
        for file, opened in found.items():
            if self._mmap and not opened.whole():
                raise ShardUnreadable(f"{Path(self._folder) / file.file} was changed while it was searched")

    def _opened(self, file: ShardEntry) -> _File:
        there = self._open.get(file)
        if there is not None and (not self._mmap or there.whole()):
            return there
        path = Path(self._folder) / file.file
        try:
            rows = open_shard(self._folder, self._bits, file, mmap=self._mmap, verify=not self._mmap)._rows
            handle = open(path, "rb")  # noqa: SIM115
            return _File(rows, handle, os.fstat(handle.fileno()).st_size)
        except (OSError, ValueError) as error:
            raise ShardUnreadable(str(error).removeprefix("load: ")) from None
