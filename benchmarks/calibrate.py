"""Measure which block kernel is fastest where, and write csrc/cpu/hamming_calibration.inc.

python benchmarks/calibrate.py            measure, write the table; then rebuild: python setup.py build_ext --inplace
python benchmarks/calibrate.py --dry-run  measure, print the table

For each instruction set of this machine and each code length, every kernel searches for 1 to 256 queries together, in
turn, and two thresholds are set where the better kernel changes for good. Rows of instruction sets that this machine
lacks are kept as they are. Takes some minutes on an idle machine; on a busy one the thresholds scatter.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from interleave import interleave

from fasthash import _native
from fasthash._files import replace_file
from fasthash.search import knn

TABLE = Path(__file__).parents[1] / "csrc" / "cpu" / "hamming_calibration.inc"
LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512)  # bytes; each row holds from the length before it on, exclusive
QUERIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
MAX_QUERIES = 1 << 16  # "never": longer than any group
SIZE = 1 << 24  # bytes of database: more than the caches that a core has for itself; a quarter for many queries
SPELLING = {"scalar": "kScalar", "avx2": "kAvx2", "avx512": "kAvx512", "neon": "kNeon"}
HEAD = """\
// Written by `python benchmarks/calibrate.py`, which measures the machine that it runs on: {instruction set, codes of
// up to so many bytes, queries from which on popcount beats rows, queries from which on sliced beats both}.
"""


def times(isa: str, length: int, queries: int, rounds: int) -> dict[str, float]:
    """Kernel name -> median seconds of a search by one thread."""
    rng = np.random.default_rng(0)
    codes = (SIZE if queries < 64 else SIZE // 4) // length
    database = rng.integers(0, 256, (codes, length), dtype=np.uint8)
    rows = rng.integers(0, 256, (queries, length), dtype=np.uint8)

    def by(kernel: str) -> Callable[[], object]:
        def search() -> object:
            with _native.use_isa(isa), _native.use_kernel(kernel):
                return knn(rows, database, 10, threads=1)

        return search

    kernels = _native.load().hamming_kernels
    timings = interleave({kernel: by(kernel) for kernel in kernels}, baseline=kernels[0], rounds=rounds)
    return {kernel: min(timing.samples) for kernel, timing in timings.items()}


def thresholds(measured: list[dict[str, float]]) -> tuple[int, int]:
    """(popcount, sliced): the queries from which on each is used; the choice that costs least over all of QUERIES.

    The cost of a choice is the sum of its times, each as a multiple of the fastest kernel's.
    """
    costs = [{name: value / min(row.values()) for name, value in row.items()} for row in measured]
    places = range(len(QUERIES) + 1)

    def cost(first: int, second: int) -> float:
        return sum(row["rows" if i < first else "popcount" if i < second else "sliced"] for i, row in enumerate(costs))

    first, second = min(((i, j) for i in places for j in places if i <= j), key=lambda pair: cost(*pair))
    start = [*QUERIES, MAX_QUERIES]
    return start[first], start[second]


def kept_rows(isas: tuple[str, ...]) -> list[str]:
    """Rows of the present table for other instruction sets."""
    mine = {SPELLING[isa] for isa in isas}
    rows = re.findall(r"\{Isa::(\w+), .*?\},", TABLE.read_text())
    lines = re.findall(r"\{Isa::\w+, .*?\},", TABLE.read_text())
    return [line for name, line in zip(rows, lines, strict=True) if name not in mine]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each measurement")
    arguments = parser.parse_args()
    isas = _native.isa_names()
    lines = []
    for isa in isas:
        for length in LENGTHS:
            measured = [times(isa, length, queries, arguments.rounds) for queries in QUERIES]
            popcount, sliced = thresholds(measured)
            lines.append(f"{{Isa::{SPELLING[isa]}, {length}, {popcount}, {sliced}}},")
            best = " ".join(
                f"{q}:{min(row, key=lambda name: row[name])}" for q, row in zip(QUERIES, measured, strict=True)
            )
            print(f"{lines[-1]}  {best}", flush=True)
    kept = kept_rows(isas)
    text = (
        "\n".join(
            [HEAD + lines[0], *lines[1:], *(["// Measured on other machines, or estimated:"] if kept else []), *kept]
        )
        + "\n"
    )
    if arguments.dry_run:
        print(text)
    else:
        replace_file(TABLE, lambda temporary: temporary.write_text(text))


if __name__ == "__main__":
    main()
