"""Codes in Parquet files: one, or a folder of parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fasthash._arguments import whole_number
from fasthash._files import replace_file
from fasthash.features._progress import Progress, progress_bar
from fasthash.interop._codes import BATCH, Checked, Codes, Rows, gathered
from fasthash.interop._schema import PARQUET_OPTIONS, Layout, layout, pyarrow, record_batch, schema
from fasthash.search import BinaryIndex

MAX_ROWS = 1 << 26  # of a row group


class ParquetCodes:
    """Codes of Parquet files, read as they are asked for; each ``batches`` reads the files anew.

    Takes the place of an index wherever one is handed over: ``write_shards(folder, rows.batches(), rows.bits)``.
    """

    def __init__(self, files: list[tuple[Path, int, Layout]], bits: int) -> None:
        self._files, self._bits = files, bits

    def __len__(self) -> int:
        return sum(rows for _, rows, _ in self._files)

    def __iter__(self) -> Iterator[Rows]:
        return self.batches()

    def __repr__(self) -> str:
        return f"ParquetCodes(bits={self._bits}, codes={len(self)}, files={len(self._files)})"

    @property
    def bits(self) -> int:
        """Code length."""
        return self._bits

    def batches(self, size: int = BATCH) -> Iterator[Rows]:
        """(ids int64 [m], codes uint8 [m, ceil(bits / 8)]) in the order of the files, m <= size.

        Raises:
            OSError: a file is gone or damaged.
            ValueError: a null, a row of another width, an id that is negative or too large.
        """
        size = whole_number(size, 1, MAX_ROWS, "ParquetCodes.batches", "size")
        return self._read(size)

    def _read(self, size: int) -> Iterator[Rows]:
        first = 0
        for path, _, kind in self._files:
            with _opened(path, "parquet_batches") as file:
                for batch in file.iter_batches(size, columns=kind.names):
                    ids, codes = kind.rows(batch, first, f"parquet_batches: {path}")
                    first += len(ids)
                    if len(ids):
                        yield ids, codes


def parquet_batches(
    path: str | os.PathLike[str], bits: int | None = None, *, id_column: str | None = "id", column: str = "code"
) -> ParquetCodes:
    """The codes of a Parquet file, or of all of a folder by name, as a stream that is larger than memory.

    Args:
        path: the file, or a folder: its ``*.parquet``, also in folders within; names that begin with "." or "_" are
            left out.
        bits: code length; None: that of the metadata, or 8 x bytes where there are none.
        id_column, column: as in ``from_arrow``.
    Returns:
        ``bits``, ``len`` and ``batches(size)`` of an index; iterating gives (ids, codes). Padding bits, and ids
        that are there twice, are looked at where an index, shards or another system takes the rows.
    Raises:
        RuntimeError: pyarrow is not installed.
        FileNotFoundError: no such file, or a folder without any.
        ValueError: no Parquet file, or damaged; a missing column, wrong types, files of different lengths of codes.
    """
    op = "parquet_batches"
    pyarrow(op)
    files: list[tuple[Path, int, Layout]] = []
    length = bits
    for part in _parts(Path(path), op):
        with _opened(part, op) as file:
            kind = layout(file.schema_arrow, bits, id_column, column, op, str(part))
            rows = file.metadata.num_rows
            if kind.bits is None and rows:  # a list says its length in its rows alone
                batch = next(file.iter_batches(1, columns=kind.names))
                kind = kind.seen(kind.rows(batch, 0, f"{op}: {part}")[1], op)
        if length is None:
            length = kind.bits
        elif kind.bits not in (None, length):
            raise ValueError(f"{op}: {part} has codes of {kind.bits} bits, those before it {length}")
        files.append((part, rows, kind))
    if length is None:
        raise ValueError(f"{op}: {path} has no rows that tell the length of the codes; give bits")
    return ParquetCodes(files, length)


def read_parquet(
    path: str | os.PathLike[str], bits: int | None = None, *, id_column: str | None = "id", column: str = "code"
) -> BinaryIndex:
    """An index, in memory, of the codes of a Parquet file or of a folder of them, sorted by id.

    Args, Raises: as ``parquet_batches``; ValueError also for a non-zero padding bit and an id that is there twice.
    """
    rows = parquet_batches(path, bits, id_column=id_column, column=column)
    return gathered(rows, rows.bits, "read_parquet")


def write_parquet(
    index: Codes,
    path: str | os.PathLike[str],
    *,
    rows_per_group: int = 1 << 20,
    metadata: Mapping[str, str] | None = None,
    progress: Progress = None,
) -> None:
    """Write codes and ids as one Parquet file, whole or not at all; streamed, a row group in memory at a time.

    Args:
        index: a ``BinaryIndex``, ``Shards`` or ``ParquetCodes``.
        path: the file.
        rows_per_group: codes in a row group, what readers take at once: 1 to 67,108,864.
        metadata: more of your own, beside what ``schema`` says.
        progress: True for a bar on a terminal, or a callback (done, total).
    Raises:
        RuntimeError: pyarrow is not installed.
        TypeError, ValueError: an argument is something else; rows of a stream with a non-zero padding bit, or an id
            that is negative or there twice.
        OSError: as from the file system; an older file at ``path`` is then untouched.
    """
    op = "write_parquet"
    parquet, size = pyarrow(op, "pyarrow.parquet"), whole_number(rows_per_group, 1, MAX_ROWS, op, "rows_per_group")
    rows = Checked(index, op)
    kind = schema(rows.bits, metadata)

    def write(temporary: Path) -> None:
        with parquet.ParquetWriter(temporary, kind, **PARQUET_OPTIONS) as file:
            done = 0
            for ids, codes in rows.batches(size):
                file.write_batch(record_batch(ids, codes, kind), row_group_size=size)
                done += len(ids)
                say(done)

    with progress_bar("Parquet", len(rows), progress) as say:
        replace_file(path, write)


def _parts(path: Path, op: str) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{op}: no file or folder at {path}")
    found = [part for part in path.rglob("*.parquet") if part.is_file() and not _hidden(part.relative_to(path))]
    if not found:
        raise FileNotFoundError(f"{op}: {path} has no *.parquet")
    return sorted(found)


def _hidden(path: Path) -> bool:
    return any(name.startswith((".", "_")) for name in path.parts)


def _opened(path: Path, op: str) -> Any:
    """A ParquetFile; ValueError names a file that is none."""
    parquet = pyarrow(op, "pyarrow.parquet")
    try:
        return parquet.ParquetFile(path)
    except pyarrow(op).ArrowInvalid as error:
        raise ValueError(f"{op}: {path} is no sound Parquet file: {error}") from None
