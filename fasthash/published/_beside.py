"""Ours beside theirs: a published table with values measured here, and every difference of protocol named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fasthash.published._tables import Data, PublishedTable, Row

DIRECTIONS = {"i2t": "image → text", "t2i": "text → image"}


@dataclass(frozen=True)
class Ours:
    """A value measured here."""

    data: str
    method: str
    bits: int
    direction: str  # i2t or t2i
    value: float
    spread: float | None = None  # over the seeds
    like: str = ""  # the table's method that it goes under; default: ``method``


@dataclass(frozen=True)
class Setting:
    """How the values of one data set were measured here.

    Args:
        metric, k, ties: as `fasthash.metrics.evaluate` names them.
        image, text: the features or networks of each side, in words.
        seeds: runs that a value is the mean of.
        epoch: which epoch's model was measured, in words.
        train_in_database: whether training pairs are searched.
    """

    data: str
    query: int
    train: int
    database: int
    classes: int
    image: str
    text: str
    metric: str
    ties: str
    seeds: int
    epoch: str
    train_in_database: bool
    k: int | None = None
    relevance: str = "a common label"


@dataclass(frozen=True)
class Line:
    """One row of the table: theirs, or ours."""

    method: str
    values: dict[int, float]  # bits -> value
    spreads: dict[int, float]
    ours: bool
    note: str = ""


@dataclass(frozen=True)
class Side:
    """The lines of one data set in one direction; ours stand under theirs of the same method, others at the end."""

    data: str
    direction: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Beside:
    """A published table with ours in it."""

    table: PublishedTable
    bits: tuple[int, ...]
    sides: tuple[Side, ...]
    warnings: tuple[str, ...]  # every difference of protocol, one a line

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        sides = [
            {"data": side.data, "direction": side.direction, "lines": [vars(line) for line in side.lines]}
            for side in self.sides
        ]
        source = {"name": self.table.name, "source": str(self.table.source), "notes": list(self.table.notes)}
        return {"published": source, "bits": list(self.bits), "sides": sides, "warnings": list(self.warnings)}

    def markdown(self) -> str:
        """GitHub Markdown, ending in a line feed; ours in bold."""
        lines = [f"## {self.table.title}", "", f"{self.table.protocol.text}; {self.table.source}", ""]
        for side in self.sides:
            lines += [f"{side.data}, {DIRECTIONS[side.direction]}:", ""]
            heads = ["method", *(f"{bits} bits" for bits in self.bits)]
            lines += [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * len(self.bits)}"]
            for line in side.lines:
                cells = [line_text(line, bits) for bits in self.bits]
                name = f"**{_escape(line.method)} (ours)**" if line.ours else _escape(line.method)
                lines.append(f"| {name}{f' ({_escape(line.note)})' if line.note else ''} | {' | '.join(cells)} |")
            lines.append("")
        lines += ["Differences of protocol:", "", *(f"- {_escape(warning)}" for warning in self.warnings), ""]
        if self.table.notes:
            lines += ["Notes on the table:", "", *(f"- {_escape(note)}" for note in self.table.notes), ""]
        return "\n".join(lines).rstrip("\n") + "\n"


def line_text(line: Line, bits: int) -> str:
    """A value as the table shows it: theirs with the digits that were printed, ours 0.862 ± 0.004, or a dash."""
    if bits not in line.values:
        return "–"
    value, spread = line.values[bits], line.spreads.get(bits)
    if not line.ours and any(round(one, 3) != one for one in line.values.values()):
        return f"{value:.4f}"
    return f"{value:.3f}" + ("" if spread is None else f" ± {spread:.3f}")


def alone(table: PublishedTable) -> Beside:
    """A published table without any of ours."""
    keys = [(data.name, direction) for data in table.data for direction in DIRECTIONS]
    rows = {key: [row for row in table.rows if (row.data, row.direction) == key] for key in keys}
    return Beside(table, table.bits, tuple(Side(*key, _lines(found, ())) for key, found in rows.items() if found), ())


def beside(table: PublishedTable, ours: Iterable[Ours], settings: Sequence[Setting]) -> Beside:
    """A published table with ours beside theirs.

    Args:
        table: of `load`.
        ours: values measured here; each goes under theirs of the name `Ours.like`, whatever the case of its letters.
        settings: how ours were measured, one for each data set of ours. Those that the table does not have are left out
            where it has another.
    Raises:
        ValueError: a value of ours has no setting.
    """
    found = list(ours)
    by_data = {setting.data: setting for setting in settings}
    for one in found:
        if one.data not in by_data:
            raise ValueError(
                f"published: no setting for the data {one.data!r}; there are {', '.join(by_data) or 'none'}"
            )
    sides = []
    warnings: list[str] = []
    used = [by_data[data] for data in dict.fromkeys(one.data for one in found)]
    shared = [setting for setting in used if table.data_like(setting.data)]
    for setting in shared or used:
        theirs = table.data_like(setting.data)
        warnings += _differences(table, theirs, setting)
        for direction in DIRECTIONS:
            mine = [one for one in found if (one.data, one.direction) == (setting.data, direction)]
            rows = [row for row in table.rows if theirs and (row.data, row.direction) == (theirs.name, direction)]
            if mine:
                sides.append(Side(setting.data, direction, _lines(rows, mine)))
    others = [setting.data for setting in used if setting not in shared]
    if shared and others:
        warnings.append(f"left out: ours on {', '.join(others)}, which the table does not have")
    rerun = [row.method for row in table.rows if row.rerun]
    if rerun:
        which = ", ".join(dict.fromkeys(rerun))
        warnings.append(f"origin: theirs of {which} were run by the authors of the table, not by those of the method")
    bits = tuple(sorted({*table.bits, *(one.bits for one in found)}))
    return Beside(table, bits, tuple(sides), tuple(dict.fromkeys(warnings)))


def _lines(rows: Sequence[Row], mine: Sequence[Ours]) -> tuple[Line, ...]:
    left = {one.method: (one.like or one.method).casefold() for one in mine}
    lines = []
    for row in rows:
        note = "; ".join(part for part in ("re-run" if row.rerun else "", row.note) if part)
        lines.append(Line(row.method, dict(row.values), {}, False, note))
        for method in [method for method, like in left.items() if like == row.method.casefold()]:
            lines.append(_own(method, mine))
            del left[method]
    return (*lines, *(_own(method, mine) for method in left))


def _own(method: str, mine: Sequence[Ours]) -> Line:
    found = [one for one in mine if one.method == method]
    spreads = {one.bits: one.spread for one in found if one.spread is not None}
    return Line(method, {one.bits: one.value for one in found}, spreads, True)


def _differences(table: PublishedTable, data: Data | None, ours: Setting) -> list[str]:
    """Every difference between how theirs and ours were measured, as "what: theirs ..., ours ..."."""
    theirs = table.protocol
    metric = ours.metric if ours.k is None else f"{ours.metric}, k = {ours.k:,}"
    in_general = [
        ("metric", theirs.text, metric),
        ("ties", theirs.ties, ours.ties),
        ("relevance", theirs.relevance, ours.relevance),
        ("training pairs in the database", theirs.train_in_database, ours.train_in_database),
        ("runs behind a value", theirs.seeds, ours.seeds),
        ("epoch", theirs.epoch, ours.epoch),
    ]
    if data is None:
        known = ", ".join(one.title for one in table.data)
        of_data: list[tuple[str, Any, Any]] = [("data", known, "none of them, so that no value can be compared")]
    else:
        of_data = [
            ("queries", data.query, ours.query),
            ("training pairs", data.train, ours.train),
            ("items in the database", data.database, ours.database),
            ("classes", data.classes, ours.classes),
            ("image side", data.image, ours.image),
            ("text side", data.text, ours.text),
        ]
    told = [(what, a, b) for what, a, b in in_general] + [(f"{ours.data}: {what}", a, b) for what, a, b in of_data]
    return [f"{what}: theirs {_said(a)}, ours {_said(b)}" for what, a, b in told if a != b]


def _said(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _escape(text: str) -> str:
    return "".join("\\" + letter if letter in "\\`*_[]<>|#" else letter for letter in text)
