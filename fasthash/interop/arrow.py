"""Codes as Arrow tables and Parquet files.

A table has the columns ``id`` (int64) and ``code`` (fixed_size_binary of ceil(bits / 8) bytes); its metadata say
``format``, ``version``, ``bits``, ``bit_order`` and ``zero_rule``, as index files do: most significant bit first, a
value of at least 0 is bit 1, padding bits of the last byte are 0. Columns of others may be binary, list<uint8> or
fixed_size_list<uint8>. Needs pyarrow (the extra ``arrow``).
"""

from __future__ import annotations

from typing import Any

from fasthash.interop._codes import BATCH, Checked, Codes, Rows, gathered
from fasthash.interop._parquet import ParquetCodes, parquet_batches, read_parquet, write_parquet
from fasthash.interop._schema import PARQUET_OPTIONS, layout, pyarrow, record_batch, schema
from fasthash.search import BinaryIndex

__all__ = [
    "PARQUET_OPTIONS", "ParquetCodes", "from_arrow", "parquet_batches", "read_parquet", "record_batch", "schema",
    "to_arrow", "write_parquet",
]  # fmt: skip


def to_arrow(index: Codes) -> Any:
    """The codes as a ``pyarrow.Table``, by batches; of a ``BinaryIndex`` without a copy.

    Args:
        index: a ``BinaryIndex`` or ``Shards``.
    Raises:
        RuntimeError: pyarrow is not installed.
        TypeError: index is something else.
        ValueError: rows of a stream as in ``write_parquet``.
    """
    pa, rows = pyarrow("to_arrow"), Checked(index, "to_arrow")
    kind = schema(rows.bits)
    return pa.Table.from_batches([record_batch(ids, codes, kind) for ids, codes in rows.batches(BATCH)], kind)


def from_arrow(
    table: Any, bits: int | None = None, *, id_column: str | None = "id", column: str = "code"
) -> BinaryIndex:
    """An index of the codes of a table, sorted by id.

    Args:
        table: a ``pyarrow.Table``, RecordBatch or RecordBatchReader, or anything with Arrow's stream protocol (a data
            frame of Polars or pandas, a relation of DuckDB).
        bits: code length; None: that of the metadata, or 8 x bytes where there are none.
        id_column: integers from 0 on, no two alike; None: row i has id i.
        column: packed codes, most significant bit first: fixed_size_binary, binary, list<uint8> or
            fixed_size_list<uint8>.
    Raises:
        RuntimeError: pyarrow is not installed.
        TypeError: table is something else.
        ValueError: a missing column, wrong types, nulls, rows of different widths, a non-zero padding bit, an id that
            is negative, too large or there twice, bits or rules that the metadata contradict.
    """
    pa, op = pyarrow("from_arrow"), "from_arrow"
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    elif not isinstance(table, pa.Table):
        if not hasattr(table, "__arrow_c_stream__"):
            raise TypeError(f"{op}: table must be an Arrow table or stream, got {type(table).__name__}")
        table = pa.table(table)
    kind, first, parts = layout(table.schema, bits, id_column, column, op), 0, list[Rows]()
    for batch in table.select(kind.names).to_batches():
        if batch.num_rows:
            ids, codes = kind.rows(batch, first, op)
            kind, first = kind.seen(codes, op), first + len(ids)
            parts.append((ids, codes))
    if kind.bits is None:
        raise ValueError(f"{op}: table has no rows that tell the length of the codes; give bits")
    return gathered(parts, kind.bits, op)
