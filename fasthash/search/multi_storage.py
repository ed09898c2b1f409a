"""Index files with tables: those of ``storage`` with three more tensors, all of them searched where they lie.

``table_codes`` (U64 [tables, n, ceil(bits / 64)], left out with ``copies`` false), ``offsets`` (U32 [sum(2^width + 1)])
and ``rows`` (U32 [tables, n]). ``__metadata__`` also holds ``starts`` and ``widths`` of the substrings, separated by
commas and empty while there are no codes, and what the tables were asked to be: ``tables`` (a number or "auto") and
``copies`` ("true" or "false").
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash._multi_index import MAX_ROWS, MAX_TABLES, MAX_WIDTH, Tables, offsets_size
from fasthash.search import storage

FORMAT = "fasthash.MultiIndex"


class Settings(NamedTuple):
    """What was asked of the tables."""

    tables: int | None  # None: as many as suit the codes
    copies: bool


def write(
    path: str | os.PathLike[str],
    bits: int,
    codes: NDArray[np.uint8],
    ids: NDArray[np.int64] | None,
    settings: Settings,
    tables: Tables | None,
) -> None:
    """As ``storage.write``; ``tables`` are None where there are no codes."""
    metadata = {
        "tables": "auto" if settings.tables is None else str(settings.tables),
        "copies": "true" if settings.copies else "false",
        "starts": "" if tables is None else ",".join(map(str, tables.starts)),
        "widths": "" if tables is None else ",".join(map(str, tables.widths)),
    }
    more: dict[str, NDArray[Any]] = {}
    if tables is not None:
        # in descending order of alignment, so that each begins at a multiple of its own
        more = {} if tables.codes is None else {"table_codes": tables.codes.astype("<u8", copy=False)}
        more |= {"offsets": tables.offsets.astype("<u4", copy=False), "rows": tables.rows.astype("<u4", copy=False)}
    storage.write(path, bits, codes, ids, FORMAT, metadata, more)


def read(
    path: str | os.PathLike[str], *, mmap: bool, verify: bool
) -> tuple[storage.Stored, tuple[Settings, Tables | None] | None]:
    """Any index file of this package, and for one with tables what they are.

    The offsets are always read into memory and checked (4 x 2^width bytes a table); the rows in the tables are not, as
    the searches see to it that they are rows of the index.

    Args, Raises: as ``storage.read``.
    """
    formats = {storage.FORMAT: lambda *_: {}, FORMAT: _describe}
    stored = storage.read(path, mmap=mmap, verify=verify, formats=formats)
    if stored.format != FORMAT:
        return stored, None
    settings, starts, widths = _metadata(Path(path), stored.metadata, stored.bits, len(stored.codes))
    if not widths:
        return stored, (settings, None)
    offsets = np.array(stored.more["offsets"])  # a copy: a map could be changed after the check
    _check_offsets(Path(path), offsets, widths, len(stored.codes))
    return stored, (settings, Tables(starts, widths, offsets, stored.more["rows"], stored.more.get("table_codes")))


def _describe(path: Path, metadata: Mapping[str, Any], bits: int, count: int) -> dict[str, tuple[tuple[int, ...], str]]:
    settings, _, widths = _metadata(path, metadata, bits, count)
    if not widths:
        return {}
    copies = {"table_codes": ((len(widths), count, (bits + 63) // 64), "<u8")} if settings.copies else {}
    return {**copies, "offsets": ((offsets_size(widths),), "<u4"), "rows": ((len(widths), count), "<u4")}


def _metadata(
    path: Path, metadata: Mapping[str, Any], bits: int, count: int
) -> tuple[Settings, tuple[int, ...], tuple[int, ...]]:
    """Settings, starts and widths."""
    starts, widths = _numbers(metadata.get("starts")), _numbers(metadata.get("widths"))
    ends = [start + width for start, width in zip(starts, widths, strict=False)]
    sound = len(starts) == len(widths) <= MAX_TABLES and (len(starts) > 0) == (count > 0) and count <= MAX_ROWS
    sound = sound and all(1 <= width <= MAX_WIDTH for width in widths)
    sound = sound and all(before <= start for before, start in zip([0, *ends], [*starts, bits], strict=True))
    wanted, copies = metadata.get("tables"), metadata.get("copies")
    tables = None if wanted == "auto" else storage.number(wanted)
    if not sound or copies not in ("true", "false") or (tables is not None and not 1 <= tables <= MAX_TABLES):
        raise ValueError(f"load: {path} has damaged metadata")
    return Settings(tables, copies == "true"), starts, widths


def _numbers(value: Any) -> tuple[int, ...]:
    """The numbers in a text, separated by commas; -1 for what is none, none for an empty text."""
    if not isinstance(value, str) or len(value) > 20 * MAX_TABLES:
        return (-1,)
    return tuple(storage.number(part) for part in value.split(",")) if value else ()


def _check_offsets(path: Path, offsets: NDArray[np.uint32], widths: tuple[int, ...], count: int) -> None:
    """Searches read between them: each table's must ascend from 0 to the number of codes."""
    begin = 0
    for width in widths:
        own = offsets[begin : begin + (1 << width) + 1]
        begin += len(own)
        if own[0] != 0 or own[-1] != count or bool((own[1:] < own[:-1]).any()):
            raise ValueError(f"load: {path} is damaged: the offsets of a table do not ascend from 0 to {count}")
