"""What a comparison leaves: compare.json with every cell, compare.csv, .md and .tex, the page, the pictures."""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import fasthash
from fasthash import _machine, methods, report
from fasthash.compare._files import csv_text, write_json, write_text
from fasthash.compare.peers import PEERS
from fasthash.compare.plan import MEASURES, TREE_MEASURES, Row
from fasthash.compare.summary import BOLD_RULE, Outcome, best_row
from fasthash.evaluation import DIRECTIONS
from fasthash.models import QuantizedModel
from fasthash.report.comparison import Comparison, DataPart, Goal, Grid, GridRow, Model, Part, Value

if TYPE_CHECKING:
    from fasthash.compare.compared import Compared, DataFacts

MIB = 1 << 20
CSV_COLUMNS = ("data", "row", "bits", "direction", "measure", "mean", "std", "seeds")
PROTOCOL = (
    "queries against the database by Hamming distance unless a row says otherwise, each item encoded by its own "
    "modality alone, in a learned database by the code that training gave its pair; relevant is what shares a label "
    "of the finest layer; ties in expectation; the model of the last epoch, the queries play no part in training; "
    "mean ± sample standard deviation over the seeds"
)


def write(compared: Compared, shown: Comparison, out: Path, page: Path | None) -> list[Path]:
    """Write all files; returns their paths."""
    record = _record(compared, str(shown.provenance["command"]))
    written = [
        write_json(out / "compare.json", record),
        write_text(out / "compare.csv", csv_text(CSV_COLUMNS, record["summary"])),
        write_text(out / "compare.tex", report.comparison_latex(shown)),
        report.write_comparison(shown, out / "index.html"),
    ]
    markdown = report.comparison_markdown(shown)
    for folder in dict.fromkeys([out, *([page] if page else [])]):
        folder.mkdir(parents=True, exist_ok=True)
        written += [write_text(folder / "compare.md", markdown), *report.write_pictures(shown, folder)]
    return written


def _record(compared: Compared, command: str) -> dict[str, Any]:
    """Everything as one JSON value: each cell once, means and spreads, the best against the second, targets."""
    done = sum(answer["state"] == "done" for answer in compared.answers.values())
    return {
        "format": "fasthash.compare",
        "version": 1,
        "plan": compared.plan.model_dump(mode="json"),
        "provenance": _machine.provenance(
            command=command,
            protocol=PROTOCOL,
            data=[facts.provenance for facts in compared.data.values()],
            seeds=list(compared.plan.seeds),
            cells_measured=done - compared.reused,
            cells_reused=compared.reused,
            started=compared.started,
            seconds=compared.seconds,
        ),
        "summary": _summary(compared),
        "standings": [standing.to_dict() for standing in compared.standings],
        "targets": [outcome.to_dict() for outcome in compared.outcomes],
        "cells": cell_records(compared),
    }


def cell_records(compared: Compared) -> list[dict[str, Any]]:
    """Each cell with its answer, JSON-able."""
    found = []
    for data, row, cell in compared.cells:
        answer = {"error": None, "result": None, "provenance": None} | compared.answers[cell.folder]
        named = {"data_label": data, "row": row, "folder": f"cells/{cell.folder}"}
        found.append(named | cell.to_dict() | answer)
    return found


def _summary(compared: Compared) -> list[dict[str, Any]]:
    found = []
    plan = compared.plan
    for data in compared.data:
        for row in plan.rows_of(data):
            for bits in plan.bits_of(row):
                for measure in MEASURES:
                    for direction in DIRECTIONS:
                        series = compared.results.series(data, row.label, bits, measure, direction)
                        if series is not None:
                            key = {"data": data, "row": row.label, "bits": bits, "measure": measure}
                            values = {"mean": series.mean, "std": series.spread, "seeds": len(series.values)}
                            found.append(key | {"direction": direction} | values)
    return found


