"""Tables of LanceDB: opened, checked, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fasthash.codes import packed_width
from fasthash.interop._codes import BATCH, Codes
from fasthash.interop._schema import Layout, layout, schema


def opened(base: Any, table: str) -> Any:
    """The table, or None where there is none."""
    try:
        return base.open_table(table)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        if "not found" in str(error):
            return None
        raise


def existing(base: Any, uri: str | os.PathLike[str], table: str, op: str) -> Any:
    """The table; ValueError where there is none."""
    live = opened(base, table)
    if live is None:
        raise ValueError(f"{op}: {os.fspath(uri)} has no table {table!r}")
    return live


def own_layout(live: Any, table: str, op: str) -> Layout:
    """The layout of a table that ``write_lance`` wrote; ValueError for another."""
    kind = layout(live.schema, None, "id", "code", op, table)
    if b"format" not in (live.schema.metadata or {}):
        raise ValueError(f"{op}: table {table} must be one that write_lance wrote, it has no metadata of codes")
    return kind


def check_fits(live: Any, rows: Codes, table: str, op: str) -> None:
    """ValueError: there is no such table, its codes have another length, or it has one of the ids."""
    if live is None:
        raise ValueError(f"{op}: table must exist for mode 'append', there is no {table!r}")
    kind = own_layout(live, table, op)
    if kind.bits != rows.bits:
        raise ValueError(f"{op}: index must have codes of {kind.bits} bits like table {table}, got {rows.bits}")
    mine = np.sort(np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in rows.batches(BATCH))]))
    for batch in live.search().select(["id"]).to_batches(batch_size=BATCH):
        ids = batch.column(0).to_numpy()
        at = np.minimum(np.searchsorted(mine, ids), max(len(mine) - 1, 0))
        taken = ids[mine[at] == ids] if len(mine) else ids[:0]
        if len(taken):
            raise ValueError(f"{op}: id {taken[0]} is already in table {table}")


def written(base: Any, live: Any, table: str, mode: str, rows: Codes, say: Any) -> Any:
    """The table with these rows; on an error nothing of them is left."""
    import pyarrow as pa

    width = packed_width(rows.bits)
    fields = [pa.field("id", pa.int64(), False), pa.field("code", pa.list_(pa.uint8(), width), False)]
    kind = pa.schema(fields, schema(rows.bits).metadata)
    stopped: list[BaseException] = []

    def batches() -> Iterator[Any]:
        done = 0
        try:
            for ids, codes in rows.batches(BATCH):
                flat = pa.array(np.ascontiguousarray(codes).reshape(-1))
                column = pa.FixedSizeListArray.from_arrays(flat, type=kind.field("code").type)
                yield pa.RecordBatch.from_arrays([pa.array(ids), column], schema=kind)
                done += len(ids)
                say(done)
        except BaseException as error:
            stopped.append(error)
            raise

    stream = pa.RecordBatchReader.from_batches(kind, batches())
    try:
        if mode != "append":
            return base.create_table(table, stream, mode=mode)
        live.add(stream)
        return live
    except BaseException:
        if mode != "append" and live is None:
            base.drop_table(table, ignore_missing=True)  # parts of a table that never was
        if stopped:
            raise stopped[0] from None  # the engine's own words hide it
        raise
