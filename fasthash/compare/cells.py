"""One cell of a comparison: a row of the table on one data set at one length with one seed, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fasthash import evaluation, methods
from fasthash._fabric import DEVICES, device_name
from fasthash._fit import check_fit
from fasthash._machine import now, provenance
from fasthash._raw_inputs import check_inputs
from fasthash.compare import curves
from fasthash.compare._files import write_json
from fasthash.compare._memory import PeakMemory
from fasthash.compare.items import VALIDATION, Item, method_options, numbers, parse_item
from fasthash.compare.peers import PEERS, Values
from fasthash.compare.plan import Plan, Row
from fasthash.data import PairedDataset, load
from fasthash.evaluation import Codes, with_learned
from fasthash.models import HashModel
from fasthash.models.learned import LearnedCodes
from fasthash.training import Run, train

FORMAT = 1  # of what a cell measures: a cell of another format is measured again
LEARNED = "learned_scores"  # of a cell's result: its scores with learned codes in the database
AT_THE_END = 2**31  # epochs between evaluations: the last epoch alone is scored


@dataclass(frozen=True)
class Cell:
    """What is measured; the name of its folder follows from all of it.

    Not in here: versions of the libraries, and the number of threads, which may change the last digits of a sum.
    """

    data: str  # as in the plan: name or name[option=value,...]
    checksum: str
    method: str
    options: dict[str, Any]  # resolved: every option of the method, presets included
    bits: int | None  # None: real values
    seed: int
    device: str = "cpu"  # where it is trained: cpu, cuda or mps

    @property
    def folder(self) -> str:
        """Name of its folder: readable, and another one as soon as anything here differs."""
        digest = hashlib.sha256(json.dumps([FORMAT, self.to_dict()], sort_keys=True).encode()).hexdigest()[:8]
        name = f"{parse_item(self.data, 'data').name}-{self.method}-{self.bits or 'real'}-s{self.seed}-{digest}"
        return re.sub(r"[^\w.-]", "_", name)

    @property
    def fixed(self) -> bool:
        """Whether no seed changes it."""
        if self.method in PEERS:
            return not PEERS[self.method].seeded
        kind = methods.get(self.method)
        return issubclass(kind, methods.ClosedForm) and not kind.seeded

    def to_dict(self) -> dict[str, Any]:
        """Its fields; ``device`` only where it is not cpu."""
        values = asdict(self)
        if self.device == "cpu":
            del values["device"]
        return values


def resolve_device(device: str, op: str = "compare") -> str:
    """cpu, cuda or mps: the one asked for, or for auto the one that is there.

    Raises:
        ValueError: the device is unknown or not there.
    """
    if device not in DEVICES:
        raise ValueError(f"{op}: device must be one of {', '.join(DEVICES)}, got {device!r}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if not there[device]:
        raise ValueError(f"{op}: device {device} was asked for, but torch finds none")
    return device


def load_data(item: Item) -> PairedDataset:
    """The data set that an entry of a plan names.

    With the option ``validation``, a share such as 0.2, its queries are drawn from the training rows, and its own take
    no part (`PairedDataset.validation_split`): what settings are chosen on.
    """
    options = numbers(item)
    share = options.pop(VALIDATION, None)
    if share is not None and not isinstance(share, float):
        raise ValueError(f"{item.text}: {VALIDATION} must be a share between 0 and 1, got {share!r}")
    data = load(item.name, progress=False, **options)
    return data if share is None else data.validation_split(share)


def cells_of(
    plan: Plan, row: Row, item: Item, data: PairedDataset, checksum: str, device: str = "cpu", op: str = "compare"
) -> list[Cell]:
    """The cells of a row on a data set, after checking its options and that the data has what it needs.

    ``device`` (resolved) is that of the trainer; what is fitted at once is fitted on the CPU.

    Raises:
        ValueError: an option is unknown or wrong, or the data lacks what the method needs.
    """
    name = row.item.name
    data.require(labels=True, op=op)
    bits: tuple[int | None, ...] = plan.bits_of(row)
    seeds = plan.seeds
    if name in PEERS:
        peer = PEERS[name]
        given = numbers(row.item)
        peer.check(data, given)
        options: dict[str, Any] = peer.options | given
        seeds = seeds if peer.seeded else seeds[:1]
        bits = (None,) if peer.values else bits
        device = "cpu"
    else:
        kind = methods.get(name)
        given = method_options(row.item)
        data.require(labels=kind.supervision != "none", tree=kind.supervision == "label tree", op=name, rows="train")
        resolved = methods.resolve_options(kind, data.base_name, given)
        if issubclass(kind, methods.ClosedForm):
            assert isinstance(resolved, methods.ClosedFormOptions)
            for b in plan.bits_of(row):
                check_fit(kind, data, resolved, b)
            seeds = seeds if kind.seeded else seeds[:1]
            device = "cpu"
        else:
            assert isinstance(resolved, methods.Options)
            check_inputs(name, data, resolved)
        options = resolved.model_dump(mode="json")
    return [Cell(item.text, checksum, name, options, b, seed, device) for b in bits for seed in seeds]


def read_answer(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """The answer of a cell that was run before in ``folder``; None when it has to be run.

    Its "provenance" is None where the cell was measured by a version that did not record it.
    """
    path = folder / cell.folder / "cell.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        result = value["result"] if value["cell"] == json.loads(json.dumps(cell.to_dict())) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(result, dict):
        return None
    return {"state": "done", "result": result, "provenance": value.get("provenance")}


def run_cell(cell: Cell, data: PairedDataset, folder: Path) -> dict[str, Any]:
    """Train or fit, score, and write ``cell.json``; training goes on from a checkpoint where there is one.

    Returns:
        JSON-able answer: "state" done; "result" with "scores" (measure -> direction -> value), for methods that learn
        codes "learned_scores" (as scores, with the database's training pairs by those codes), "seconds" of training,
        "cpu_share", processor seconds of the process for each second meanwhile, "codes" (side -> statistics),
        "collapsed", "peak_bytes" of this process while it ran (`PeakMemory`), "start_bytes" when it began, "threads"
        of torch and "device" with its name; "provenance" as from `fasthash._machine`. Cells of earlier versions lack
        cpu_share and learned_scores, some of them more.
    """
    place, began = folder / cell.folder, now()
    with PeakMemory() as memory:
        found = _run(cell, data, place) if cell.method not in PEERS else _fit(cell, data)
        codes, values = found.codes, found.values
        if codes is not None:
            values = measure(codes, data)
        unified = None if found.learned is None or codes is None else with_learned(codes, data, found.learned)
        learned = None if unified is None else measure(unified, data)
    stats = {} if codes is None else evaluation.Evaluation(data.name, codes, {}).code_stats()
    ran = {"threads": torch.get_num_threads(), "device": device_name(cell.device)}
    result = {
        "scores": values,
        "seconds": round(found.seconds, 3),
        "cpu_share": round(found.cpu_share, 3),
        "codes": {side: str(one) for side, one in stats.items()},
        "collapsed": any(one.collapsed for one in stats.values()),
        "peak_bytes": memory.peak,
        "start_bytes": memory.start,
        **({} if learned is None else {LEARNED: learned}),
        **ran,
    }
    place.mkdir(parents=True, exist_ok=True)
    if codes is not None and codes.hamming:
        curves.write(place, codes, data, unified)
    about = cell.to_dict() | data.provenance() | ran
    record = {"result": result, "provenance": provenance(**about, started=began, seconds=found.seconds)}
    write_json(place / "cell.json", {"cell": cell.to_dict()} | record)
    return {"state": "done"} | record


def add_curves(cell: Cell, data: PairedDataset, folder: Path) -> dict[str, Any]:
    """Make what `curves` keeps of a finished cell, from its stored model; peers are fitted once more."""
    place = folder / cell.folder
    codes = evaluation.encode(HashModel.load(place), data) if cell.method not in PEERS else _fit(cell, data).codes
    learned = LearnedCodes.load(place)
    if codes is not None and codes.hamming:
        curves.write(place, codes, data, None if learned is None else with_learned(codes, data, learned))
    return {"state": "done"}


@dataclass(frozen=True)
class _Found:
    """What training or fitting gave: packed codes, or measures where there are none to search by Hamming distance."""

    seconds: float
    cpu_share: float
    codes: Codes | None
    values: Values
    learned: LearnedCodes | None = None


def _run(cell: Cell, data: PairedDataset, place: Path) -> _Found:
    wall, cpu = time.monotonic(), time.process_time()
    run = _train(cell, data, place)
    if run.learned is None and methods.get(cell.method).learns_codes:  # trained by a version that kept none
        shutil.rmtree(place)
        run = _train(cell, data, place)
    assert run.scores is not None
    return _Found(run.seconds, _cpu_share(wall, cpu), run.scores.codes, {}, run.learned)


def _train(cell: Cell, data: PairedDataset, place: Path) -> Run:
    kind = methods.get(cell.method)
    options = kind.options_type(**cell.options).model_dump()
    assert cell.bits is not None
    how: dict[str, Any] = {"eval_every": AT_THE_END, "device": cell.device} if issubclass(kind, methods.Method) else {}
    return train(
        cell.method, data, bits=cell.bits, seed=cell.seed, out=place, resume=True, progress=False, **how, **options
    )


def _fit(cell: Cell, data: PairedDataset) -> _Found:
    peer = PEERS[cell.method]
    wall, cpu = time.monotonic(), time.process_time()
    codes, values = None, dict[str, dict[str, float]]()
    if peer.values is not None:
        values = peer.values(data, cell.options)
    else:
        assert peer.codes is not None
        assert cell.bits is not None
        codes = peer.codes(data, cell.bits, cell.seed, cell.options)
    return _Found(time.monotonic() - wall, _cpu_share(wall, cpu), codes, values)


def _cpu_share(wall: float, cpu: float) -> float:
    """Processor seconds of this process for each second since then."""
    return (time.process_time() - cpu) / max(time.monotonic() - wall, 1e-9)


def measure(codes: Codes, data: PairedDataset) -> Values:
    """Every measure that data and codes allow: mAP over all and of the first 50, and on a tree the graded ones."""
    wanted = ("map_all", "map_at_50")
    scores = evaluation.score(codes, data, wanted).scores
    found = {name: {d: scores[name][d].value for d in evaluation.DIRECTIONS} for name in wanted}
    if data.tree is not None and len(data.tree) > 1:
        coarse = evaluation.score(codes, data, relevance="any")
        if codes.hamming:
            graded = evaluation.score(codes, data, relevance="graded").graded
            found["ndcg"] = {d: graded[d].value for d in evaluation.DIRECTIONS}
        found["map_all_any"] = {d: coarse.scores["map_all"][d].value for d in evaluation.DIRECTIONS}
    return found
