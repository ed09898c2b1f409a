"""A plan from beginning to end: check everything, run the cells, gather, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fasthash._arguments import whole_number
from fasthash._progress import CellProgress
from fasthash.compare import output
from fasthash.compare.cells import Cell, cells_of, load_data, read_result, resolve_device
from fasthash.compare.peers import PEERS
from fasthash.compare.plan import TREE_MEASURES, Plan
from fasthash.compare.summary import Outcome, Results, judge
from fasthash.compare.workers import run_cells
from fasthash.data import PairedDataset
from fasthash.report import Comparison


@dataclass(frozen=True)
class DataFacts:
    """What is said of a data set; the arrays themselves are not kept."""

    label: str
    text: str  # as the plan names it
    checksum: str
    queries: int
    database: int
    train: int
    widths: tuple[int, int]  # of image and text features
    classes: str  # "30 classes", or the label tree
    base_classes: int
    tree: bool

    @classmethod
    def of(cls, label: str, text: str, data: PairedDataset) -> DataFacts:
        tree = data.tree is not None and len(data.tree) > 1
        classes = str(data.tree) if tree else f"{len(data.class_names)} classes"
        split = data.split
        widths = (data.image.shape[1], data.text.shape[1])
        sizes = (len(split.query), len(split.database), len(split.train))
        return cls(label, text, data.checksum(), *sizes, widths, classes, len(data.class_names), tree)


@dataclass
class Compared:
    """What a comparison found.

    ``cells``: (data label, row label, cell) in the order of the plan; ``answers``: by folder of the cell, with "state"
    done or failed and "result" or "error".
    """

    plan: Plan
    data: dict[str, DataFacts]
    cells: list[tuple[str, str, Cell]]
    answers: dict[str, dict[str, Any]]
    seconds: float = 0.0
    reused: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    results: Results = field(default_factory=Results)
    shown: Comparison | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(cell, why) of those that failed."""
        found = {title(data, row, cell): self.answers[cell.folder] for data, row, cell in self.cells}
        return [(name, answer["error"]) for name, answer in found.items() if answer["state"] == "failed"]

    def gather(self) -> None:
        """Fill ``results`` and ``outcomes`` from the answers."""
        for data, row, cell in self.cells:
            answer = self.answers[cell.folder]
            if answer["state"] == "done":
                fixed = cell.method in PEERS and not PEERS[cell.method].seeded
                self.results.add(data, row, cell.bits, cell.seed, answer["result"], fixed=fixed)
        self.outcomes = judge(self.plan, self.results)


def title(data: str, row: str, cell: Cell) -> str:
    """A cell for people: "dcmh, 64 bits, seed 0, on wiki"."""
    bits = "real values" if cell.bits is None else f"{cell.bits} bits"
    return f"{row}, {bits}, seed {cell.seed}, on {data}"


def run_compare(
    plan: Plan,
    out: str | Path,
    *,
    jobs: int = 1,
    threads: int = 1,
    page: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    command: str = "fasthash.compare.run_compare(...)",
) -> Compared:
    """Run every cell of a plan and write ``compare.json``, ``compare.md``, ``index.html`` and pictures.

    Args:
        plan: what to measure; names, options and what the data must have are checked before anything is trained.
        out: folder; each cell has one of its own in ``out/cells``. Finished cells are used again, whatever threads
            and version they were measured with; interrupted training goes on. A cell's folder is named after data,
            method, options, bits, seed and device, so another option is another folder.
        jobs, threads: processes, and threads of each. The scores do not depend on jobs, times and memory may.
        page: another folder that gets ``compare.md`` and its pictures.
        device: auto, cpu, cuda or mps: where the trainer runs.
        progress: show a bar over the cells.
        say: gets a line for each finished cell.
        command: what is named on the page as the way to make it again.
    Raises:
        ValueError: the plan names an unknown method or option, or data that lacks what a method or a target needs; or
            the device is not there.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    started = time.monotonic()
    jobs, threads = (whole_number(n, 1, 1024, "compare", what) for n, what in ((jobs, "jobs"), (threads, "threads")))
    folder = Path(out)
    for place in (folder, *([Path(page)] if page else [])):
        if place.exists() and not place.is_dir():
            raise ValueError(f"compare: {place} must be a folder, got a file")
    compared = _prepare(plan, resolve_device(device))
    cells_folder = folder / "cells"
    cells_folder.mkdir(parents=True, exist_ok=True)
    waiting: dict[str, Cell] = {}
    for _, _, cell in compared.cells:
        done = read_result(cells_folder, cell)
        if done is None:
            waiting[cell.folder] = cell
        else:
            compared.answers[cell.folder] = {"state": "done", "result": done}
    compared.reused = len(compared.answers)
    total = compared.reused + len(waiting)
    if compared.reused:
        say(f"{compared.reused} of {total} cells are there already")
    finished = _run(compared, list(waiting.values()), cells_folder, total, jobs, threads, progress, say)
    if not finished:
        n = sum(answer["state"] == "done" for answer in compared.answers.values())
        raise KeyboardInterrupt(f"stopped with {n} of {total} cells finished in {folder}; the same command goes on")
    compared.gather()
    compared.seconds = time.monotonic() - started
    compared.shown = output.comparison(compared, command)
    compared.files = output.write(compared, compared.shown, folder, None if page is None else Path(page))
    return compared


def _prepare(plan: Plan, device: str = "cpu") -> Compared:
    """Load each data set once, check every row and target on it, list the cells."""
    facts: dict[str, DataFacts] = {}
    cells: list[tuple[str, str, Cell]] = []
    for label, item in plan.data_items().items():
        data = load_data(item)
        facts[label] = DataFacts.of(label, item.text, data)
        for target in plan.targets:
            if target.data == label and target.measure in TREE_MEASURES and not facts[label].tree:
                what = f"compare: target of {target.row!r} on {label!r}"
                raise ValueError(f"{what}: measure {target.measure} needs a label tree, {label} has none")
        for row in plan.rows_of(label):
            found = cells_of(plan, row, item, data, facts[label].checksum, device)
            cells += [(label, row.label, cell) for cell in found]
    if not cells:
        raise ValueError("compare: no row of the plan runs on any of its data sets")
    return Compared(plan, facts, cells, {})


def _run(
    compared: Compared,
    waiting: list[Cell],
    folder: Path,
    total: int,
    jobs: int,
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

        return run_cells(waiting, folder, report, jobs=jobs, threads=threads, tick=bar.refresh)


def _words(answer: dict[str, Any]) -> str:
    if answer["state"] == "failed":
        return f"failed: {answer['error']}"
    result = answer["result"]
    both = result["scores"]["map_all"]
    collapsed = ", codes COLLAPSED" if result["collapsed"] else ""
    return f"i2t {both['i2t']:.3f}, t2i {both['t2i']:.3f} in {result['seconds']:.1f} s{collapsed}"
