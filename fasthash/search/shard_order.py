"""Rows of several shards in the ascending order of their ids, a window at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash.search.snapshot import Snapshot, first_repeated

_WINDOW = 1 << 20


class Piece(NamedTuple):
    """Rows of one shard within a window."""

    shard: int
    start: int
    stop: int
    places: slice | NDArray[np.int64]  # where in the window each of them stands


class Window(NamedTuple):
    """Rows that follow each other in the order of the ids."""

    start: int
    stop: int
    pieces: tuple[Piece, ...]


def windows(shards: Sequence[Snapshot], size: int = _WINDOW) -> Iterator[Window]:
    """All rows once, at most ``size`` at a time.

    A window is of one shard, its rows in a row, but where the ids of shards interleave.
    """
    start = 0
    for group in groups(shards):
        if len(group) > 1:
            yield from _interleaved(shards, group, start, size)
        else:
            for at in range(0, shards[group[0]].size, size):
                stop = min(at + size, shards[group[0]].size)
                yield Window(start + at, start + stop, (Piece(group[0], at, stop, slice(0, stop - at)),))
        start += sum(shards[i].size for i in group)


def groups(shards: Sequence[Snapshot]) -> list[list[int]]:
    """The shards that have rows, in the order of their ids, those together whose ids interleave."""
    found: list[list[int]] = []
    end = 0
    for i in sorted((i for i, rows in enumerate(shards) if rows.size), key=lambda i: first_id(shards[i])):
        if first_id(shards[i]) >= end:
            found.append([])
        found[-1].append(i)
        end = max(end, shards[i].next_id())
    return found


def first_id(rows: Snapshot) -> int:
    """The smallest id of rows that are not empty."""
    return int(rows.ids_between(0, 1)[0])


def _interleaved(shards: Sequence[Snapshot], group: Sequence[int], start: int, size: int) -> Iterator[Window]:
    """Windows over a group: of each shard the next few ids, as far as no other shard can have an id in between."""
    step = max(1, size // len(group))
    begins = dict.fromkeys(group, 0)
    while left := [i for i in group if begins[i] < shards[i].size]:
        heads = [shards[i].ids_between(begins[i], min(begins[i] + step, shards[i].size)) for i in left]
        bound = min(head[-1] for head in heads)
        counts = [int(np.searchsorted(head, bound, "right")) for head in heads]
        ids = np.concatenate([head[:count] for head, count in zip(heads, counts, strict=True)])
        places = np.empty(len(ids), np.int64)
        places[np.argsort(ids, kind="stable")] = np.arange(len(ids))
        pieces, begin = [], 0
        for i, count in zip(left, counts, strict=True):
            if count:
                pieces.append(Piece(i, begins[i], begins[i] + count, places[begin : begin + count]))
                begins[i], begin = begins[i] + count, begin + count
        yield Window(start, start + len(ids), tuple(pieces))
        start += len(ids)


def ids_of(shards: Sequence[Snapshot], window: Window) -> NDArray[np.int64]:
    """int64 [m], ascending; a view where the window is of one shard."""
    if len(window.pieces) == 1:
        (piece,) = window.pieces
        return shards[piece.shard].ids_between(piece.start, piece.stop)
    ids = np.empty(window.stop - window.start, np.int64)
    for piece in window.pieces:
        ids[piece.places] = shards[piece.shard].ids_between(piece.start, piece.stop)
    return ids


def codes_of(shards: Sequence[Snapshot], window: Window) -> NDArray[np.uint8]:
    """uint8 [m, width] in the order of the ids; a view where the window is of one shard."""
    if len(window.pieces) == 1:
        (piece,) = window.pieces
        return shards[piece.shard].codes[piece.start : piece.stop]
    codes = np.empty((window.stop - window.start, shards[window.pieces[0].shard].codes.shape[1]), np.uint8)
    for piece in window.pieces:
        codes[piece.places] = shards[piece.shard].codes[piece.start : piece.stop]
    return codes


def id_in_two(shards: Sequence[Snapshot]) -> tuple[int, int, int] | None:
    """An id that two shards have, and which two; None when there is none. Reads ids only where they interleave."""
    for group in groups(shards):
        for window in _interleaved(shards, group, 0, _WINDOW) if len(group) > 1 else ():
            if (twice := first_repeated(ids_of(shards, window))) is not None:
                sought = np.array([twice])
                first, second = [i for i in group if shards[i].contains(sought)[0]][:2]
                return twice, first, second
    return None


def split_mask(shards: Sequence[Snapshot], mask: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """A packed bitmask in the order of the ids as one of each shard: together as many bytes."""
    found = [np.zeros((rows.size + 7) // 8, np.uint8) for rows in shards]
    start = 0
    for group in groups(shards):
        if len(group) == 1:
            found[group[0]] = _cut(mask, start, shards[group[0]].size)
        for window in _interleaved(shards, group, start, _WINDOW) if len(group) > 1 else ():
            some = np.unpackbits(_cut(mask, window.start, window.stop - window.start))
            for piece in window.pieces:
                begin = piece.start // 8
                packed = np.packbits(np.concatenate([np.zeros(piece.start % 8, np.uint8), some[piece.places]]))
                found[piece.shard][begin : begin + len(packed)] |= packed
        start += sum(shards[i].size for i in group)
    return found


def _cut(mask: NDArray[np.uint8], start: int, count: int) -> NDArray[np.uint8]:
    """Some bits of a packed bitmask, packed again."""
    shift = np.uint8(start % 8)
    some = mask[start // 8 : (start + count + 7) // 8] << shift
    if shift:
        some[:-1] |= mask[start // 8 + 1 : (start + count + 7) // 8] >> np.uint8(8 - shift)
    some = some[: (count + 7) // 8]
    if count % 8:
        some[-1] &= np.uint8(256 - (1 << (8 - count % 8)))
    return some
