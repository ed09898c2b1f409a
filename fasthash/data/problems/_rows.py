"""Some rows of gathered data, as views: nothing is copied but what NumPy must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data._lazy import Lazy
from fasthash.data._scratch import take_rows
from fasthash.data.gathered import Gathered
from fasthash.data.splits import Split


class RowView(Lazy[Any]):
    """Some entries of a column, in an order of one's own."""

    def __init__(self, column: Sequence[Any], rows: NDArray[np.int64]) -> None:
        # a view of a view would be looked through entry by entry
        self._column: Sequence[Any] = column._column if isinstance(column, RowView) else column
        self._rows: NDArray[np.int64] = column._rows[rows] if isinstance(column, RowView) else rows

    def __len__(self) -> int:
        return len(self._rows)

    def _at(self, row: int) -> Any:
        return self._column[int(self._rows[row])]

    def _some(self, rows: range) -> RowView:
        return RowView(self._column, self._rows[np.asarray(rows, np.int64)])

    def __iter__(self) -> Iterator[Any]:
        column = self._column
        return (column[row] for row in self._rows.tolist())


def take(gathered: Gathered, rows: NDArray[np.int64], splits: Mapping[str, Split] | None = None) -> Gathered:
    """Some of the pairs, ascending.

    Args:
        rows: distinct row numbers, ascending; all of them: the columns are left as they are.
        splits: in row numbers of `gathered`; default: its own. Rows that are not taken leave them.
    Returns:
        ids that were row numbers stay what they were.
    """
    parts = gathered.splits if splits is None else splits
    if len(rows) == len(gathered):
        return replace(gathered, splits=dict(parts))
    new = np.full(len(gathered), -1, np.int64)
    new[rows] = np.arange(len(rows))
    columns: dict[str, Any] = {}
    for name in ("pictures", "texts", "where"):
        column = getattr(gathered, name)
        columns[name] = None if column is None else RowView(column, rows)
    for name in ("image", "text", "labels"):
        array = getattr(gathered, name)
        columns[name] = None if array is None else take_rows(array, rows)
    ids: Sequence[str] = RowNumbers(len(gathered)) if gathered.ids is None else gathered.ids
    return replace(
        gathered, ids=RowView(ids, rows), layers={name: RowView(of, rows) for name, of in gathered.layers.items()},
        splits={name: _renumbered(split, new) for name, split in parts.items()}, **columns,
    )  # fmt: skip


class RowNumbers(Lazy[str]):
    """The ids of pairs that have none: "0", "1", ..."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def _at(self, row: int) -> str:
        return str(row)


def _renumbered(split: Split, new: NDArray[np.int64]) -> Split:
    parts = [new[part] for part in (split.query, split.database, split.train)]
    return Split(*(part[part >= 0] for part in parts))
