"""A plan from beginning to end: check everything, run the cells, gather, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fasthash._arguments import whole_number
from fasthash._machine import now
from fasthash._progress import CellProgress
from fasthash.compare import curves, output
from fasthash.compare.cells import LEARNED, Cell, cells_of, load_data, read_answer, resolve_device
from fasthash.compare.compared import Compared, DataFacts, title
from fasthash.compare.plan import TREE_MEASURES, Plan
from fasthash.compare.searches import searches
from fasthash.compare.standings import standings
from fasthash.compare.workers import run_cells


def run_compare(
    plan: Plan,
    out: str | Path,
    *,
    jobs: int | None = None,
    threads: int = 1,
    page: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    command: str = "fasthash.compare.run_compare(...)",
) -> Compared:
    """Run every cell of a plan and write ``compare.json``, ``.csv``, ``.md``, ``.tex``, ``index.html`` and pictures.

    Args:
        page: another folder that gets ``compare.md`` and its pictures.
        command: what is named on the page as the way to make it again.
        others: as `run_plan`.
    Raises:
        ValueError, KeyboardInterrupt: as `run_plan`.
    """
    began = time.monotonic()
    other = None if page is None else Path(page)
    check_folder(other)
    compared = run_plan(plan, out, jobs=jobs, threads=threads, device=device, progress=progress, say=say)
    _read_curves(compared, jobs, threads, say)
    compared.standings = standings(compared)
    compared.searches = searches(compared)
    compared.seconds = time.monotonic() - began
    compared.shown = output.comparison(compared, command)
    compared.files = output.write(compared, compared.shown, Path(out), other)
    return compared


def run_plan(
    plan: Plan,
    out: str | Path,
    *,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    op: str = "compare",
    measures: Sequence[str] = (),
) -> Compared:
    """Run every cell of a plan that is not there yet, and gather the results.

    Args:
        plan: what to measure; names, options and what the data must have are checked before anything is trained.
        out: folder; each cell has one of its own in ``out/cells``. Finished cells are used again, whatever threads
            and version they were measured with; interrupted training goes on. A cell's folder is named after data,
            method, options, bits, seed and device, so another option is another folder.
        jobs, threads: processes in all, and threads of each. None: one process for each CUDA device when training on
            CUDA, or one. With several CUDA devices the processes are spread over them. The scores do not depend on
            jobs, times and memory may.
        device: auto, cpu, cuda or mps: where the trainer runs.
        progress: show a bar over the cells.
        say: gets a line for each finished cell.
        op: first word of errors.
        measures: what the caller will look at; every data set must allow it.
    Raises:
        ValueError: the plan names an unknown method or option, or data that lacks what a method or a target needs; or
            the device is not there.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    jobs = None if jobs is None else whole_number(jobs, 1, 1024, op, "jobs")
    threads = whole_number(threads, 1, 1024, op, "threads")
    folder = Path(out)
    check_folder(folder, op)
    started = now()
    compared = _prepare(plan, resolve_device(device, op), op, measures)
    compared.started, compared.folder = started, folder / "cells"
    compared.folder.mkdir(parents=True, exist_ok=True)
    waiting: dict[str, Cell] = {}
    learned = {row.label for row in plan.rows if row.learned}
    for _, row, cell in compared.cells:
        done = read_answer(compared.folder, cell)
        if done is None or (row in learned and LEARNED not in done["result"]):
            waiting[cell.folder] = cell
        else:
            compared.answers[cell.folder] = done
    for name in waiting:  # there for a row, but not with what another row of the same cell is about
        compared.answers.pop(name, None)
    compared.reused = len(compared.answers)
    total = compared.reused + len(waiting)
    if compared.reused:
        say(f"{compared.reused} of {total} cells are there already")
    finished = _run(compared, list(waiting.values()), total, jobs, threads, progress, say)
    if not finished:
        n = sum(answer["state"] == "done" for answer in compared.answers.values())
        raise KeyboardInterrupt(f"stopped with {n} of {total} cells finished in {folder}; the same command goes on")
    compared.gather()
    return compared


