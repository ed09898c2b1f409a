"""The statements of searches, and their answers: exact by a scan, approximate through an index of pgvector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._hamming import NO_DISTANCE, NO_ID
from fasthash._native import to_numpy
from fasthash.codes import check_packed
from fasthash.interop._postgres_table import Described, Place, doubled

MAX_EF_SEARCH = 1000  # of pgvector
_MAX_PROBES = 32768
_AT_ONCE = 256  # queries sent before their answers are taken
_WITH_BITS, _WITH_COUNT = (0, 7), 140000  # first pgvector with operators on bit, first server with bit_count on it


class Vector(NamedTuple):
    """The extension in a database."""

    schema: Any  # psycopg.sql.Identifier
    version: tuple[int, ...]


def vector(cursor: Any) -> Vector | None:
    """pgvector where the database has it, in whatever schema."""
    from psycopg import sql

    cursor.execute(
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'"
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return Vector(sql.Identifier(row[0]), tuple(int(part) for part in row[1].split(".") if part.isdecimal()))


def needed(cursor: Any, op: str) -> Vector:
    """pgvector; RuntimeError: the database does not have it, or one that knows no bits."""
    found = vector(cursor)
    if found is None:
        raise RuntimeError(f"{op}: the database has no pgvector: run CREATE EXTENSION vector in it")
    if found.version < _WITH_BITS:
        version = ".".join(map(str, found.version))
        raise RuntimeError(f"{op}: pgvector {version} has no Hamming distance of bits: update it to 0.7 or later")
    return found


def nearest(cursor: Any, place: Place, bits: int, k: int, extension: str | None, op: str) -> Any:
    """The query for the k nearest by (distance, id), all rows looked at. Raises: as ``_exact_distance``."""
    text = "SELECT {id}::bigint, {distance} FROM {table} WHERE {present} ORDER BY 2, 1 LIMIT {k}"
    distance = _exact_distance(cursor, place, bits, extension, op)
    return place.with_parameters().sql(text, distance=distance, k=k)


def within(cursor: Any, place: Place, bits: int, radius: int, extension: str | None, op: str) -> Any:
    """The query for all at distance <= radius, by (distance, id). Raises: as ``_exact_distance``."""
    text = "SELECT {id}::bigint, {distance} FROM {table} WHERE {present} AND {distance} <= {radius} ORDER BY 2, 1"
    distance = _exact_distance(cursor, place, bits, extension, op)
    return place.with_parameters().sql(text, distance=distance, radius=min(radius, bits))


def through_index(
    cursor: Any, place: Place, table: Described, k: int, ef_search: int | None, probes: int | None, op: str
) -> Any:
    """The query for k near codes through an index of pgvector, whose settings are made for this transaction.

    Raises:
        ValueError: the table has no such index, or not the one that an argument is for; k, ef_search or probes is
            beyond what the index answers.
    """
    name, kinds, schema = place.said[0], _indexes(cursor, table.oid, place.said[2]), needed(cursor, op).schema
    if not kinds:
        raise ValueError(f"{op}: table {name} has no HNSW or IVFFlat index of bit_hamming_ops: create_index makes one")
    if ef_search is not None and "hnsw" not in kinds:
        raise ValueError(f"{op}: ef_search is for an HNSW index, table {name} has IVFFlat: give probes")
    if probes is not None and "ivfflat" not in kinds:
        raise ValueError(f"{op}: probes is for an IVFFlat index, table {name} has HNSW: give ef_search")
    cursor.execute(place.sql("SELECT {schema}.hamming_distance(B'0', B'1')", schema=schema))  # loads the settings
    if "hnsw" in kinds:
        k = whole_number(k, 1, MAX_EF_SEARCH, op, "k")
        if ef_search is None:
            cursor.execute("SELECT greatest(current_setting('hnsw.ef_search')::int, %s)", (k,))
            ef_search = cursor.fetchone()[0]
        _set(cursor, "hnsw.ef_search", whole_number(ef_search, k, MAX_EF_SEARCH, op, "ef_search"))
    if probes is not None:
        _set(cursor, "ivfflat.probes", whole_number(probes, 1, _MAX_PROBES, op, "probes"))
    place = place.with_parameters()
    distance = place.sql("{code} OPERATOR({schema}.<~>) {query}", schema=doubled(schema), query=_query(table.bits))
    text = "SELECT {id}::bigint, ({distance})::int FROM {table} WHERE {present} ORDER BY {distance} LIMIT {k}"
    return place.sql(text, distance=distance, k=k)


def checked_queries(queries: Any, bits: int, op: str) -> NDArray[np.uint8]:
    """ValueError: other than packed codes [nq, ceil(bits / 8)], nq >= 1."""
    rows = check_packed(to_numpy(queries, op, "queries"), bits, op, "queries")
    if len(rows) == 0:
        raise ValueError(f"{op}: queries must have at least one row, got shape {rows.shape}")
    return rows


def answers(cursor: Any, query: Any, queries: NDArray[np.uint8], bits: int) -> Iterator[NDArray[np.int64]]:
    """(id, distance) [hits, 2] of each query."""
    for start in range(0, len(queries), _AT_ONCE):
        signs = np.unpackbits(queries[start : start + _AT_ONCE], axis=1, count=bits) + ord("0")
        cursor.executemany(query, [{"query": row.tobytes().decode()} for row in signs], returning=True)
        while True:
            yield np.array(cursor.fetchall(), np.int64).reshape(-1, 2)
            if not cursor.nextset():
                break


def filled(parts: Iterator[NDArray[np.int64]], nq: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """distances [nq, k] and ids [nq, k] by (distance, id), missing hits last."""
    distances, ids = np.full((nq, k), NO_DISTANCE, np.int32), np.full((nq, k), NO_ID, np.int64)
    for row, part in enumerate(parts):
        found = part[np.lexsort(part.T)]  # by the distance first: lexsort's last key is its first
        ids[row, : len(found)], distances[row, : len(found)] = found.T
    return distances, ids


def _exact_distance(cursor: Any, place: Place, bits: int, extension: str | None, op: str) -> Any:
    """The distance of {code} from a query, in a form that no index of pgvector answers.

    Its operator would not do: ORDER BY code <~> query, id goes through an HNSW index where there is one.

    Raises:
        ValueError: extension is something else.
        RuntimeError: the server can neither.
    """
    if extension not in (None, "vector", "none"):
        raise ValueError(f"{op}: extension must be 'vector', 'none' or None, got {extension!r}")
    found = needed(cursor, op) if extension == "vector" else vector(cursor) if extension is None else None
    place = place.with_parameters()
    if found is not None and found.version >= _WITH_BITS:
        schema = doubled(found.schema)
        return place.sql("{schema}.hamming_distance({code}, {query})::int", schema=schema, query=_query(bits))
    version = cursor.connection.info.server_version
    if version < _WITH_COUNT:
        raise RuntimeError(f"{op}: PostgreSQL {version // 10000} without pgvector counts no bits: 14 or later does")
    return place.sql("bit_count({code} # {query})::int", query=_query(bits))


def _query(bits: int) -> Any:
    from psycopg import sql

    return sql.SQL("{}::bit({})").format(sql.Placeholder("query"), bits)


def _set(cursor: Any, setting: str, value: int) -> None:
    cursor.execute("SELECT set_config(%s, %s, true)", (setting, str(value)))


def _indexes(cursor: Any, oid: int, column: str) -> set[str]:
    """The access methods of the indexes that find codes by Hamming distance."""
    cursor.execute(
        "SELECT m.amname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
        " JOIN pg_opclass o ON o.oid = i.indclass[0]"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " WHERE i.indrelid = %s AND a.attname = %s AND i.indisvalid AND i.indpred IS NULL"
        " AND m.amname IN ('hnsw', 'ivfflat') AND o.opcname = 'bit_hamming_ops'",
        (oid, column),
    )
    return {name for (name,) in cursor.fetchall()}
