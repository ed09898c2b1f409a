"""How exact search scales with the database, the queries and the code length, beside FAISS; a table and pictures.

python benchmarks/scaling.py                        -> results/hamming_scaling.csv, .md and pictures
python benchmarks/scaling.py --quick --out FOLDER   a tiny run, to see that all of it works
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import machine
import pictures_scaling
from cases_hamming import FAISS, K, Point, by_faiss, check, make_codes
from interleave import interleave
from measured import RESULTS
from scaling_rows import Row, save

from fasthash._files import replace_file
from fasthash.search import knn

OURS = "fasthash"
DATA = "hamming_scaling.csv"
STEPS_N = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
STEPS_Q = tuple(2**power for power in range(11))
STEPS_BITS = (16, 32, 64, 128, 256, 512, 1024)
LINES_Q = (1, 16, 256)  # a line for each, where the queries are not what varies
LINES_BITS = (64, 256)
MAX_N = 1_000_000  # where the database is not what varies


def sizes(quick: bool) -> list[Point]:
    """Every size of the three sweeps once; quick: few of them, over a thousandth of the codes."""
    every = (STEPS_N, STEPS_Q, STEPS_BITS)
    steps_n, steps_q, steps_bits = (steps[:: len(steps) // 2] for steps in every) if quick else every
    found = [Point(64, nq, nb) for nb in steps_n for nq in LINES_Q]
    found += [Point(bits, nq, MAX_N) for bits in LINES_BITS for nq in steps_q]
    found += [Point(bits, nq, MAX_N) for bits in steps_bits for nq in LINES_Q]
    if quick:
        found = [replace(point, nb=point.nb // 1000) for point in found]
    return list(dict.fromkeys(found))


def measure(points: Sequence[Point], rounds: int) -> Iterator[Row]:
    for point in points:
        queries, database = make_codes(point.nq, point.bits, point.nb)
        searches = {
            OURS: lambda queries=queries, database=database: knn(queries, database, K, threads=1),
            FAISS: by_faiss(queries, database, K),
        }
        check(searches)
        found = interleave(searches, baseline=FAISS, rounds=rounds)
        ours = found[OURS]
        print(f"{point.name}: {ours.ratio:.2f}x", file=sys.stderr, flush=True)
        yield Row(point.bits, point.nb, point.nq, ours.median, found[FAISS].median, ours.ratio, *ours.spread)


def page(rows: Sequence[Row], rounds: int) -> str:
    lines = ["# Exact search on the CPU: scaling", ""]
    lines += [f"Uniform random codes, k = {K}, one thread; all find the same distances. FAISS: IndexBinaryFlat."]
    lines += [f"Medians of {rounds} interleaved rounds; the ratio is taken within a round, with its middle half."]
    lines += ["On a shared machine only the ratio counts. The same as numbers: hamming_scaling.csv.", ""]
    lines += [*machine.described(("numpy", "faiss-cpu")), ""]
    lines += ["![speed](hamming_scaling_speed.png)", "", "![ratio](hamming_scaling_ratio.png)", ""]
    lines += ["| bits | N | Q | fasthash, ns/pair | FAISS, ns/pair | times as fast |", "|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row.bits, row.nb, row.nq)):
        ours, theirs = (1e9 * seconds / (row.nb * row.nq) for seconds in (row.fasthash, row.faiss))
        ratio = f"{row.speedup:.2f} ({row.low:.2f} to {row.high:.2f})"
        lines.append(f"| {row.bits} | {row.nb:,} | {row.nq} | {ours:.3g} | {theirs:.3g} | {ratio} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a thousandth of the codes: shows that it runs, no more")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each size")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = list(measure(sizes(arguments.quick), arguments.rounds))
    target = arguments.out / DATA
    save(target, rows)
    text = page(rows, arguments.rounds)
    replace_file(target.with_suffix(".md"), lambda temporary: temporary.write_text(text))
    for written in (target, target.with_suffix(".md"), *pictures_scaling.draw(rows, arguments.out)):
        print(os.path.relpath(written))


if __name__ == "__main__":
    main()
