"""Memory and speed of `fasthash embed` against the number of texts: the memory must not grow with it.

python benchmarks/embed_memory.py                          -> results/embed_memory.md; 2 GB in a scratch folder
python benchmarks/embed_memory.py --text minilm --sizes 1000 10000 --out FOLDER     another encoder
python benchmarks/embed_memory.py --quick --out FOLDER     tiny sizes, to see that it works

Each size in a process of its own, over a prepared folder of made-up captions, after a small folder: its code and
weights are not what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from measured import RESULTS
from memory import peak, supported

from fasthash._files import replace_file
from fasthash.data import Split
from fasthash.data.gathered import Gathered
from fasthash.data.prepared import write
from fasthash.embedding import embed

PAGE = "embed_memory.md"
SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (500, 2_000)
WORDS = 5_000
WARM = 256  # texts of the first run


class Captions(Sequence[tuple[str, ...]]):
    """n captions of eight words each, made when they are asked for."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < self._n:
            raise IndexError(i)
        numbers = np.random.default_rng(i).integers(0, WORDS, 8)
        return (" ".join(f"word{number}" for number in numbers),)


def prepare(folder: Path, n: int) -> Path:
    """A prepared folder of n captions."""
    rows = np.arange(n)
    split = Split(rows[:100], rows[100:], rows[100:])
    gathered = Gathered(name=folder.name, texts=Captions(n))
    return write(gathered, folder, splits={"own": split}).path


def measure(folder: Path, spec: str) -> dict[str, Any]:
    """Peak bytes and seconds of embedding the texts of a folder, in this process."""
    prepare(folder.with_name("warm"), WARM)
    embed(folder.with_name("warm"), text=spec, name="measured", progress=False, overwrite=True)
    began = time.perf_counter()
    held = peak(lambda: embed(folder, text=spec, name="measured", progress=False))
    return {"bytes": held, "seconds": time.perf_counter() - began}


def measure_apart(folder: Path, spec: str) -> dict[str, Any]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", str(folder), "--text", spec]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it failed without a word"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def page(rows: Sequence[dict[str, Any]], spec: str) -> str:
    lines = ["# Embedding texts from a prepared folder", ""]
    lines += [f"Captions of eight words through the encoder `{spec}`. Memory: the most the process held while it"]
    lines += ["embedded beyond what it held before, in MiB; features: the file that was written.", ""]
    lines += [*machine.described(("numpy", "torch", "pyarrow")), ""]
    lines += ["| texts | memory | features | texts/s |", "|---|---|---|---|"]
    for row in rows:
        memory, size = (f"{row[name] / 2**20:,.0f}" for name in ("bytes", "features"))
        lines.append(f"| {row['texts']:,} | {memory} | {size} | {row['texts'] / row['seconds']:,.0f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="vectors", help="text encoder")
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="texts (10,000 100,000 1,000,000)")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="where the files are written for the time")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not supported():
        parser.error("needs counts of /proc that can be reset: Linux")
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.text)))
        return
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES):
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            folder = prepare(Path(scratch) / f"texts{n}", n)
            found = measure_apart(folder, arguments.text)
            size = (folder / "features" / "text" / "measured.safetensors").stat().st_size
        rows.append(found | {"texts": n, "features": size})
    target = arguments.out / PAGE
    text = page(rows, arguments.text)
    replace_file(target, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(os.path.relpath(target))


if __name__ == "__main__":
    main()
