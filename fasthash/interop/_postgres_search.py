"""Searches that the server runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from fasthash._arguments import whole_number
from fasthash._hamming import MAX_K
from fasthash._native import like
from fasthash.interop import _postgres_queries as server
from fasthash.interop._postgres_connection import transaction
from fasthash.interop._postgres_table import Place, there
from fasthash.search.snapshot import MAX_ID


def search(
    connection: Any,
    table: str,
    queries: Any,
    k: int,
    *,
    exact: bool = True,
    ef_search: int | None = None,
    probes: int | None = None,
    extension: str | None = None,
    id_column: str = "id",
    column: str = "code",
) -> tuple[Any, Any]:
    """The k nearest codes of each query, found by the server; exact ones as ``BinaryIndex.search`` gives them.

    Args:
        queries: uint8 [nq, ceil(bits / 8)], nq >= 1; NumPy or torch.
        k: hits wanted; at most 1000 through an HNSW index.
        exact: look at every row. False: go through the table's HNSW or IVFFlat index as the planner decides; it may
            miss codes. The hits that it finds are ordered by (distance, id), but which of several codes at the
            largest distance are among them is the index's choice.
        ef_search: candidates of an HNSW search, k to 1000; None: the connection's setting, at least k.
        probes: lists of an IVFFlat index that are looked at; None: the connection's setting.
        extension: what an exact search stands on: "vector": pgvector's ``hamming_distance(code, query)``; "none":
            ``bit_count(code # query)`` of PostgreSQL 14 or later; None: pgvector where the database has it.
    Returns:
        distances int32 [nq, k] and ids int64 [nq, k], each row by (distance, id) ascending, ending in
        (2147483647, -1) where fewer than k codes were found; an empty table has none. Of the queries' kind.
    Raises:
        TypeError, ValueError: no such table, column or index, queries or numbers that do not fit them, ef_search or
            probes with an exact search, extension with an approximate one.
        RuntimeError: as ``write``.
    """
    op = "postgres.search"
    k = whole_number(k, 1, MAX_K, op, "k")
    if exact and (ef_search is not None or probes is not None):
        raise ValueError(f"{op}: ef_search and probes are for exact=False")
    if not exact and extension is not None:
        raise ValueError(f"{op}: extension is for exact=True, got {extension!r}")
    place = Place.of(table, id_column, column, op)
    with transaction(connection, op, discard=True) as cursor:
        known = there(cursor, place, op)
        rows = server.checked_queries(queries, known.bits, op)
        if exact:
            query = server.nearest(cursor, place, known.bits, k, extension, op)
        else:
            query = server.through_index(cursor, place, known, k, ef_search, probes, op)
        distances, ids = server.filled(server.answers(cursor, query, rows, known.bits), len(rows), k)
    return like(distances, queries), like(ids, queries)


def range_search(
    connection: Any,
    table: str,
    queries: Any,
    radius: int,
    *,
    extension: str | None = None,
    id_column: str = "id",
    column: str = "code",
) -> tuple[Any, Any, Any]:
    """Every code at distance <= radius of each query, found by the server: as ``BinaryIndex.range_search``.

    Every row is looked at: no index of pgvector answers this.

    Args:
        radius: at least 0; inclusive, as everywhere in this library.
        queries, extension: as in ``search``.
    Returns:
        lims int64 [nq + 1], distances int32 [lims[nq]] and ids int64 [lims[nq]]: the hits of query q are
        ``[lims[q]:lims[q + 1]]``, by (distance, id) ascending.
    Raises:
        TypeError, ValueError, RuntimeError: as ``search``.
    """
    op = "postgres.range_search"
    radius = whole_number(radius, 0, MAX_ID, op, "radius")
    place = Place.of(table, id_column, column, op)
    with transaction(connection, op, discard=True) as cursor:
        known = there(cursor, place, op)
        rows = server.checked_queries(queries, known.bits, op)
        query = server.within(cursor, place, known.bits, radius, extension, op)
        parts = list(server.answers(cursor, query, rows, known.bits))
    lims = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    hits = np.concatenate(parts)
    found = (lims, hits[:, 1].astype(np.int32), np.ascontiguousarray(hits[:, 0]))
    return like(lims, queries), like(found[1], queries), like(found[2], queries)
