"""Codes in tables of LanceDB (embedded, a folder), searched there by Hamming distance.

A table has the columns ``id`` (int64) and ``code`` (fixed_size_list<uint8> of ceil(bits / 8)), packed as everywhere
here, and the metadata of ``fasthash.interop.arrow``: any code length, as padding bits are 0 and count nowhere.
LanceDB's distances are the same numbers as float32, its range is strict below (lower <= distance < upper), and the
order of equal distances, or which of them a row of k still has, is not defined. Needs lancedb (the extra ``lance``).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._hamming import MAX_K, NO_DISTANCE, NO_ID
from fasthash.codes import check_packed
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar
from fasthash.interop._codes import BATCH, Checked, Codes, Rows, gathered
from fasthash.interop._lance_tables import check_fits, existing, opened, own_layout, written
from fasthash.interop._schema import layout
from fasthash.search import BinaryIndex

_MODES = ("create", "overwrite", "append")
_QUERIES = 64  # in one query plan of LanceDB


def write_lance(
    index: Codes,
    uri: str | os.PathLike[str],
    table: str,
    *,
    mode: str = "create",
    partitions: int | None = None,
    progress: Progress = None,
) -> Any:
    """Write codes and ids as a table of LanceDB, streamed; it is there whole or as it was before.

    Args:
        index: a ``BinaryIndex`` or ``Shards``.
        uri: folder of the database, made where there is none.
        table: its name in it.
        mode: "create": there must be none of this name. "overwrite": put in its place. "append": added to one with
            codes of the same length and none of these ids.
        partitions: make an IVF_FLAT index of so many for approximate searches; None: none, searches scan all codes.
        progress: True for a bar on a terminal, or a callback (done, total).
    Returns:
        the ``lancedb`` table.
    Raises:
        RuntimeError: lancedb is not installed.
        TypeError, ValueError: an argument is something else, the table exists, or one to append to does not fit;
            rows of a stream with a non-zero padding bit, or an id that is negative or there twice.
    """
    op = "write_lance"
    lancedb, rows = _lancedb(op), Checked(index, op)
    if mode not in _MODES:
        raise ValueError(f"{op}: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if partitions is not None:
        whole_number(partitions, 1, max(1, len(rows)), op, "partitions")
    base = lancedb.connect(os.fspath(uri))
    live = opened(base, table)
    if mode == "create" and live is not None:
        raise ValueError(f"{op}: table must be new for mode 'create', {uri} has {table!r}; overwrite or append")
    if mode == "append":
        check_fits(live, rows, table, op)
    with progress_bar("LanceDB", len(rows), progress) as say:
        live = written(base, live, table, mode, rows, say)
    if partitions is not None:
        ivf = require("lancedb.index", "lancedb", "lance", op).IvfFlat
        live.create_index("code", config=ivf(distance_type="hamming", num_partitions=partitions))
    return live


def read_lance(
    uri: str | os.PathLike[str],
    table: str,
    bits: int | None = None,
    *,
    id_column: str | None = "id",
    column: str = "code",
) -> BinaryIndex:
    """An index, in memory, of the codes of a table, sorted by id.

    Args:
        uri, table: as in ``write_lance``.
        bits, id_column, column: as in ``from_arrow``.
    Raises:
        RuntimeError: lancedb is not installed.
        ValueError: no such table; otherwise as ``from_arrow``.
    """
    op = "read_lance"
    live = existing(_lancedb(op).connect(os.fspath(uri)), uri, table, op)
    kind = layout(live.schema, bits, id_column, column, op, table)
    parts: list[Rows] = []
    first = 0
    for batch in live.search().select(kind.names).to_batches(batch_size=BATCH):
        if batch.num_rows:
            parts.append(kind.rows(batch, first, op))
            kind, first = kind.seen(parts[-1][1], op), first + batch.num_rows
    if kind.bits is None:
        raise ValueError(f"{op}: table {table} has no rows that tell the length of the codes; give bits")
    return gathered(parts, kind.bits, op)


def search_lance(
    uri: str | os.PathLike[str], table: str, queries: Any, k: int, *, probes: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The k nearest codes of a table that LanceDB finds, in the form of ``BinaryIndex.search``.

    Args:
        uri, table: as in ``write_lance``; a table that it wrote.
        queries: packed uint8 [nq, ceil(bits / 8)].
        k: hits wanted, at least 1.
        probes: how many partitions of the table's index are searched; None: no index is used, all codes are scanned.
    Returns:
        distances int32 [nq, k] and ids int64 [nq, k], by (distance, id); missing hits are (2147483647, -1). Of the
        codes at a row's last distance LanceDB chooses.
    Raises:
        RuntimeError: lancedb is not installed.
        TypeError, ValueError: an argument is something else; no such table.
    """
    op = "search_lance"
    live = existing(_lancedb(op).connect(os.fspath(uri)), uri, table, op)
    kind = own_layout(live, table, op)
    rows, k = check_packed(queries, kind.bits or 1, op, "queries"), whole_number(k, 1, MAX_K, op, "k")
    distances = np.full((len(rows), k), NO_DISTANCE, np.int32)
    ids = np.full((len(rows), k), NO_ID, np.int64)
    for first in range(0, len(rows), _QUERIES):
        own = slice(first, first + _QUERIES)
        query = live.search(list(rows[own]), vector_column_name="code").distance_type("hamming").limit(k)
        if probes is None:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(whole_number(probes, 1, 1 << 30, op, "probes"))
        _fill(query.to_arrow(), distances[own], ids[own])
    return distances, ids


def _fill(hits: Any, distances: NDArray[np.int32], ids: NDArray[np.int64]) -> None:
    """Put LanceDB's hits, of one query or several, into the rows of their queries."""
    near, found = hits["_distance"].to_numpy(), hits["id"].to_numpy()
    row = hits["query_index"].to_numpy() if "query_index" in hits.column_names else np.zeros(len(near), np.int64)
    order = np.lexsort((found, near, row))
    row, near, found = row[order], near[order], found[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    distances[row, place], ids[row, place] = near.astype(np.int32), found


def _lancedb(op: str) -> Any:
    return require("lancedb", "lancedb", "lance", op)
