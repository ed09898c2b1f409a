"""What a contestant must reach against another one of its case, and whether it did."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# kind -> (whether larger is better, the figure in words)
KINDS = {
    "speed": (True, lambda value: f"x{value:.3g}"),  # how many times as fast
    "share": (True, lambda value: f"{100 * value:.0f} %"),  # of the other's speed
    "time": (False, lambda value: f"x{value:.3g} time"),  # that the other takes
    "of": (False, lambda value: f"{100 * value:.3g} % of it"),  # of the other's time
    "seconds": (False, lambda value: f"{value:.3g} s"),  # its own, whatever the other's are
    "beyond": (False, lambda value: f"{1e3 * value:.3g} ms more"),  # seconds on top of the other's
}


class Reached(NamedTuple):
    """Median over the rounds and the middle half."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Goal:
    """``contestant`` against ``against``: at least ``least`` (at most, for times), better ``aim``; None: not asked."""

    contestant: str
    against: str
    least: float | None
    aim: float | None
    kind: str = "speed"  # of KINDS

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Goal: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")

    def reached(self, samples: Mapping[str, Sequence[float]]) -> Reached:
        """From the seconds of each contestant, round by round."""
        pairs = zip(samples[self.contestant], samples[self.against], strict=True)
        figures = [self._figure(own, other) for own, other in pairs]
        low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
        return Reached(middle, low, high)

    def _figure(self, own: float, other: float) -> float:
        if self.kind == "seconds":
            return own
        if self.kind == "beyond":
            return own - other
        return own / other if self.kind in ("time", "of") else other / own

    def verdict(self, value: float) -> str:
        """ "aim reached", "reached" or "missed"; with an aim alone "aim reached" or "aim missed"; with neither ""."""
        if self.aim is not None and self._met(value, self.aim):
            return "aim reached"
        if self.least is None:
            return "" if self.aim is None else "aim missed"
        return "reached" if self._met(value, self.least) else "missed"

    def _met(self, value: float, bound: float) -> bool:
        return value >= bound if KINDS[self.kind][0] else value <= bound

    def say(self, value: float | None) -> str:
        """A figure of this goal in words; "" for None."""
        return "" if value is None else KINDS[self.kind][1](value)


def goal_table(rows: Sequence[tuple[str, Goal, Reached]]) -> list[str]:
    """A Markdown table: a row for each (case, goal, what was reached)."""
    lines = ["| case | contestant | against | at least / aim | reached (middle half) | |", "|---|---|---|---|---|---|"]
    for case, goal, reached in rows:
        asked = " / ".join(goal.say(bound) or "–" for bound in (goal.least, goal.aim))
        got = f"{goal.say(reached.median)} ({goal.say(reached.low)} to {goal.say(reached.high)})"
        verdict = goal.verdict(reached.median)
        verdict = f"**{verdict}**" if "missed" in verdict else verdict
        lines.append(f"| {case} | {goal.contestant} | {goal.against} | {asked} | {got} | {verdict} |")
    return lines
