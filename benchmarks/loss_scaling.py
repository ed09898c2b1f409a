"""How losses over all pairs scale with the number of rows, beside torch: time, peak memory, and the limits of both.

python benchmarks/loss_scaling.py                        -> results/loss_scaling.csv, .md and pictures
python benchmarks/loss_scaling.py --quick --out FOLDER   a tiny run, to see that all of it works

Every size of every contestant runs in a process of its own that may hold so much memory and no more. A size that its
smaller ones foretell not to fit, or to take too long, is not run, and the page says so.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import loss_scaling_rows as kept
import machine
import pictures_loss_scaling
from loss_scaling_rows import CHUNKED, DATA, EAGER, JOINT, OURS, PAIRWISE, RATE, Row
from measured import RESULTS

from fasthash._files import replace_file

WORK = Path(__file__).with_name("loss_scaling_work.py")
STEPS = {
    PAIRWISE: (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000),
    JOINT: (32, 128, 512, 1_000, 2_000, 5_000, 10_000, 16_384, 50_000, 100_000),
}
QUICK = {PAIRWISE: (64,), JOINT: (32, 128)}
CONTESTANTS = (OURS, CHUNKED, EAGER)
NAMES = {PAIRWISE: "All pairs of N rows: `pairwise_nll`", JOINT: "m pairs of features: `joint_semantics_loss`"}
MIB, GIB = 2.0**20, 2.0**30


def available() -> float:
    """Bytes that this machine can give without swapping."""
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def measure(steps: dict[str, tuple[int, ...]], memory: float, seconds: float) -> Iterator[Row]:
    """The machine's rate, then every size, smallest first."""
    yield run("machine", RATE, 2048, memory)
    for op, sizes in steps.items():
        done: dict[str, list[Row]] = {name: [] for name in CONTESTANTS}
        for n in sizes:
            for name in CONTESTANTS:
                row = foretold(op, name, n, done[name], memory, seconds) or run(op, name, n, memory, done[name])
                if row.status == kept.MEASURED:
                    done[name].append(row)
                print(f"{op}, n {n:,}, {name}: {row.status}, {row.seconds:.3g} s", file=sys.stderr, flush=True)
                yield row


def run(op: str, contestant: str, n: int, memory: float, smaller: Sequence[Row] = ()) -> Row:
    """One size in a fresh process.

    Raises:
        RuntimeError: it failed for another reason than memory; with the last line that it said.
    """
    command = [sys.executable, str(WORK), op, contestant, str(n), "--limit", str(memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
        times = found["seconds"]
        return Row(op, contestant, n, kept.MEASURED, statistics.median(times), min(times), max(times), found["memory"])
    why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if not any(word in why for word in ("allocate", "MemoryError", "bad_alloc")):
        raise RuntimeError(f"loss_scaling: {contestant} of {op} at {n} failed: {why}")
    expected = ahead(smaller, n)
    return Row(op, contestant, n, kept.NO_ROOM, expected[0], 0.0, 0.0, max(expected[1], memory))


def ahead(smaller: Sequence[Row], n: int) -> tuple[float, float]:
    """Seconds and bytes at n by the power law of the two largest sizes, at least linear; 0 where there are not two."""
    if len(smaller) < 2:
        return 0.0, 0.0
    before, last = smaller[-2:]

    def grown(y0: float, y1: float) -> float:
        power = math.log(max(y1, 1e-9) / max(y0, 1e-9)) / math.log(last.n / before.n)
        return y1 * (n / last.n) ** min(3.0, max(1.0, power))

    return grown(before.seconds, last.seconds), grown(before.memory, last.memory)


def foretold(op: str, contestant: str, n: int, smaller: Sequence[Row], memory: float, seconds: float) -> Row | None:
    """What is not worth starting; None where it is."""
    time, needed = ahead(smaller, n)
    if needed > memory:
        return Row(op, contestant, n, kept.NO_ROOM, time, 0.0, 0.0, needed)
    return Row(op, contestant, n, kept.TOO_LONG, time, 0.0, 0.0, needed) if time > seconds else None


def page(rows: Sequence[Row]) -> str:
    widths = f"{kept.P_IMAGE} + {kept.P_TEXT}"
    lines = [
        "# Losses over all pairs on the CPU: scaling",
        "",
        f"Loss and both gradients once, float32, {kept.BITS} bits; features of joint semantics {widths} wide.",
        "Medians of the calls of one process for each size. Memory is the most that a call held beyond its inputs.",
        "Products alone: the least matrix products of the loss at the rate of a large float32 product of torch, on",
        "this machine; gradients alone: their bytes. The same as numbers: loss_scaling.csv.",
        "",
    ]
    lines += [*machine.described(("torch",)), ""]
    lines += ["![time](loss_scaling_time.png)", "", "![memory](loss_scaling_memory.png)", ""]
    for op, name in NAMES.items():
        lines += [f"## {name}", "", *_table(op, rows), ""]
    return "\n".join(lines)


def _table(op: str, rows: Sequence[Row]) -> list[str]:
    found = {(row.n, row.contestant): row for row in rows if row.op == op}
    head = [f"{name}, s" for name in (*CONTESTANTS, "products alone")]
    head += [f"{name}, MiB" for name in (*CONTESTANTS, "gradients alone")]
    lines = ["| rows | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]
    for n in sorted({n for n, _ in found}):
        own = [found[n, name] for name in CONTESTANTS]
        limit = kept.least_seconds(op, n, rows)
        cells = [*map(_time, own), f"{limit:.3g}" if limit is not None else "–"]
        cells += [*map(_memory, own), f"{kept.least_memory(n) / MIB:.3g}"]
        lines.append(f"| {n:,} | " + " | ".join(cells) + " |")
    return lines


def _time(row: Row) -> str:
    if row.status == kept.TOO_LONG:
        return f"not run (about {row.seconds:.0f})"
    return f"{row.seconds:.3g}" if row.status == kept.MEASURED else row.status


def _memory(row: Row) -> str:
    if row.status == kept.NO_ROOM:
        return f"does not fit (needs {row.memory / GIB:.0f} GiB)"
    return f"{row.memory / MIB:.3g}" if row.status == kept.MEASURED else "not run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rows: shows that it runs, no more")
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="what a process may hold; default 3/4 of what is free"
    )
    parser.add_argument("--seconds", type=float, default=200.0, help="calls foretold to take longer are not run")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    memory = GIB * arguments.memory if arguments.memory else 0.75 * available()
    rows = list(measure(QUICK if arguments.quick else STEPS, memory, arguments.seconds))
    target = arguments.out / DATA
    kept.save(target, rows)
    text = page(rows)
    replace_file(target.with_suffix(".md"), lambda temporary: temporary.write_text(text))
    for written in (target, target.with_suffix(".md"), *pictures_loss_scaling.draw(rows, arguments.out)):
        print(os.path.relpath(written))


if __name__ == "__main__":
    main()
