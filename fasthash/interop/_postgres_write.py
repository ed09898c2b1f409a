"""Codes written to a table by COPY, and indexes of pgvector over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fasthash.codes import check_bits, check_packed
from fasthash.features._progress import Progress, progress_bar
from fasthash.interop._codes import Codes, Rows, moment
from fasthash.interop._postgres_connection import transaction
from fasthash.interop._postgres_copy import HEADER, TRAILER, rows_at_once, sent
from fasthash.interop._postgres_index import HNSW, IVFFlat, build
from fasthash.interop._postgres_table import Place, TableCodes, create, is_there, there
from fasthash.search.snapshot import check_ids

_MODES = ("create", "append", "overwrite")


def write(
    rows: Codes | Iterable[Rows],
    connection: Any,
    table: str,
    *,
    bits: int | None = None,
    mode: str = "create",
    approximate: HNSW | IVFFlat | None = None,
    id_column: str = "id",
    column: str = "code",
    progress: Progress = None,
) -> int:
    """Write codes and ids into a table, in one transaction: all of them or, on an error, nothing.

    Streamed by COPY in its binary form.

    Args:
        rows: a ``BinaryIndex``, ``MultiIndex``, ``Shards`` or anything else that has ``bits`` and ``batches``; or an
            iterable of (ids int64 [m], packed uint8 [m, ceil(bits / 8)]), in any order.
        connection: a ``psycopg.Connection`` or a conninfo string.
        bits: code length; an iterable needs it.
        mode: "create" a table that is not there yet, "append" to one that is, or "overwrite": what is there is dropped
            first, with its indexes and privileges.
        approximate: an index of pgvector to be built over all rows, in the same transaction. PostgreSQL's
            ``maintenance_work_mem`` should hold it: set it on the connection.
        progress: True for a bar on a terminal, or a callback (done, total); an iterable's total is 0.
    Returns:
        rows written.
    Raises:
        TypeError: an argument of another kind.
        ValueError: another code length than the table's, an id that is negative, twice in rows or already in the table;
            columns of other types; a table that is there ("create"), or that has no unique index on its ids ("append").
        RuntimeError: psycopg or pgvector is missing, a privilege is, the connection fails.
    """
    op = "postgres.write"
    if mode not in _MODES:
        raise ValueError(f"{op}: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    _check_index(approximate, op, optional=True)
    length, total, batches = _stream(rows, bits, op)
    place = Place.of(table, id_column, column, op)
    if mode == "overwrite" and isinstance(rows, TableCodes) and rows.is_of(connection, place):
        raise ValueError(f"{op}: rows are those of table {table} itself, which 'overwrite' drops first")
    with progress_bar("PostgreSQL", total, progress) as say, transaction(connection, op) as cursor:
        made = _prepare(cursor, place, length, mode, op)
        written = 0
        with cursor.copy(place.sql("COPY {table} ({id}, {code}) FROM STDIN (FORMAT BINARY)")) as copy:
            copy.write(HEADER)
            for ids, codes in batches:
                copy.write(sent(ids, codes, length))
                written += len(ids)
                say(written)
            copy.write(TRAILER)
        if made:
            cursor.execute(place.sql("ALTER TABLE {table} ADD PRIMARY KEY ({id})"))
        if approximate is not None:
            build(cursor, place, approximate, op)
    return written


def create_index(
    connection: Any, table: str, approximate: HNSW | IVFFlat, *, id_column: str = "id", column: str = "code"
) -> None:
    """Build an index of pgvector over a table that is there.

    Raises:
        TypeError, ValueError, RuntimeError: as ``write``.
    """
    op = "postgres.create_index"
    _check_index(approximate, op)
    place = Place.of(table, id_column, column, op)
    with transaction(connection, op) as cursor:
        there(cursor, place, op)
        build(cursor, place, approximate, op)


def _stream(rows: Any, bits: int | None, op: str) -> tuple[int, int, Iterator[Rows]]:
    """Code length, number of rows (0: not known) and the rows, checked as they come."""
    if hasattr(rows, "batches"):
        source = moment(rows, op)
        if bits is not None and bits != source.bits:
            raise ValueError(f"{op}: bits must be {source.bits} as of the rows, got {bits}")
        return source.bits, len(source), _checked(source.batches(rows_at_once(source.bits)), source.bits, op)
    if not isinstance(rows, Iterable):
        raise TypeError(f"{op}: rows must be an index or an iterable of (ids, packed), got {type(rows).__name__}")
    if bits is None:
        raise ValueError(f"{op}: bits is needed with an iterable of (ids, packed)")
    return check_bits(bits, op), 0, _checked(rows, bits, op)


def _checked(rows: Iterable[Any], bits: int, op: str) -> Iterator[Rows]:
    step = rows_at_once(bits)
    for part in rows:
        if not isinstance(part, (tuple, list)) or len(part) != 2:
            raise TypeError(f"{op}: rows must be an iterable of (ids, packed), it gave {type(part).__name__}")
        codes = check_packed(part[1], bits, op, "packed")
        ids = check_ids(part[0], op, len(codes), "packed")
        for start in range(0, len(ids), step):
            yield ids[start : start + step], codes[start : start + step]


def _prepare(cursor: Any, place: Place, bits: int, mode: str, op: str) -> bool:
    """A table for the rows; whether it was made just now."""
    name, id_column, _ = place.said
    if mode == "append":
        table = there(cursor, place, op, bits)
        if table.id_type != "bigint":
            raise ValueError(f"{op}: column {id_column!r} of table {name} must be bigint for this, got {table.id_type}")
        if not table.unique:
            raise ValueError(f"{op}: table {name} has no unique index on {id_column}: an id could be there twice")
        return False
    if mode == "overwrite":
        cursor.execute(place.sql("DROP TABLE IF EXISTS {table}"))
    elif is_there(cursor, place):
        raise ValueError(f"{op}: table {name} is there already; append or overwrite")
    create(cursor, place, bits)
    return True


def _check_index(wanted: Any, op: str, optional: bool = False) -> None:
    if not isinstance(wanted, (HNSW, IVFFlat)) and not (optional and wanted is None):
        raise TypeError(f"{op}: approximate must be HNSW(...) or IVFFlat(...), got {type(wanted).__name__}")
