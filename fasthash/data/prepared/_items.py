"""``items.parquet``: ids, places of pictures and captions; read when asked for, kept as Arrow columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fasthash._files import replace_file
from fasthash.data._lazy import Lazy
from fasthash.features import Picture
from fasthash.features._packages import require

FILE = "items.parquet"
CAPTIONS = ("join", "first")
_ROWS = 1 << 16  # written, and turned into Python objects, at a time
_BLOCK = 1 << 12  # turned into Python objects at a time where little memory is to be held
T = TypeVar("T")


def arrow() -> Any:
    """The package pyarrow."""
    return require("pyarrow", "pyarrow", "data", "prepared data")


def parquet() -> Any:
    """pyarrow's Parquet reader and writer."""
    return require("pyarrow.parquet", "pyarrow", "data", "prepared data")


class Column(Lazy[T]):
    """One value a row, made of the columns of a Parquet file when it is asked for.

    The columns are read at the first look and kept as Arrow keeps them: a million short texts take their bytes and a
    few more, not a Python object each.

    Args:
        path: the Parquet file.
        rows: its number of rows.
        columns: those that a value is made of.
        make: a value of the columns' values.
    """

    def __init__(self, path: Path, rows: int, columns: Sequence[str], make: Callable[..., T]) -> None:
        self._path, self._rows, self._columns, self._make = path, rows, tuple(columns), make
        self._arrays: list[Any] | None = None

    def _read(self) -> list[Any]:
        if self._arrays is None:
            try:
                table = parquet().read_table(self._path, columns=list(self._columns))
            except (OSError, arrow().ArrowInvalid) as error:
                raise ValueError(f"{self._path} is damaged: {str(error).splitlines()[0]}") from None
            if len(table) != self._rows:
                raise ValueError(f"{self._path} must have {self._rows} rows, got {len(table)}")
            self._arrays = [table.column(name).combine_chunks() for name in self._columns]
        return self._arrays

    def __len__(self) -> int:
        return self._rows

    def _at(self, row: int) -> T:
        return self._make(*(array[row].as_py() for array in self._read()))

    def _some(self, rows: range) -> Sequence[T]:
        if rows.step != 1:
            return super()._some(rows)
        return tuple(self._values(rows.start, rows.stop))

    def _values(self, start: int, stop: int) -> Iterator[T]:
        parts = [array.slice(start, max(0, stop - start)).to_pylist() for array in self._read()]
        return map(self._make, *parts)

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self._rows, _ROWS):
            yield from self._values(start, min(start + _ROWS, self._rows))

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[T]:
        """The values of rows ``start`` to ``stop``, read for this once: one group of rows is in memory at a time."""
        stop = self._rows if stop is None else stop
        try:
            with parquet().ParquetFile(self._path) as file:
                first = 0
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    low, high = max(start - first, 0), min(stop - first, rows)
                    if low < high:
                        yield from self._group(file, group, low, high)
                    first += rows
        except (OSError, arrow().ArrowInvalid) as error:
            raise ValueError(f"{self._path} is damaged: {str(error).splitlines()[0]}") from None

    def _group(self, file: Any, group: int, low: int, high: int) -> Iterator[T]:
        table = file.read_row_group(group, columns=list(self._columns))
        for start in range(low, high, _BLOCK):
            part = table.slice(start, min(_BLOCK, high - start))
            yield from map(self._make, *(part.column(name).to_pylist() for name in self._columns))


