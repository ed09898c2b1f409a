"""Search over shards in Ray actors against one process: throughput, latency, what the engine costs, where it pays.

python benchmarks/sharded.py                          -> results/sharded.md and .json; some minutes, 1 GB
python benchmarks/sharded.py --quick --out FOLDER     small sizes, to see that all of it works

All contestants have the same codes and use the same number of threads in all, as far as shards can have less than one.
They take turns; ratios are of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from interleave import timing
from measured import RESULTS

from fasthash._arguments import thread_count
from fasthash._files import replace_file
from fasthash.distributed import ShardedIndex
from fasthash.search import BinaryIndex, write_shards

NAME, BITS, K = "sharded", 64, 10
NOTHING = 4  # codes: a search of so few costs what the engine costs
SIZES, QUICK_SIZES = (NOTHING, 100_000, 1_000_000, 10_000_000), (NOTHING, 2_000, 20_000)
SHARDS, BATCHES = (1, 2, 4), (1, 16, 1024)
ROUNDS, TURN, MOST_CALLS = 7, 0.2, 60  # a contestant's turn: seconds, and calls at most
ENOUGH = 100  # calls for a 99th percentile
ONE = "one process"


class Row(NamedTuple):
    """One contestant with one batch."""

    codes: int
    batch: int
    contestant: str
    threads: int  # in all
    median: float  # seconds a call
    p99: float | None  # None: too few calls
    throughput: float  # queries a second
    ratio: float  # one process's time / this time, median over the rounds
    spread: tuple[float, float]  # first and third quartile of that
    calls: int


def blocks(n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """n random codes."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, 1 << 20):
        yield rng.integers(0, 256, (min(1 << 20, n - start), BITS // 8), dtype=np.uint8)


def measure(n: int, batch: int, searches: dict[str, tuple[Callable[[Any], object], int]], rounds: int) -> list[Row]:
    """Every contestant once a round, in turns; each call has other queries."""
    queries = next(blocks(batch * 64, seed=n + batch)).reshape(64, batch, -1) if batch < 1024 else None
    large = next(blocks(batch, seed=batch))
    times: dict[str, list[list[float]]] = {name: [] for name in searches}
    counts = {}
    for name, (search, _) in searches.items():
        search(large)  # files are opened and read, buffers grown
        began = time.perf_counter()
        search(large)
        counts[name] = max(1, min(MOST_CALLS, int(TURN / max(time.perf_counter() - began, 1e-6))))
    for turn in range(rounds):
        names = list(searches)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            own = []
            for call in range(counts[name]):
                rows = large if queries is None else queries[(turn * MOST_CALLS + call) % 64]
                began = time.perf_counter()
                searches[name][0](rows)
                own.append(time.perf_counter() - began)
            times[name].append(own)
    return [row_of(n, batch, name, searches[name][1], times[ONE], times[name]) for name in searches]


def row_of(n: int, batch: int, name: str, threads: int, base: list[list[float]], own: list[list[float]]) -> Row:
    """From the seconds of every call, round by round, of one process and of a contestant."""
    calls = sorted(seconds for part in own for seconds in part)
    p99 = calls[min(len(calls) - 1, int(0.99 * len(calls)))] if len(calls) >= ENOUGH else None
    rounds = timing([statistics.median(part) for part in base], [statistics.median(part) for part in own])
    throughput = statistics.median(batch * len(part) / sum(part) for part in own)
    median = statistics.median(calls)
    return Row(n, batch, name, threads, median, p99, throughput, rounds.ratio, rounds.spread, len(calls))


def restart_seconds(index: ShardedIndex, times: int = 3) -> float:
    """From the end of an actor's process to the next answer over all shards."""
    found = []
    query = next(blocks(1))
    for _ in range(times):
        pid = index.status()[0].replicas[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        index.search(query, K)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def write_seconds(folder: Path) -> dict[str, float]:
    """A thousand codes more, and a thousand less, in an index that may be changed."""
    with ShardedIndex.load(folder, mmap=False, shards=2) as index:
        codes, seconds = next(blocks(1000)), {}
        ids = np.arange(1000) + len(index)
        changes = {"add": lambda: index.add(codes, ids), "remove": lambda: index.remove(ids)}
        for name, change in changes.items():
            began = time.perf_counter()
            change()
            seconds[name] = time.perf_counter() - began
    return seconds


def measure_size(n: int, threads: int, rounds: int, last: bool) -> tuple[list[Row], dict[str, float]]:
    """All batches over n codes."""
    with tempfile.TemporaryDirectory(prefix="fasthash-bench-") as temporary, ExitStack() as opened:
        one = BinaryIndex.from_codes(np.concatenate(list(blocks(n))))
        searches = {ONE: ((lambda queries: one.search(queries, K, threads=threads)), threads)}
        for count in SHARDS:
            folder, each = Path(temporary) / str(count), max(1, threads // count)
            write_shards(folder, blocks(n), BITS, rows_per_shard=-(-n // count))  # a file for each shard
            index = opened.enter_context(ShardedIndex.load(folder, shards=count, threads=each))
            searches[f"{count} shard{'s' * (count > 1)}"] = (
                (lambda queries, index=index: index.search(queries, K)),
                each * count,
            )
        queries = next(blocks(5, seed=1))
        wanted = one.search(queries, K)
        for name, (search, _) in searches.items():
            found: Any = search(queries)
            assert all(np.array_equal(x, y) for x, y in zip(found, wanted, strict=True)), name
        rows = []
        for batch in BATCHES:
            rows += measure(n, batch, searches, rounds)
            print(*(f"{row.codes} x {row.batch} {row.contestant} {row.median:.6f}" for row in rows[-4:]), sep="\n")
        if not last:
            return rows, {}
        more = {"restart": restart_seconds(index), **write_seconds(folder)}
    return rows, more


def pays(rows: list[Row]) -> list[str]:
    """From which number of codes shards on machines of their own are faster, by the costs of engine and code."""
    largest = max(row.codes for row in rows)
    at = {(row.codes, row.batch, row.contestant): row.median for row in rows}
    names = ["queries", "engine, µs", "ns a code and call", "2 machines from", "4 machines from", "within 10 % from"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for batch in BATCHES:
        cost = {count: at[NOTHING, batch, f"{count} shard{'s' * (count > 1)}"] for count in SHARDS}
        code = at[largest, batch, ONE] / largest
        sizes = [cost[count] / (code * (1 - 1 / count)) for count in (2, 4)] + [cost[1] / (0.1 * code)]
        cells = [f"{batch:,}", f"{cost[2] * 1e6:,.0f}", f"{code * 1e9:.3g}", *(f"{size:,.0f}" for size in sizes)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(rows: list[Row], more: dict[str, float], described: list[str]) -> str:
    """The page of results."""
    largest = max(row.codes for row in rows)
    lines = [
        "# Search over shards in Ray actors against one process",
        "",
        f"{BITS} bits, k = {K}, actors of one machine that map their files; one process is `BinaryIndex` in memory.",
        "Both have the same threads in all, as far as a shard can have less than one. Throughput: queries a second",
        "of one caller that waits for each answer. Latency: of a call, median and 99th percentile (- with fewer",
        f"than {ENOUGH} calls). Ratio: one process's time by this time in the same round, median and quartiles; above",
        "1 is faster.",
        "",
        *described,
        "",
        "| codes | queries | contestant | threads | queries/s | median, ms | p99, ms | ratio | quartiles |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        p99 = "-" if row.p99 is None else f"{row.p99 * 1e3:.3g}"
        cells = [f"{row.codes:,}", f"{row.batch:,}", row.contestant, str(row.threads), f"{row.throughput:,.0f}"]
        cells += [f"{row.median * 1e3:.3g}", p99, f"{row.ratio:.2f}", f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## What the engine costs, and from which size on it pays",
        "",
        f"A search of {NOTHING} codes costs what the engine costs (in the table: of 2 shards). The shards of one",
        "machine share its cores: there they buy no time, only that a process may die, and cost less than 10 %",
        "from the last column on. On machines of their own with as many cores each, M shards take 1/M of the scan",
        "and pay the engine once: codes from which that is faster than one process, by what a code costs it at",
        f"{largest:,} codes. The network between the machines is not in it.",
        "",
        *pays(rows),
        "",
        f"At {largest:,} codes: {more['restart']:.2f} s from the end of an actor's process to the next answer, of a",
        f"process that is started and maps its file; 1,000 codes added in {more['add'] * 1e3:.0f} ms, removed again in",
        f"{more['remove'] * 1e3:.0f} ms, on disk in both cases.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="codes (100,000 1,000,000 10,000,000)")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    import ray

    threads = thread_count(None, NAME)
    ray.init("local", num_cpus=threads, include_dashboard=False, log_to_driver=False, object_store_memory=256 << 20)
    sizes = QUICK_SIZES if arguments.quick else SIZES
    sizes = sorted({NOTHING, *(arguments.sizes or sizes)})
    rows: list[Row] = []
    for n in sizes:
        found, more = measure_size(n, threads, 3 if arguments.quick else ROUNDS, n == sizes[-1])
        rows += found
    described = machine.described(("numpy", "ray"))
    entries = ",\n".join(json.dumps(row._asdict()) for row in rows)
    head = f'{{"machine": {json.dumps(described)},\n"more": {json.dumps(more)},\n'
    texts = {
        f"{NAME}.json": f'{head}"rows": [\n{entries}\n]}}\n',
        f"{NAME}.md": page(rows, more, described),
    }
    for name, text in texts.items():
        replace_file(arguments.out / name, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
        print(os.path.relpath(arguments.out / name), file=sys.stderr)


if __name__ == "__main__":
    main()
