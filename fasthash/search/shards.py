"""An index in many files, larger than memory: searched file by file where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fasthash import _hamming
from fasthash._arguments import bitmask, whole_number
from fasthash._hamming import MAX_K
from fasthash._histograms import Histograms
from fasthash.search import shard_order, shard_writer
from fasthash.search.hits import merge_range, merge_topk
from fasthash.search.index import BinaryIndex, to_ids
from fasthash.search.shard_files import open_shard, read_shard_list
from fasthash.search.shard_histograms import histograms as shard_histograms
from fasthash.search.snapshot import MAX_ID, Snapshot, read_only

if TYPE_CHECKING:
    from fasthash.features._progress import Progress


class Shards:
    """Exact scan over a folder of index files, read-only; ``write_shards`` makes the folder, ``load`` opens it.

    Answers are those of one ``BinaryIndex`` over all rows, to the bit. The files are mapped and searched one after the
    other: what takes memory is the operating system's cache of them, which gives way, and the results. ``allow`` takes
    1 bit a code more during a search.

    Threads: any number may search at a time.
    """

    def __init__(self, folder: Path, bits: int, indexes: Sequence[BinaryIndex], op: str = "load") -> None:
        """Of indexes of this length in this folder, no id in two of them; ``load`` is how to come by one.

        Raises:
            ValueError: two indexes have an id in common; it and they are named.
        """
        self._folder, self._bits = folder.absolute(), bits  # also for whoever unpickles them elsewhere
        # Over the rows as they are now, and no longer to be changed, even where they are in memory.
        self._indexes = tuple(
            BinaryIndex._of(bits, index._rows, "shard" if index._memory == "own" else index._memory)
            for index in indexes
        )
        self._size = sum(map(len, self._indexes))
        if found := shard_order.id_in_two(self._rows):
            twice, first, second = found
            raise ValueError(f"{op}: an id must be there once, got {twice} in shards {first} and {second} of {folder}")

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bits={self._bits}, codes={len(self)}, shards={len(self._indexes)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_shards, (self._folder, all(index._memory == "mapped" for index in self._indexes))

    def __copy__(self) -> Shards:
        return self  # nothing can change them; the folder may have been written anew

    def __deepcopy__(self, memo: dict[int, Any]) -> Shards:
        return self

    @property
    def _rows(self) -> list[Snapshot]:
        return [index._rows for index in self._indexes]

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    @property
    def bits(self) -> int:
        """Code length."""
        return self._bits

    @property
    def device(self) -> str:
        """Where searches run: "cpu"."""
        return "cpu"

    @property
    def indexes(self) -> tuple[BinaryIndex, ...]:
        """The index in each file, read-only."""
        return self._indexes

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [n], ascending, read-only; 8 bytes a code, made on demand. ``batches`` needs no such array."""
        found = np.empty(self._size, np.int64)
        for window in shard_order.windows(self._rows):
            found[window.start : window.stop] = shard_order.ids_of(self._rows, window)
        return read_only(found)

    def batches(self, size: int = 65536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """All rows by ascending id, at most ``size`` at a time: (ids int64 [m], codes uint8 [m, ceil(bits / 8)]).

        Read-only views; copies only where the ids of shards interleave. A batch that ends a shard may be a short one.

        Raises:
            TypeError, ValueError: size is no whole number of at least 1.
        """
        step, rows = whole_number(size, 1, MAX_ID, f"{type(self).__name__}.batches", "size"), self._rows
        return (
            (read_only(shard_order.ids_of(rows, window)), read_only(shard_order.codes_of(rows, window)))
            for window in shard_order.windows(rows, step)
        )

    def search(self, queries: Any, k: int, allow: Any = None, threads: int | None = None) -> tuple[Any, Any]:
        """The k nearest codes of each query, by (distance, id) ascending: as ``BinaryIndex.search``."""
        op = f"{type(self).__name__}.search"
        k = whole_number(k, 1, MAX_K, op, "k")
        best: tuple[Any, Any] | None = None
        for rows, mask in self._scanned(allow, op):
            distances, found = _hamming.topk(
                queries, rows.codes, min(k, rows.size),
                bits=self._bits, allow=mask, threads=threads, op=op, trusted=True,
            )  # fmt: skip
            part = distances, to_ids(rows, found, op)
            best = merge_topk([part] if best is None else [best, part], k)
        assert best is not None
        return best

    def range_search(
        self, queries: Any, radius: int, allow: Any = None, threads: int | None = None
    ) -> tuple[Any, Any, Any]:
        """Every code at distance <= radius: as ``BinaryIndex.range_search``."""
        op = f"{type(self).__name__}.range_search"
        parts = []
        for rows, mask in self._scanned(allow, op):
            lims, distances, found = _hamming.range_search(
                queries, rows.codes, radius,
                bits=self._bits, allow=mask, threads=threads, op=op, trusted=True,
            )  # fmt: skip
            parts.append((lims, distances, to_ids(rows, found, op)))
        return merge_range(parts)

    def histograms(
        self, queries: Any, query_labels: Any, database_labels: Any, *, threads: int | None = None
    ) -> Histograms:
        """How many items, and relevant ones, lie at each distance from each query: what ``fasthash.metrics`` need.

        ``fasthash.metrics.evaluate`` and its relatives take the shards themselves as the database.

        Args:
            queries: uint8 [nq, ceil(bits / 8)]; NumPy or torch.
            query_labels, database_labels: multi-hot [nq, c] and [n, c] of 0 and 1, or class ids [nq] and [n]; those of
                the database in the order of ``ids``. They are read by parts: a ``np.memmap`` may exceed memory.
            threads: None for all cores; the result does not depend on it.
        Raises:
            ValueError, TypeError: one line that names the argument.
        """
        op = f"{type(self).__name__}.histograms"
        return shard_histograms(self._rows, self._bits, queries, query_labels, database_labels, threads, op)

    def to(self, device: Any) -> Shards:
        """These shards themselves on "cpu": they stay on disk. An index of ``indexes`` can be moved on its own.

        Raises:
            ValueError: another device.
        """
        if str(device) != "cpu":
            raise ValueError(f"{type(self).__name__}.to: shards stay on disk; move one of indexes, got {str(device)!r}")
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder of shards with these rows by ascending id; ``load`` reads it. Memory holds one shard.

        Raises: as ``write_shards``.
        """
        write_shards(path, self.batches(1 << 20), self._bits)

    def add(self, packed: Any, ids: Any = None) -> NoReturn:
        """RuntimeError: shards are read-only; ``write_shards`` makes them anew."""
        self._refuse("add")

    def update(self, ids: Any, packed: Any) -> NoReturn:
        """RuntimeError, as ``add``."""
        self._refuse("update")

    def remove(self, ids: Any) -> NoReturn:
        """RuntimeError, as ``add``."""
        self._refuse("remove")

    def _refuse(self, name: str) -> NoReturn:
        raise RuntimeError(
            f"{type(self).__name__}.{name}: a folder of shards is read-only; make it anew by write_shards"
        )

    def _scanned(self, allow: Any, op: str) -> list[tuple[Snapshot, Any]]:
        """The rows of the shards that have some, and their part of the filter."""
        if self._size == 0:
            raise ValueError(f"{op}: the index is empty")
        rows, mask = self._rows, bitmask(allow, self._size, op)
        masks = [None] * len(rows) if mask is None else shard_order.split_mask(rows, mask)
        return [(some, part) for some, part in zip(rows, masks, strict=True) if some.size]


def open_shards(folder: str | os.PathLike[str], mmap: bool = True, verify: bool | None = None) -> Shards:
    """``load`` of a folder that ``write_shards`` made.

    Raises:
        FileNotFoundError: no ``shards.json`` there, or a file that it names is missing.
        ValueError: one of them is damaged or another than it should be, or an id is in two shards; one line says which.
    """
    folder, checked = Path(folder), not mmap if verify is None else verify
    listed = read_shard_list(folder)
    while True:
        try:
            indexes = [open_shard(folder, listed.bits, entry, mmap=mmap, verify=checked) for entry in listed.shards]
            return Shards(folder, listed.bits, indexes)
        except FileNotFoundError:
            before, listed = listed, read_shard_list(folder)
            if listed == before:  # otherwise the folder was written anew in the meantime
                raise


def write_shards(
    folder: str | os.PathLike[str],
    rows: Iterable[Any],
    bits: int,
    *,
    rows_per_shard: int | None = None,
    overwrite: bool = False,
    count: int | None = None,
    progress: Progress = None,
) -> Shards:
    """Write codes as a folder of index files, searched together by what ``load(folder)`` returns.

    Memory holds one shard, whatever comes. ``shards.json`` is written last: until then, and after any failure, there
    is no folder of shards, or with ``overwrite`` the old one, whole.

    Args:
        folder: made if need be; the one it is in must exist.
        rows: iterable of blocks, each ``(ids int64 [m], packed uint8 [m, ceil(bits / 8)])``, as ``batches`` of an index
            makes them, or packed codes alone, whose ids continue after the largest before. Ids are at least 0, each
            there once, in any order; a shard is searched over the rows that came one after the other.
        bits: code length.
        rows_per_shard: None: as many as 256 MiB hold.
        overwrite: replace a folder of shards that is there already.
        count: how many rows will come, for ``progress`` alone.
        progress: called as ``progress(done, count)`` after every block; True: a bar in a terminal.
    Returns:
        The shards, opened.
    Raises:
        FileExistsError: a folder of shards is there already, and ``overwrite`` is False.
        TypeError, ValueError: blocks of another kind, an id that is negative or there twice, a non-zero padding bit.
        RuntimeError: somebody else is writing there.
        OSError: the disk is full, ...
    """
    return shard_writer.write(folder, rows, bits, rows_per_shard, overwrite, count, progress, Shards)
