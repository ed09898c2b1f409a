"""Training, encoding and scoring a feature set of a million pairs from its files: memory and speed against pairs.

python benchmarks/million_pairs.py                          -> results/million_pairs.md; 9 GB in a scratch folder
python benchmarks/million_pairs.py --quick --out FOLDER     tiny sizes, to see that all of it works
python benchmarks/million_pairs.py --sizes 100000 --methods dcmh --steps 0 --out FOLDER     a whole epoch

Each size, method and way of holding the features in a process of its own, which samples how much anonymous memory it
has: pages of the files themselves are the system's to drop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import machine
import numpy as np
from measured import RESULTS
from memory import STATUS
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.data import PairedDataset, Split
from fasthash.features.matrix_file import map_matrix, write_matrix

PAGE = "million_pairs.md"
SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (2_000, 4_000)
WIDTH, CLASSES, BITS, BATCH, STEPS = 512, 24, 64, 128, 300
QUERIES = 2_000
BLOCK = 8192  # rows made together
EVERY = 0.01  # seconds between looks at the memory
SMALL = {"batch_size": BATCH, "epochs": 1, "image_hidden": (256,), "text_hidden": (256,)}
METHODS: dict[str, dict[str, Any]] = {
    "djsrh": SMALL,
    "two_tower": SMALL,
    "dcmh": SMALL | {"optimizer": "adamw", "lr_first": 1e-3, "lr_last": 1e-3, "init_std": None, "normalize": True},
}
PARTS = ("training", "encoding", "scoring")


class Numbers(Sequence[str]):
    """Ids that are made when they are asked for: those of a prepared folder are, too."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        return [str(j) for j in range(*i.indices(self.n))] if isinstance(i, slice) else str(range(self.n)[i])


def labels_of(n: int) -> NDArray[np.uint8]:
    """Multi-hot [n, CLASSES], two of them a pair at most."""
    rng = np.random.default_rng(1)
    labels = np.zeros((n, CLASSES), np.uint8)
    for _ in range(2):
        labels[np.arange(n), rng.integers(0, CLASSES, n)] = 1
    return labels


def write(folder: Path, n: int) -> None:
    """image.safetensors and text.safetensors: class means and noise, block by block."""
    labels = labels_of(n)
    for seed, side in enumerate(("image", "text")):
        rng = np.random.default_rng(seed)
        means = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32)

        def blocks(rng: np.random.Generator = rng, means: NDArray[np.float32] = means) -> Iterator[NDArray[np.float32]]:
            for start in range(0, n, BLOCK):
                mixed = labels[start : start + BLOCK].astype(np.float32) @ means
                yield np.abs(mixed + 2 * rng.standard_normal(mixed.shape, np.float32))

        write_matrix(folder / f"{side}.safetensors", blocks(), n, WIDTH)


