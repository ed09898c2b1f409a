"""CSV, TSV, JSON Lines and JSON files as columns; what is wrong in one is said with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
PLAIN = ".txt"  # a .csv where it is named as the table
_CELL = 1 << 24  # characters of one cell: a caption is never longer, an unclosed quote is


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file, column by column; a cell that is not there is None."""

    file: str
    columns: dict[str, list[Any]]
    lines: list[int]  # [n] where each row ends


def read_table(path: Path, op: str, delimiter: str | None = None) -> Table:
    """The table in a file.

    Args:
        path: .csv and .tsv have a header; each line of a .jsonl and each entry of the list in a .json is an object.
        op: who asks.
        delimiter: between the cells of a .csv; default: a comma, or ";" or a tab where the header has no comma.
    Raises:
        ValueError: names file, line and what is wrong with it.
    """
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, PLAIN):
        raise ValueError(f"{op}: a table must be a file {', '.join(SUFFIXES)}, got {path}")
    try:
        if suffix in (".csv", ".tsv", PLAIN):
            return _read_csv(path, op, "\t" if suffix == ".tsv" else delimiter)
        return _columns(path, op, _json_list(path, op) if suffix == ".json" else _json_lines(path, op))
    except UnicodeDecodeError:
        raise ValueError(f"{op}: {path.name}:{_bad_line(path)}: must be UTF-8, other bytes are in this line") from None


def _read_csv(path: Path, op: str, delimiter: str | None) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if delimiter is None:
            head = file.readline()
            delimiter = "," if "," in head else ";" if ";" in head else "\t" if "\t" in head else ","
            file.seek(0)
        limit = csv.field_size_limit(_CELL)
        try:
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(rows, [])
            _check_header(header, f"{op}: {path.name}:1")
            cells: list[list[Any]] = [[] for _ in header]
            lines: list[int] = []
            for row in rows:
                if not row:  # a blank line
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{op}: {path.name}:{rows.line_num}: must have {len(header)} cells like the header, "
                        f"got {len(row)}"
                    )
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell)
                lines.append(rows.line_num)
        except csv.Error as error:
            raise ValueError(f"{op}: {path.name}:{rows.line_num}: {error}") from None
        finally:
            csv.field_size_limit(limit)
    if not lines:
        raise ValueError(f"{op}: {path.name}: must have a header and rows, got no rows")
    return Table(path.name, dict(zip(header, cells, strict=True)), lines)


def _check_header(header: Sequence[str], where: str) -> None:
    if not any(name.strip() for name in header):
        raise ValueError(f"{where}: must be a header, got an empty line")
    twice = [name for i, name in enumerate(header) if name in header[:i]]
    if twice:
        raise ValueError(f"{where}: names of columns must differ, got {twice[0]!r} twice")


def _json_lines(path: Path, op: str) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{op}: {path.name}:{number}: must be JSON: {error}") from None


def _json_list(path: Path, op: str) -> Iterator[tuple[int, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{op}: {path.name}: must be JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        content = [_karpathy(row, f"{op}: {path.name}:{i}") for i, row in enumerate(content["images"], 1)]
    if not isinstance(content, list):
        raise ValueError(f"{op}: {path.name}: must be a list of objects, got {type(content).__name__}")
    yield from enumerate(content, 1)


def _karpathy(row: Any, where: str) -> dict[str, Any]:
    """An image of dataset_coco.json, dataset_flickr30k.json or dataset_flickr8k.json, A. Karpathy's splits."""
    try:
        captions = [sentence["raw"] for sentence in row["sentences"]]
        name = "/".join(part for part in (row.get("filepath"), row["filename"]) if part)
        return {"id": row.get("cocoid", row.get("imgid")), "image": name, "captions": captions, "split": row["split"]}
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{where}: must be an image with filename, split and sentences, got something else") from None


def _columns(path: Path, op: str, rows: Iterator[tuple[int, Any]]) -> Table:
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for number, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{op}: {path.name}:{number}: must be an object {{...}}, got {type(row).__name__}")
        for name in row:
            columns.setdefault(name, [None] * len(lines))
        for name, column in columns.items():
            column.append(row.get(name))
        lines.append(number)
    if not columns:
        raise ValueError(f"{op}: {path.name}: must have objects with fields, got none")
    return Table(path.name, columns, lines)


def _bad_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0
