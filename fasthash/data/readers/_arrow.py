"""Pairs out of Arrow tables, batch by batch: Parquet files and Hugging Face data sets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data._lazy import Lazy
from fasthash.data._scratch import Scratch
from fasthash.data.gathered import Gathered
from fasthash.data.readers._columns import GIVEN, multi_hot, split_of
from fasthash.data.readers._export import Exported, Stored
from fasthash.data.readers._roles import NONE, Made, Roles, captions_of, cell_of, label_matrix, labels_of
from fasthash.data.readers._roles import OPTIONS as ROLES
from fasthash.features._packages import require

FEATURES = {
    "image_features": ("image_features", "image_embedding", "image_embeddings", "image_embeds", "image_emb"),
    "text_features": ("text_features", "text_embedding", "text_embeddings", "text_embeds", "text_emb"),
}
OPTIONS = ROLES | {
    "image_features": "a column of lists of numbers, all of one length (default: by its usual name; none: no such)",
    "text_features": "likewise",
    "export": "a folder that pictures which are bytes in the file are written to, once; none: leave them out",
}


def arrow() -> Any:
    """The package pyarrow."""
    return require("pyarrow", "pyarrow", "data", "reading Parquet files")


def _compute() -> Any:
    return require("pyarrow.compute", "pyarrow", "data", "reading Parquet files")


class ArrowColumn(Lazy[Any]):
    """A column as Arrow keeps it; a cell becomes an object of Python's when it is asked for."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = [chunk for chunk in chunks if len(chunk)]
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks]).tolist()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _at(self, row: int) -> Any:
        chunk = bisect_right(self._ends, row)
        return self._chunks[chunk][row - (self._ends[chunk - 1] if chunk else 0)].as_py()

    def __iter__(self) -> Iterator[Any]:
        for chunk in self._chunks:
            yield from chunk.to_pylist()


class RowPlaces(Lazy[str]):
    """ "FILE row ROW" of every pair, from the first row of each file."""

    def __init__(self, files: Sequence[str], starts: Sequence[int], n: int) -> None:
        self._files, self._starts, self._n = files, starts, n

    def __len__(self) -> int:
        return self._n

    def _at(self, row: int) -> str:
        file = bisect_right(self._starts, row) - 1
        return f"{self._files[file]} row {row - self._starts[file]}"


