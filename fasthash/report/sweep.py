"""What a sweep shows, as plain data: the settings, the figures of each option, the best one in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fasthash.report._checks import check_text
from fasthash.report.comparison import Value


@dataclass(frozen=True)
class Line:
    """An option on the way through its values, everything else standing still.

    Args:
        option: its name.
        values: as they are written, in the order of the axis.
        points: "i2t" and "t2i" -> a value for each of ``values``, None where nothing was measured.
        preset: the preset's value where it is one of ``values``, else "".
        fixed: what stands still, in words.
    """

    option: str
    values: Sequence[str]
    points: Mapping[str, Sequence[Value | None]]
    preset: str = ""
    fixed: str = ""


@dataclass(frozen=True)
class Map:
    """Two options against each other: ``points`` by direction, [rows of y][columns of x].

    Args:
        x, y: (name, values as they are written) of each option.
        preset: the preset's values of x and y; "" where it lies between.
    """

    x: tuple[str, Sequence[str]]
    y: tuple[str, Sequence[str]]
    points: Mapping[str, Sequence[Sequence[Value | None]]]
    preset: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class SettingRow:
    """A line of the table: the value of each option, and what came of it.

    Args:
        values: of each option, as written.
        points: "i2t", "t2i" and "mean", of both; what was not measured is not there.
        note: a few words ("preset", "best").
        seconds: of training, the median over the seeds.
    """

    values: Sequence[str]
    points: Mapping[str, Value]
    note: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class SweepPage:
    """A whole sweep.

    Args:
        title, lead: heading, and the paragraph under it: the best setting in words.
        facts: (name, value) pairs worth seeing first.
        measure: what the values are.
        options: names of the options, the first columns of the table.
        rows: every setting, best first.
        about: a sentence about the data.
        failures: (cell, why it failed).
    """

    title: str
    lead: str
    measure: str
    options: Sequence[str]
    rows: Sequence[SettingRow]
    lines: Sequence[Line] = ()
    maps: Sequence[Map] = ()
    facts: Sequence[tuple[str, Any]] = ()
    about: str = ""
    failures: Sequence[tuple[str, str]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    credits: Sequence[Any] = ()

    @property
    def short(self) -> str:
        """The measure in a word: mAP, nDCG."""
        return self.measure.partition(" ")[0]

    def __post_init__(self) -> None:
        check_text("SweepPage", "title", self.title)
        check_text("SweepPage", "measure", self.measure)
