"""What a sweep leaves: sweep.json with every cell, sweep.csv, .md and .tex, the page, the pictures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from fasthash import _machine, report
from fasthash.compare._files import csv_text, write_json, write_text
from fasthash.compare.output import PROTOCOL, cell_records, facts_text, provenance_text
from fasthash.compare.plan import MEASURES
from fasthash.compare.summary import Series
from fasthash.compare.swept import Setting, Swept
from fasthash.evaluation import DIRECTIONS
from fasthash.report.comparison import Comparison, DataPart, Grid, GridRow, Part, Value
from fasthash.report.sweep import Line, Map, SettingRow, SweepPage
from fasthash.report.sweep_page import pictures, write_sweep, write_sweep_pictures
from fasthash.report.sweep_plots import in_order

RULE = "Bold: the best mean of both directions; whether it is ahead by more than the spread is said above."
SPLIT = "queries drawn from the training rows, those of the data set take no part; otherwise "
MAX_MAPS = 3  # options of a full grid that are drawn pair by pair; more are drawn as lines through the best setting


def write(swept: Swept, out: Path) -> list[Path]:
    """Write all files; returns their paths."""
    shown = page_of(swept)
    records = _records(swept)
    names = [axis.name for axis in swept.axes]
    columns = [*names, "direction", "measure", "mean", "std", "seeds", "preset", "best"]
    tables = _tables(swept, shown)
    return [
        write_json(out / "sweep.json", _record(swept, records)),
        write_text(out / "sweep.csv", csv_text(columns, records)),
        write_text(out / "sweep.md", report.comparison_markdown(tables)),
        write_text(out / "sweep.tex", report.comparison_latex(tables)),
        write_sweep(shown, out / "index.html"),
        *write_sweep_pictures(shown, out),
    ]


def _options(swept: Swept, setting: Setting) -> dict[str, str]:
    """The value of every option, the preset's where the setting has none."""
    chosen = zip(swept.axes, setting.values, swept.preset, strict=True)
    return {axis.name: preset if value is None else value for axis, value, preset in chosen}


def _records(swept: Swept) -> list[dict[str, Any]]:
    """A record for each setting and direction, and for the mean of both; settings in the order of the grid."""
    found = []
    for setting in swept.settings:
        marks = {"preset": int(setting == swept.start), "best": int(setting == swept.best)}
        for direction in (*DIRECTIONS, "mean"):
            series = swept.series(setting, None if direction == "mean" else direction)
            if series is not None:
                values = {"mean": series.mean, "std": series.spread, "seeds": len(series.values)}
                key = {"direction": direction, "measure": swept.measure}
                found.append(_options(swept, setting) | key | values | marks)
    return found


def _record(swept: Swept, records: list[dict[str, Any]]) -> dict[str, Any]:
    compared, best = swept.compared, swept.best
    return {
        "format": "fasthash.sweep",
        "version": 1,
        "method": swept.method,
        "data": swept.data,
        "over": {axis.name: list(axis.values) for axis in swept.axes},
        "each": swept.each,
        "bits": swept.bits,
        "measure": swept.measure,
        "preset": _options(swept, swept.start),
        "best": None if best is None else _options(swept, best),
        "words": swept.words(),
        "settings": records,
        "provenance": _machine.provenance(
            command=swept.command, protocol=SPLIT + PROTOCOL, data=[f.provenance for f in compared.data.values()],
            seeds=list(compared.plan.seeds), cells_reused=compared.reused, started=compared.started,
            seconds=swept.seconds,
        ),
        "cells": cell_records(compared),
    }  # fmt: skip


def page_of(swept: Swept) -> SweepPage:
    """What the page and the pictures show."""
    compared = swept.compared
    (facts,) = compared.data.values()
    plan = compared.plan
    names = [axis.name for axis in swept.axes]
    shown = [
        ("settings", len(swept.settings)),
        ("bits", swept.bits),
        ("seeds", len(plan.seeds)),
        ("runs", f"{sum(answer['state'] == 'done' for answer in compared.answers.values()):,}"),
    ]
    grid = not swept.each and 1 < len(swept.axes) <= MAX_MAPS
    return SweepPage(
        title=f"{plan.title}: {', '.join(names)}",
        lead=swept.words(),
        about=facts_text(facts),
        measure=MEASURES[swept.measure],
        options=names,
        rows=_rows(swept),
        lines=[] if grid else [line for place in range(len(names)) if (line := _line(swept, place))],
        maps=[_map(swept, x, y) for x in range(len(names)) for y in range(x + 1, len(names))] if grid else [],
        facts=shown,
        failures=compared.failures,
        provenance=provenance_text(compared, swept.command, SPLIT + PROTOCOL),
    )


