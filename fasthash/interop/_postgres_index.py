"""The approximate indexes of pgvector over bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fasthash._arguments import whole_number
from fasthash.interop._postgres_queries import needed
from fasthash.interop._postgres_table import Place

_MOST_LISTS = 32768


@dataclass(frozen=True)
class HNSW:
    """A graph: ``USING hnsw (code bit_hamming_ops)``. Built before or after the rows are in, changed with them.

    Args:
        m: links of a code in a layer, 2 to 100.
        ef_construction: candidates kept while a code is linked, 2 m to 1000.
    Raises:
        TypeError, ValueError: of another kind or size.
    """

    m: int = 16
    ef_construction: int = 64

    def __post_init__(self) -> None:
        whole_number(self.m, 2, 100, "HNSW", "m")
        whole_number(self.ef_construction, max(4, 2 * self.m), 1000, "HNSW", "ef_construction")


@dataclass(frozen=True)
class IVFFlat:
    """Lists of codes near a centre: ``USING ivfflat (code bit_hamming_ops)``. Centres come of the rows that are there.

    Args:
        lists: 1 to 32768; None: rows / 1000, beyond a million rows their square root.
    Raises:
        TypeError, ValueError: of another kind or size.
    """

    lists: int | None = None

    def __post_init__(self) -> None:
        if self.lists is not None:
            whole_number(self.lists, 1, _MOST_LISTS, "IVFFlat", "lists")

    def for_rows(self, rows: int) -> int:
        """How many lists a table of so many rows gets."""
        fitting = rows // 1000 if rows <= 1_000_000 else math.isqrt(rows)
        return min(max(1, fitting), _MOST_LISTS) if self.lists is None else self.lists


def build(cursor: Any, place: Place, wanted: HNSW | IVFFlat, op: str) -> None:
    """Create the index. RuntimeError: the database has no pgvector, or one that knows no bits."""
    schema = needed(cursor, op).schema
    if isinstance(wanted, HNSW):
        options = {"m": wanted.m, "ef": wanted.ef_construction}
        method = "hnsw ({code} {schema}.bit_hamming_ops) WITH (m = {m}, ef_construction = {ef})"
    else:
        rows = cursor.execute(place.sql("SELECT count(*) FROM {table}")).fetchone()[0]
        options = {"lists": wanted.for_rows(rows)}
        method = "ivfflat ({code} {schema}.bit_hamming_ops) WITH (lists = {lists})"
    cursor.execute(place.sql(f"CREATE INDEX ON {{table}} USING {method}", schema=schema, **options))
