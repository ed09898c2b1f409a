"""Parquet files as a corpus."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.distributed.encoding._cells import (
    FEATURES,
    NONE,
    PICTURES,
    TEXTS,
    choose_column,
    feature_rows,
    raw_rows,
)
from fasthash.distributed.encoding._rows import Rows
from fasthash.distributed.encoding._sources import Corpus, File, Span
from fasthash.features._packages import require

SUFFIXES = (".parquet", ".pq")
_BUFFER = 1 << 20  # bytes of a column that are read at once


@dataclass(frozen=True)
class ParquetReader:
    """Reads rows of Parquet files; of an id column of integers the ids, of any other the keys."""

    column: str
    what: str
    width: int
    id_column: str | None
    ids_are_keys: bool

    def read(self, spans: Sequence[Span], step: int) -> Iterator[Rows]:
        """See `Reader.read`."""
        columns = [self.column] if self.id_column in (None, self.column) else [self.column, str(self.id_column)]
        for span in spans:
            for first, batch in _batches(span, columns, step):
                yield self._rows(batch, span, first)

    def _rows(self, batch: Any, span: Span, first: int) -> Rows:
        path, count = Path(span.path), batch.num_rows
        places = [f"{span.path} row {i}" for i in range(first, first + count)]
        cells = batch.column(batch.schema.get_field_index(self.column))
        items: Any
        if self.what == FEATURES:
            items, faults = feature_rows(_matrix(cells), self.width)
        else:
            items, faults = raw_rows(_plain(cells).to_pylist(), self.what, path.parent, places)
        number = span.number + first - span.first
        ids = np.arange(number, number + count, dtype=np.int64)
        if self.id_column is None:
            return Rows(ids, items, places, faults)
        named = batch.column(batch.schema.get_field_index(self.id_column))
        if self.ids_are_keys:
            return Rows(ids, items, places, faults, ["" if key is None else key for key in named.to_pylist()])
        return Rows(_whole(named), items, places, faults)


def parquet_corpus(
    place: str,
    paths: Sequence[Path],
    names: Sequence[str],
    *,
    side: str,
    takes: Sequence[str],
    width: int,
    column: str | None,
    id_column: str | None,
) -> Corpus:
    """The corpus in these files, all of the same columns.

    Raises:
        ValueError: a damaged file, other columns than the first has, a column of another type, an id that is there
            twice, negative or missing.
    """
    files, schema = [], None
    for path, name in zip(paths, names, strict=True):
        with opened(path) as file:
            own = file.schema_arrow.remove_metadata()
            schema = own if schema is None else schema
            if own != schema:
                raise ValueError(f"encode: {path} must have the columns and types of {paths[0]}")
            files.append(File(name, path.stat().st_size, file.metadata.num_rows, _footer(path)))
    assert schema is not None
    chosen = choose_column(schema.names, column, side, takes, str(paths[0]))
    what = kind_of(schema.field(chosen).type, chosen, side, takes, width)
    named = _id_column(schema, id_column, str(paths[0]))
    as_keys = named is not None and not _is_whole(schema.field(named).type)
    if named is not None and not as_keys:
        _check_ids(paths, named)
    reader = ParquetReader(chosen, what, width, named, as_keys)
    strings = [str(path) for path in paths]
    return Corpus("parquet", place, strings, files, reader, what, chosen, None if as_keys else named, as_keys)


def kind_of(kind: Any, column: str, side: str, takes: Sequence[str], width: int) -> str:
    """What a column of this type of Arrow holds. ValueError: nothing that the model takes."""
    pa = require("pyarrow", "pyarrow", "ray", "encode")
    inner = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    types = pa.types
    several = types.is_list(inner) or types.is_large_list(inner) or types.is_fixed_size_list(inner)
    found = None
    if several and (types.is_floating(inner.value_type) or types.is_integer(inner.value_type)):
        found = FEATURES
        if types.is_fixed_size_list(inner) and inner.list_size != width and FEATURES in takes:
            raise ValueError(
                f"encode: column {column} must have {width} features as in training, got {inner.list_size}"
            )
    elif side == "text" and (_is_text(inner) or (several and _is_text(inner.value_type))):
        found = TEXTS
    elif side == "image" and (_is_text(inner) or _is_bytes(inner) or types.is_struct(inner)):
        found = PICTURES
    if found not in takes:
        raise ValueError(f"encode: column {column} must hold {' or '.join(takes)} for this model, got {kind}")
    return str(found)


def opened(path: Path) -> Any:
    """A ParquetFile; ValueError or FileNotFoundError names a file that cannot be one."""
    parquet = require("pyarrow.parquet", "pyarrow", "ray", "encode")
    try:
        # with pre_buffer all that was read stays in memory; without buffer_size a whole column of a row group is read
        return parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
    except FileNotFoundError:
        raise FileNotFoundError(f"encode: no such file: {path}") from None
    except Exception as error:  # pyarrow raises several kinds for damaged and foreign files
        raise ValueError(f"encode: {path} is no sound Parquet file: {' '.join(str(error).split())}") from None


def _footer(path: Path) -> str:
    """Checksum of a sound file's footer; its statistics tell other values, where sizes are often the same."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        return f"{zlib.crc32(file.read(length)):08x}"