def _value(series: Series | None, best: bool = False) -> Value | None:
    return None if series is None else Value(series.mean, series.spread, best)


def _rows(swept: Swept) -> list[SettingRow]:
    rows = []
    for setting in swept.settings:
        best = setting == swept.best
        found = {d: _value(swept.series(setting, d)) for d in DIRECTIONS}
        found["mean"] = _value(swept.series(setting), best)
        points = {name: value for name, value in found.items() if value is not None}
        runs = swept.compared.results.runs(next(iter(swept.compared.data)), setting.label)
        notes = [*(["preset"] if setting == swept.start else []), *(["best"] if best else [])]
        failed = len(swept.compared.plan.seeds) - len(runs)
        notes += [f"{failed} of {failed + len(runs)} runs failed"] if failed else []
        collapsed = sum(run["collapsed"] for run in runs)
        notes += [f"codes collapsed in {collapsed} of {len(runs)} runs"] if collapsed else []
        seconds = statistics.median(run["seconds"] for run in runs) if runs else None
        rows.append(SettingRow(tuple(_options(swept, setting).values()), points, ", ".join(notes), seconds))
    return sorted(rows, key=lambda row: -row.points["mean"].mean if "mean" in row.points else 1.0)


def _line(swept: Swept, place: int) -> Line | None:
    """An option alone: the others at the preset, or in a full grid at the best setting."""
    best = swept.best
    if best is None:
        return None
    centre = _options(swept, swept.start if swept.each else best)
    name = swept.axes[place].name
    rest = {key: value for key, value in centre.items() if key != name}
    found: dict[str, Setting] = {}
    for setting in swept.settings:
        own = _options(swept, setting)
        if {key: value for key, value in own.items() if key != name} == rest:
            found.setdefault(own[name], setting)
    order = [value for value in swept.axes[place].values if value in found]
    order += [value for value in found if value not in order]  # the preset, where it is none of the values
    values = in_order(order)
    points = {d: [_value(swept.series(found[value], d)) for value in values] for d in DIRECTIONS}
    if not any(value is not None for both in points.values() for value in both):
        return None
    fixed = ", ".join(f"{key}={value}" for key, value in rest.items())
    preset = _options(swept, swept.start)[name]
    return Line(name, values, points, preset if preset in values else "", f"at {fixed}" if fixed else "")


def _map(swept: Swept, x: int, y: int) -> Map:
    """Two options of a full grid; a third one stands at its best value for each pair."""
    a, b = swept.axes[x], swept.axes[y]
    found: dict[tuple[str, str], Setting] = {}
    for setting in swept.settings:
        series, at = swept.series(setting), (setting.values[x], setting.values[y])
        if series is None or at[0] is None or at[1] is None:
            continue
        key = at[0], at[1]
        before = swept.series(found[key]) if key in found else None
        if before is None or series.mean > before.mean:
            found[key] = setting
    xs, ys = in_order(a.values), in_order(b.values)
    points = {
        d: [[_value(swept.series(found[u, v], d)) if (u, v) in found else None for u in xs] for v in ys]
        for d in DIRECTIONS
    }
    return Map((a.name, xs), (b.name, ys), points, (swept.preset[x], swept.preset[y]))


def _tables(swept: Swept, shown: SweepPage) -> Comparison:
    """The rows as a comparison of settings, for the tables in text."""
    rows = []
    for row in shown.rows:
        name = ", ".join(f"{key}={value}" for key, value in zip(shown.options, row.values, strict=True))
        best = "best" in row.note.split(", ")
        values = {
            (swept.bits, d): Value(row.points[d].mean, row.points[d].spread, best)
            for d in DIRECTIONS
            if d in row.points
        }
        rows.append(GridRow(name, values, note=row.note))
    (facts,) = swept.compared.data.values()
    parts = [Part("", (), name) for name in pictures(shown)]
    parts.append(Part("Settings", [Grid(shown.measure, (swept.bits,), rows)]))
    return Comparison(
        title=shown.title, lead=shown.lead, data=[DataPart(facts.label, shown.about, parts)], rule=RULE,
        failures=shown.failures, provenance=shown.provenance,
    )  # fmt: skip
