"""Codes of a table: an index in memory, or a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fasthash.codes import check_bits
from fasthash.features._progress import Progress, progress_bar
from fasthash.interop._codes import Rows, gathered
from fasthash.interop._postgres_connection import transaction
from fasthash.interop._postgres_copy import rows_at_once
from fasthash.interop._postgres_table import Place, TableCodes, there
from fasthash.search import BinaryIndex


def read(
    connection: Any,
    table: str,
    bits: int | None = None,
    *,
    id_column: str = "id",
    column: str = "code",
    progress: Progress = None,
) -> BinaryIndex:
    """An index, in memory, of the codes of a table or view; streamed by COPY in its binary form.

    Args:
        bits: the code length that is expected; None: the column's.
        id_column: smallint, integer or bigint, from 0 on, no two alike.
        column: bit(n). Rows where either is null are left out.
        progress: True for a bar on a terminal, or a callback (done, total).
    Raises:
        TypeError, ValueError: no such table or column, another type or code length, a comment of other rules, an id
            that is negative or there twice.
        RuntimeError: as ``write``.
    """
    op = "postgres.read"
    source = _opened(connection, Place.of(table, id_column, column, op), bits, op)
    total = len(source) if progress else 0

    def told() -> Iterator[Rows]:
        done = 0
        for ids, codes in source.stream(rows_at_once(source.bits), op):
            yield ids, codes
            done += len(ids)
            say(done)

    with progress_bar("PostgreSQL", total, progress) as say:
        return gathered(told(), source.bits, op)


def table_codes(
    connection: Any, table: str, bits: int | None = None, *, id_column: str = "id", column: str = "code"
) -> TableCodes:
    """The codes of a table or view as a stream that is larger than memory, by ascending id.

    Args, Raises: as ``read``; ids are looked at by whoever takes the rows.
    Returns:
        ``bits``, ``len`` and ``batches(size)`` of an index; each asks the server anew.
    """
    op = "postgres.table_codes"
    return _opened(connection, Place.of(table, id_column, column, op), bits, op)


def _opened(connection: Any, place: Place, bits: int | None, op: str) -> TableCodes:
    expected = None if bits is None else check_bits(bits, op)
    with transaction(connection, op, discard=True) as cursor:
        return TableCodes(connection, place, there(cursor, place, op, expected).bits)
