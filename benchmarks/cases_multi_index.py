"""Multi-index hashing: MultiIndex against the scan of BinaryIndex and FAISS IndexBinaryFlat, and what it must reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from cases import Case, Report
from cases_hamming import FAISS, NB, Search, check, faiss, make_codes
from goals import Goal

from fasthash.search import BinaryIndex, MultiIndex

MULTI, SCAN, BUILD, ADD = "MultiIndex", "BinaryIndex", "MultiIndex.build", "BinaryIndex.add"
MEMBERS = 1000  # of a cluster
ALONE = 20  # queries of one call, searched one after the other


@dataclass(frozen=True)
class Point:
    """Queries at one size; ``together`` in one search, otherwise each on its own."""

    kind: str  # "clustered", "uniform"
    bits: int
    nb: int
    k: int = 10
    together: bool = False
    asked: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)  # against: (at least, aim)

    @property
    def name(self) -> str:
        batch = f", Q {self.queries}" if self.together else ""
        return f"{self.kind}, {self.bits} bits, N {self.nb:,}, k {self.k}{batch}"

    @property
    def queries(self) -> int:
        return 256 if self.together else ALONE

    def quick(self) -> Point:
        """The same at a size that takes a moment."""
        return replace(self, nb=self.nb // 500, asked={})

    def case(self) -> Case:
        queries, database = make(self.kind, self.queries, self.bits, self.nb)
        multi, flat = index_of(MultiIndex, database), index_of(BinaryIndex, database)
        multi.build()
        parts = [queries] if self.together else np.split(queries, len(queries))
        calls: dict[str, Search] = {
            MULTI: one_by_one([searched(multi, part, self.k) for part in parts]),
            SCAN: one_by_one([searched(flat, part, self.k) for part in parts]),
            FAISS: one_by_one(by_faiss(parts, database, self.k)),
        }
        goals = tuple(Goal(MULTI, against, *bounds) for against, bounds in self.asked.items())
        return Case(self.name, calls, FAISS, self.queries, lambda: check(calls), goals)


@dataclass(frozen=True)
class BuildPoint:
    """Making the tables over codes that are there, on one thread."""

    bits: int
    nb: int

    @property
    def name(self) -> str:
        return f"build, {self.bits} bits, N {self.nb:,}"

    def quick(self) -> BuildPoint:
        return replace(self, nb=self.nb // 500)

    def case(self) -> Case:
        database = make("clustered", 1, self.bits, self.nb)[1]
        calls: dict[str, Callable[[], object]] = {
            BUILD: lambda: index_of(MultiIndex, database).build(threads=1),
            ADD: lambda: index_of(BinaryIndex, database),
        }
        return Case(self.name, calls, ADD)


POINTS = (
    Point("clustered", 64, 10 * NB, asked={FAISS: (50, 100)}),
    Point("clustered", 64, 10 * NB, k=100),
    *(Point("clustered", bits, NB, k) for bits in (64, 128) for k in (1, 10, 100)),
    Point("clustered", 256, NB),
    *(Point("uniform", bits, NB) for bits in (64, 128)),
    *(Point(kind, 64, NB, together=True) for kind in ("clustered", "uniform")),
    *(BuildPoint(bits, NB) for bits in (64, 128)),
    BuildPoint(64, 10 * NB),
)


def make(kind: str, nq: int, bits: int, nb: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and codes. clustered: each is a centre with bits flipped, the first with p = 0.02, the last with 0.25."""
    if kind == "uniform":
        return make_codes(nq, bits, nb)
    rng = np.random.default_rng(0)
    centres = rng.random((max(nb // MEMBERS, 1), bits)) < 0.5
    chances = np.linspace(0.02, 0.25, bits, dtype=np.float32)

    def members(count: int) -> np.ndarray:
        of = centres[rng.integers(0, len(centres), count)]
        return np.packbits(of ^ (rng.random((count, bits), np.float32) < chances), axis=1)

    step = 100_000  # rows whose random numbers are in memory at a time
    rows = [members(min(step, nb - start)) for start in range(0, nb, step)]
    return members(nq), np.concatenate(rows)


def index_of(kind: type[BinaryIndex], database: np.ndarray) -> BinaryIndex:
    index = kind(8 * database.shape[1])
    index.add(database)
    return index


def searched(index: BinaryIndex, queries: np.ndarray, k: int) -> Search:
    return lambda: index.search(queries, k, threads=1)


def by_faiss(parts: list[np.ndarray], database: np.ndarray, k: int) -> list[Search]:
    """FAISS's searches for each of the parts, over one index and on one thread."""
    index = faiss.IndexBinaryFlat(8 * database.shape[1])
    index.add(database)

    def search(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(1)
        return index.search(part, k)

    return [partial(search, part) for part in parts]


def one_by_one(searches: list[Search]) -> Search:
    """One search after the other; their results below each other."""

    def run() -> tuple[np.ndarray, np.ndarray]:
        distances, ids = zip(*(search() for search in searches), strict=True)
        return np.concatenate(distances), np.concatenate(ids)

    return run


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="multi_index_cpu",
        title="Exact k-nearest-neighbour search by multi-index hashing on the CPU",
        unit="query",
        notes=(
            f"One thread; queries one after the other ({ALONE} of them) unless a row says how many (Q) were searched",
            f"together. clustered: centres with {MEMBERS} members each, whose bits are flipped with p = 0.02 (first)",
            "to 0.25 (last); queries are further members. All contestants find the same distances.",
            "MultiIndex has tables as it chooses them. Its build is compared with adding the codes to a BinaryIndex,",
            "which is part of both.",
        ),
        versions=("numpy", "faiss-cpu"),
        cases=cases,
        rounds=3 if quick else 7,
        case=lambda name: points[name].case(),
    )