def check_folder(place: Path | None, op: str = "compare") -> None:
    """ValueError where a file stands in the way of a folder."""
    if place is not None and place.exists() and not place.is_dir():
        raise ValueError(f"{op}: {place} must be a folder, got a file")


def _read_curves(compared: Compared, jobs: int | None, threads: int, say: Callable[[str], None]) -> None:
    """Fill ``curves``; cells of earlier versions get theirs now, from their stored models."""
    chosen: dict[tuple[str, str, int], Cell] = {}
    encoded = {row.label for row in compared.plan.rows if not row.learned}  # what is drawn
    for data, row, cell in compared.cells:
        if row in encoded and cell.bits is not None and compared.answers[cell.folder]["state"] == "done":
            chosen.setdefault((data, row, cell.bits), cell)
    lacking = {c.folder: c for c in chosen.values() if curves.read(compared.folder / c.folder) is None}
    if lacking:
        say(f"curves of {len(lacking)} finished cells from their stored models")

        def report(cell: Cell, answer: dict[str, Any]) -> None:
            if answer["state"] == "failed":
                say(f"no curves of {cell.folder}: {answer['error']}")

        if not run_cells(list(lacking.values()), compared.folder, report, jobs=jobs, threads=threads, do="curves"):
            raise KeyboardInterrupt("stopped while curves were made; the same command goes on")
    for key, cell in chosen.items():
        found = curves.read(compared.folder / cell.folder)
        if found is not None:
            compared.curves[key] = cell.seed, found


def _prepare(plan: Plan, device: str = "cpu", op: str = "compare", measures: Sequence[str] = ()) -> Compared:
    """Load each data set once, check every row and target on it, list the cells."""
    facts: dict[str, DataFacts] = {}
    cells: list[tuple[str, str, Cell]] = []
    for label, item in plan.data_items().items():
        data = load_data(item)
        facts[label] = DataFacts.of(label, item.text, data)
        for measure in measures:
            if measure in TREE_MEASURES and not facts[label].tree:
                raise ValueError(f"{op}: measure {measure} needs a label tree, {label} has none")
        for target in plan.targets:
            if target.data == label and target.measure in TREE_MEASURES and not facts[label].tree:
                what = f"compare: target of {target.row!r} on {label!r}"
                raise ValueError(f"{what}: measure {target.measure} needs a label tree, {label} has none")
        for row in plan.rows_of(label):
            found = cells_of(plan, row, item, data, facts[label].checksum, device, op)
            cells += [(label, row.label, cell) for cell in found]
    if not cells:
        raise ValueError("compare: no row of the plan runs on any of its data sets")
    return Compared(plan, facts, cells, {})


def _run(
    compared: Compared,
    waiting: list[Cell],
    total: int,
    jobs: int | None,
    threads: int,
    progress: bool,
    say: Callable[[str], None],
) -> bool:
    if not waiting:
        return True
    titles = {cell.folder: title(data, row, cell) for data, row, cell in reversed(compared.cells)}
    with CellProgress(len(waiting), show=progress) as bar:

        def report(cell: Cell, answer: dict[str, Any]) -> None:
            if answer["state"] == "stopped":
                return
            compared.answers[cell.folder] = answer
            line = f"{titles[cell.folder]}: {_words(answer)}"
            bar.cell_done(line)
            say(f"[{len(compared.answers)}/{total}] {line}")

        return run_cells(waiting, compared.folder, report, jobs=jobs, threads=threads, tick=bar.refresh)


def _words(answer: dict[str, Any]) -> str:
    if answer["state"] == "failed":
        return f"failed: {answer['error']}"
    result = answer["result"]
    both = result["scores"]["map_all"]
    collapsed = ", codes COLLAPSED" if result["collapsed"] else ""
    return f"i2t {both['i2t']:.3f}, t2i {both['t2i']:.3f} in {result['seconds']:.1f} s{collapsed}"
