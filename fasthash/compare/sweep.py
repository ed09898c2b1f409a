"""Sensitivity to hyper-parameters: settings of one method, as rows of a comparison on a split of the training data."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fasthash import methods
from fasthash.compare import sweep_output
from fasthash.compare.compared import Compared
from fasthash.compare.items import VALIDATION, parse_item
from fasthash.compare.plan import MEASURES, Plan, Row
from fasthash.compare.ranges import Axis
from fasthash.compare.run import check_folder, run_plan
from fasthash.compare.summary import Series
from fasthash.evaluation import DIRECTIONS

PRESET = "preset"
MOST_SETTINGS = 10_000


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


def run_sweep(
    method: str,
    data: str,
    over: Sequence[Axis],
    out: str | Path,
    *,
    bits: int = 64,
    seeds: int | Sequence[int] = 3,
    each: bool = False,
    measure: str = "map_all",
    validation: float = 0.2,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    command: str = "fasthash.compare.run_sweep(...)",
) -> Swept:
    """Train a method at every setting and write ``sweep.json``, ``.csv``, ``.md``, ``.tex``, a page and pictures.

    Queries are drawn from the training rows (`PairedDataset.validation_split`); those of the data set take no part.

    Args:
        method, data: name or name[option=value,...] as in a plan; what is not swept stays at the data set's preset.
        over: the options and their values, as from `ranges.parse_axis`.
        out: folder; cells as those of `run_plan`, so that a stopped sweep goes on and a finer one reuses what it has.
        each: go through each option alone, the others at the preset; otherwise through the whole grid.
        measure: one of `plan.MEASURES`; the best setting is that of the highest mean of both directions.
        validation: share of the training rows that become queries.
        others: as `run_plan`.
    Raises:
        ValueError: an unknown option or value, found before anything is trained.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    began = time.monotonic()
    axes = tuple(over)
    settings = settings_of(axes, each)
    plan, preset = _plan(method, data, axes, settings, bits, seeds, validation)
    if measure not in MEASURES:
        raise ValueError(f"sweep: measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    check_folder(Path(out), "sweep")
    say(f"{len(settings)} settings, {len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''} each")
    compared = run_plan(
        plan,
        out,
        jobs=jobs,
        threads=threads,
        device=device,
        progress=progress,
        say=say,
        op="sweep",
        measures=(measure,),
    )
    chosen = _once(settings, compared)
    swept = Swept(method, plan.data[0], axes, preset, chosen, bits, measure, each, compared, command)
    swept.seconds = time.monotonic() - began
    swept.files = sweep_output.write(swept, Path(out))
    return swept


def settings_of(axes: Sequence[Axis], each: bool) -> list[Setting]:
    """The preset, then every setting of the grid, or each option's values alone."""
    names = [axis.name for axis in axes]
    if not axes:
        raise ValueError("sweep: name at least one option (--over beta 0:1:0.1)")
    if len(set(names)) < len(names):
        raise ValueError(f"sweep: an option is swept twice, got {', '.join(names)}")
    rows: list[list[str | None]]
    if each:
        rows = [[value if other is axis else None for other in axes] for axis in axes for value in axis.values]
    else:
        total = 1
        for axis in axes:
            total *= len(axis.values)
        if total > MOST_SETTINGS:
            raise ValueError(f"sweep: the grid has {total:,} settings, at most {MOST_SETTINGS:,} can be; try --each")
        rows = [list(values) for values in itertools.product(*(axis.values for axis in axes))]
    start: list[str | None] = [None] * len(axes)
    return [Setting.of(axes, values) for values in [start, *rows]]


def _plan(
    method: str, data: str, axes: Sequence[Axis], settings: Sequence[Setting], bits: int, seeds: Any, validation: float
) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and the preset's value of each option."""
    item, target = parse_item(method, "sweep: the method"), parse_item(data, "sweep: the data set")
    kind = methods.get(item.name)
    for axis in axes:
        if axis.name in item.options:
            raise ValueError(f"sweep: option {axis.name} is swept and set in {method!r}; give one of them")
    if VALIDATION in target.options:
        raise ValueError(f"sweep: the share of {data!r} is given by validation (--validation)")
    if not 0 < validation < 1:
        raise ValueError(f"sweep: validation must be a share between 0 and 1, got {validation!r}")
    target.options[VALIDATION] = repr(float(validation))
    fixed = methods.resolve_options(kind, target.name, methods.options_from_text(kind, item.options))
    known = fixed.model_dump(mode="json")
    rows = []
    for setting in settings:
        own = {a.name: value for a, value in zip(axes, setting.values, strict=True) if value is not None}
        methods.resolve_options(kind, target.name, methods.options_from_text(kind, item.options | own))
        rows.append(Row(method=type(item)(item.name, item.options | own).text, name=setting.label))
    plan = Plan.make(
        "sweep", data=[target.text], rows=rows, bits=[bits], seeds=seeds, title=f"{item.name} on {target.name}"
    )
    return plan, tuple(_text(known[axis.name]) for axis in axes)


def _text(value: Any) -> str:
    """An option's value as it is written on a command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _once(settings: Sequence[Setting], compared: Compared) -> list[Setting]:
    """The settings without those that say the same as another; a setting of the grid stands for an equal preset."""
    options = {row: cell.options for _, row, cell in compared.cells}
    kept: list[Setting] = []
    for setting in settings[1:]:
        if all(options[setting.label] != options[other.label] for other in kept):
            kept.append(setting)
    same = [one for one in kept if options[one.label] == options[settings[0].label]]
    start = same[0] if same else settings[0]
    return [start, *(one for one in kept if one != start)]
