"""What is found out about one model's codes, as plain data: measures, distances, the codes in the plane, categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import check_bits
from fasthash.metrics import Separation
from fasthash.report._checks import check_all, check_series, check_share, check_text, check_whole, set_values

SIDES = ("image", "text")


@dataclass(frozen=True)
class Measure:
    """One model under one measure.

    Args:
        name: of the measure ("mAP over the whole database").
        i2t, t2i: its values, 0 to 1.
        chance: (i2t, t2i) of codes drawn at random, where they were measured.
        note: a few words under the name.
    """

    name: str
    i2t: float
    t2i: float
    chance: tuple[float, float] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        set_values(self, name=check_text("Measure", "name", self.name))
        set_values(self, i2t=check_share("Measure", "i2t", self.i2t), t2i=check_share("Measure", "t2i", self.t2i))
        if self.chance is not None:
            i2t, t2i = (check_share("Measure", "chance", value) for value in self.chance)
            set_values(self, chance=(i2t, t2i))
        set_values(self, note=check_text("Measure", "note", self.note, empty=True))


@dataclass(frozen=True, eq=False)
class Codes:
    """The database codes of one side.

    Args:
        side: whose they are ("Image codes").
        words: what they look like, in a sentence or two.
        balance: [bits] share of ones of each bit.
        collapsed: whether the codes say hardly anything.
    """

    side: str
    words: str
    balance: NDArray[np.float64]
    collapsed: bool = False

    def __post_init__(self) -> None:
        set_values(self, side=check_text("Codes", "side", self.side), words=check_text("Codes", "words", self.words))
        set_values(self, balance=check_series("Codes", "balance", self.balance, shares=True))
        check_bits(len(self.balance), "Codes: balance")


@dataclass(frozen=True, eq=False)
class Distances:
    """How far relevant and irrelevant pairs of query and item are apart.

    Args:
        relevant, irrelevant: [bits + 1] numbers of pairs at each distance.
    """

    relevant: NDArray[Any]
    irrelevant: NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("relevant", "irrelevant"):
            series = check_series("Distances", name, getattr(self, name))
            if len(series) < 2 or series.min() < 0:
                raise ValueError(f"Distances: {name} must be at least 2 counts of 0 or more, got {len(series)}")
            set_values(self, **{name: series})
        if len(self.relevant) != len(self.irrelevant):
            raise ValueError(
                f"Distances: irrelevant must be [{len(self.relevant)}] like relevant, got [{len(self.irrelevant)}]"
            )

    @property
    def bits(self) -> int:
        """Code length."""
        return len(self.relevant) - 1

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(relevant, irrelevant), each summing to 1, or to 0 where there is no such pair."""
        return self.relevant / max(1.0, self.relevant.sum()), self.irrelevant / max(1.0, self.irrelevant.sum())

    @property
    def words(self) -> str:
        """How far the pairs are apart on average, and how often a relevant pair is the closer one."""
        return str(Separation(self.relevant.astype(np.int64), self.irrelevant.astype(np.int64)))


@dataclass(frozen=True, eq=False)
class CodeMap:
    """Codes laid out in the plane so that codes at a small Hamming distance lie together.

    Args:
        x, y: [n] places, in units of their own.
        sides: [n] 0 where the code is an image's, 1 a text's.
        queries: [n] whether the item is a query, not of the database.
        groups: [n] index into ``names``.
        names: what the groups are called.
        words: how it was made ("t-SNE of ...").
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sides: NDArray[np.int64]
    queries: NDArray[np.bool_]
    groups: NDArray[np.int64]
    names: Sequence[str]
    words: str

    def __post_init__(self) -> None:
        set_values(self, x=check_series("CodeMap", "x", self.x), y=check_series("CodeMap", "y", self.y))
        names = tuple(check_text("CodeMap", "names", name) for name in self.names)
        set_values(self, words=check_text("CodeMap", "words", self.words), names=names)
        columns = {"sides": (np.int64, 2), "queries": (np.bool_, 2), "groups": (np.int64, len(names))}
        for name, (kind, limit) in columns.items():
            values: NDArray[Any] = np.array(getattr(self, name)).astype(kind)
            if values.shape != self.x.shape or self.y.shape != self.x.shape:
                raise ValueError(f"CodeMap: {name} and y must be [{len(self.x)}] like x, got {list(values.shape)}")
            if len(values) and not (values.min() >= 0 and values.max() < limit):
                raise ValueError(f"CodeMap: {name} must be from 0 to {limit - 1}, got {values.max()}")
            values.flags.writeable = False
            set_values(self, **{name: values})


@dataclass(frozen=True)
class Category:
    """The queries of one category.

    Args:
        name: of the category.
        queries: how many there are.
        i2t, t2i: mean average precision over them.
    """

    name: str
    queries: int
    i2t: float
    t2i: float

    def __post_init__(self) -> None:
        set_values(self, name=check_text("Category", "name", self.name))
        set_values(self, queries=check_whole("Category", "queries", self.queries))
        set_values(self, i2t=check_share("Category", "i2t", self.i2t), t2i=check_share("Category", "t2i", self.t2i))


@dataclass(frozen=True)
class Categories:
    """Scores category by category.

    Args:
        layer: what the categories are called together ("articleType"); "" where there is one layer.
        rows: in the order of the table.
    """

    layer: str
    rows: Sequence[Category]

    def __post_init__(self) -> None:
        set_values(self, layer=check_text("Categories", "layer", self.layer, empty=True))
        set_values(self, rows=check_all("Categories", "rows", self.rows, Category))
