"""Codes in PostgreSQL, with pgvector or without.

A table has the columns ``id`` (bigint, its primary key) and ``code`` (bit(n)), and a comment in JSON that keeps the
rules: ``format``, ``version``, ``bits``, ``bit_order``, ``zero_rule``. Bit i of a code is the i-th character of the
bit string: PostgreSQL's order is that of ``fasthash.codes``, most significant first; a value of at least 0 is bit 1.
The table is the same with and without pgvector. A connection is a ``psycopg.Connection``, whose open transaction is
used where there is one, or a conninfo string or URI. Names of tables are "table" or "schema.table", upper and lower
case as given. Needs psycopg (the extra ``postgres``).
"""

from __future__ import annotations

from fasthash.interop._postgres_index import HNSW, IVFFlat
from fasthash.interop._postgres_read import read, table_codes
from fasthash.interop._postgres_search import range_search, search
from fasthash.interop._postgres_table import TableCodes
from fasthash.interop._postgres_write import create_index, write

__all__ = ["HNSW", "IVFFlat", "TableCodes", "create_index", "range_search", "read", "search", "table_codes", "write"]