def comparison(compared: Compared, command: str) -> Comparison:
    """What the page and the tables show."""
    plan = compared.plan
    done = [answer["result"] for answer in compared.answers.values() if answer["state"] == "done"]
    met = [outcome.met for outcome in compared.outcomes]
    facts: list[tuple[str, Any]] = [
        ("data sets", len(compared.data)),
        ("rows", len(plan.rows)),
        ("bits", ", ".join(map(str, sorted({b for row in plan.rows for b in plan.bits_of(row)})))),
        ("seeds", len(plan.seeds)),
        ("runs", f"{len(done):,}"),
    ]
    facts += [("targets met", f"{met.count(True)} of {len(met)}")] if met else []
    data = [_data_part(compared, facts_) for facts_ in compared.data.values()]
    goals = [_goal(outcome) for outcome in compared.outcomes]
    provenance = provenance_text(compared, command, PROTOCOL)
    models = [Model(*key, *found) for key, found in compared.curves.items()]
    return Comparison(
        title=plan.title, lead=plan.lead, facts=facts, data=data, rule=BOLD_RULE, goals=goals,
        failures=compared.failures, provenance=provenance, models=models,
    )  # fmt: skip


def _data_part(compared: Compared, facts: DataFacts) -> DataPart:
    tables = compared.plan.tables_of(facts.label)
    parts = []
    for title, rows in tables:
        measures = [m for m in MEASURES if facts.tree or m not in TREE_MEASURES]
        grids = [_grid(compared, facts, rows, measure) for measure in measures]
        grids = [grid for grid in grids if any(row.values for row in grid.rows)]
        if grids:
            own = [one for one in compared.standings if (one.data, one.table) == (facts.label, title)]
            grids[0] = replace(grids[0], notes=[str(one) for one in own])
            parts.append(Part(title if len(tables) > 1 else "", grids, compared.plan.picture(facts.label, title)))
    return DataPart(facts.label, facts_text(facts), parts, compared.searches.get(facts.label))


def facts_text(facts: DataFacts) -> str:
    """A sentence about a data set."""
    wide = zip(("image", "text"), facts.widths, strict=True)
    features = ", ".join(f"no {side} features" if n is None else f"{side} features {n} wide" for side, n in wide)
    return (
        f"{facts.queries:,} queries, {facts.database:,} items in the database, {facts.train:,} training pairs; "
        f"{facts.classes}; {features}."
    )


def _grid(compared: Compared, facts: DataFacts, rows: list[Row], measure: str) -> Grid:
    plan, results, data = compared.plan, compared.results, facts.label
    bits = sorted({b for row in rows for b in plan.bits_of(row)})
    values: dict[str, dict[tuple[int, str], Value]] = {row.label: {} for row in rows}
    for b in bits:
        for direction in DIRECTIONS:
            found = [
                results.series(data, row.label, b, measure, direction) if b in plan.bits_of(row) else None
                for row in rows
            ]
            codes = [None if results.is_real(data, row.label) else one for row, one in zip(rows, found, strict=True)]
            ahead = best_row(codes)
            for place, (row, one) in enumerate(zip(rows, found, strict=True)):
                if one is not None:
                    values[row.label][b, direction] = Value(one.mean, one.spread, place == ahead)
    if measure == next(iter(MEASURES)):
        return Grid(MEASURES[measure], bits, [_grid_row(compared, data, row, values[row.label]) for row in rows])
    # time, memory and failures are told once
    others = [_grid_row(compared, data, row, values[row.label]) for row in rows if values[row.label]]
    return Grid(MEASURES[measure], bits, [replace(row, seconds=None, megabytes=None, note="") for row in others])


