"""What a sweep found: the values of each setting, the best one, and what can be said of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fasthash.compare.compared import Compared
from fasthash.compare.plan import MEASURES
from fasthash.compare.ranges import Axis
from fasthash.compare.summary import Series
from fasthash.evaluation import DIRECTIONS

PRESET = "preset"  # the label of the setting that changes nothing


@dataclass(frozen=True)
class Setting:
    """A value for each option that was swept; None where it stays at the preset's."""

    values: tuple[str | None, ...]
    label: str

    @classmethod
    def of(cls, axes: Sequence[Axis], values: Sequence[str | None]) -> Setting:
        named = [f"{axis.name}={value}" for axis, value in zip(axes, values, strict=True) if value is not None]
        return cls(tuple(values), ", ".join(named) or PRESET)


@dataclass
class Swept:
    """What a sweep found.

    ``preset``: the preset's value of each option, as text; ``settings``: in the order of the grid, the preset itself
    first.
    """

    method: str
    data: str  # as the plan names it, split of the training data included
    axes: tuple[Axis, ...]
    preset: tuple[str, ...]
    settings: list[Setting]
    bits: int
    measure: str
    each: bool
    compared: Compared
    command: str
    files: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    def series(self, setting: Setting, direction: str | None = None) -> Series | None:
        """Values over the seeds in a direction, or of the mean of both; None where nothing was measured."""
        label, results = next(iter(self.compared.data)), self.compared.results
        both = [results.series(label, setting.label, self.bits, self.measure, d) for d in DIRECTIONS]
        if direction is not None:
            return both[DIRECTIONS.index(direction)]
        first, second = both
        if first is None or second is None:
            return None
        return Series({seed: (first.values[seed] + second.values[seed]) / 2 for seed in first.values})

    @property
    def start(self) -> Setting:
        """The preset."""
        return self.settings[0]

    @property
    def best(self) -> Setting | None:
        """The highest mean of both directions among the settings with the most seeds; None where all failed."""
        found = [(setting, self.series(setting)) for setting in self.settings]
        seeds = max((len(series.values) for _, series in found if series is not None), default=0)
        whole = [(setting, series) for setting, series in found if series is not None and len(series.values) == seeds]
        return max(whole, key=lambda one: one[1].mean)[0] if whole else None

    def within(self) -> int:
        """How many other settings the best one is not ahead of by more than the spread."""
        best = self.best
        own = None if best is None else self.series(best)
        others = [self.series(setting) for setting in self.settings if setting != best]
        return sum(own is not None and other is not None and not own.exceeds(other) for other in others)

    def words(self) -> str:
        """The best setting, its spread, and whether it is ahead of the preset by more than that."""
        best, start = self.best, self.series(self.start)
        if best is None:
            return "Every run failed."
        own = self.series(best)
        assert own is not None
        value = f"{MEASURES[self.measure]} {_value(own)}, mean of both directions"
        if best == self.start:
            said = [f"The preset is the best of {len(self.settings)} settings: {value}."]
        else:
            said = [f"Best of {len(self.settings)} settings: {best.label} with {value}."]
            said += [self._against(own, start)] if start is not None else ["The preset itself failed."]
        if len(self.settings) > 1 and len(own.values) > 1:
            n = self.within()
            said.append(f"{n or 'None'} of the other settings {'lies' if n < 2 else 'lie'} within the spread of it.")
        return " ".join(said)

    def _against(self, best: Series, start: Series) -> str:
        found = best.differences(start)
        if not found:
            return f"The preset has {_value(start)}, with other seeds."
        ahead = f"The preset has {_value(start)}; the best is ahead by {statistics.fmean(found):.3f}"
        if len(found) < 2:
            return f"{ahead} with one seed, which says nothing about the spread."
        more = "more" if best.exceeds(start) else "no more"
        few = " Two seeds say little about a spread." if len(found) == 2 else ""
        return f"{ahead} ± {statistics.stdev(found):.3f}, seed by seed: {more} than the spread.{few}"


def _value(series: Series) -> str:
    return f"{series.mean:.3f}" + ("" if series.spread is None else f" ± {series.spread:.3f}")