class ArrowRows:
    """Takes tables one after the other and makes a Gathered of them. Features go to a scratch file, texts stay Arrow.

    Args:
        op: who asks.
        schema: of all tables.
        options: those of `OPTIONS` that were given.
        class_names: column -> names of its class numbers, where they are known.
    """

    def __init__(
        self, op: str, schema: Any, options: Mapping[str, Any], class_names: Mapping[str, Sequence[str]]
    ) -> None:
        self.op, self.options, self.class_names = op, options, class_names
        pa = arrow()
        self.features = {side: self._features_column(schema, f"{side}_features", pa) for side in ("image", "text")}
        numbers = {name for name in self.features.values() if name is not None}
        self._names = [name for name in schema.names if name not in numbers]
        self.roles = Roles.find(self._names, options, op)
        if self.roles.image is None and not self.roles.text and not numbers:
            raise ValueError(
                f"{op}: no column of pictures, texts or features; there are {', '.join(schema.names)}: "
                f"name them with image=COLUMN and text=COLUMN"
            )
        self._check_types(schema, pa)
        self._export = self._exporter(schema, pa)
        self._chunks: dict[str, list[Any]] = {name: [] for name in self.columns if name not in numbers}
        self._scratch: dict[str, Scratch] = {}
        self._files: list[str] = []
        self._starts: list[int] = []
        self._parts: list[tuple[str | None, int]] = []
        self._rows = 0

    @property
    def batch(self) -> int:
        """Rows to give at a time: fewer where pictures are among them."""
        return 64 if self._export is not None and self._export.bytes_inside else 1024

    @property
    def columns(self) -> list[str]:
        """Those that `add` needs."""
        found = [name for name in self.features.values() if name is not None]
        dropped = self.roles.image if self._export is None else None
        return [*(name for name in self.roles.columns if name != dropped), *found]

    def add(self, table: Any, file: str, folder: Path, part: str | None = None) -> None:
        """More rows.

        Args:
            table: a Table or RecordBatch with `columns`.
            file: what the place of a row is called.
            folder: where paths of pictures begin.
            part: word for the part of the split that these rows are, if there is one.
        """
        if not self._files or self._files[-1] != file:
            self._files.append(file)
            self._starts.append(self._rows)
        for name, chunks in self._chunks.items():
            for chunk in _chunks(table.column(name)):
                if name == self.roles.image and self._export is not None:
                    self._export.add(chunk, folder)
                else:
                    chunks.append(chunk)
        for side, column in self.features.items():
            for chunk in () if column is None else _chunks(table.column(column)):
                self._add_features(side, str(column), chunk)
        self._parts.append((part, table.num_rows))
        self._rows += table.num_rows

    def finish(self, name: str) -> Gathered:
        """All that was added."""
        if not self._rows:
            raise ValueError(f"{self.op}: must have rows, got none")
        places = RowPlaces(self._files, self._starts, self._rows)
        column = {name: ArrowColumn(chunks) for name, chunks in self._chunks.items()}
        roles = self.roles
        labels, class_names = self._labels(column)
        splits, notes = self._splits(column, places)
        if self._export is None and roles.image is not None:
            notes = (*notes, f"the pictures in column {roles.image} were left out")
        features: dict[str, Any] = {side: scratch.finish() for side, scratch in self._scratch.items()}
        return Gathered(
            name=name, where=places, labels=labels, class_names=class_names, splits=splits,
            ids=None if roles.id is None else Made([column[roles.id]], cell_of),
            pictures=None if self._export is None else self._export.pictures(),
            texts=Made([column[text] for text in roles.text], captions_of) if roles.text else None,
            layers={layer: Made([column[layer]], self._namer(layer)) for layer in roles.layers},
            notes=(*notes, *roles.unused(self._names)),
            **features,
        )  # fmt: skip

    def _features_column(self, schema: Any, role: str, pa: Any) -> str | None:
        given = self.options.get(role)
        if given == NONE:
            return None
        if given is not None and given not in schema.names:
            raise ValueError(f"{self.op}: no column {given!r} for {role}; there are {', '.join(schema.names)}")
        usual = [name for name in schema.names if name.lower() in FEATURES[role]]
        for name in [given] if given is not None else usual:
            kind = schema.field(name).type
            lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
            if lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
                return str(name)
            if given is not None:
                raise ValueError(f"{self.op}: {role}: column {name} must hold lists of numbers, got {kind}")
        return None

    def _check_types(self, schema: Any, pa: Any) -> None:
        for role, names in (("text", self.roles.text), ("labels", (self.roles.labels,)), ("layers", self.roles.layers)):
            for name in names:
                kind = None if name is None else schema.field(name).type
                while kind is not None and (
                    pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
                ):
                    kind = kind.value_type
                if kind is not None and (pa.types.is_struct(kind) or pa.types.is_binary(kind)):
                    raise ValueError(f"{self.op}: {role}: column {name} must hold words or numbers, got {kind}")

    def _exporter(self, schema: Any, pa: Any) -> Exported | None:
        """What takes the column of pictures; None where there is none, or it is left out."""
        name, folder = self.roles.image, self.options.get("export")
        if name is None:
            return None
        kind = schema.field(name).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            stored = Stored.PATHS
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            stored = Stored.BYTES
        elif pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}:
            stored = Stored.BOTH
        else:
            raise ValueError(
                f"{self.op}: image: column {name} must hold paths, bytes or struct{{bytes, path}}, got {kind}"
            )
        if folder == NONE and stored is not Stored.PATHS:
            return None
        return Exported(self.op, name, stored, None if folder is None else Path(str(folder)).expanduser())

    def _add_features(self, side: str, column: str, chunk: Any) -> None:
        """Lists of numbers as rows of float32; a missing list is a row of NaN, which is a problem of its pair."""
        values, lengths = chunk.flatten(), np.asarray(_compute().list_value_length(chunk).fill_null(0))
        gone = np.asarray(chunk.is_null()) if chunk.null_count else np.zeros(len(chunk), bool)
        scratch = self._scratch.get(side)
        if scratch is None:
            width = int(lengths[~gone][0]) if not gone.all() else 0
            if not width:
                raise ValueError(f"{self.op}: {side}_features: column {column} must begin with numbers, got none")
            scratch = self._scratch[side] = Scratch(width)
        wrong = np.flatnonzero(~gone & (lengths != scratch.width))
        if len(wrong):
            raise ValueError(
                f"{self.op}: {side}_features: {column} must have {scratch.width} numbers in every row, got "
                f"{lengths[wrong[0]]} in {self._files[-1]} row {scratch.rows + int(wrong[0]) - self._starts[-1]}"
            )
        rows = np.full((len(chunk), scratch.width), np.nan, np.float32)
        numbers = values.to_numpy(zero_copy_only=False)
        rows[~gone] = numbers[: int((~gone).sum()) * scratch.width].reshape(-1, scratch.width)
        scratch.append(rows)

    def _namer(self, column: str) -> Any:
        names = self.class_names.get(column)
        if not names:
            return cell_of
        return lambda cell: "" if cell is None or cell < 0 else names[cell]

    def _labels(self, column: Mapping[str, ArrowColumn]) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
        name = self.roles.labels
        if name is None:
            return None, ()
        names = self.class_names.get(name)
        if names:
            made = ([c for c in (cell if isinstance(cell, list) else [cell]) if c is not None] for cell in column[name])
            return multi_hot(([names[c] for c in cells if c >= 0] for cells in made), self._rows, names)
        separator = self.options.get("separator")
        rows = [labels_of(cell, separator) for cell in column[name]]
        return label_matrix(rows)

    def _splits(self, column: Mapping[str, ArrowColumn], places: Sequence[str]) -> tuple[dict[str, Any], Any]:
        """By the column of a split, else by the parts that the files say."""
        if self.roles.split is not None:
            words = [cell_of(cell) for cell in column[self.roles.split]]
        elif len({part for part, _ in self._parts}) < 2 or self.options.get("split") == NONE:
            return {}, ()
        else:
            words = [part or "" for part, rows in self._parts for _ in range(rows)]
        split, notes = split_of(words, self.op, places.__getitem__)
        return {GIVEN: split}, notes


def _chunks(column: Any) -> list[Any]:
    return column.chunks if hasattr(column, "chunks") else [column]
