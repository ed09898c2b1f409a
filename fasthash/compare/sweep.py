"""Sensitivity to hyper-parameters: settings of one method, as rows of a comparison on a split of the training data."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fasthash import methods
from fasthash.compare import sweep_output
from fasthash.compare.compared import Compared
from fasthash.compare.items import VALIDATION, parse_item
from fasthash.compare.plan import MEASURES, Plan, Row
from fasthash.compare.ranges import Axis
from fasthash.compare.run import check_folder, run_plan
from fasthash.compare.swept import Setting, Swept

MOST_SETTINGS = 10_000


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
