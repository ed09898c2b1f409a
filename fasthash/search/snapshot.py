"""The rows of an index at one moment. What a snapshot shows never changes: a change makes another snapshot."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash._hamming import NO_ID
from fasthash._native import is_cuda, to_numpy
from fasthash.codes import MAX_BITS, check_packed

MAX_ID = 2**63 - 1


class Snapshot(NamedTuple):
    """Codes and ids in ascending order of id.

    Rows behind ``size`` are room to grow into. They are written by ``appended`` on the newest snapshot of a buffer
    alone, and sizes only grow along a buffer, so that no older snapshot ever reads a row that is being written.
    """

    buffer: NDArray[np.uint8]  # [capacity, width]
    id_buffer: NDArray[np.int64] | None  # [capacity]; None: row i has id first + i
    size: int
    first: int = 0  # 0 with an id_buffer

    @property
    def codes(self) -> NDArray[np.uint8]:
        """[size, width], a view."""
        return self.buffer[: self.size]

    @property
    def ids(self) -> NDArray[np.int64]:
        """[size]; a view, or made on demand."""
        return self.ids_between(0, self.size)

    def ids_between(self, start: int, stop: int) -> NDArray[np.int64]:
        """The ids of rows start to stop - 1."""
        if self.id_buffer is None:
            return np.arange(self.first + start, self.first + stop, dtype=np.int64)
        return self.id_buffer[start:stop]

    @property
    def listed_ids(self) -> NDArray[np.int64] | None:
        """[size], or None while row i has id i."""
        return None if self.rows_are_ids else self.ids

    @property
    def rows_are_ids(self) -> bool:
        """Whether row i is known to have id i."""
        return self.id_buffer is None and self.first == 0

    def to_ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of rows of any order and shape; a missing hit stays one."""
        if self.rows_are_ids:
            return rows
        return np.where(rows < 0, NO_ID, rows + self.first if self.id_buffer is None else self.id_buffer[rows])

    def next_id(self) -> int:
        """One more than the largest id."""
        if self.size == 0:
            return 0
        return self.first + self.size if self.id_buffer is None else int(self.id_buffer[self.size - 1]) + 1

    def contains(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool like ids, which are not negative."""
        if self.id_buffer is None:
            return (ids >= self.first) & (ids < self.first + self.size)
        if self.size == 0:
            return np.zeros(len(ids), np.bool_)
        mine = self.ids
        at = np.searchsorted(mine, ids)
        return (at < len(mine)) & (mine[np.minimum(at, len(mine) - 1)] == ids)

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each id, all of which are there."""
        return ids - self.first if self.id_buffer is None else np.searchsorted(self.ids, ids)

    def trimmed(self) -> Snapshot:
        """Without the room behind the rows: two indexes that grew into the same room would overwrite each other."""
        return Snapshot(self.codes, None if self.id_buffer is None else self.ids, self.size, self.first)

    def appended(self, codes: NDArray[np.uint8], ids: NDArray[np.int64]) -> Snapshot:
        """With rows whose ids ascend and are larger than all before; costs what is added, amortised."""
        total, first = self.size + len(codes), self.first
        # The largest id of all is listed, for one more than it would fit no int64.
        if self.id_buffer is None and ids[0] == first + self.size and ids[-1] == first + total - 1 < MAX_ID:
            new_ids = None
        else:
            new_ids = grown(self.ids if self.id_buffer is None else self.id_buffer, self.size, total)
            new_ids[self.size : total], first = ids, 0
        buffer = grown(self.buffer, self.size, total)
        buffer[self.size : total] = codes
        return Snapshot(buffer, new_ids, total, first)

    def inserted(self, codes: NDArray[np.uint8], ids: NDArray[np.int64]) -> Snapshot:
        """With rows whose ids ascend and are not there; copies everything."""
        at = np.searchsorted(self.ids, ids)
        return Snapshot(np.insert(self.codes, at, codes, axis=0), np.insert(self.ids, at, ids), self.size + len(ids))

    def without(self, ids: NDArray[np.int64]) -> Snapshot:
        """Without these ids, all of which are there; copies what stays."""
        keep = np.ones(self.size, np.bool_)
        keep[self.rows_of(ids)] = False
        kept = np.flatnonzero(keep)
        return Snapshot(self.codes[kept], self.ids[kept], len(kept))

    def replaced(self, ids: NDArray[np.int64], codes: NDArray[np.uint8]) -> Snapshot:
        """With other codes for these ids, all of which are there; copies every code."""
        buffer = self.codes.copy()
        buffer[self.rows_of(ids)] = codes
        return Snapshot(buffer, None if self.id_buffer is None else self.ids, self.size, self.first)


def check_ids(ids: Any, op: str, count: int | None = None, like: str = "") -> NDArray[np.int64]:
    """ids as int64 [n] from 0 on, with ``count`` given as many as there are rows in ``like``; ValueError otherwise."""
    values = to_numpy(ids, op, "ids")
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{op}: ids must be int64 [n], got {values.dtype} {values.shape}")
    if values.dtype == np.uint64 and len(values) and values.max() > MAX_ID:
        raise ValueError(f"{op}: ids must fit int64, got {values.max()}")
    if len(values) and values.min() < 0:
        raise ValueError(f"{op}: ids must not be negative, got {values.min()}")
    if count is not None and len(values) != count:
        raise ValueError(f"{op}: ids must be int64 [{count}] like {like}, got shape {values.shape}")
    return values.astype(np.int64, copy=False)


def sorted_by_id(
    codes: NDArray[np.uint8], ids: NDArray[np.int64], op: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Both by ascending id; the arrays themselves where they are so already. ValueError: an id is there twice."""
    if ascending(ids):
        return codes, ids
    order = np.argsort(ids, kind="stable")
    if (twice := first_repeated(ids[order])) is not None:
        raise ValueError(f"{op}: id {twice} is twice in ids")
    return codes[order], ids[order]


def first_repeated(ids: NDArray[np.int64]) -> int | None:
    """An id that stands twice in ascending ids: the smallest; None when there is none."""
    at = np.flatnonzero(ids[1:] == ids[:-1])
    return int(ids[at[0]]) if len(at) else None


def ascending(ids: NDArray[np.int64], step: int = 1 << 20) -> bool:
    """Whether each id is larger than the one before it; ``step`` ids are looked at at once, as they may be mapped."""
    before, after = ids[:-1], ids[1:]
    return all(bool((after[at : at + step] > before[at : at + step]).all()) for at in range(0, len(after), step))


def adopted(codes: Any, bits: int | None, ids: Any, verify: bool | None, op: str) -> tuple[int, Snapshot]:
    """The code length and the rows over arrays that are there already, none of them copied; ``op`` names the caller.

    Raises: as ``BinaryIndex.from_codes``.
    """
    if is_cuda(codes):
        raise ValueError(f"{op}: codes must lie in the CPU's memory, got an array on a GPU")
    rows = to_numpy(codes, op, "codes")
    if bits is None:
        if rows.ndim != 2 or not 1 <= rows.shape[1] <= MAX_BITS // 8:
            raise ValueError(f"{op}: codes must be packed codes [n, ceil(bits / 8)], got shape {rows.shape}")
        bits = 8 * rows.shape[1]
    check_packed(rows[:0] if rows.ndim == 2 else rows, bits, op, "codes")  # dtype and width, not yet the padding
    if not rows.flags.c_contiguous:
        raise ValueError(f"{op}: codes must be C-contiguous to be searched in place, got strides {rows.strides}")
    if verify is None:
        verify = not isinstance(rows, np.memmap)
    if verify:
        check_packed(rows, bits, op, "codes")
    own = None if ids is None else check_ids(ids, op, len(rows), "codes")
    if own is not None and not ascending(own):
        raise ValueError(f"{op}: ids must ascend, as the codes stay where they are; BinaryIndex.add sorts a copy")
    return int(bits), Snapshot(rows, own, len(rows))


def read_only(view: NDArray[Any]) -> NDArray[Any]:
    """The same memory, not to be written through."""
    view = view.view()
    view.flags.writeable = False
    return view


def grown(buffer: NDArray[Any], used: int, total: int) -> NDArray[Any]:
    """A buffer of at least ``total`` rows that begins with the first ``used`` of this one; this one if it is enough."""
    if len(buffer) >= total and buffer.flags.writeable:
        return buffer
    larger = np.empty((max(total, used + used // 2), *buffer.shape[1:]), buffer.dtype)
    larger[:used] = buffer[:used]
    return larger
