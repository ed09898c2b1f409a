"""Mean and spread over the seeds, which row is the best, and whether the targets hold."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fasthash.compare.plan import Plan, Target
from fasthash.report.content import DIRECTIONS as TITLES

BOLD_RULE = (
    "Bold: the best code of its column, where it is ahead of every other by more than the spread, that is, where the "
    "mean of its differences to the other, seed by seed, is larger than their standard deviation."
)
LEVEL = 0.05  # p-value from which the queries do not tell two rows apart


@dataclass(frozen=True)
class Series:
    """One value for each seed.

    ``fixed``: the row has no randomness, so that its one value stands for every seed.
    """

    values: Mapping[int, float]  # seed -> value, at least one
    fixed: bool = False

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values.values())

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the seeds; None for a single value."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    def differences(self, other: Series) -> list[float]:
        """This less the other, seed by seed, for the seeds that both have."""
        seeds = sorted(other.values) if self.fixed else sorted(self.values)
        pairs = [(self._at(seed), other._at(seed)) for seed in seeds]
        return [a - b for a, b in pairs if a is not None and b is not None]

    def _at(self, seed: int) -> float | None:
        return next(iter(self.values.values())) if self.fixed else self.values.get(seed)

    def exceeds(self, other: Series) -> bool:
        """Whether the mean of the paired differences is positive and larger than their standard deviation."""
        found = self.differences(other)
        if self.fixed and other.fixed:
            return found[0] > 0
        return len(found) > 1 and statistics.fmean(found) > statistics.stdev(found)


def best_row(series: Sequence[Series | None]) -> int | None:
    """Place of the row that exceeds every other one; None when there is none, or nothing to compare with."""
    present = [place for place, one in enumerate(series) if one is not None]
    if len(present) < 2:
        return None
    ahead = max(present, key=lambda place: series[place].mean)  # type: ignore[union-attr]
    others = [series[place] for place in present if place != ahead]
    leader = series[ahead]
    assert leader is not None
    return ahead if all(leader.exceeds(other) for other in others if other is not None) else None


class Results:
    """What was measured, by data set label, row label, bits (None: real values), measure and direction."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int | None], dict[int, dict[str, Any]]] = {}
        self._fixed: set[tuple[str, str]] = set()

    def add(self, data: str, row: str, bits: int | None, seed: int, result: dict[str, Any], *, fixed: bool) -> None:
        """One finished cell."""
        self._series.setdefault((data, row, bits), {})[seed] = result
        if fixed:
            self._fixed.add((data, row))

    def series(self, data: str, row: str, bits: int | None, measure: str, direction: str) -> Series | None:
        """The values over the seeds; for a row of real values the same at every length. None: nothing measured."""
        runs = self._series.get((data, row, bits)) or self._series.get((data, row, None)) or {}
        values = {seed: run["scores"][measure][direction] for seed, run in runs.items() if measure in run["scores"]}
        return Series(values, (data, row) in self._fixed) if values else None

    def runs(self, data: str, row: str) -> list[dict[str, Any]]:
        """Every finished cell of a row."""
        return [run for (d, r, _), runs in self._series.items() if (d, r) == (data, row) for run in runs.values()]

    def is_real(self, data: str, row: str) -> bool:
        """Whether the row ranks by real values, not by codes."""
        return (data, row, None) in self._series


@dataclass(frozen=True)
class Standing:
    """The best and the second best code of a column, by mAP over the whole database.

    ``difference``: mean over the queries of the difference in average precision, itself a mean over the seeds that both
    rows have; ``low`` and ``high``: its 95% interval, bootstrapped over the queries; ``p_value``: of a paired
    randomisation test.
    """

    data: str
    table: str  # its title
    bits: int
    direction: str
    best: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    queries: int
    seeds: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        p = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        told = "" if self.p_value < LEVEL else "; the queries do not tell them apart"
        ahead = "is ahead of" if self.difference >= 0 else "has the higher mean, but with the codes kept is behind"
        low, high = (self.low, self.high) if self.difference >= 0 else (-self.high, -self.low)
        seeds = f", mean of {self.seeds} seeds" if self.seeds > 1 else ", one seed"
        return (
            f"{self.bits} bits, {TITLES[self.direction]}: {self.best} {ahead} {self.second} by "
            f"{abs(self.difference):.3f}, 95% interval {low:.3f} to {high:.3f} over {self.queries:,} "
            f"queries, {p}{seeds}{told}"
        )


@dataclass(frozen=True)
class Outcome:
    """A target at one length in one direction, and what came."""

    data: str
    what: str  # "hichnet, 64 bits, i2t, map_all"
    wanted: str  # "at least 0.870", "hichnet flat + 0.000"
    reached: float | None  # the mean, or the mean difference; None: not measured
    margin: float | None  # how far above what was wanted; below 0: missed by that much
    seeds: str  # for how many seeds alone it holds: "3 of 3 seeds", "2 of 3 seeds, 1 failed"
    relative: bool = False  # whether ``reached`` is a difference to another row
    strict: bool = False  # whether the margin has to be above 0
    failed: int = 0  # seeds of the plan that have no value

    @property
    def met(self) -> bool | None:
        """None where it was not measured, or not with every seed of the plan."""
        if self.margin is None or self.failed:
            return None
        return self.margin > 0 if self.strict else self.margin >= 0

    def to_dict(self) -> dict[str, Any]:
        keys = ("data", "what", "wanted", "relative", "reached", "margin", "seeds", "failed", "met")
        return {key: getattr(self, key) for key in keys}


def judge(plan: Plan, results: Results) -> list[Outcome]:
    """Every target of the plan at every length and in every direction that it speaks of."""
    rows = {row.label: row for row in plan.rows}
    found = []
    for target in plan.targets:
        for bits in target.bits or plan.bits_of(rows[target.row]):
            found += [_outcome(plan, target, bits, direction, results) for direction in target.directions]
    return found


def _outcome(plan: Plan, target: Target, bits: int, direction: str, results: Results) -> Outcome:
    own = results.series(target.data, target.row, bits, target.measure, direction)
    what = f"{target.row}, {bits} bits, {direction}, {target.measure}"
    relative = target.at_least is None
    strict = relative and target.by == 0
    if target.at_least is not None:
        wanted, limit = f"at least {target.at_least:.3f}", target.at_least
        values = list(own.values.values()) if own else []
        fixed = own is not None and own.fixed
    else:
        assert target.over is not None
        other = results.series(target.data, target.over, bits, target.measure, direction)
        by = f"{'+' if target.by > 0 else '−'} {abs(target.by):.3f}"
        wanted, limit = f"more than {target.over}" if strict else f"at least {target.over} {by}", target.by
        values = own.differences(other) if own and other else []
        fixed = own is not None and other is not None and own.fixed and other.fixed
    if not values:
        return Outcome(target.data, what, wanted, None, None, "no seed", relative, strict)
    mean = statistics.fmean(values)
    held = sum(value > limit if strict else value >= limit for value in values)
    total = 1 if fixed else len(plan.seeds)
    failed = total - len(values)
    seeds = f"{held} of {total} seed{'s' if total > 1 else ''}" + (f", {failed} failed" if failed else "")
    return Outcome(target.data, what, wanted, mean, mean - limit, seeds, relative, strict, failed)