class Items:
    """The columns of a prepared folder's items.

    Args:
        folder: of the data set.
        rows: number of pairs.
        columns: those that are there beside the id.
    """

    def __init__(self, folder: Path, rows: int, columns: Sequence[str]) -> None:
        self.folder, self.path, self.rows, self.columns = folder, folder / FILE, rows, tuple(columns)

    @property
    def ids(self) -> Column[str]:
        return Column(self.path, self.rows, ["id"], str)

    @property
    def pictures(self) -> Column[Picture | None] | None:
        """Where the pictures lie; None as a value where a pair has none."""
        if "picture" not in self.columns:
            return None
        return Column(self.path, self.rows, ["picture", "member"], self._picture)

    @property
    def captions(self) -> Column[tuple[str, ...]] | None:
        """All captions of each pair."""
        if "captions" not in self.columns:
            return None
        return Column(self.path, self.rows, ["captions"], lambda captions: tuple(captions or ()))

    def texts(self, captions: str = "join") -> Column[str] | None:
        """One text a pair: its captions with a space between them ("join"), or its first one ("first")."""
        if captions not in CAPTIONS:
            raise ValueError(f"data.load: captions must be one of {', '.join(CAPTIONS)}, got {captions!r}")
        if "captions" not in self.columns:
            return None
        return Column(self.path, self.rows, ["captions"], _joined if captions == "join" else _first)

    def _picture(self, path: str | None, member: str | None) -> Picture | None:
        return None if path is None else Picture(self.folder / path, member)


def _joined(captions: Sequence[str] | None) -> str:
    return " ".join(captions or ())


def _first(captions: Sequence[str] | None) -> str:
    return captions[0] if captions else ""


def write_items(
    folder: Path,
    rows: int,
    ids: Sequence[str] | None,
    pictures: Sequence[Picture | None] | None,
    captions: Sequence[Sequence[str]] | None,
    *,
    home: Path,
) -> tuple[str, ...]:
    """Write ``items.parquet`` in groups of rows; returns the columns beside the id.

    Args:
        folder: where it is written.
        rows, ids, pictures, captions: as in `Gathered`.
        home: where the folder will stand: paths of pictures inside it become relative, so that it can be moved.
    """
    pa = arrow()
    fields = [pa.field("id", pa.string(), nullable=False)]
    if pictures is not None:
        fields += [pa.field("picture", pa.string()), pa.field("member", pa.string())]
    if captions is not None:
        fields.append(pa.field("captions", pa.list_(pa.string()), nullable=False))
    schema = pa.schema(fields)

    def write(path: Path) -> None:
        with parquet().ParquetWriter(path, schema, compression="zstd") as file:
            named = iter(ids) if ids is not None else map(str, range(rows))
            shown, said = iter(pictures or ()), iter(captions or ())
            for start in range(0, rows, _ROWS):
                count = min(_ROWS, rows - start)
                columns: dict[str, Any] = {"id": list(islice(named, count))}
                if pictures is not None:
                    part = list(islice(shown, count))
                    columns["picture"] = [None if p is None else _place(p.path, home) for p in part]
                    columns["member"] = [None if p is None else p.member for p in part]
                if captions is not None:
                    columns["captions"] = [list(texts) for texts in islice(said, count)]
                file.write_table(_table(pa, columns, schema, start))

    replace_file(folder / FILE, write)
    return tuple(field.name for field in fields[1:])


def _table(pa: Any, columns: dict[str, Any], schema: Any, start: int) -> Any:
    """These rows for Parquet, which keeps UTF-8 alone; half of a character, as cut-off JSON has it, is an error."""
    try:
        return pa.table(columns, schema=schema)
    except UnicodeEncodeError:
        for name, column in columns.items():
            for row, value in enumerate(column):
                texts = value if isinstance(value, list) else [value or ""]
                bad = next((text for text in texts if any("\ud800" <= letter <= "\udfff" for letter in text)), None)
                if bad is not None:
                    raise ValueError(f"data prepare: {name} must be UTF-8, row {start + row} has {bad!r}") from None
        raise


def _place(path: str | os.PathLike[str], home: Path) -> str:
    """As it is written: relative to the data set's folder where it lies inside, absolute otherwise."""
    absolute = os.path.abspath(path)
    inside = os.path.commonpath([absolute, str(home)]) == str(home)
    return os.path.relpath(absolute, home) if inside else absolute
