"""What is asked of the shards: arguments checked once, in the driver, and cut into the part of each shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import bitmask, check_shapes
from fasthash._labels import check_labels, label_masks
from fasthash._native import to_numpy
from fasthash.codes import check_packed, packed_width
from fasthash.distributed.sharded.calls import Call
from fasthash.distributed.sharded.folder import Version
from fasthash.search import shard_order

_IN_CALL = 1 << 16  # bytes: larger arguments are put into Ray's store, once for all shards
_ROWS = 1 << 20  # whose labels are in a call at most


def check_queries(queries: Any, bits: int, op: str) -> NDArray[np.uint8]:
    """Packed queries on the host; errors as ``BinaryIndex.search``'s."""
    rows = to_numpy(queries, op, "queries")
    check_shapes(rows, np.empty((1, packed_width(bits)), np.uint8), bits, op)
    return np.ascontiguousarray(check_packed(rows, bits, op, "queries"))


def check_not_empty(version: Version, op: str) -> None:
    """ValueError when no shard has a code."""
    if version.size == 0:
        raise ValueError(f"{op}: the index is empty; add codes first")


def masks_of(version: Version, allow: Any, op: str) -> list[tuple[NDArray[np.uint8], ...] | None]:
    """The filter's part of every shard: a packed bitmask for each of its files."""
    mask = bitmask(allow, version.size, op)
    if mask is None:
        return [None] * len(version.layout)
    parts = iter(shard_order.split_mask(version.rows, mask))
    return [tuple(next(parts) for _ in segments) for segments in version.layout]


def shared(ray: Any, array: NDArray[Any], calls: int) -> Any:
    """The array, or where it pays its place in Ray's store, from which actors of a machine read without a copy."""
    return ray.put(array) if array.nbytes > _IN_CALL and calls > 1 else array


def scan_calls(version: Version, method: str, queries: Any, limit: int, masks: Any, threads: int) -> list[Call]:
    """``search`` or ``range_search`` of every shard that has rows."""
    return [
        Call(shard, method, (version.number, version.files(shard), queries, limit, masks[shard], threads))
        for shard in range(len(version.layout))
        if version.layout[shard]
    ]


def check_labelled(
    version: Version, bits: int, queries: Any, query_labels: Any, database_labels: Any, op: str
) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]:
    """Packed queries, masks of their labels, and the labels of the database, which stay where they are."""
    rows = check_packed(queries, bits, op, "queries")
    if len(rows) == 0 or version.size == 0:
        raise ValueError(f"{op}: queries and index must have at least one row, got {len(rows)} and {version.size}")
    own = check_labels(query_labels, len(rows), op, "query_labels")
    labels = to_numpy(database_labels, op, "database_labels")
    if labels.ndim not in (1, 2) or labels.shape[1:] != own.shape[1:]:
        got = f"{own.shape} and {labels.shape}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {got}")
    if len(labels) != version.size:
        raise ValueError(f"{op}: database_labels must have {version.size} rows like the index, got {len(labels)}")
    return np.ascontiguousarray(rows), label_masks(own), labels


def histogram_calls(
    version: Version, queries: tuple[Any, Any], labels: NDArray[Any], threads: int, op: str
) -> Iterator[Call]:
    """``histogram`` of every row once, the labels of the database read as the calls are made.

    queries: codes, and masks of their labels.
    """
    place = [(shard, i) for shard, segments in enumerate(version.layout) for i in range(len(segments))]
    for window in shard_order.windows(version.rows, _ROWS):
        part = labels[window.start : window.stop]
        masks = label_masks(check_labels(part, len(part), op, "database_labels", first=window.start))
        for piece in window.pieces:
            shard, file = place[piece.shard]
            about = (file, piece.start, piece.stop)
            own = np.ascontiguousarray(masks[piece.places])
            yield Call(shard, "histogram", (version.number, version.files(shard), about, *queries, own, threads))
