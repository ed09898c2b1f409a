"""Codes in live indexes of FAISS, and back.

Files of its exact indexes need no FAISS: ``fasthash.search.read_faiss`` and ``write_faiss``.

What differs there, and what is done about it:

- Codes have whole bytes. With ``pad=True`` others keep their packed form, whose padding bits are 0 and count nowhere.
- FAISS compares bytes and knows no bit order: distances are equal for either; codes keep that of ``fasthash.codes``.
- Its range search returns what is nearer than the radius, that of this library what is at most as far: the function
  here converts. Its distances there are float32, ours int32.
- Where k is larger than the number of codes it ends a row with id -1, as this library does; the distance beside it is
  2147483647, in an IndexBinaryHNSW -2147483648.
- Among equal distances its order, and which of them a row of k still has, is not defined; here the smaller id is first.

Needs faiss (the extra ``faiss``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash.codes import MAX_BITS, check_packed, packed_width
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar
from fasthash.interop._codes import BATCH, Checked, Codes, numbered, to_index
from fasthash.interop._faiss_rows import stored
from fasthash.search import BinaryIndex

MAX_NLIST = 1 << 16
TRAIN_PER_LIST = 64  # codes a list that its centres are found from; FAISS asks for 39 at least
_OPTIONS = {"flat": (), "hnsw": ("M", "ef_construction", "ef_search"), "ivf": ("nlist", "nprobe", "seed")}


def to_faiss(index: Codes, kind: str = "flat", *, pad: bool = False, progress: Progress = None, **options: int) -> Any:
    """The codes in a live index of FAISS, handed over by batches.

    Args:
        index: a ``BinaryIndex`` or ``Shards`` with codes of whole bytes, unless ``pad``.
        kind: "flat": IndexBinaryFlat, exact. "hnsw": IndexBinaryHNSW, a graph. "ivf": IndexBinaryIVF, lists around
            centres, trained here. Unless the ids are 0, 1, 2, ... the first two are inside an IndexBinaryIDMap2; lists
            keep ids by themselves.
        pad: take codes of any length: d becomes the next multiple of 8, queries are packed codes as always.
        progress: True for a bar on a terminal, or a callback (done, total).
        options: of "hnsw": M (32), links a code; ef_construction (40) and ef_search (16, of later searches), candidates
            kept. Of "ivf": nlist, the lists (about sqrt(n), of 39 codes at least); nprobe, lists a search looks into
            (an eighth of them); seed (1234) of the training sample.
    Returns:
        faiss.IndexBinary; its searches take queries uint8 [nq, d / 8].
    Raises:
        RuntimeError: faiss is not installed.
        TypeError, ValueError: an argument is something else, an option the kind does not have, a code length that is
            no multiple of 8 without ``pad``, lists without a code to train them on; rows of a stream with a non-zero
            padding bit, or an id that is negative or there twice.
    """
    op = "to_faiss"
    faiss, rows = _faiss(op), Checked(index, op)
    if kind not in _OPTIONS:
        raise ValueError(f"{op}: kind must be one of {', '.join(_OPTIONS)}, got {kind!r}")
    if wrong := sorted(set(options) - set(_OPTIONS[kind])):
        raise ValueError(f"{op}: {kind} has the options {', '.join(_OPTIONS[kind]) or 'none'}, got {wrong[0]!r}")
    if rows.bits % 8 and not pad:
        raise ValueError(f"{op}: FAISS holds codes of whole bytes only, got codes of {rows.bits} bits; see pad=True")
    d, mapped = 8 * packed_width(rows.bits), not numbered(rows)
    if kind == "ivf":
        live, mapped = _lists(faiss, rows, d, op, **options), True
    else:
        live = faiss.IndexBinaryFlat(d) if kind == "flat" else _graph(faiss, d, op, **options)
        live = faiss.IndexBinaryIDMap2(live) if mapped else live
    with progress_bar("FAISS", len(rows), progress) as say:
        for ids, codes in rows.batches(BATCH):
            codes = np.ascontiguousarray(codes)
            live.add_with_ids(codes, ids) if mapped else live.add(codes)
            say(live.ntotal)
    return live


def from_faiss(live: Any, bits: int | None = None) -> BinaryIndex:
    """The codes and ids of a live index of FAISS, in an exact index of their own, sorted by id.

    Args:
        live: IndexBinaryFlat, IndexBinaryHNSW, IndexBinaryIVF, or an id map over one.
        bits: code length where it was padded to a multiple of 8; None: its d.
    Raises:
        RuntimeError: faiss is not installed.
        TypeError: another kind of index.
        ValueError: bits does not fit d, a padding bit that is not 0, more than 4096 bits, an id that is negative or
            there twice.
    """
    op = "from_faiss"
    codes, ids = stored(_faiss(op), live, op)
    if live.d > MAX_BITS:
        raise ValueError(f"{op}: live has codes of {live.d} bits, at most {MAX_BITS} can be searched")
    if bits is not None and 8 * packed_width(bits) != live.d:
        raise ValueError(f"{op}: bits must be from {live.d - 7} to {live.d} for d = {live.d}, got {bits}")
    return to_index(codes, ids, bits or live.d, op)


def range_search(
    live: Any, queries: NDArray[np.uint8], radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """What a live index of FAISS finds at distance <= radius, in the form of ``BinaryIndex.range_search``.

    FAISS is asked for distances < radius + 1. An IndexBinaryHNSW has no range search.

    Args:
        live: any binary index of FAISS with a range search; an IndexBinaryIVF looks into its ``nprobe`` lists alone.
        queries: uint8 [nq, d / 8].
        radius: 0 or more.
    Returns:
        lims int64 [nq + 1], distances int32 and ids int64 [lims[-1]], those of query i from lims[i] to lims[i + 1],
        by (distance, id).
    Raises:
        RuntimeError: faiss is not installed, or live has no range search.
        TypeError, ValueError: an argument is something else.
    """
    op = "range_search"
    faiss = _faiss(op)
    if not isinstance(live, faiss.IndexBinary):
        raise TypeError(f"{op}: live must be a faiss.IndexBinary, got {type(live).__name__}")
    whole_number(radius, 0, 2**31 - 2, op, "radius")
    rows = np.ascontiguousarray(check_packed(queries, live.d, op, "queries"))
    if isinstance(faiss.downcast_IndexBinary(getattr(live, "index", live)), faiss.IndexBinaryHNSW):
        raise RuntimeError(f"{op}: FAISS has no range search in an IndexBinaryHNSW")
    lims, distances, ids = live.range_search(rows, radius + 1)
    query = np.repeat(np.arange(len(rows)), np.diff(lims.astype(np.int64)))
    order = np.lexsort((ids, distances, query))
    return lims.astype(np.int64), distances[order].astype(np.int32), ids[order]


def _graph(faiss: Any, d: int, op: str, M: int = 32, ef_construction: int = 40, ef_search: int = 16) -> Any:
    graph = faiss.IndexBinaryHNSW(d, whole_number(M, 2, 1024, op, "M"))
    graph.hnsw.efConstruction = whole_number(ef_construction, 1, 1 << 20, op, "ef_construction")
    graph.hnsw.efSearch = whole_number(ef_search, 1, 1 << 20, op, "ef_search")
    return graph


def _lists(
    faiss: Any, rows: Codes, d: int, op: str, nlist: int | None = None, nprobe: int | None = None, seed: int = 1234
) -> Any:
    """A trained IndexBinaryIVF without codes."""
    count = len(rows)
    if count == 0:
        raise ValueError(f"{op}: kind ivf needs codes to train its lists on, the index is empty")
    if nlist is None:
        nlist = max(1, min(int(count**0.5), count // 39, MAX_NLIST))
    nlist = whole_number(nlist, 1, count, op, "nlist")
    nprobe = -(-nlist // 8) if nprobe is None else whole_number(nprobe, 1, nlist, op, "nprobe")
    live = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(d), d, nlist)
    live.nprobe = nprobe
    live.cp.seed = whole_number(seed, 0, 2**31 - 1, op, "seed")
    live.cp.min_points_per_centroid = 1  # no warning where the user wants lists of few codes
    live.cp.max_points_per_centroid = TRAIN_PER_LIST
    live.train(_sample(rows, min(count, nlist * TRAIN_PER_LIST), seed))
    return live


def _sample(rows: Codes, wanted: int, seed: int) -> NDArray[np.uint8]:
    """So many codes of all, drawn without replacement, in order; one pass over the batches."""
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), wanted, replace=False))
    parts, first = [], 0
    for _, codes in rows.batches(BATCH):
        low, high = np.searchsorted(chosen, (first, first + len(codes)))
        parts.append(codes[chosen[low:high] - first])
        first += len(codes)
    return np.concatenate(parts)


def _faiss(op: str) -> Any:
    return require("faiss", "faiss-cpu", "faiss", op)
