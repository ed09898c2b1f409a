"""Every shallow method at the size of MIRFlickr-25K: seconds, peak memory, and how both grow with the training pairs.

python benchmarks/shallow.py                          -> results/shallow.md and .json; up to 8 GB, an hour or less
python benchmarks/shallow.py --quick --out FOLDER     tiny sizes, to see that all of it works
python benchmarks/shallow.py --methods cca lssh --sizes 20000 --out FOLDER     some of them

Each method and size in a process of its own, after a fit of a few hundred pairs: what starts once is not measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from measured import RESULTS
from numpy.typing import NDArray

from fasthash import methods
from fasthash._files import replace_file
from fasthash.compare._memory import PeakMemory
from fasthash.models import HashModel

NAME = "shallow"
METHODS = ("cca", "cvh", "scm_or", "scm_se", "dch", "cmfh", "imh", "lssh", "seph", "cca_itq")
SIZES, QUICK_SIZES = (2_500, 5_000, 10_000, 20_000), (150, 300)
WIDTHS, QUICK_WIDTHS = (4_096, 1_386), (24, 20)
CLASSES, BITS, QUICK_BITS = 24, 64, 8
WARM, ENCODED = 200, 1_000  # pairs of the first fit; pairs that are encoded afterwards
MOST_LABELS, WORDS = 4, 0.02  # labels of a pair at most; share of the words that a text has

Floats = NDArray[np.float32]


def make(n: int, widths: tuple[int, int], seed: int = 0) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Image features as a network's last but one layer has them, bags of words, labels: [n, p], [n, q], [n, CLASSES].

    A pair has one to `MOST_LABELS` labels; what it shows is the mean of theirs and something of its own.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((n, CLASSES), np.uint8)
    for column in range(MOST_LABELS):
        drawn = rng.integers(0, CLASSES, n)
        asked = rng.random(n) < 0.5 if column else np.ones(n, bool)
        labels[np.flatnonzero(asked), drawn[asked]] = 1
    mixed = (labels / labels.sum(axis=1, keepdims=True)).astype(np.float32)
    own = rng.standard_normal((n, 32), np.float32) / 4
    latent = np.hstack([mixed @ rng.standard_normal((CLASSES, 32), np.float32), own])
    image, text = (
        latent @ rng.standard_normal((64, width), np.float32) + 2 * rng.standard_normal((n, width), np.float32)
        for width in widths
    )
    common = np.quantile(text[:1000], 1 - WORDS)
    return np.maximum(image, 0), (text > common).astype(np.float32), labels


def fit(method: str, n: int, widths: tuple[int, int], bits: int) -> dict[str, Any]:
    """Fit a method to n pairs and encode others, in this process."""
    kind = methods.get(method)
    assert issubclass(kind, methods.ClosedForm)
    built = kind(methods.resolve_options(kind, NAME, {}))
    image, text, labels = make(n, widths)
    given = labels if kind.supervision != "none" else None
    steps = [0]

    def report(done: int, total: int, objective: float | None) -> None:
        steps[0] = done

    with PeakMemory() as memory:
        began = time.perf_counter()
        found = built.fit(methods.Pairs.of(image, text, given), bits, 0, report)
        seconds = time.perf_counter() - began
    model = HashModel(found.image, found.text)
    few = slice(min(n, ENCODED))
    model.encode_image(image[:2])
    began = time.perf_counter()
    model.encode_image(image[few])
    model.encode_text(text[few])
    encoding = (time.perf_counter() - began) / len(image[few])
    own = {"seconds": seconds, "iterations": steps[0], "encoding": encoding}
    return own | {"start": memory.start, "peak": memory.peak}


def measure(method: str, n: int, quick: bool) -> dict[str, Any]:
    """`fit`, once everything that is loaded at first use has been."""
    fit(method, WARM, QUICK_WIDTHS, QUICK_BITS)
    return fit(method, n, QUICK_WIDTHS if quick else WIDTHS, QUICK_BITS if quick else BITS)


def measure_apart(method: str, n: int, quick: bool) -> dict[str, Any]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", method, str(n), *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"shallow: {method} at {n} pairs failed: {why}")
    return {"method": method, "pairs": n, **json.loads(done.stdout.splitlines()[-1])}


def growth(pairs: Sequence[int], values: Sequence[float]) -> float:
    """Slope of log value against log pairs, by least squares: 1 is linear growth. NaN for one size."""
    if len(set(pairs)) < 2:
        return math.nan
    return float(np.polyfit(np.log(pairs), np.log(values), 1)[0])


def page(rows: Sequence[dict[str, Any]], described: Sequence[str], quick: bool) -> str:
    sizes = sorted({row["pairs"] for row in rows})
    widths, bits = (QUICK_WIDTHS, QUICK_BITS) if quick else (WIDTHS, BITS)
    lines = [
        "# Shallow methods against the number of training pairs",
        "",
        f"Features {widths[0]:,} + {widths[1]:,} wide, {CLASSES} classes, several to a pair, {bits} bits, defaults.",
        "Seconds of a fit; growth: slope of log time against log pairs, 1 is linear; memory: the most that the process",
        f"held while it fitted {sizes[-1]:,} pairs, in all and beyond the float32 features that it was given, in MiB;",
        f"encoding: a picture and a text, in microseconds, {min(ENCODED, sizes[-1]):,} of each at once.",
        "",
        *described,
        "",
        f"| method | {' | '.join(f'{n:,}' for n in sizes)} | growth | memory | of it for the fit | encoding |",
        "|" + "---|" * (len(sizes) + 5),
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["pairs"]: row for row in rows if row["method"] == method}
        seconds = [f"{own[n]['seconds']:.3g}" if n in own else "-" for n in sizes]
        slope = growth(list(own), [row["seconds"] for row in own.values()])
        last = own[max(own)]
        memory = "-" if last["peak"] is None else f"{last['peak'] / 2**20:,.0f}"
        fitted = "-" if last["start"] is None else f"{(last['peak'] - last['start']) / 2**20:,.0f}"
        cells = [method, *seconds, "-" if math.isnan(slope) else f"{slope:.2f}", memory, fitted]
        lines.append(f"| {' | '.join(cells)} | {last['encoding'] * 1e6:,.0f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="pairs (2,500 5,000 10,000 20,000)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], int(arguments.measure[1]), arguments.quick)))
        return
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in sorted(arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES)):
        for method in arguments.methods:
            rows.append(measure_apart(method, n, arguments.quick))
            print(rows[-1], file=sys.stderr, flush=True)
    described = machine.described(("numpy", "scipy", "torch"))
    entries = ",\n".join(json.dumps(row) for row in rows)
    texts = {
        f"{NAME}.json": f'{{"machine": {json.dumps(described)},\n"rows": [\n{entries}\n]}}\n',
        f"{NAME}.md": page(rows, described, arguments.quick),
    }
    for name, text in texts.items():
        replace_file(arguments.out / name, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
        print(os.path.relpath(arguments.out / name))


if __name__ == "__main__":
    main()
