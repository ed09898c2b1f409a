"""What a topic of run.py is made of. A module ``cases_<topic>.py`` has ``report() -> Report``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Contestants on one input."""

    name: str  # a row of the table: "64 bits, Q 16"
    contestants: Mapping[str, Callable[[], object]]
    baseline: str
    work: float = 0.0  # units of work of one call; 0: times are shown as they are
    check: Callable[[], None] | None = None  # raises unless the contestants agree; run before anything is timed


@dataclass(frozen=True)
class Report:
    """A topic's page."""

    file: str  # name of the page in benchmarks/results, without ".md"
    title: str
    unit: str  # of a unit of work: "pair"
    notes: tuple[str, ...]  # sentences under the title: sizes, what is inside the time
    versions: tuple[str, ...]  # distributions whose versions matter
    cases: Callable[[], Iterator[Case]]  # made one after the other, so that only one input is in memory
    rounds: int = 7
