"""The rows that scaling.py measures and pictures_scaling.py draws, and their file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from fasthash._files import replace_file


@dataclass(frozen=True)
class Row:
    """One size: seconds of each, and how many times as fast as FAISS in the same round, with its quartiles."""

    bits: int
    nb: int
    nq: int
    fasthash: float
    faiss: float
    speedup: float
    low: float
    high: float


def save(path: Path, rows: Sequence[Row]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            writer.writerows([row.bits, row.nb, row.nq, *(f"{x:.4g}" for x in _figures(row))] for row in rows)

    replace_file(path, write)


def _figures(row: Row) -> tuple[float, ...]:
    return row.fasthash, row.faiss, row.speedup, row.low, row.high


def load(path: Path) -> list[Row]:
    """The rows of a file that `save` wrote."""
    with path.open(newline="") as file:
        return [
            Row(*(int(line[name]) for name in ("bits", "nb", "nq")), *(float(x) for x in list(line.values())[3:]))
            for line in csv.DictReader(file)
        ]
