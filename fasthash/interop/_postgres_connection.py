"""Connections to PostgreSQL: opened where a conninfo is given, every change in a transaction, errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fasthash.features._packages import require

_NAME_BYTES = 63  # PostgreSQL cuts longer names: two of them could mean one table


def psycopg(op: str) -> Any:
    """The module; RuntimeError names the extra where it, or the library it stands on, is missing."""
    try:
        return require("psycopg", "psycopg", "postgres", op)
    except ImportError as error:
        raise RuntimeError(f"{op}: psycopg finds no libpq: pip install 'fasthash[postgres]'") from error


@contextmanager
def transaction(connection: Any, op: str, *, discard: bool = False) -> Iterator[Any]:
    """A ``psycopg.Cursor`` of tuples in a transaction: a savepoint where the connection is in one already.

    Args:
        connection: a ``psycopg.Connection``, or a conninfo string; what that opens is closed in the end.
        op: names the caller in errors.
        discard: undo everything in the end, settings too.
    Raises:
        RuntimeError, ValueError: what psycopg raises, in one line.
        TypeError: connection is something else.
    """
    driver = psycopg(op)
    if isinstance(connection, str):
        with _connected(driver, connection, op) as own, transaction(own, op, discard=discard) as cursor:
            yield cursor
        return
    if not isinstance(connection, driver.Connection):
        got = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise TypeError(f"{op}: connection must be a psycopg.Connection or a conninfo string, got {got}")
    if connection.info.transaction_status == driver.pq.TransactionStatus.ACTIVE:  # psycopg would wait for ever
        raise RuntimeError(f"{op}: the connection is in the middle of another COPY or statement: give another one")
    try:
        cursor = driver.Cursor(connection, row_factory=driver.rows.tuple_row)  # whatever the connection's own are
        with connection.transaction(force_rollback=discard), cursor:
            yield cursor
    except driver.Error as error:
        raise _told(driver, error, op) from error


@contextmanager
def _connected(driver: Any, conninfo: str, op: str) -> Iterator[Any]:
    try:
        connection = driver.connect(conninfo)
    except driver.ProgrammingError:  # its text may quote the password
        raise ValueError(f"{op}: connection is no valid conninfo string or URI") from None
    except driver.Error as error:
        raise RuntimeError(f"{op}: cannot connect: {_line(error)}") from None
    try:
        yield connection
    finally:
        connection.close()


def identifier(table: str, op: str) -> Any:
    """``psycopg.sql.Identifier`` of "table" or "schema.table", upper and lower case kept.

    Raises:
        TypeError, ValueError: no such name: more than one dot, an empty part, one that PostgreSQL would cut.
    """
    if not isinstance(table, str):
        raise TypeError(f"{op}: table must be a name, got {type(table).__name__}")
    parts = table.split(".")
    if len(parts) > 2:
        raise ValueError(f"{op}: table must be 'table' or 'schema.table', got {table!r}")
    return psycopg(op).sql.Identifier(*(checked_name(part, "table", op) for part in parts))


def checked_name(name: Any, what: str, op: str) -> str:
    """A name that PostgreSQL keeps as it is; TypeError or ValueError tells ``what`` it is the name of."""
    if not isinstance(name, str):
        raise TypeError(f"{op}: {what} must be a name, got {type(name).__name__}")
    if not 1 <= len(name.encode()) <= _NAME_BYTES or "\0" in name:
        raise ValueError(f"{op}: {what} must be a name of 1 to {_NAME_BYTES} bytes, got {name!r}")
    return name


def _told(driver: Any, error: Any, op: str) -> Exception:
    """The error that a caller sees."""
    known = (driver.ProgrammingError, driver.IntegrityError, driver.DataError)
    if isinstance(error, known) and not isinstance(error, driver.errors.InsufficientPrivilege):
        return ValueError(f"{op}: {_line(error)}")
    return RuntimeError(f"{op}: {_line(error)}")


def _line(error: Any) -> str:
    """What the server or the driver says, in one line."""
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    said = "; ".join(part for part in parts if part) or str(error) or type(error).__name__
    return " ".join(said.split())
