"""What a filter costs: a search that may return only some of the codes, against the same search without a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from cases import Case, Report
from cases_hamming import NB, K, Point, make_codes, named
from goals import Goal

from fasthash.search import knn

NONE = "no filter"
KEPT = (0.01, 0.5, 0.99)  # share of the codes that the filter keeps, at random
AT_MOST, AIM = 1.15, 1.05  # times the time without a filter
BOOLEAN = "keeps 50 %, as bool"
POINTS = (Point(64, 256), Point(128, 256), Point(256, 256), Point(64, 16), Point(64, 1, nb=10 * NB))


def label(share: float) -> str:
    return f"keeps {100 * share:.0f} %"


def masks(nb: int, seed: int = 1) -> dict[str, np.ndarray | None]:
    """Contestant -> its filter: a packed bitmask, or booleans, which each search packs first."""
    rng = np.random.default_rng(seed)
    kept = {label(share): rng.random(nb) < share for share in KEPT}
    packed = {name: np.packbits(mask) for name, mask in kept.items()}
    return {NONE: None, **packed, BOOLEAN: kept[label(0.5)]}


def check(queries: np.ndarray, database: np.ndarray, k: int, filters: Mapping[str, np.ndarray | None]) -> None:
    """Raises unless each filtered search finds what a search of the kept codes alone finds."""
    for name, allow in filters.items():
        if allow is None:
            continue
        flags = allow if allow.dtype == np.bool_ else np.unpackbits(allow, count=len(database)).astype(bool)
        ids = np.flatnonzero(flags)
        distances, rows = knn(queries, database[ids], k)
        rows = np.where(rows < 0, rows, ids[rows])
        found = knn(queries, database, k, allow=allow)
        if not (np.array_equal(found[0], distances) and np.array_equal(found[1], rows)):
            raise AssertionError(f"check: {name} finds other codes than a search of the kept codes alone")


def case(point: Point) -> Case:
    queries, database = make_codes(point.nq, point.bits, point.nb)
    filters = masks(point.nb)

    def by(allow: np.ndarray | None) -> Callable[[], object]:
        return lambda: knn(queries, database, point.k, allow=allow, threads=point.threads)

    calls = {name: by(allow) for name, allow in filters.items()}
    goals = tuple(Goal(label(share), NONE, AT_MOST, AIM, "time") for share in KEPT)
    return Case(point.name, calls, NONE, 0.0, lambda: check(queries, database, point.k, filters), goals)


def report(quick: bool = False) -> Report:
    points = named(POINTS, quick)

    def cases() -> Iterator[Case]:
        return (case(point) for point in points.values())

    return Report(
        file="hamming_filter_cpu",
        title="Filtered search on the CPU",
        unit="pair",
        notes=(
            f"`knn(..., allow=mask)`, uniform random codes, k = {K}; the filter keeps codes at random.",
            "The mask is a packed bitmask of one bit a code; in the last column booleans, packed by each search anew.",
            "What is found is compared with a search of the kept codes alone.",
        ),
        versions=("numpy",),
        cases=cases,
        rounds=3 if quick else 9,
        case=lambda name: case(points[name]),
    )
