"""Parts of the output: Parquet files of ids and codes, each written whole under the name of its block."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.features._packages import require
from fasthash.interop import arrow

PATTERN = "part-*.parquet"
TRIES = ".*.tries"  # beside each part while it is made: a byte for each worker that began
Skipped = tuple[int, str, str]  # id, place, why


@dataclass(frozen=True)
class Part:
    """A part that is written.

    Args:
        file: its name. rows: codes in it.
        skipped: rows of the block that were left out.
    """

    file: str
    rows: int
    skipped: tuple[Skipped, ...] = ()

    @property
    def seen(self) -> int:
        """Rows of the corpus that it stands for."""
        return self.rows + len(self.skipped)


def write_part(
    path: Path,
    bits: int,
    ids: NDArray[np.int64],
    codes: NDArray[np.uint8],
    keys: Sequence[str] | None,
    skipped: Sequence[Skipped],
    about: Mapping[str, str],
) -> Part:
    """Write a part whole or not at all.

    Args:
        ids: int64 [m]. codes: uint8 [m, ceil(bits / 8)]. keys: m strings, or None.
        about: more metadata of the schema.
    """
    pa, parquet = (require(name, "pyarrow", "ray", "encode") for name in ("pyarrow", "pyarrow.parquet"))
    kind = arrow.schema(bits, {**about, "skipped": json.dumps(skipped)})
    batch = arrow.record_batch(np.ascontiguousarray(ids), np.ascontiguousarray(codes), kind)
    options: dict[str, Any] = dict(arrow.PARQUET_OPTIONS)
    table = pa.Table.from_batches([batch], kind)
    if keys is not None:
        table = table.append_column(pa.field("key", pa.string(), False), pa.array(keys, pa.string()))
        options["compression"] = {**options["compression"], "key": "zstd"}
    replace_file(path, lambda temporary: parquet.write_table(table, temporary, **options))
    return Part(path.name, len(ids), tuple(tuple(row) for row in skipped))  # type: ignore[misc]


def read_part(path: Path, model: str) -> Part | None:
    """What a part's footer says; None where it cannot be read or is of another model: it must be made again."""
    parquet = require("pyarrow.parquet", "pyarrow", "ray", "encode")
    try:
        found = parquet.read_metadata(path)
        said = found.metadata or {}
        if said.get(b"model", b"").decode() != model:
            return None
        skipped = tuple((int(row), str(place), str(why)) for row, place, why in json.loads(said[b"skipped"]))
    except Exception:  # pyarrow raises several kinds for files that are damaged
        return None
    return Part(path.name, found.num_rows, skipped)


def read_ids(path: Path) -> NDArray[np.int64]:
    """int64 [m], the ids of a part."""
    column = require("pyarrow.parquet", "pyarrow", "ray", "encode").read_table(path, columns=["id"]).column(0)
    ids: NDArray[np.int64] = column.to_numpy()
    return ids
