"""Tables of codes: what the catalogue and the comment say of them, how they are made, streams of their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from fasthash._arguments import whole_number
from fasthash.codes import MAX_BITS
from fasthash.interop._codes import Rows
from fasthash.interop._postgres_connection import checked_name, identifier, psycopg, transaction
from fasthash.interop._postgres_copy import received
from fasthash.interop._schema import FORMAT, RULES, VERSION, stated_bits

MAX_ROWS = 1 << 26  # of a batch
_INTEGERS = ("smallint", "integer", "bigint")


class Place(NamedTuple):
    """Where codes are: names as psycopg quotes them, and as errors say them."""

    table: Any  # psycopg.sql.Identifier
    id_column: Any
    column: Any
    said: tuple[str, str, str]  # table, id column, column

    @classmethod
    def of(cls, table: str, id_column: str, column: str, op: str) -> Place:
        """TypeError, ValueError: a name that is none."""
        quoted = identifier(table, op)
        said = (table, checked_name(id_column, "id_column", op), checked_name(column, "column", op))
        if id_column == column:
            raise ValueError(f"{op}: id_column and column must be two, got {column!r} for both")
        id_quoted, column_quoted = (psycopg(op).sql.Identifier(name) for name in said[1:])
        return cls(quoted, id_quoted, column_quoted, said)

    def with_parameters(self) -> Place:
        """The same for statements with parameters, in which psycopg takes every % for one."""
        table, id_column, column = (doubled(name) for name in self[:3])
        return Place(table, id_column, column, self.said)

    def sql(self, text: str, **more: Any) -> Any:
        """A statement with {table}, {id}, {code}, {present} (rows without a null), and with more of psycopg's."""
        from psycopg import sql

        names = {"id": self.id_column, "code": self.column}
        present = sql.SQL("{id} IS NOT NULL AND {code} IS NOT NULL").format(**names)
        return sql.SQL(text).format(table=self.table, present=present, **names, **more)


def doubled(identifier: Any) -> Any:
    """An identifier in a statement with parameters."""
    from psycopg import sql

    return sql.SQL(identifier.as_string(None).replace("%", "%%"))


class Described(NamedTuple):
    """What is known of a table."""

    oid: int
    bits: int
    id_type: str
    unique: bool  # whether the server refuses an id that is there


def is_there(cursor: Any, place: Place) -> bool:
    """Whether there is a table or view of this name."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (place.table.as_string(cursor),))
    return cursor.fetchone()[0]


def there(cursor: Any, place: Place, op: str, bits: int | None = None) -> Described:
    """What the catalogue says of a table or view, once it agrees with what its comment says.

    Args:
        bits: the code length it must have; None: any.
    Raises:
        ValueError: there is no such table, a column is missing or of another type, or the comment contradicts the
            column or the rules of this library.
    """
    table, id_column, column = place.said
    name = place.table.as_string(cursor)
    cursor.execute("SELECT to_regclass(%s)::oid, obj_description(to_regclass(%s), 'pg_class')", (name, name))
    oid, comment = cursor.fetchone()
    if oid is None:
        raise ValueError(f"{op}: there is no table {table}")
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL), format_type(atttypid, atttypmod), atttypmod FROM pg_attribute"
        " WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
        (oid,),
    )
    columns = {name: rest for name, *rest in cursor.fetchall()}
    for wanted in (id_column, column):
        if wanted not in columns:
            raise ValueError(f"{op}: table {table} must have a column {wanted!r}, it has {', '.join(columns)}")
    id_type, (code_kind, code_type, length) = columns[id_column][0], columns[column]
    if id_type not in _INTEGERS:
        raise ValueError(f"{op}: column {id_column!r} of table {table} must be {'/'.join(_INTEGERS)}, got {id_type}")
    if code_kind != "bit" or not 1 <= length <= MAX_BITS:
        raise ValueError(f"{op}: column {column!r} of table {table} must be bit(1) to bit({MAX_BITS}), got {code_type}")
    if bits not in (None, length):
        raise ValueError(f"{op}: table {table} holds codes of {length} bits, expected {bits}")
    _check_comment(comment, length, table, op)
    return Described(oid, length, id_type, _is_unique(cursor, oid, id_column))


def create(cursor: Any, place: Place, bits: int) -> None:
    """A table without its primary key, which is built faster once the rows are in; its comment keeps the rules."""
    from psycopg import sql

    said = json.dumps({"format": FORMAT, "version": VERSION, "bits": bits, **RULES})
    length = sql.Literal(bits)
    cursor.execute(place.sql("CREATE TABLE {table} ({id} bigint NOT NULL, {code} bit({bits}) NOT NULL)", bits=length))
    cursor.execute(place.sql("COMMENT ON TABLE {table} IS {said}", said=sql.Literal(said)))


class TableCodes:
    """Codes of a table, read as they are asked for: each ``batches`` and ``len`` asks the server anew.

    Takes the place of an index wherever one is handed over: ``write_shards(folder, rows.batches(), rows.bits)``. Rows
    whose id or code is null are left out.
    """

    def __init__(self, connection: Any, place: Place, bits: int) -> None:
        self._connection, self._place, self._bits = connection, place, bits

    def __len__(self) -> int:
        with transaction(self._connection, "TableCodes", discard=True) as cursor:
            query = "SELECT count(*) FROM {table} WHERE {present}"
            return cursor.execute(self._place.sql(query)).fetchone()[0]

    def __repr__(self) -> str:
        return f"TableCodes(bits={self._bits}, table={self._place.said[0]!r})"

    @property
    def bits(self) -> int:
        """Code length."""
        return self._bits

    def is_of(self, connection: Any, place: Place) -> bool:
        """Whether these are the rows of this table, by the same connection or conninfo."""
        return self._connection == connection and self._place.said[0] == place.said[0]

    def batches(self, size: int = 65536) -> Iterator[Rows]:
        """(ids int64 [m], codes uint8 [m, ceil(bits / 8)]) by ascending id, m <= size; of one moment.

        A connection of yours is in use until the iteration ends.
        """
        size = whole_number(size, 1, MAX_ROWS, "TableCodes.batches", "size")
        return self.stream(size, "TableCodes.batches", " ORDER BY {id}")

    def stream(self, size: int, op: str, order: str = "") -> Iterator[Rows]:
        """As ``batches``, in any order."""
        query = "SELECT {id}::bigint, {code} FROM {table} WHERE {present}" + order
        with transaction(self._connection, op, discard=True) as cursor:
            there(cursor, self._place, op, self._bits)
            with cursor.copy(self._place.sql(f"COPY ({query}) TO STDOUT (FORMAT BINARY)")) as blocks:
                yield from received(blocks, self._bits, size, op)


def _is_unique(cursor: Any, oid: int, id_column: str) -> bool:
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_index i"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " WHERE i.indrelid = %s AND a.attname = %s AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1"
        " AND i.indpred IS NULL)",
        (oid, id_column),
    )
    return cursor.fetchone()[0]


def _check_comment(comment: str | None, bits: int, table: str, op: str) -> None:
    """ValueError: it is one that ``create`` writes, of other rules; comments of others are left alone."""
    try:
        said = json.loads(comment or "")
    except ValueError:
        return
    if not isinstance(said, dict):
        return
    where = f"the comment of table {table}"
    stated = stated_bits({key.encode(): str(value).encode() for key, value in said.items()}, op, where)
    if stated not in (None, bits):
        raise ValueError(f"{op}: {where} says codes of {stated} bits, the column holds {bits}")
