"""An exact index that looks at a small part of the codes: multi-index hashing."""

from __future__ import annotations

import os
import threading
from typing import Any

from fasthash import _multi_index
from fasthash._arguments import whole_number
from fasthash._multi_index import COPY_BITS, MAX_TABLES, Progress, Tables
from fasthash._native import like
from fasthash.search import multi_storage
from fasthash.search.index import BinaryIndex, base_of
from fasthash.search.snapshot import Snapshot


class MultiIndex(BinaryIndex):
    """Exact search in less time than a scan: for few queries at a time, on a million codes or more, that are clustered.

    Results are those of ``BinaryIndex``, to the bit: all k nearest codes, equal distances by ascending id. The codes
    are sorted into tables by substrings; a query looks into the buckets near its own, nearest first, until what it
    found is proved to be complete. A query for which this would take longer than the scan is left to the scan: large
    k, codes without clusters, narrow filters, and large batches of queries often are.

    Tables: made by ``build``, or by the first search or save after codes were added, updated or removed, which others
    then wait for. Every such change makes all tables anew, so make many changes at once. While they are made, the
    process takes 8 x (1 + ceil(bits / 64)) bytes a code more, without ``copies`` 8.

    Memory beyond that of a ``BinaryIndex``, for n codes in t tables: t x n x (4 + 8 x ceil(bits / 64)) bytes, without
    ``copies`` t x n x 4, and 4 x 2^w bytes of offsets a table, w <= log2(n). ``table_bytes`` tells. With the tables
    chosen for 10 million codes that is 48 bytes a code at 64 bits (4 tables), 140 at 128 (7 tables).

    Source: Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, TPAMI 2014. Tables
    here need not be searched equally far: the next one is where the next step is expected to cost least.
    """

    def __init__(self, bits: int, tables: int | None = None, copies: bool | None = None) -> None:
        """An empty index.

        Args:
            bits: code length, 1 to 4096.
            tables: how many substrings, 1 to 64; None chooses by the length and the number of codes.
            copies: keep the codes once more in every table, in its order; see the memory above. None: up to 128 bits,
                where it is 2 to 5 times as fast. Longer codes gain less.
        Raises:
            TypeError, ValueError: one of them is something else.
        """
        super().__init__(bits)
        self._wanted = None if tables is None else whole_number(tables, 1, MAX_TABLES, "MultiIndex", "tables")
        if copies is not None and not isinstance(copies, bool):
            raise TypeError(f"MultiIndex: copies must be True, False or None, got {type(copies).__name__}")
        self._copies = bits <= COPY_BITS if copies is None else copies
        self._built: tuple[Snapshot, Tables] | None = None  # of these very rows
        self._build_lock = threading.Lock()

    @classmethod
    def _with_tables(
        cls, bits: int, rows: Snapshot, memory: str, settings: multi_storage.Settings, tables: Tables | None
    ) -> MultiIndex:
        index = cls(bits, *settings)
        index._rows, index._memory = rows, memory
        index._built = None if tables is None else (rows, tables)
        return index

    def __copy__(self) -> MultiIndex:
        rows, built = self._rows, self._built
        index = type(self)(self._bits, self._wanted, self._copies)
        index._rows, index._memory = rows.trimmed(), self._memory
        index._built = (index._rows, built[1]) if built is not None and built[0] is rows else None
        return index

    def __getstate__(self) -> dict[str, Any]:  # without the tables: they are made faster than they are written
        return {**super().__getstate__(), "tables": self._wanted, "copies": self._copies}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._wanted, self._copies = state["tables"], state["copies"]

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables; 0 while there are none for the codes as they are."""
        built = self._built
        return built[1].nbytes if built is not None and built[0] is self._rows else 0

    def build(self, threads: int | None = None, progress: Progress | None = None) -> None:
        """Make the tables now, if there are none for the codes as they are.

        Args:
            threads: at most so many; None: all cores.
            progress: called as ``progress(done, total)`` before the first table and after each one.
        Raises:
            ValueError: the index is empty, or has more than 4294967295 codes.
            KeyboardInterrupt: Ctrl-C; the index is as before.
        """
        self._tables(self._rows, "MultiIndex.build", threads, progress)

    def search(self, queries: Any, k: int, allow: Any = None, threads: int | None = None) -> tuple[Any, Any]:
        """The k nearest codes of each query, by (distance, id) ascending.

        Queries are spread over the threads; one query uses one, unless it is left to the scan.

        Args, Returns, Raises: as ``BinaryIndex.search``. RuntimeError: a mapped file is damaged in a way that shows
        only now.
        """
        op, rows = "MultiIndex.search", self._rows
        tables = self._tables(rows, op, threads)
        distances, found, _ = _multi_index.topk(
            self._queries(queries, op), rows.codes, tables, k, bits=self._bits, allow=allow, threads=threads, op=op
        )
        return like(distances, queries), like(rows.to_ids(found), queries)

    def range_search(
        self, queries: Any, radius: int, allow: Any = None, threads: int | None = None
    ) -> tuple[Any, Any, Any]:
        """Every code at distance <= radius: as ``BinaryIndex.range_search``."""
        op, rows = "MultiIndex.range_search", self._rows
        tables = self._tables(rows, op, threads)
        lims, distances, found, _ = _multi_index.range_search(
            self._queries(queries, op), rows.codes, tables, radius, bits=self._bits, allow=allow, threads=threads, op=op
        )
        return like(lims, queries), like(distances, queries), like(rows.to_ids(found), queries)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write codes, ids and tables as one safetensors file, whole or not at all; ``load`` reads it.

        Raises:
            OSError: the folder does not exist, the disk is full, ...; an older file at ``path`` is then untouched.
        """
        rows = self._rows
        tables = self._tables(rows, "MultiIndex.save") if rows.size else None
        settings = multi_storage.Settings(self._wanted, self._copies)
        ids = rows.listed_ids
        multi_storage.write(path, self._bits, rows.codes, ids, settings, tables)

    def _tables(self, rows: Snapshot, op: str, threads: int | None = None, progress: Progress | None = None) -> Tables:
        """The tables over these rows, made if need be."""
        base_of(rows, op)
        built = self._built
        if built is not None and built[0] is rows:
            return built[1]
        with self._build_lock:
            built = self._built
            if built is None or built[0] is not rows:
                tables = _multi_index.build(rows.codes, self._bits, self._wanted, self._copies, threads, progress, op)
                self._built = built = (rows, tables)
            return built[1]
