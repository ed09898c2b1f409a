"""Exact k-nearest-neighbour search by every library that does it: fasthash, FAISS, USearch, NumKong, NumPy, torch.

Each is called as its own documentation says, on codes in the form that it wants, prepared beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator

from cases import Case, Report
from cases_hamming import FAISS, K, Point, Search, by_faiss, check, make_codes, named

# torch may share its OpenMP with FAISS: cases_hamming says how that waits, and must come before it is loaded
# isort: split
import numkong
import numpy as np
import torch
from usearch.index import MetricKind
from usearch.index import search as usearch_search

from fasthash import codes
from fasthash.search import knn

OURS = "fasthash"
POINTS = (*(Point(bits, nq) for nq in (1, 16) for bits in (64, 128, 256, 512)), Point(64, 16, k=1000))


def smallest(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of one row of distances and their places, nearest first."""
    best = np.argpartition(distances, k)[:k]
    best = best[np.lexsort((best, distances[best]))]
    return distances[best], best


def by_numpy(queries: np.ndarray, database: np.ndarray, k: int) -> Search:
    """np.bitwise_count on 64-bit words, one query after the other."""
    words, base = queries.view(np.uint64), database.view(np.uint64)

    def search() -> tuple[np.ndarray, np.ndarray]:
        rows = [smallest(np.bitwise_count(query ^ base).sum(axis=1, dtype=np.int32), k) for query in words]
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    return search


def by_torch(queries: np.ndarray, database: np.ndarray, k: int) -> Search:
    """A float32 product of -1/+1 codes, which is bits - 2 x distance, and topk: 32 times the memory of the codes."""
    bits = 8 * database.shape[1]
    rows, base = (torch.from_numpy(codes.unpack(packed, bits).astype(np.float32)) for packed in (queries, database))

    def search() -> tuple[np.ndarray, np.ndarray]:
        products, ids = torch.topk(rows @ base.T, k, dim=1)
        return ((bits - products) / 2).to(torch.int32).numpy(), ids.numpy()

    return search


def by_numkong(queries: np.ndarray, database: np.ndarray, k: int) -> Search:
    """All distances to a database packed beforehand; NumKong selects nothing, so argpartition does."""
    packed = numkong.hammings_pack(database, dtype="uint1")

    def search() -> tuple[np.ndarray, np.ndarray]:
        rows = [smallest(row, k) for row in np.asarray(numkong.hammings_packed(queries, packed))]
        return np.stack([row[0] for row in rows]).astype(np.int32), np.stack([row[1] for row in rows])

    return search


def by_usearch(queries: np.ndarray, database: np.ndarray, k: int) -> Search:
    """Its exact search; without dtype="b1" it takes each byte for a dimension, and the distances are wrong."""

    def search() -> tuple[np.ndarray, np.ndarray]:
        found = usearch_search(database, queries, k, MetricKind.Hamming, exact=True, threads=1, dtype="b1")
        shape = (len(queries), k)  # one query gives one row without the first axis
        return np.reshape(found.distances, shape).astype(np.int32), np.reshape(found.keys, shape).astype(np.int64)

    return search


def contestants(queries: np.ndarray, database: np.ndarray, k: int) -> dict[str, Search]:
    return {
        OURS: lambda: knn(queries, database, k, threads=1),
        FAISS: by_faiss(queries, database, k),
        "FAISS, use_heap=False": by_faiss(queries, database, k, heap=False),
        "NumKong + argpartition": by_numkong(queries, database, k),
        "torch, product + topk": by_torch(queries, database, k),
        "NumPy bitwise_count": by_numpy(queries, database, k),
        "USearch exact": by_usearch(queries, database, k),
    }


def case(point: Point) -> Case:
    torch.set_num_threads(1)
    searches = contestants(*make_codes(point.nq, point.bits, point.nb), point.k)
    return Case(point.name, searches, FAISS, point.nq * point.nb, lambda: check(searches))


def report(quick: bool = False) -> Report:
    points = named(POINTS, quick)

    def cases() -> Iterator[Case]:
        return (case(point) for point in points.values())

    return Report(
        file="hamming_peers_cpu",
        title="Exact search on the CPU, beside every peer",
        unit="pair",
        notes=(
            f"Uniform random codes, k = {K} unless said, one thread each. A pair is one query and one database code.",
            "All find the same distances, which is checked before anything is timed. Outside the times: building a",
            "peer's index, NumKong's packing, and for torch the unpacking of the codes to float32 -1/+1.",
            "",
            f"- {OURS}: `knn` on the packed codes in place;",
            "- FAISS: `IndexBinaryFlat`, with its heap and with its counters;",
            "- NumKong: `hammings_packed`, all distances, then `argpartition` for each query;",
            "- torch: float32 product of -1/+1 codes, then `topk`;",
            "- NumPy: `bitwise_count` of 64-bit words, then `argpartition`;",
            '- USearch: `search(..., exact=True, dtype="b1")`.',
        ),
        versions=("numpy", "faiss-cpu", "usearch", "numkong", "torch"),
        cases=cases,
        rounds=3 if quick else 5,
        case=lambda name: case(points[name]),
    )
