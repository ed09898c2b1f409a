"""A database larger than memory: what it takes on paper, and how far the paper is from what was measured.

python benchmarks/scale.py                          measures to 100 million codes -> results/scale.json, scale.md
python benchmarks/scale.py --billion                ... and a billion of 64 bits: 9 GB of disk, some ten minutes more
python benchmarks/scale.py --codes 1e9 --bits 64 --queries-per-second 100    prints the plan of any size
python benchmarks/scale.py --quick --out FOLDER     tiny sizes, to see that all of it works
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import machine
import scale_model
import scale_pages
from measured import RESULTS
from scale_measure import measure, measure_open

from fasthash._files import replace_file

DATA = "scale.json"
BITS = (64, 128)
CHECKED = {64: (30_000_000, 100_000_000), 128: (50_000_000,)}  # besides the sizes that the lines go through
BILLION = 1_000_000_000
BYTES = 10  # a code of 64 bits and its label, and a tenth of that


def sizes(quick: bool, billion: bool) -> list[tuple[int, int]]:
    """(bits, codes), small ones first."""
    found = [(bits, n) for bits in BITS for n in (*scale_model.FITTED, *CHECKED[bits])]
    if billion:
        found.append((64, BILLION))
    return [(bits, n // 1000 if quick else n) for bits, n in found]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure_all(points: list[tuple[int, int]], scratch: Path | None) -> list[scale_model.Row]:
    """Every size in a folder of its own, which is gone afterwards."""
    rows: list[scale_model.Row] = []
    for bits, codes in points:
        rounds = 9 if codes <= max(scale_model.FITTED) else 4 if codes < BILLION else 2
        with tempfile.TemporaryDirectory(prefix="fasthash-scale-", dir=scratch) as folder:
            room, wanted = shutil.disk_usage(folder).free, codes * BYTES * bits // 64
            if wanted > room:
                raise OSError(f"scale: {folder} has {room >> 20} MiB left, {wanted >> 20} MiB are needed (--scratch)")
            rows += measure(Path(folder), codes, bits, rounds, say)
    for bits in sorted({bits for bits, _ in points}):
        with tempfile.TemporaryDirectory(prefix="fasthash-scale-", dir=scratch) as folder:
            rows.append(measure_open(Path(folder), bits, 9))
    return rows


def positive(text: str) -> float:
    """A finite number above 0."""
    if not 0 < float(text) < math.inf:
        raise ValueError(text)
    return float(text)


def codes_or_batch(text: str) -> int:
    """A whole number of at least 1, also written 1e9."""
    if (number := int(positive(text))) < 1:
        raise ValueError(text)
    return number


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--billion", action="store_true", help="also a billion codes of 64 bits")
    parser.add_argument("--quick", action="store_true", help="a thousandth of the codes: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    parser.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="where the files are made: on the disk to measure"
    )
    plan = parser.add_argument_group("a plan instead of a measurement")
    plan.add_argument("--codes", type=codes_or_batch, help="how many codes, for instance 1e9")
    plan.add_argument("--bits", type=int, default=64)
    plan.add_argument("--queries-per-second", type=positive, default=100.0)
    plan.add_argument(
        "--batch", type=codes_or_batch, default=1024, help="queries that are collected and searched together"
    )
    plan.add_argument(
        "--memory-gb", type=positive, default=64.0, help="memory of a machine that codes may take, in 1e9 bytes"
    )
    plan.add_argument("--price-per-hour", type=positive, help="of a machine like the one measured")
    plan.add_argument("--price-per-gb-month", type=positive, help="of the disk")
    found = parser.parse_args(argv)
    if found.quick and found.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    return found


def print_plan(arguments: argparse.Namespace, target: Path) -> None:
    described, rows = scale_model.load(target)
    wanted = scale_pages.Wanted(
        arguments.codes, arguments.bits, arguments.queries_per_second, arguments.batch,
        math.ceil(1e9 * arguments.memory_gb), arguments.price_per_hour, arguments.price_per_gb_month,
    )  # fmt: skip
    print("\n".join(scale_pages.plan(scale_model.Model(rows, arguments.bits), wanted, described)))


def main(argv: list[str] | None = None) -> None:
    arguments = arguments_of(argv)
    target = arguments.out / DATA
    if arguments.codes is not None:
        try:
            print_plan(arguments, target)
        except (ValueError, OSError) as error:
            sys.exit(str(error))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = measure_all(sizes(arguments.quick, arguments.billion), arguments.scratch)
    text = scale_model.as_json(machine.described(("numpy",)), rows)
    replace_file(target, lambda path: path.write_text(text))
    page = scale_pages.page(*scale_model.load(target))  # of what is kept, which is rounded
    replace_file(target.with_suffix(".md"), lambda path: path.write_text(page))
    for written in (target, target.with_suffix(".md")):
        print(os.path.relpath(written))


if __name__ == "__main__":
    main()
