"""What a comparison shows, as plain data: per data set its tables and curves, what was aimed at, where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fasthash.report import units
from fasthash.report._checks import check_all, check_text, set_values
from fasthash.report.content import DIRECTIONS, Credit, Query


@dataclass(frozen=True)
class Value:
    """A mean over seeds; ``spread`` is their standard deviation, None for a single value."""

    mean: float
    spread: float | None = None
    best: bool = False

    @property
    def text(self) -> str:
        """0.873 ± 0.004"""
        return units.score(self.mean) + ("" if self.spread is None else f" ± {units.score(self.spread)}")


@dataclass(frozen=True)
class GridRow:
    """A line of a grid.

    Args:
        values: (bits, direction) -> value; what was not measured is not there.
        seconds: of training one model, the median of the row's models.
        megabytes: most memory that the process of any of its models held.
        note: a few words under the name.
        reference: shown dimmed: it is no code that others could be compared with.
    """

    name: str
    values: Mapping[tuple[int, str], Value]
    seconds: float | None = None
    megabytes: float | None = None
    note: str = ""
    reference: bool = False


@dataclass(frozen=True)
class Grid:
    """Rows against code lengths in both directions, for one measure; ``notes`` are sentences under it."""

    measure: str  # "mAP over the whole database"
    bits: Sequence[int]
    rows: Sequence[GridRow]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Part:
    """Rows of a data set that are seen together.

    Args:
        title: heading; "" where the data set has this part alone.
        grids: one for each measure, the first is shown open.
        picture: file name of its figure without suffix.
    """

    title: str
    grids: Sequence[Grid]
    picture: str = ""


@dataclass(frozen=True)
class Searches:
    """The same queries put to several rows of a data set.

    Args:
        queries: ``method`` of each is the `GridRow.name` that answered.
        about: how the queries and the rows were chosen.
        credits: whose pictures and texts these are.
    """

    queries: Sequence[Query]
    about: str = ""
    credits: Sequence[Credit] = ()

    def __post_init__(self) -> None:
        set_values(self, queries=check_all("Searches", "queries", self.queries, Query))


@dataclass(frozen=True)
class DataPart:
    """A data set: its name, a sentence about it, its parts, searches in it."""

    name: str
    about: str
    parts: Sequence[Part]
    searches: Searches | None = None


@dataclass(frozen=True)
class Goal:
    """Something that was to hold, and whether it did; ``met`` is None where it was not measured."""

    data: str
    what: str
    wanted: str
    reached: str
    margin: str  # "met by 0.012", "missed by 0.004"
    seeds: str
    met: bool | None


@dataclass(frozen=True)
class Model:
    """The curves of one model, of the first seed of its row that was scored.

    Args:
        data, row: `DataPart.name` and `GridRow.name` that it belongs to.
        curves: "directions" (i2t, t2i) -> "by_radius", "by_rank", "distances", "categories"; and "history": as
            `fasthash.compare.curves` describes them.
    """

    data: str
    row: str
    bits: int
    seed: int
    curves: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A whole comparison page.

    Args:
        title, lead: heading and the paragraph under it.
        facts: (name, value) pairs worth seeing first.
        rule: what bold means.
        failures: (cell, why it failed).
        credits: of the page itself; those of the searches are added to them.
        models: those whose curves can be drawn, in the order of the tables.
    """

    title: str
    lead: str = ""
    facts: Sequence[tuple[str, Any]] = ()
    data: Sequence[DataPart] = ()
    rule: str = ""
    goals: Sequence[Goal] = ()
    failures: Sequence[tuple[str, str]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    credits: Sequence[Credit] = ()
    models: Sequence[Model] = ()

    def __post_init__(self) -> None:
        check_text("Comparison", "title", self.title)


def comparison_markdown(page: Comparison) -> str:
    """The comparison as GitHub Markdown, ending in a line feed; pictures stand beside it as ``<picture>.png``."""
    lines = [f"# {_plain(page.title)}", ""]
    lines += [page.lead, ""] if page.lead else []
    for name, value in page.provenance.items():
        shown = f"`{value}`" if name == "command" and "`" not in str(value) else _plain(str(value))
        lines.append(f"- {_plain(name)}: {shown}")
    lines += ["", page.rule, ""]
    if page.goals:
        lines += ["## Targets", "", *_goals(page.goals), ""]
    for data in page.data:
        lines += [f"## {_plain(data.name)}", "", data.about, ""]
        for part in data.parts:
            lines += [f"### {_plain(part.title)}", ""] if part.title else []
            lines += [f"![{_plain(data.name)}]({part.picture}.png)", ""] if part.picture else []
            for grid in part.grids:
                lines += [f"{grid.measure}:", "", *_grid(grid), ""]
                lines += [*(f"- {_plain(note)}" for note in grid.notes), ""] if grid.notes else []
    if page.failures:
        lines += ["## Failed", "", *(f"- {_plain(cell)}: {_plain(why)}" for cell, why in page.failures), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _goals(goals: Sequence[Goal]) -> list[str]:
    rows = [["data", "what", "wanted", "reached", "", "holds for"], ["---"] * 6]
    for goal in goals:
        margin = goal.margin if goal.met else f"**{goal.margin}**"
        rows.append([*map(_plain, (goal.data, goal.what, goal.wanted, goal.reached)), margin, goal.seeds])
    return _lines(rows)


def _grid(grid: Grid) -> list[str]:
    timed = any(row.seconds is not None for row in grid.rows)
    heads = [f"{bits} {DIRECTIONS[d]}" for bits in grid.bits for d in DIRECTIONS]
    rows = [["method", *heads, *(["training", "peak memory"] if timed else [])]]
    rows.append(["---", *["---:"] * (len(rows[0]) - 1)])
    for row in grid.rows:
        cells = [_cell(row.values.get((bits, d))) for bits in grid.bits for d in DIRECTIONS]
        name = _plain(row.name) + (f" ({_plain(row.note)})" if row.note else "")
        rows.append([name, *cells, *([units.seconds(row.seconds) or "–", memory(row.megabytes)] if timed else [])])
    return _lines(rows)


def _cell(value: Value | None) -> str:
    if value is None:
        return "–"
    return f"**{value.text}**" if value.best else value.text


def memory(megabytes: float | None) -> str:
    """As people write it: 640 MiB, 1.5 GiB; a dash for None."""
    if megabytes is None:
        return "–"
    return f"{megabytes:.0f} MiB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GiB"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    one_line = " ".join(text.split())
    return "".join("\\" + letter if letter in "\\`*_[]<>|#" else letter for letter in one_line)