def _grid_row(compared: Compared, data: str, row: Row, values: dict[tuple[int, str], Value]) -> GridRow:
    runs = compared.results.runs(data, row.label)
    seconds = statistics.median(_seconds(run) for run in runs) if runs else None
    peaks = [run["peak_bytes"] for run in runs if run["peak_bytes"]]
    notes = [row.note] if row.note else []
    answers = [compared.answers[c.folder] for d, r, c in compared.cells if (d, r) == (data, row.label)]
    failed = sum(answer["state"] == "failed" for answer in answers)
    notes += [f"{failed} of {len(answers)} runs failed"] if failed else []
    collapsed = sum(run["collapsed"] for run in runs)
    notes += [f"codes collapsed in {collapsed} of {len(runs)} runs"] if collapsed else []
    real = compared.results.is_real(data, row.label)
    notes += ["real values, no code"] if real else []
    notes += ["ranked by inner products"] if _by_products(row) else []
    reference = real or row.item.name == "random"
    memory = max(peaks) / MIB if peaks else None
    return GridRow(row.label, values, seconds, memory, "; ".join(notes), reference)


def _by_products(row: Row) -> bool:
    """Whether the row's codes are no codes for Hamming distances."""
    if row.item.name in PEERS:
        return False
    kind = methods.get(row.item.name)
    return issubclass(kind, methods.Method) and issubclass(kind.model_type, QuantizedModel)


def _seconds(run: dict[str, Any]) -> float:
    """Training time; of one thread on the CPU without what other programs took of it meanwhile."""
    alone = run.get("threads") == 1 and run.get("device") == "cpu"
    share = min(1.0, run.get("cpu_share") or 1.0)  # above 1 where threads read or write beside it: nobody took any
    return float(run["seconds"]) * (share if alone else 1.0)


def _goal(outcome: Outcome) -> Goal:
    reached = "–" if outcome.reached is None else f"{outcome.reached:.3f}"
    if outcome.relative and outcome.reached is not None:
        reached = f"{'ahead' if outcome.reached >= 0 else 'behind'} by {abs(outcome.reached):.3f}"
    if outcome.margin is None:
        margin = "not measured"
    elif outcome.failed:
        margin = f"not judged, {_number(outcome.failed, 'seed', 'seeds')} failed"
    elif outcome.margin == 0 and not outcome.met:
        margin = "missed by a tie"
    else:
        margin = f"{'met' if outcome.met else 'missed'} by {abs(outcome.margin):.3f}"
    return Goal(outcome.data, outcome.what, outcome.wanted, reached, margin, outcome.seeds, outcome.met)


def provenance_text(compared: Compared, command: str, protocol: str) -> dict[str, str]:
    """What a page says of how it was made."""
    done = [answer["result"] for answer in compared.answers.values() if answer["state"] == "done"]
    seconds = sum(result["seconds"] for result in done)
    spent = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} s"
    return {
        "command": command,
        "machine": f"{_machine.cpu_name()}, {_machine.core_count()} cores",
        "measured": measured(done),
        "versions": f"fasthash {fasthash.__version__}, torch {torch.__version__}, NumPy {np.__version__}, "
        f"Python {platform.python_version()}",
        "data": ", ".join(
            f"{facts.text} (checksum {facts.checksum}, split {facts.split_checksum})"
            for facts in compared.data.values()
        ),
        "seeds": ", ".join(map(str, compared.plan.seeds)),
        "protocol": protocol,
        "training": f"{spent} in all by the clock; times in the tables leave out what other programs took of a thread; "
        "peak memory is that of a run's process",
    }


def measured(done: Sequence[dict[str, Any]]) -> str:
    """Threads and devices of the runs, as they were when each was measured: "with 1 thread on cpu"."""
    counts = Counter((run.get("threads"), run.get("device")) for run in done)
    found = sorted(counts, key=lambda one: (one[0] is None, str(one)))
    words = [
        "threads and device not recorded"
        if threads is None
        else f"with {_number(threads, 'thread', 'threads')} on {on}"
        for threads, on in found
    ]
    if len(found) < 2:
        return "".join(words)
    return "; ".join(f"{_number(counts[one], 'run', 'runs')} {said}" for one, said in zip(found, words, strict=True))


def _number(n: int, one: str, several: str) -> str:
    return f"{n} {one if n == 1 else several}"
