"""A `ray.data.Dataset` as a corpus: rows come in no stable order, so each is known by its id."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.distributed.encoding import _store
from fasthash.distributed.encoding._cells import FEATURES, NONE, PICTURES, TEXTS, choose_column
from fasthash.distributed.encoding._parts import Part, read_ids
from fasthash.distributed.encoding._pipeline import quiet, run_dataset
from fasthash.distributed.encoding._worker import Job


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset and its columns.

    Args:
        what: "features", "pictures" or "texts".
        rows: where they are known without running the dataset; else None.
    """

    dataset: Any
    column: str
    id_column: str
    what: str
    rows: int | None

    keyed = False

    def described(self) -> dict[str, Any]:
        """JSON-able: what codes are of, as far as a dataset can be told from another before it runs."""
        return {"kind": "ray.data.Dataset", "column": self.column, "ids": self.id_column}


def is_dataset(dataset: Any) -> bool:
    """Whether it is a `ray.data.Dataset`; Ray is not imported."""
    module = sys.modules.get("ray.data")
    return module is not None and isinstance(dataset, module.Dataset)


def source_of(dataset: Any, *, side: str, takes: Sequence[str], column: str | None, id_column: str | None) -> Source:
    """The columns of a dataset. Its first row is read.

    Raises:
        ValueError: it is empty, has no column of ids, or none that the model takes.
    """
    said = "the dataset"
    with quiet(sys.modules["ray.data"]):
        head = dataset.take(1)
    if not head:
        raise ValueError("encode: nothing to encode: the dataset has no rows")
    names = list(head[0])
    chosen = choose_column(names, column, side, takes, said)
    id_column = "id" if id_column is None and "id" in names else id_column
    if id_column is None or id_column == NONE:
        raise ValueError(f"encode: {said} has no stable order of rows: it needs an id_column of integers ({names})")
    if id_column not in names:
        raise ValueError(f"encode: id_column must be one of {', '.join(names)} in {said}, got {id_column!r}")
    if isinstance(head[0][id_column], bool) or not isinstance(head[0][id_column], (int, np.integer)):
        kind = type(head[0][id_column]).__name__
        raise ValueError(f"encode: id_column {id_column} of {said} must hold integers, got {kind}")
    what = _what(head[0][chosen], side, takes)
    if what not in takes:
        raise ValueError(f"encode: column {chosen} must hold {' or '.join(takes)} for this model, got {what}")
    known = getattr(dataset, "_meta_count", None)  # `count` would run the dataset
    return Source(dataset, chosen, id_column, what, None if known is None else known())


def _what(cell: Any, side: str, takes: Sequence[str]) -> str:
    """What a cell is; an empty one is what the model takes."""
    if cell is None:
        return takes[-1]
    if isinstance(cell, np.ndarray) and cell.dtype == np.uint8 and cell.ndim > 1:
        return PICTURES
    if isinstance(cell, (bytes, dict)):
        return PICTURES
    if isinstance(cell, str) or (len(cell) and isinstance(cell[0], str)):
        return PICTURES if side == "image" else TEXTS
    return FEATURES


def reports(
    job: Job, source: Source, parts: Mapping[str, Part], rows: int, actors: int, gpus: float
) -> Iterator[dict[str, Any]]:
    """A report of each batch; rows of the finished parts are not encoded again."""
    done = _store.put(all_ids(parts.values(), Path(job.out)))
    yield from run_dataset(job, source.dataset, source.column, source.id_column, done, rows, actors, gpus)


def all_ids(parts: Any, out: Path) -> NDArray[np.int64]:
    """int64 ascending: of the codes of these parts, and of the rows that were skipped in them."""
    found = [np.empty(0, np.int64)]
    for part in parts:
        found += [read_ids(out / part.file), np.array([row for row, *_ in part.skipped], np.int64)]
    return np.sort(np.concatenate(found))


def check_whole(parts: Mapping[str, Part], seen: int, out: Path) -> None:
    """ValueError: the dataset has an id twice, or is another one than was begun.

    Args:
        seen: rows that came out of the dataset.
    """
    ids = all_ids(parts.values(), out)
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice):
        raise ValueError(f"encode: id {ids[twice[0]]} is given twice by the dataset")
    if len(ids) < seen:
        raise ValueError(f"encode: the dataset has {seen} rows of {len(ids)} different ids: some are given twice")
    if len(ids) > seen:
        raise ValueError(
            f"encode: {out} has codes of {len(ids)} rows, the dataset has {seen}: it was begun with another dataset; "
            "overwrite=True begins anew"
        )
