"""Exact k-nearest-neighbour search: fasthash against FAISS IndexBinaryFlat, and what it must reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

# FAISS's barriers otherwise spin for milliseconds on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import faiss
import numpy as np
from cases import Case, Report
from goals import Goal

from fasthash import _native
from fasthash._arguments import thread_count
from fasthash.search import knn

Search = Callable[[], tuple[np.ndarray, np.ndarray]]

NB, K = 1_000_000, 10
FAISS = "FAISS IndexBinaryFlat"
READ = "plain read"
NAMES = {
    "avx512": "fasthash, AVX-512",
    "avx2": "fasthash, AVX2",
    "neon": "fasthash, NEON",
    "scalar": "fasthash, scalar",
}
EVERY = thread_count(None, "benchmark")


@dataclass(frozen=True)
class Point:
    """A size, and the times as fast as FAISS that are asked of each instruction set there: (at least, aim)."""

    bits: int
    nq: int
    nb: int = NB
    k: int = K
    threads: int = 1
    asked: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    share: float | None = None  # aim: of the speed of reading the codes, measured beside it

    @property
    def name(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        k = f", k {self.k}" if self.k != K else ""
        return f"{self.bits} bits, N {self.nb:,}, Q {self.nq}{k}, {threads}"

    @property
    def goals(self) -> tuple[Goal, ...]:
        found = [Goal(NAMES[isa], FAISS, *bounds) for isa, bounds in self.asked.items()]
        if self.share is not None:
            found.append(Goal(NAMES["avx512"], READ, None, self.share, "share"))
        return tuple(found)

    def quick(self) -> Point:
        """The same at a size that takes a moment; distinct points stay distinct."""
        return replace(self, nq=round(self.nq**0.25), nb=self.nb // 500, k=min(self.k, 20))

    def case(self) -> Case:
        queries, database = make_codes(self.nq, self.bits, self.nb)
        searches = contestants(queries, database, self.threads, self.k)
        calls: dict[str, Callable[[], object]] = dict(searches)
        if self.share is not None:
            calls[READ] = plain_read(database, self.threads)
        return Case(self.name, calls, FAISS, self.nq * self.nb, lambda: check(searches), self.goals)


POINTS = (
    Point(64, 256, asked={"avx512": (12, 20), "avx2": (5, 8)}),
    Point(128, 256, asked={"avx512": (8, 12), "avx2": (3, 4)}),
    Point(256, 256, asked={"avx512": (7, 10), "avx2": (2.5, 3)}),
    Point(512, 256, asked={"avx512": (6, 8)}),
    Point(64, 16, asked={"avx512": (8, 12)}),
    Point(128, 16, asked={"avx512": (5, 7)}),
    Point(256, 16, asked={"avx512": (3, 4)}),
    Point(64, 256, k=1000, asked={"avx512": (6, 12)}),
    Point(64, 1, nb=10 * NB, asked={"avx512": (2, 3)}, share=0.85),
    *([Point(64, 1, nb=10 * NB, threads=EVERY, asked={"avx512": (3.5, 5)}, share=0.85)] if EVERY > 1 else []),
    *(Point(bits, 1) for bits in (64, 128, 256)),
    *(Point(bits, nq, threads=EVERY) for bits in (64, 256) for nq in (1, 16, 256) if EVERY > 1),
)


def named(points: Iterable[Point], quick: bool) -> dict[str, Point]:
    """The points of a report by their names."""
    return {point.name: point for point in (entry.quick() if quick else entry for entry in points)}


def make_codes(nq: int, bits: int, nb: int = NB, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Uniform random codes: queries and database."""
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, (n, bits // 8), dtype=np.uint8) for n in (nq, nb))  # type: ignore[return-value]


def by_faiss(queries: np.ndarray, database: np.ndarray, k: int, threads: int = 1, *, heap: bool = True) -> Search:
    """FAISS's exact search over its own copy of the codes; heap=False: its counters instead."""
    index = faiss.IndexBinaryFlat(8 * database.shape[1])
    index.add(database)
    index.use_heap = heap

    def search() -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(threads if len(queries) > 1 else 1)  # more than one would only wait for one query
        return index.search(queries, k)

    return search


def by_fasthash(queries: np.ndarray, database: np.ndarray, k: int, threads: int, isa: str) -> Search:
    def search() -> tuple[np.ndarray, np.ndarray]:
        with _native.use_isa(isa):
            return knn(queries, database, k, threads=threads)

    return search


def contestants(queries: np.ndarray, database: np.ndarray, threads: int, k: int = K) -> dict[str, Search]:
    """name -> search, every one on the same data and so many threads."""
    vector = _native.isa_names()[:0:-1] or ("scalar",)
    found = {NAMES[isa]: by_fasthash(queries, database, k, threads, isa) for isa in vector}
    return {**found, FAISS: by_faiss(queries, database, k, threads)}


def plain_read(database: np.ndarray, threads: int) -> Callable[[], object]:
    """Reads every byte once, in `threads` parts, and does next to nothing with it: NumPy's bitwise or of 64-bit words.

    Of NumPy's reductions (sum, maximum, or; of bytes to 64-bit words) the one that reads fastest; it releases the GIL.
    """
    parts = np.array_split(database.reshape(-1).view(np.uint64), threads)
    if threads == 1:
        return lambda: np.bitwise_or.reduce(parts[0])
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.bitwise_or.reduce, parts))


def check(searches: Mapping[str, Search]) -> None:
    """Raises unless every contestant finds the same distances."""
    (first, wanted), *others = ((name, search()[0]) for name, search in searches.items())
    for name, distances in others:
        if not np.array_equal(distances, wanted):
            raise AssertionError(f"check: {name} and {first} find different distances")


def report(quick: bool = False) -> Report:
    points = named(POINTS, quick)

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="hamming_cpu",
        title="Exact k-nearest-neighbour search on the CPU",
        unit="pair",
        notes=(
            f"Uniform random codes, k = {K} unless said. A pair is one query and one database code.",
            "Every contestant searches the same data; all find the same distances.",
            "FAISS runs with OMP_WAIT_POLICY=passive and the widest instructions it has, also beside fasthash's AVX2;",
            "for one query it runs on one thread whatever the row says: it cannot split a query, and more threads slow",
            "it down. The plain read is NumPy's bitwise or over the codes as 64-bit words, on as many threads as the",
            "row says: the fastest read of the same bytes that NumPy has.",
            "CUDA kernels: compiled for sm_80, sm_90a, sm_100; not yet run on a GPU.",
        ),
        versions=("numpy", "faiss-cpu"),
        cases=cases,
        rounds=3 if quick else 9,
        case=lambda name: points[name].case(),
        without_memory=(READ,),
    )
