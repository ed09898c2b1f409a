"""Exact k-nearest-neighbour search: fasthash against FAISS IndexBinaryFlat and a NumPy brute force."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # FAISS's barriers otherwise spin for milliseconds on a busy machine

import faiss
import numpy as np
from cases import Case, Report

from fasthash import _native
from fasthash._hamming import thread_count
from fasthash.search import knn

NB, K = 1_000_000, 10
FAISS = "FAISS IndexBinaryFlat"
NUMPY_QUERIES = 1  # NumPy is timed for so many queries and no more: it is slow, and slow in proportion


def make_codes(nq: int, bits: int, nb: int = NB, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Uniform random codes: queries and database."""
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, (n, bits // 8), dtype=np.uint8) for n in (nq, nb))  # type: ignore[return-value]


def numpy_knn(queries: np.ndarray, database: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances by np.bitwise_count on 64-bit words, the k smallest by argpartition."""
    words, base = queries.view(np.uint64), database.view(np.uint64)
    distances, ids = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
    for q, query in enumerate(words):
        row = np.bitwise_count(query ^ base).sum(axis=1, dtype=np.int32)
        best = np.argpartition(row, k)[:k]
        best = best[np.lexsort((best, row[best]))]
        distances[q], ids[q] = row[best], best
    return distances, ids


def faiss_index(database: np.ndarray) -> faiss.IndexBinaryFlat:
    index = faiss.IndexBinaryFlat(8 * database.shape[1])
    index.add(database)
    return index


def contestants(
    queries: np.ndarray, database: np.ndarray, threads: int, k: int = K
) -> dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]]:
    """name -> search, every one on the same data and so many threads."""
    index = faiss_index(database)

    def by_faiss() -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(threads if len(queries) > 1 else 1)  # more than one would only wait for one query
        return index.search(queries, k)

    def by_fasthash(isa: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        def search() -> tuple[np.ndarray, np.ndarray]:
            with _native.use_isa(isa):
                return knn(queries, database, k, threads=threads)

        return search

    names = {"avx512": "fasthash, AVX-512", "avx2": "fasthash, AVX2", "scalar": "fasthash, scalar"}
    vector = _native.isa_names()[:0:-1] or ("scalar",)
    found = {names[isa]: by_fasthash(isa) for isa in vector}
    found[FAISS] = by_faiss
    if threads == 1 and len(queries) <= NUMPY_QUERIES:
        found["NumPy bitwise_count"] = lambda: numpy_knn(queries, database, k)
    return found


def check(searches: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]]) -> None:
    """Every contestant finds the same distances."""
    first, *others = (search()[0] for search in searches.values())
    assert all(np.array_equal(first, other) for other in others)


def cases() -> Iterator[Case]:
    every = thread_count(None, "benchmark")
    sizes = [(bits, nq, NB, 1) for bits in (64, 128, 256) for nq in (1, 16, 256)]
    sizes += [(bits, nq, NB, every) for bits in (64, 256) for nq in (1, 256) if every > 1]
    sizes += [(64, 1, 10 * NB, threads) for threads in sorted({1, every})]
    for bits, nq, nb, threads in sizes:
        searches = contestants(*make_codes(nq, bits, nb), threads)
        name = f"{bits} bits, N {nb:,}, Q {nq}, {threads} thread{'s' * (threads > 1)}"
        yield Case(name, searches, FAISS, nq * nb, lambda searches=searches: check(searches))


def report() -> Report:
    return Report(
        file="hamming_cpu",
        title="Exact k-nearest-neighbour search on the CPU",
        unit="pair",
        notes=(
            f"Uniform random codes, k = {K}. A pair is one query and one database code.",
            "Every contestant searches the same data; all find the same distances.",
            "FAISS runs with OMP_WAIT_POLICY=passive and, for one query, on one thread whatever the row says:",
            "it cannot split a query, and more threads slow it down.",
            "CUDA kernel: compiled for sm_80, sm_90a, sm_100; not yet run on a GPU.",
        ),
        versions=("numpy", "faiss-cpu"),
        cases=cases,
    )
