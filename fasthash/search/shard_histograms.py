"""Histograms of distances over shards: codes and labels are read by parts, the parts' histograms added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fasthash._histogram import Evaluation
from fasthash._histograms import Histograms
from fasthash._labels import check_labels, label_masks
from fasthash._native import to_numpy
from fasthash.codes import check_packed
from fasthash.search.shard_order import windows
from fasthash.search.snapshot import Snapshot

_ROWS = 1 << 20  # whose labels are in memory at a time


def histograms(
    shards: Sequence[Snapshot], bits: int, queries: Any, query_labels: Any, database_labels: Any,
    threads: int | None, op: str,
) -> Histograms:  # fmt: skip
    """``Shards.histograms`` of these rows; ``op`` names the caller in errors."""
    rows = check_packed(queries, bits, op, "queries")
    size = sum(part.size for part in shards)
    if len(rows) == 0 or size == 0:
        raise ValueError(f"{op}: queries and index must have at least one row, got {len(rows)} and {size}")
    query_masks = label_masks(check_labels(query_labels, len(rows), op, "query_labels"))
    labels = to_numpy(database_labels, op, "database_labels")
    query_shape = to_numpy(query_labels, op, "query_labels").shape
    if labels.ndim not in (1, 2) or labels.shape[1:] != query_shape[1:]:
        got = f"{query_shape} and {labels.shape}"
        raise ValueError(f"{op}: query_labels and database_labels must be of one form and width, got {got}")
    if len(labels) != size:
        raise ValueError(f"{op}: database_labels must have {size} rows like the index, got {len(labels)}")
    found = Histograms(*(np.zeros((len(rows), bits + 1), np.int64) for _ in range(2)))
    for window in windows(shards, _ROWS):
        part = labels[window.start : window.stop]
        masks = label_masks(check_labels(part, len(part), op, "database_labels", first=window.start))
        for piece in window.pieces:
            codes = shards[piece.shard].codes[piece.start : piece.stop]
            evaluation = Evaluation(rows, codes, bits, query_masks, masks[piece.places], threads=threads, op=op)
            found += Histograms(*evaluation.histogram())
    return found
