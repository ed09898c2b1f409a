"""One cell of a comparison: a row of the table on one data set at one length with one seed, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fasthash import evaluation, methods
from fasthash._fabric import DEVICES
from fasthash._files import replace_file
from fasthash.compare._memory import PeakMemory
from fasthash.compare.items import Item, method_options, numbers, parse_item
from fasthash.compare.peers import PEERS, Values
from fasthash.compare.plan import Plan, Row
from fasthash.data import PairedDataset, load
from fasthash.evaluation import Codes
from fasthash.training import train

FORMAT = 1  # of what a cell measures: a cell of another format is measured again
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

    def to_dict(self) -> dict[str, Any]:
        """Its fields; ``device`` only where it is not cpu."""
        values = asdict(self)
        if self.device == "cpu":
            del values["device"]
        return values


def resolve_device(device: str) -> str:
    """cpu, cuda or mps: the one asked for, or for auto the one that is there.

    Raises:
        ValueError: the device is unknown or not there.
    """
    if device not in DEVICES:
        raise ValueError(f"compare: device must be one of {', '.join(DEVICES)}, got {device!r}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if not there[device]:
        raise ValueError(f"compare: device {device} was asked for, but torch finds none")
    return device


def load_data(item: Item) -> PairedDataset:
    """The data set that an entry of a plan names."""
    return load(item.name, progress=False, **numbers(item))


def cells_of(plan: Plan, row: Row, item: Item, data: PairedDataset, checksum: str, device: str = "cpu") -> list[Cell]:
    """The cells of a row on a data set, after checking its options and that the data has what it needs.

    ``device`` (resolved) is that of the trainer; what is fitted at once is fitted on the CPU.

    Raises:
        ValueError: an option is unknown or wrong, or the data lacks what the method needs.
    """
    name = row.item.name
    data.require(labels=True, op="compare")
    bits: tuple[int | None, ...] = plan.bits_of(row)
    seeds = plan.seeds
    if name in PEERS:
        peer = PEERS[name]
        given = numbers(row.item)
        peer.check(data, plan.bits_of(row), given)
        options: dict[str, Any] = peer.options | given
        seeds = seeds if peer.seeded else seeds[:1]
        bits = (None,) if peer.values else bits
        device = "cpu"
    else:
        kind = methods.get(name)
        given = method_options(row.item)
        data.require(labels=kind.supervision != "none", tree=kind.supervision == "label tree", op=name, rows="train")
        options = methods.resolve_options(kind, data.base_name, given).model_dump(mode="json")
    return [Cell(item.text, checksum, name, options, b, seed, device) for b in bits for seed in seeds]


def read_result(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """What a cell measured when it was run before in ``folder``; None when it has to be run."""
    path = folder / cell.folder / "cell.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        result = value["result"] if value["cell"] == json.loads(json.dumps(cell.to_dict())) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return result if isinstance(result, dict) else None


def run_cell(cell: Cell, data: PairedDataset, folder: Path) -> dict[str, Any]:
    """Train or fit, score, and write ``cell.json``; training goes on from a checkpoint where there is one.

    Returns:
        JSON-able: "scores" (measure -> direction -> value), "seconds" of training, "codes" (side -> statistics),
        "collapsed", "peak_bytes" of this process while it ran (`PeakMemory`), "start_bytes" when it began, "threads"
        of torch and "device" with its name. Cells written by earlier versions lack the last two.
    """
    place = folder / cell.folder
    with PeakMemory() as memory:
        codes: Codes | None
        if cell.method in PEERS:
            seconds, codes, values = _fit(cell, data)
        else:
            options = methods.get(cell.method).options_type(**cell.options).model_dump()
            assert cell.bits is not None
            run = train(
                cell.method, data, bits=cell.bits, seed=cell.seed, out=place, resume=True, eval_every=AT_THE_END,
                device=cell.device, progress=False, **options,
            )  # fmt: skip
            assert run.scores is not None
            seconds, codes, values = run.seconds, run.scores.codes, {}
        if codes is not None:
            values = measure(codes, data)
    stats = {} if codes is None else evaluation.Evaluation(data.name, codes, {}).code_stats()
    result = {
        "scores": values,
        "seconds": round(seconds, 3),
        "codes": {side: str(one) for side, one in stats.items()},
        "collapsed": any(one.collapsed for one in stats.values()),
        "peak_bytes": memory.peak,
        "start_bytes": memory.start,
        "threads": torch.get_num_threads(),
        "device": f"cuda ({torch.cuda.get_device_name()})" if cell.device == "cuda" else cell.device,
    }
    place.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"cell": cell.to_dict(), "result": result}, indent=1) + "\n"
    replace_file(place / "cell.json", lambda path: path.write_text(text, encoding="utf-8"))
    return result


def _fit(cell: Cell, data: PairedDataset) -> tuple[float, Codes | None, Values]:
    import time

    peer = PEERS[cell.method]
    started = time.monotonic()
    if peer.values is not None:
        values = peer.values(data, cell.options)
        return time.monotonic() - started, None, values
    assert peer.codes is not None
    assert cell.bits is not None
    codes = peer.codes(data, cell.bits, cell.seed, cell.options)
    return time.monotonic() - started, codes, {}


def measure(codes: Codes, data: PairedDataset) -> Values:
    """Every measure that the data allows: mAP over all and of the first 50, and on a tree the graded ones."""
    wanted = ("map_all", "map_at_50")
    scores = evaluation.score(codes, data, wanted).scores
    found = {name: {d: scores[name][d].value for d in evaluation.DIRECTIONS} for name in wanted}
    if data.tree is not None and len(data.tree) > 1:
        graded, coarse = (evaluation.score(codes, data, relevance=relevance) for relevance in ("graded", "any"))
        found["ndcg"] = {d: graded.graded[d].value for d in evaluation.DIRECTIONS}
        found["map_all_any"] = {d: coarse.scores["map_all"][d].value for d in evaluation.DIRECTIONS}
    return found