def load(folder: Path, *, mapped: bool) -> PairedDataset:
    image, text = (map_matrix(folder / f"{side}.safetensors") for side in ("image", "text"))
    n = len(image)
    rest = np.arange(min(QUERIES, n // 10), n)
    held = {"image": image, "text": text} if mapped else {"image": np.array(image), "text": np.array(text)}
    return PairedDataset.checked(
        name="pairs", **held, ids=Numbers(n), split=Split(np.arange(rest[0]), rest, rest), labels=labels_of(n),
        class_names=tuple(map(str, range(CLASSES))), digests={"image": "image", "text": "text"},
    )  # fmt: skip


class Sampler:
    """The most anonymous memory that the process had in each part of the work, beyond that at the start."""

    def __init__(self) -> None:
        self.part, self.peaks = "start", {"start": 0}
        self.base = anonymous()
        threading.Thread(target=self._run, daemon=True).start()

    def look(self) -> None:
        self.peaks[self.part] = max(self.peaks.get(self.part, 0), anonymous() - self.base)

    def _run(self) -> None:
        while True:
            self.look()
            time.sleep(EVERY)

    def during(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` as a part of its own, after which the part before goes on."""

        def timed(*args: Any, **named: Any) -> Any:
            before, self.part = self.part, part
            try:
                return call(*args, **named)
            finally:
                self.look()
                self.part = before

        return timed


def anonymous() -> int:
    """Bytes of the process's anonymous resident memory."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{STATUS} says nothing of RssAnon: this needs Linux")


def measure(folder: Path, method: str, steps: int, *, mapped: bool) -> dict[str, Any]:
    """Train, encode and score, in this process."""
    import torch

    from fasthash import _loop, evaluation, training

    torch.ones(2, 2, requires_grad=True).sum().backward()  # what starts once in a process is no part of the work
    sampler, counted = Sampler(), [0, 0.0]
    step, batches = _loop.Stepper.step, _loop.batches

    def counted_step(self: Any, phase: Any, index: Any) -> Any:
        started = time.perf_counter()
        made = step(self, phase, index)
        counted[0] += 1
        counted[1] += time.perf_counter() - started
        return made

    _loop.Stepper.step = counted_step  # type: ignore[method-assign]
    if steps:
        _loop.batches = lambda *given: islice(batches(*given), steps)  # type: ignore[attr-defined]
    evaluation.encode = sampler.during("encoding", evaluation.encode)
    evaluation.score = sampler.during("scoring", evaluation.score)
    data = load(folder, mapped=mapped)
    sampler.part = "training"
    run = training.train(method, data, bits=BITS, progress=False, device="cpu", **METHODS[method])
    assert run.scores is not None
    codes = run.scores.codes
    digest = hashlib.sha256(codes.database_image.tobytes() + codes.database_text.tobytes()).hexdigest()
    found = {part: sampler.peaks.get(part, 0) for part in PARTS}
    return found | {
        "steps": counted[0],
        "seconds": counted[1],
        "codes": digest,
        "map": [run.scores.i2t, run.scores.t2i],
    }


def in_own_process(folder: Path, method: str, steps: int, *, mapped: bool) -> dict[str, Any] | None:
    """`measure`; None where the process was ended for want of memory."""
    asked = json.dumps({"folder": str(folder), "method": method, "steps": steps, "mapped": mapped})
    done = subprocess.run([sys.executable, __file__, "--measure", asked], capture_output=True, text=True, check=False)
    if done.returncode in (-9, 137):
        return None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"{method}, {'mapped' if mapped else 'in memory'}: {why}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def needed(n: int) -> int:
    """Bytes that a run with the features in memory takes: all rows, the training rows, DJSRH's teacher."""
    return 3 * 2 * 4 * n * WIDTH + (2 << 30)


def available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def named(method: str, n: int) -> int:
    """Bytes that grow with the pairs and are meant to: labels, their copy and masks, split, order of rows, banks."""
    labels = 2 * n * CLASSES if method != "djsrh" else n * CLASSES
    masks = 8 * n if method != "djsrh" else 0
    banks = 3 * 4 * n * BITS if method == "dcmh" else 0
    codes = 2 * n * BITS // 8
    return labels + masks + 3 * 8 * n + banks + codes


def rows_of(folder: Path, sizes: Sequence[int], methods: Sequence[str], steps: int) -> Iterator[str]:
    for n in sizes:
        place = folder / str(n)
        place.mkdir()
        write(place, n)
        for method in methods:
            mapped = in_own_process(place, method, steps, mapped=True)
            memory = in_own_process(place, method, steps, mapped=False) if needed(n) < available() else None
            if mapped is None:
                raise RuntimeError(f"{method} at {n} pairs was ended for want of memory")
            print(f"{method} {n}: {mapped} {memory}", file=sys.stderr, flush=True)
            yield line(n, method, mapped, memory)
        shutil.rmtree(place)


def line(n: int, method: str, mapped: dict[str, Any], memory: dict[str, Any] | None) -> str:
    cells = [method, f"{n:,}", f"{8 * n * WIDTH / 2**20:,.0f}", f"{named(method, n) / 2**20:,.0f}"]
    cells += [f"{mapped[part] / 2**20:,.0f}" for part in PARTS]
    cells += ["-"] if memory is None else [f"{max(memory[part] for part in PARTS) / 2**20:,.0f}"]
    cells += ["-" if run is None else f"{run['steps'] / run['seconds']:,.0f}" for run in (mapped, memory)]
    cells += ["-" if memory is None else "yes" if memory["codes"] == mapped["codes"] else "no"]
    return "| " + " | ".join(cells) + " |"


def page(lines: Sequence[str], steps: int) -> str:
    passes = f"{steps} steps of {BATCH} pairs in each phase" if steps else f"one epoch in steps of {BATCH} pairs"
    head = ["# A million pairs from their files", ""]
    head += [
        f"Image and text features float32, {WIDTH} wide, {CLASSES} classes, {BITS} bits; {passes}, then all pairs are"
    ]
    head += [
        f"encoded and up to {QUERIES:,} queries scored against the rest with every protocol and curve. In MiB: the two"
    ]
    head += [
        "files; what is meant to grow with the pairs (labels and their masks, split, order of rows, banks, codes);"
    ]
    head += ["the most anonymous memory in each part of a run on mapped files, beyond that before the data is loaded;"]
    head += ["the same of a run on arrays, at its most (-: more than this machine has). Small sets are read whole:"]
    head += ["features of up to 64 MiB a side, and DJSRH keeps the affinity of up to 16,384 pairs (1 GiB at most)."]
    head += ["", *machine.described(("numpy", "torch")), ""]
    head += ["| method | pairs | files | meant to grow | training | encoding | scoring | arrays | steps/s | arrays |"
             " same codes |", "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="pairs (10,000 100,000 1,000,000)")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--steps", type=int, default=STEPS, help="of each phase; 0: a whole epoch")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="where the files are written for the time")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        asked = json.loads(arguments.measure)
        print(json.dumps(measure(Path(asked.pop("folder")), **asked)))
        return
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes, steps = arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES), arguments.steps
    steps = 5 if arguments.quick else steps
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        text = page(list(rows_of(Path(folder), sizes, arguments.methods, steps)), steps)
    target = arguments.out / PAGE
    replace_file(target, lambda temporary: temporary.write_text(text))
    print(os.path.relpath(target))


if __name__ == "__main__":
    main()
