"""The codes that a live index of FAISS holds, read out of its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Held = tuple[NDArray[np.uint8], NDArray[np.int64] | None]  # codes [n, code_size]; ids [n], None: 0, 1, 2, ...


def stored(faiss: Any, live: Any, op: str) -> Held:
    """Codes and ids of a flat index, a graph or lists, or of an id map over one: copies.

    Raises:
        TypeError: another kind of index.
    """
    if not isinstance(live, faiss.IndexBinary):
        raise TypeError(f"{op}: live must be a faiss.IndexBinary, got {type(live).__name__}")
    live = faiss.downcast_IndexBinary(live)
    if isinstance(live, faiss.IndexBinaryIDMap):  # an IDMap2 is one too
        codes, inner = stored(faiss, live.index, op)
        outer = faiss.vector_to_array(live.id_map)
        return codes, outer if inner is None else outer[inner]
    if isinstance(live, faiss.IndexBinaryHNSW):
        return stored(faiss, live.storage, op)
    if isinstance(live, faiss.IndexBinaryFlat):
        return _copied(faiss, live.xb.data(), live.ntotal, live.code_size), None
    if isinstance(live, faiss.IndexBinaryIVF):
        return _of_lists(faiss, live)
    kinds = "IndexBinaryFlat, IndexBinaryHNSW, IndexBinaryIVF or an id map over one"
    raise TypeError(f"{op}: live must be an {kinds}, got {type(live).__name__}")


def _of_lists(faiss: Any, live: Any) -> Held:
    lists = live.invlists
    sizes = [lists.list_size(number) for number in range(live.nlist)]
    codes = np.empty((sum(sizes), live.code_size), np.uint8)
    ids = np.empty(len(codes), np.int64)
    first = 0
    for number, size in enumerate(sizes):
        if size == 0:
            continue
        own = slice(first, first + size)
        held_codes, held_ids = lists.get_codes(number), lists.get_ids(number)
        try:
            codes[own] = faiss.rev_swig_ptr(held_codes, size * live.code_size).reshape(size, -1)
            ids[own] = faiss.rev_swig_ptr(held_ids, size)
        finally:
            lists.release_codes(number, held_codes)
            lists.release_ids(number, held_ids)
        first += size
    return codes, ids


def _copied(faiss: Any, data: Any, rows: int, width: int) -> NDArray[np.uint8]:
    if rows == 0:
        return np.empty((0, width), np.uint8)
    return np.array(faiss.rev_swig_ptr(data, rows * width)).reshape(rows, width)
