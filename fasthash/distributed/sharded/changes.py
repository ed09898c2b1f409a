"""What a change of the index makes of its files: which are left out, and the rows of those that take their place.

A shard keeps few files, the larger ones at least twice the size of the next: rows that are added are merged with the
smaller files, so that a row is written again some log2(n) times at most. A removal writes the files that it touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash.search.shard_files import ShardEntry
from fasthash.search.snapshot import Snapshot

_SMALL = 4096  # rows: files up to this size are always merged


class Segment(NamedTuple):
    """A file of a shard, mapped."""

    entry: ShardEntry
    rows: Snapshot


Layout = tuple[tuple[Segment, ...], ...]  # the files of each shard


class Change(NamedTuple):
    """One file written, or none when no rows are left, in place of some."""

    shard: int
    dropped: tuple[Segment, ...]
    rows: Snapshot


def added(layout: Layout, codes: NDArray[np.uint8], ids: NDArray[np.int64]) -> list[Change]:
    """Rows whose ids ascend and are not there, given to the shards that have fewest."""
    changes, start = [], 0
    sizes = [sum(segment.rows.size for segment in segments) for segments in layout]
    for shard, count in enumerate(level_shares(sizes, len(ids))):
        if count:
            stop = start + count
            rows, dropped = Snapshot(codes[start:stop], ids[start:stop], count), []
            for segment in sorted(layout[shard], key=lambda segment: segment.rows.size):
                if segment.rows.size > max(_SMALL, 2 * rows.size):
                    break
                dropped.append(segment)
                rows = merged(rows, segment.rows)
            changes.append(Change(shard, tuple(dropped), rows))
            start = stop
    return changes


def removed(layout: Layout, ids: NDArray[np.int64]) -> list[Change]:
    """Without ids, all of which are there."""
    return [
        Change(shard, (segment,), segment.rows.without(ids[mine]))
        for shard, segment, mine in _touched(layout, ids)
    ]  # fmt: skip


def updated(layout: Layout, codes: NDArray[np.uint8], ids: NDArray[np.int64]) -> list[Change]:
    """With other codes for ids, all of which are there, each given once."""
    return [
        Change(shard, (segment,), segment.rows.replaced(ids[mine], codes[mine]))
        for shard, segment, mine in _touched(layout, ids)
    ]  # fmt: skip


def missing(layout: Layout, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool like ids: which of them no file has."""
    left = np.ones(len(ids), np.bool_)
    for _, _, mine in _touched(layout, ids):
        left &= ~mine
    return left


def _touched(layout: Layout, ids: NDArray[np.int64]) -> list[tuple[int, Segment, NDArray[np.bool_]]]:
    """(shard, file, which of the ids it has) of every file that has some."""
    found = []
    for shard, segments in enumerate(layout):
        for segment in segments:
            mine = segment.rows.contains(ids)
            if mine.any():
                found.append((shard, segment, mine))
    return found


def merged(a: Snapshot, b: Snapshot) -> Snapshot:
    """The rows of both, no id in common."""
    ids = np.concatenate([a.ids, b.ids])
    order = np.argsort(ids, kind="stable")
    return Snapshot(np.concatenate([a.codes, b.codes])[order], ids[order], len(ids))


def level_shares(sizes: Sequence[int], count: int) -> list[int]:
    """How many of ``count`` rows each shard takes for the shards to become as level as they can."""
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
    below = 0
    for taking, i in enumerate(order, 1):
        below += sizes[i]
        level, more = divmod(count + below, taking)
        if taking == len(order) or level < sizes[order[taking]]:
            break
    shares = [0] * len(sizes)
    for place, i in enumerate(order[:taking]):
        shares[i] = level + (place < more) - sizes[i]
    return shares


def spread(entries: Sequence[ShardEntry], shards: int) -> list[list[ShardEntry]]:
    """Files given to shards so that their rows are about level: the largest first, each to the emptiest."""
    found: list[list[ShardEntry]] = [[] for _ in range(shards)]
    sizes = [0] * shards
    for entry in sorted(entries, key=lambda entry: -entry.count):
        shard = sizes.index(min(sizes))
        found[shard].append(entry)
        sizes[shard] += entry.count
    return found
