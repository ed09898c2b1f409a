"""What exporters take and importers give: packed codes with ids, streamed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import MAX_BITS, check_packed, packed_width
from fasthash.search import BinaryIndex, Shards
from fasthash.search.snapshot import Snapshot, ascending, check_ids, first_repeated, sorted_by_id

BATCH = 1 << 18  # rows handed over at once: 2 MB of 64-bit codes, and as much of ids
Rows = tuple[NDArray[np.int64], NDArray[np.uint8]]  # ids [m], packed [m, ceil(bits / 8)]


class Codes(Protocol):
    """A ``BinaryIndex``, a ``Shards``, Parquet files opened by ``parquet_batches``: anything that streams its rows."""

    @property
    def bits(self) -> int:
        """Code length."""
        ...

    def __len__(self) -> int: ...

    def batches(self, size: int = ...) -> Iterator[Rows]:
        """(ids int64 [m], packed uint8 [m, ceil(bits / 8)]), m <= size."""
        ...


Source = TypeVar("Source", bound=Codes)


def moment(index: Source, op: str) -> Source:
    """The codes as they are now, whatever is changed while they are handed over; TypeError for anything else."""
    if not all(hasattr(index, name) for name in ("bits", "__len__", "batches")):
        raise TypeError(f"{op}: index must be a BinaryIndex or Shards, got {type(index).__name__}")
    return copy.copy(index) if isinstance(index, BinaryIndex) else index


class Checked:
    """Codes whose rows are looked at as they are handed over: no target has to find out what is wrong with them.

    An index and shards vouch for their ids. Other streams are checked for ids that are there twice: on the way while
    ids ascend; where they do not, the ids are kept, 8 bytes a code, and compared when the last row is out.
    """

    def __init__(self, source: Codes, op: str) -> None:
        self._source, self._op = moment(source, op), op

    def __len__(self) -> int:
        return len(self._source)

    @property
    def bits(self) -> int:
        """Code length."""
        return self._source.bits

    def batches(self, size: int = BATCH) -> Iterator[Rows]:
        """As of the source.

        Raises:
            ValueError: wrong shapes or dtypes, a non-zero padding bit, an id that is negative, too large or there
                twice.
        """
        vouched, last, kept = isinstance(self._source, BinaryIndex | Shards), -1, list[NDArray[np.int64]]()
        for number, (some, packed) in enumerate(self._source.batches(size)):
            codes = check_packed(packed, self.bits, self._op, "codes")
            ids = check_ids(some, self._op, len(codes), "codes")
            if not (vouched or kept) and len(ids):
                if ids[0] > last and ascending(ids):
                    last = int(ids[-1])
                else:
                    self._refuse_repeated(np.append(ids, last))  # without a second pass, which a COPY does not have
                    # the ids before these were let go
                    kept = [np.array(before) for before, _ in islice(self._source.batches(size), number)]
                    kept.append(np.array(ids))
            elif kept:
                kept.append(np.array(ids))
            yield ids, codes
        if kept:
            self._refuse_repeated(np.concatenate(kept))

    def _refuse_repeated(self, ids: NDArray[np.int64]) -> None:
        if (twice := first_repeated(np.sort(ids))) is not None:
            raise ValueError(f"{self._op}: id {twice} is twice in ids")


def numbered(index: Codes) -> bool:
    """Whether the ids are 0, 1, 2, ... in this order."""
    first = 0
    for ids, _ in index.batches(BATCH):
        if not np.array_equal(ids, np.arange(first, first + len(ids))):
            return False
        first += len(ids)
    return True


def to_index(codes: NDArray[np.uint8], ids: Any, bits: int, op: str) -> BinaryIndex:
    """An index that owns these arrays, sorted by id; ids None: 0, 1, 2, ...

    Raises:
        ValueError: wrong shapes or dtypes, a non-zero padding bit, an id that is negative, too large or there twice.
    """
    codes = check_packed(codes, bits, op, "codes")
    own = None
    if ids is not None:
        codes, own = sorted_by_id(codes, check_ids(ids, op, len(codes), "codes"), op)
        if len(own) == 0 or own[-1] == len(own) - 1:  # ascending from 0 on without gaps
            own = None
    return BinaryIndex._of(bits, Snapshot(np.ascontiguousarray(codes), own, len(codes)), "own")


def gathered(batches: Iterable[tuple[NDArray[Any], NDArray[np.uint8]]], bits: int, op: str) -> BinaryIndex:
    """An index of all rows of a stream, in any order. Raises: as ``to_index``."""
    parts = [(np.empty(0, np.int64), np.empty((0, packed_width(bits)), np.uint8))]
    parts += [(check_ids(ids, op), check_packed(codes, bits, op, "codes")) for ids, codes in batches]
    ids, codes = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return to_index(codes, ids, bits, op)


def width_to_bits(width: int, bits: int | None, op: str) -> int:
    """bits where it fits codes of this many bytes; 8 x width where it is None."""
    if bits is None:
        if not 1 <= width <= MAX_BITS // 8:
            raise ValueError(f"{op}: codes must have 1 to {MAX_BITS // 8} bytes, got {width}")
        return 8 * width
    if packed_width(bits) != width:
        raise ValueError(f"{op}: codes of {bits} bits have {packed_width(bits)} bytes, got codes of {width}")
    return bits
