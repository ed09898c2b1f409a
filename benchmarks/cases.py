"""What a topic of run.py is made of. A module ``cases_<topic>.py`` has ``report(quick=False) -> Report``.

``quick=True`` is the same page at sizes that take seconds: to see that all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from goals import Goal


@dataclass(frozen=True)
class Case:
    """Contestants on one input."""

    name: str  # a row of the table: "64 bits, Q 16"
    contestants: Mapping[str, Callable[[], object]]
    baseline: str
    work: float = 0.0  # units of work of one call; 0: times are shown as they are
    check: Callable[[], None] | None = None  # raises unless the contestants agree; run before anything is timed
    goals: tuple[Goal, ...] = ()  # shown beside what was reached; those of contestants that are not there are left out
    rounds: int | None = None  # instead of the report's: for calls that take minutes
    times: Mapping[str, float] = field(default_factory=dict)  # what is shown is the seconds of a call times this; 1


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
    names: tuple[str, ...] = ()  # of the cases, in their order, where `case` is given
    # One case by its name, without making the others: memory is then measured, each contestant in a fresh process.
    case: Callable[[str], Case] | None = None
    without_memory: tuple[str, ...] = ()  # contestants whose memory would say nothing
