"""An exact index: packed codes with ids, in memory or in a mapped file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasthash import _hamming
from fasthash._arguments import whole_number
from fasthash._native import like, to_numpy
from fasthash.codes import check_bits, check_packed, packed_width
from fasthash.search import storage
from fasthash.search.snapshot import MAX_ID, Snapshot, adopted, check_ids, read_only, sorted_by_id

if TYPE_CHECKING:
    from fasthash.search.device import DeviceIndex

_READ_ONLY = {
    "mapped": "the index is mapped from a file, read-only; load it with mmap=False",
    "shard": "the index is one of a folder of shards, read-only; load its file alone with mmap=False",
    "borrowed": "the index stands on an array of yours, read-only; add the codes to an empty index instead",
}


class BinaryIndex:
    """Exact scan over codes with ids of your own.

    Rows are kept in ascending order of id, whatever the order they were added in, so that equal distances come by
    ascending id at no cost. Adding ids larger than all before is cheap (amortised growth); ids in between move the
    rows behind them.

    Threads: any number may search while others add, update or remove. A search, like ``codes``, ``ids``, ``batches``
    and ``save``, works on the rows as they were when it began; a change is seen whole by what begins after it, or not
    at all. Nobody waits for a search; changes wait for one another. ``copy.copy(index)`` is such a moment kept: it
    takes no memory until one of the two is changed. ``copy.deepcopy`` and pickle read what is mapped into memory.
    """

    def __init__(self, bits: int) -> None:
        """An empty index for codes of this length, 1 to 4096."""
        self._bits = check_bits(bits, type(self).__name__)
        # Read once by whatever needs rows, replaced as a whole by whatever changes them, with the lock held.
        self._rows = Snapshot(np.empty((0, packed_width(self._bits)), np.uint8), None, 0)
        self._memory = "own"  # or a key of _READ_ONLY
        self._lock = threading.Lock()

    @classmethod
    def from_codes(
        cls, codes: Any, bits: int | None = None, ids: Any = None, verify: bool | None = None
    ) -> BinaryIndex:
        """An index over an array that is there already: searched where it lies, never copied, and read-only.

        The array must not be changed while the index is in use.

        Args:
            codes: uint8 [n, ceil(bits / 8)], C-contiguous: NumPy (``np.memmap`` too) or torch on the CPU.
            bits: code length; 8 x bytes when left out.
            ids: int64 [n] ascending from 0 on; None: row i has id i. Kept without a copy when they are int64.
            verify: check the padding bits, where there are any: touches every row. None: unless codes is a
                ``np.memmap``; then they are trusted, and padding bits that are not zero would count in the distances.
        Raises:
            TypeError: codes or ids is no array.
            ValueError: wrong dtype, shape or device, gaps between rows, ids that do not ascend, a non-zero padding bit.
        """
        length, rows = adopted(codes, bits, ids, verify, f"{cls.__name__}.from_codes")
        return cls._of(length, rows, "mapped" if isinstance(rows.buffer, np.memmap) else "borrowed")

    @classmethod
    def _of(cls, bits: int, rows: Snapshot, memory: str) -> BinaryIndex:
        index = cls(bits)
        index._rows, index._memory = rows, memory
        return index

    def __len__(self) -> int:
        return self._rows.size

    def __repr__(self) -> str:
        where = "" if self._memory == "own" else f", {self._memory}"
        return f"{type(self).__name__}(bits={self._bits}, codes={len(self)}{where})"

    def __copy__(self) -> BinaryIndex:
        return self._of(self._bits, self._rows.trimmed(), self._memory)

    def __getstate__(self) -> dict[str, Any]:
        return {"bits": self._bits, "rows": tuple(self._rows.trimmed())}

    def __setstate__(self, state: dict[str, Any]) -> None:  # of pickle and deepcopy: the arrays are this index's own
        self.__init__(state["bits"])  # type: ignore[misc]
        self._rows = Snapshot(*state["rows"])

    @property
    def bits(self) -> int:
        """Code length."""
        return self._bits

    @property
    def device(self) -> str:
        """Where searches run: "cpu"; see ``to``."""
        return "cpu"

    @property
    def codes(self) -> NDArray[np.uint8]:
        """uint8 [n, ceil(bits / 8)], in the order of ``ids``; a read-only view, never a copy.

        It keeps showing the rows as they are now, whatever is added, updated or removed later."""
        return read_only(self._rows.codes)

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [n], ascending; a read-only view like ``codes`` (made on demand while the ids are 0, 1, 2, ...)."""
        return read_only(self._rows.ids)

    def batches(self, size: int = 65536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """The rows as they are now, ``size`` at a time: (ids int64 [m], codes uint8 [m, ceil(bits / 8)]), m <= size.

        Read-only views, never a copy (ids are made on demand while they are 0, 1, 2, ...).

        Raises:
            TypeError, ValueError: size is no whole number of at least 1.
        """
        step, rows = whole_number(size, 1, MAX_ID, f"{type(self).__name__}.batches", "size"), self._rows
        return (
            (read_only(rows.ids_between(start, stop)), read_only(rows.codes[start:stop]))
            for start in range(0, rows.size, step)
            for stop in (min(start + step, rows.size),)
        )

    def add(self, packed: Any, ids: Any = None) -> None:
        """Add codes; all of them or, on an error, none.

        Args:
            packed: uint8 [n, ceil(bits / 8)], n >= 1.
            ids: int64 [n], >= 0, no two alike and none in the index; None continues after the largest one.
        Raises:
            ValueError: wrong shapes or dtypes, a non-zero padding bit, or an id that is negative or already taken.
            RuntimeError: the index is read-only: mapped from a file, or over an array of yours.
        """
        op = f"{type(self).__name__}.add"
        self._check_writable(op)
        codes = check_packed(packed, self._bits, op, "packed")
        if len(codes) == 0:
            raise ValueError(f"{op}: packed must have at least one row, got an empty array")
        given = None
        if ids is not None:
            codes, given = sorted_by_id(codes, check_ids(ids, op, len(codes), "packed"), op)
        with self._lock:
            start = self._rows.next_id()
            if given is None:
                if start + len(codes) > MAX_ID:
                    raise ValueError(f"{op}: no ids are left after {start - 1}; give ids")
                given = np.arange(start, start + len(codes), dtype=np.int64)
            if given[0] >= start:
                self._rows = self._rows.appended(codes, given)
                return
            taken = given[self._rows.contains(given)]
            if len(taken):
                raise ValueError(f"{op}: id {taken[0]} is already in the index")
            self._rows = self._rows.inserted(codes, given)

    def update(self, ids: Any, packed: Any) -> None:
        """Give ids other codes; all of them or, on an error, none.

        Costs a copy of every code in the index, however few are updated: update many at once.

        Args:
            ids: int64 [m], all in the index, no two alike.
            packed: uint8 [m, ceil(bits / 8)], in the order of ``ids``.
        Raises:
            ValueError: wrong shapes or dtypes, a non-zero padding bit, an id given twice, or one that is not in the
                index: it is named.
            RuntimeError: the index is read-only: mapped from a file, or over an array of yours.
        """
        op = f"{type(self).__name__}.update"
        self._check_writable(op)
        codes = check_packed(packed, self._bits, op, "packed")
        codes, given = sorted_by_id(codes, check_ids(ids, op, len(codes), "packed"), op)
        with self._lock:
            self._refuse_missing(given, op)
            self._rows = self._rows.replaced(given, codes)

    def remove(self, ids: Any) -> None:
        """Remove codes; all of them or, on an error, none.

        Costs a copy of every code and id that stays, however few are removed: remove many at once.

        Args:
            ids: int64 [m], all in the index; naming one twice is the same as once.
        Raises:
            ValueError: an id is not in the index: the first such one is named.
            RuntimeError: the index is read-only: mapped from a file, or over an array of yours.
        """
        self._check_writable(f"{type(self).__name__}.remove")
        gone = check_ids(ids, f"{type(self).__name__}.remove")
        with self._lock:
            self._refuse_missing(gone, f"{type(self).__name__}.remove")
            self._rows = self._rows.without(gone)

    def search(self, queries: Any, k: int, allow: Any = None, threads: int | None = None) -> tuple[Any, Any]:
        """The k nearest codes of each query, by (distance, id) ascending.

        Args, Returns, Raises: as ``fasthash.search.knn``, with this index's ids instead of rows. ``allow`` is bool [n]
        or a packed bitmask, in the order of ``ids``. ValueError when the index is empty. Queries on a CUDA device are
        answered there, the codes streaming through it at every search; ``to`` takes them there once.
        """
        op, rows = f"{type(self).__name__}.search", self._rows
        distances, found = _hamming.topk(
            queries, base_of(rows, op), k,
            bits=self._bits, allow=allow, threads=threads, op=op, trusted=True,
        )  # fmt: skip
        return distances, to_ids(rows, found, op)

    def range_search(
        self, queries: Any, radius: int, allow: Any = None, threads: int | None = None
    ) -> tuple[Any, Any, Any]:
        """Every code at distance <= radius: as ``fasthash.search.range_search``, with this index's ids."""
        op, rows = f"{type(self).__name__}.range_search", self._rows
        lims, distances, found = _hamming.range_search(
            queries, base_of(rows, op), radius,
            bits=self._bits, allow=allow, threads=threads, op=op, trusted=True,
        )  # fmt: skip
        return lims, distances, to_ids(rows, found, op)

    def to(self, device: Any) -> BinaryIndex | DeviceIndex:
        """The rows as they are now on a CUDA device ("cuda", "cuda:1", a torch.device), read-only; on "cpu" this index.

        Codes and ids are copied there, once. Where they do not fit the device's free memory, they stay here and every
        search streams through them. Changes made here later do not reach the device.

        Raises:
            ValueError: device is neither the CPU nor a CUDA device.
            RuntimeError: there is no such device, or no kernels for one; one line says why.
        """
        from fasthash.search.device import moved  # late: for devices alone

        return moved(self, device)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as one safetensors file, whole or not at all; ``load`` reads it.

        Raises:
            OSError: the folder does not exist, the disk is full, ...; an older file at ``path`` is then untouched.
        """
        rows = self._rows
        storage.write(path, self._bits, rows.codes, None if rows.id_buffer is None else rows.ids, first=rows.first)

    def _queries(self, queries: Any, op: str) -> NDArray[Any]:
        return to_numpy(queries, op, "queries")  # the codes are on the CPU: the queries come to them

    def _check_writable(self, op: str) -> None:
        if self._memory != "own":
            raise RuntimeError(f"{op}: {_READ_ONLY[self._memory]}")

    def _refuse_missing(self, ids: NDArray[np.int64], op: str) -> None:
        missing = ~self._rows.contains(ids)
        if missing.any():
            raise ValueError(f"{op}: id {ids[missing.argmax()]} is not in the index")


def to_ids(rows: Snapshot, found: Any, op: str) -> Any:
    """The ids of rows that were found, an array of any kind; of its kind and on its device."""
    return found if rows.rows_are_ids else like(rows.to_ids(to_numpy(found, op, "rows")), found)


def base_of(rows: Snapshot, op: str) -> NDArray[np.uint8]:
    """The codes; ValueError when there are none."""
    if rows.size == 0:
        raise ValueError(f"{op}: the index is empty; add codes first")
    return rows.codes
