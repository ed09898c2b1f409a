"""Codes in indexes of USearch, and back.

USearch keeps bits as they come, in whole bytes, for any number of them: packed codes of this library go in unchanged
(most significant bit first, padding bits 0), keys are the ids. Its distances are the same numbers as float32. Searches
go along a graph and may miss codes; ``search(queries, k, exact=True)`` scans all. Where k is larger than the number of
codes, a batch's rows end in slots that mean nothing: ``counts`` tells how many are hits. The order of equal distances
is not defined. Needs usearch (the extra ``usearch``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import thread_count, whole_number
from fasthash.codes import MAX_BITS, packed_width
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar
from fasthash.interop._codes import Checked, Codes, Rows, gathered
from fasthash.search import BinaryIndex
from fasthash.search.snapshot import check_ids, first_repeated

_STEP = 1 << 14  # rows read back at once: each comes as an array of its own


def to_usearch(
    index: Codes,
    *,
    connectivity: int = 16,
    expansion_add: int = 128,
    expansion_search: int = 64,
    threads: int | None = None,
    progress: Progress = None,
) -> Any:
    """The codes in a ``usearch.index.Index`` of bits with the Hamming metric, handed over by batches.

    Args:
        index: a ``BinaryIndex`` or ``Shards``.
        connectivity: links a code in the graph.
        expansion_add, expansion_search: candidates kept while it is built and in later searches.
        threads: None: all cores. The graph depends on their order where there is more than one; answers with
            ``exact=True`` do not.
        progress: True for a bar on a terminal, or a callback (done, total).
    Returns:
        the index: searches take packed queries uint8 [nq, ceil(bits / 8)]; ``save(path)`` writes its own file.
    Raises:
        RuntimeError: usearch is not installed.
        TypeError, ValueError: an argument is something else; rows of a stream with a non-zero padding bit, or an id
            that is negative or there twice.
    """
    op = "to_usearch"
    usearch, rows = _usearch(op), Checked(index, op)
    live = usearch.Index(
        ndim=rows.bits,
        metric=usearch.MetricKind.Hamming,
        dtype=usearch.ScalarKind.B1,
        connectivity=whole_number(connectivity, 2, 1024, op, "connectivity"),
        expansion_add=whole_number(expansion_add, 1, 1 << 20, op, "expansion_add"),
        expansion_search=whole_number(expansion_search, 1, 1 << 20, op, "expansion_search"),
    )
    workers = thread_count(threads, op)
    with progress_bar("USearch", len(rows), progress) as say:
        for ids, codes in rows.batches(_STEP):
            keys = ids.astype(np.uint64)
            _refuse_repeated(live, keys, op)
            live.add(keys, np.ascontiguousarray(codes), threads=workers)
            say(len(live))
    return live


def from_usearch(live: Any) -> BinaryIndex:
    """The codes of a ``usearch.index.Index``, in an exact index of their own; keys become ids.

    Args:
        live: of scalar kind B1 and the Hamming metric, loaded or viewed.
    Raises:
        RuntimeError: usearch is not installed.
        TypeError: live is something else.
        ValueError: another scalar kind or metric, more than 4096 bits, a key beyond 2^63 - 1 or there twice, a
            padding bit that is not 0.
    """
    op = "from_usearch"
    usearch = _usearch(op)
    if not isinstance(live, usearch.Index):
        raise TypeError(f"{op}: live must be a usearch.index.Index, got {type(live).__name__}")
    if live.dtype != usearch.ScalarKind.B1 or live.metric_kind != usearch.MetricKind.Hamming:
        raise ValueError(
            f"{op}: live must be of B1 with Hamming, got {_name(live.dtype)} with {_name(live.metric_kind)}"
        )
    if live.ndim > MAX_BITS:
        raise ValueError(f"{op}: live has codes of {live.ndim} bits, at most {MAX_BITS} can be searched")
    keys: NDArray[Any] = np.sort(live.keys[: len(live)]) if len(live) else np.empty(0, np.uint64)
    check_ids(keys, op)
    if (twice := first_repeated(keys)) is not None:
        raise ValueError(f"{op}: live has the key {twice} twice; every code needs a key of its own")

    def batches() -> Iterator[Rows]:
        for first in range(0, len(keys), _STEP):
            some = keys[first : first + _STEP]
            yield some.astype(np.int64), np.stack(live.get(some)).reshape(len(some), packed_width(live.ndim))

    return gathered(batches(), live.ndim, op)


def _refuse_repeated(live: Any, keys: NDArray[np.uint64], op: str) -> None:
    """ValueError names a key that is in the index or stands twice; USearch itself does not say which."""
    there = keys[np.asarray(live.contains(keys), np.bool_)] if len(live) and len(keys) else keys[:0]
    twice = int(there[0]) if len(there) else first_repeated(np.sort(keys).astype(np.int64))
    if twice is not None:
        raise ValueError(f"{op}: id {twice} is twice in ids")


def _name(kind: Any) -> str:
    return getattr(kind, "name", str(kind))


def _usearch(op: str) -> Any:
    return require("usearch.index", "usearch", "usearch", op)