def _batches(span: Span, columns: list[str], step: int) -> Iterator[tuple[int, Any]]:
    """(number of its first row in the file, record batch) of the rows of a span; other row groups are not read."""
    start = 0
    with opened(Path(span.path)) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if start < span.last and start + rows > span.first:
                at = start
                for batch in _sound(file.iter_batches(step, row_groups=[group], columns=columns), span.path):
                    first, last = max(span.first, at), min(span.last, at + batch.num_rows)
                    if first < last:
                        yield first, batch.slice(first - at, last - first)
                    at += batch.num_rows
                    if at >= span.last:
                        break
            start += rows
    if start < span.last:
        raise ValueError(f"encode: {span.path} is another file than it was: it has {start} rows")


def _sound(batches: Iterator[Any], path: str) -> Iterator[Any]:
    try:
        yield from batches
    except Exception as error:  # as in `opened`
        raise ValueError(f"encode: {path} is damaged: {' '.join(str(error).split())}") from None


def _matrix(cells: Any) -> Any:
    """Lists of one length as an array [m, p], without a copy where that can be; else as arrays and None."""
    pa = require("pyarrow", "pyarrow", "ray", "encode")
    cells = cells.storage if isinstance(cells, pa.ExtensionArray) else cells
    if cells.null_count == 0 and len(cells):
        values = cells.flatten()
        fixed = pa.types.is_fixed_size_list(cells.type)
        widths = [cells.type.list_size] if fixed else np.unique(cells.value_lengths().to_numpy(zero_copy_only=False))
        if len(widths) == 1 and widths[0]:
            return values.to_numpy(zero_copy_only=False).reshape(len(cells), int(widths[0]))
    return [None if cell is None else [np.nan if x is None else x for x in cell] for cell in cells.to_pylist()]


def _plain(cells: Any) -> Any:
    pa = require("pyarrow", "pyarrow", "ray", "encode")
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells


def _id_column(schema: Any, id_column: str | None, source: str) -> str | None:
    """The column with ids or keys; by default one of the usual names, where there is one; "none" is no column."""
    if id_column == NONE and NONE not in schema.names:
        return None
    if id_column is None:
        id_column = next((name for name in ("id", "key", "__key__") if name in schema.names), None)
        if id_column is None:
            return None
    elif id_column not in schema.names:
        raise ValueError(f"encode: id_column must be one of {', '.join(schema.names)} in {source}, got {id_column!r}")
    kind = schema.field(id_column).type
    if not _is_whole(kind) and not _is_text(kind):
        raise ValueError(f"encode: id_column {id_column} must hold integers or strings, got {kind}")
    return id_column


def _is_whole(kind: Any) -> bool:
    return bool(require("pyarrow", "pyarrow", "ray", "encode").types.is_integer(kind))


def _is_text(kind: Any) -> bool:
    types = require("pyarrow", "pyarrow", "ray", "encode").types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_bytes(kind: Any) -> bool:
    types = require("pyarrow", "pyarrow", "ray", "encode").types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _whole(column: Any) -> NDArray[np.int64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def _check_ids(paths: Sequence[Path], id_column: str) -> None:
    """ValueError names the first id that is there twice, negative, too large or missing."""
    parts = [_ids_in(path, id_column) for path in paths]
    starts = np.cumsum([0, *map(len, parts)])
    ids = np.concatenate(parts)
    del parts  # of 10^8 rows each copy is 0.8 GB
    if (ids[1:] > ids[:-1]).all():
        return
    ordered = np.sort(ids)
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(same):
        twice = ordered[same[0]]
        first, second = np.flatnonzero(ids == twice)[:2]
        files = np.searchsorted(starts, [first, second], side="right") - 1
        places = [f"{paths[f]} row {row - starts[f]}" for f, row in zip(files, (first, second), strict=True)]
        raise ValueError(f"encode: id {twice} is given twice: {places[0]} and {places[1]}")


def _ids_in(path: Path, id_column: str) -> NDArray[np.int64]:
    with opened(path) as file:
        read = file.read(columns=[id_column]).column(0)
    if read.null_count:
        raise ValueError(f"encode: column {id_column} of {path} has {read.null_count} rows without an id")
    values = read.to_numpy()
    if len(values) and (int(values.min()) < 0 or int(values.max()) > np.iinfo(np.int64).max):
        wrong = int(values.min()) if int(values.min()) < 0 else int(values.max())
        raise ValueError(f"encode: ids of {path} must be from 0 to 2^63 - 1, got {wrong}")
    ids: NDArray[np.int64] = values.astype(np.int64, copy=False)
    return ids
