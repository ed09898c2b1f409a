"""Training on several processes: seconds of an epoch and memory of each process, where code banks are large.

python benchmarks/training_processes.py [--before FOLDER] writes results/training_processes.md. DCMH on made-up pairs
with small networks, so that what is measured are its three banks and the loss against them. Every run is a program of
its own, one thread a process; variants take turns, and the middle of their times is told.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from machine import described

BITS, BATCH, CLASSES, QUERIES = 64, 128, 24, 100
WORKER = "worker"
BEFORE = (
    "State: before, every process computed the whole loss and kept whole banks; now, those of its share of the rows."
)
RESULT = Path(__file__).parent / "results" / "training_processes.md"


def memory(name: str) -> int:
    """Bytes that Linux counts for this process: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}: this benchmark needs Linux")


def work(pairs: int, steps: int, out: Path) -> None:
    """Two epochs of a few steps each; the second is timed. Writes this process's numbers.

    The package may be of another state, whose loop is in the trainer's file.
    """
    import numpy as np
    import torch

    from fasthash import training
    from fasthash.data import PairedDataset

    own = Path(training.__file__).with_name("_loop.py").is_file()
    loop = importlib.import_module("fasthash._loop") if own else training

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((pairs + QUERIES, width), np.float32) for width in (64, 48))
    labels = (rng.random((pairs + QUERIES, CLASSES)) < 0.16).astype(np.uint8)
    labels[np.arange(len(labels)), rng.integers(CLASSES, size=len(labels))] = 1
    data = PairedDataset.from_arrays(image, text, query=np.arange(QUERIES), name="made up", labels=labels)
    del image, text, labels
    whole, ends, seen = loop.batches, [], {}

    def few(*arguments: Any) -> Any:
        yield from islice(whole(*arguments), steps)
        seen["peak"] = memory("VmHWM")  # before the scores, which have nothing to do with it
        ends.append(time.perf_counter())

    setattr(loop, "batches", few)  # noqa: B010
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again here
    before = memory("VmRSS")
    training.train(
        "dcmh", data, bits=BITS, device="cpu", eval_every=10, progress=False, epochs=2, batch_size=BATCH,
        optimizer="adamw", lr_first=1e-3, lr_last=1e-4, text_hidden=(256,), init_std=None,
    )  # fmt: skip
    # each epoch is a sweep of the images and one of the texts
    seconds = (ends[3] - ends[1]) / steps * (pairs // BATCH)
    rank = os.environ.get("RANK", "0")
    (out / f"{rank}.json").write_text(json.dumps({"seconds": seconds, "bytes": seen["peak"] - before}))


def run(pairs: int, steps: int, processes: int, package: Path | None) -> dict[str, float]:
    """Numbers of one run: the slowest process's seconds, the largest process's bytes."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    with tempfile.TemporaryDirectory() as folder:
        command += [__file__, WORKER, str(pairs), str(steps), folder]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"a run of {processes} processes failed:\n{done.stderr}")
        found = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    assert len(found) == processes
    return {name: max(one[name] for one in found) for name in ("seconds", "bytes")}


def measure(pairs: int, steps: int, rounds: int, before: Path | None) -> list[list[str]]:
    """Rows of the table for one number of pairs."""
    variants = {("now", processes): (processes, None) for processes in (1, 2)}
    if before is not None:
        variants = {("before", processes): (processes, before) for processes in (1, 2)} | variants
    found: dict[tuple[str, int], list[dict[str, float]]] = {variant: [] for variant in variants}
    for turn in range(rounds):
        for variant, (processes, package) in variants.items():
            found[variant].append(run(pairs, steps, processes, package))
            print(turn + 1, *variant, found[variant][-1], file=sys.stderr, flush=True)
    middle = {v: {n: statistics.median(one[n] for one in runs) for n in runs[0]} for v, runs in found.items()}
    rows = []
    for (state, processes), numbers in middle.items():
        alone = middle[state, 1]
        spread = [one["seconds"] for one in found[state, processes]]
        rows.append([
            f"{pairs:,}", *([state] if before is not None else []), str(processes), f"{numbers['seconds']:,.1f}",
            f"{min(spread):,.1f} to {max(spread):,.1f}", f"{alone['seconds'] / numbers['seconds']:.2f}",
            f"{numbers['bytes'] / 2**20:,.0f}",
        ])  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--steps", type=int, nargs="+", default=[40, 5], help="measured, for each number of pairs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="folder that holds another state of the package, built")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    head = ["training pairs", *(["state"] if asked.before else []), "processes", "seconds an epoch"]
    head += ["from, to", "times as fast as one", "MiB a process at most"]
    lines = [head, ["---"] * len(head)]
    for pairs, steps in zip(asked.pairs, asked.steps, strict=True):
        lines += measure(pairs, steps, asked.rounds, asked.before)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    sizes = zip(asked.pairs, asked.steps, strict=True)
    told = ", ".join(f"{steps} of {pairs // BATCH:,} at {pairs:,} pairs" for pairs, steps in sizes)
    lines_of_machine = "\n".join(described(["torch", "numpy", "lightning-fabric"])).replace(str(asked.before), "FOLDER")
    asked.out.write_text(f"""# Training on several processes

DCMH, {BITS} bits, batches of {BATCH}, {CLASSES} labels, a linear layer on 64 image features and one hidden layer of 256
on 48 text features: nearly all of the time goes into the likelihood of a batch against a bank of all pairs' codes, and
three banks are kept. An epoch is a sweep of the images and one of the texts, each of pairs / {BATCH} steps; steps that
were measured, and the epoch scaled up from: {told}. Middle of {asked.rounds} runs, in turns; one thread a process.
Memory: what a process holds at most beyond the data set: the training rows that every process has, networks, banks.
{BEFORE if asked.before else ""}

{lines_of_machine}

{table}
""", encoding="utf-8")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        work(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
