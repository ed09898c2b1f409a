"""Exact search, a group for each point; the ratios that count come from `python benchmarks/run.py hamming`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cases_hamming
import cases_hamming_filter
import pytest
from cases import Case
from cases_hamming import FAISS, NAMES, READ, Point
from cases_hamming_filter import BOOLEAN, KEPT, NONE, label

CONTESTANTS = [NAMES["avx512"], NAMES["avx2"], NAMES["neon"], FAISS, READ]
made = functools.lru_cache(maxsize=1)(Point.case)  # the parameters below keep a point together
filtered = functools.lru_cache(maxsize=1)(cases_hamming_filter.case)


def _run(benchmark: Callable, case: Case, group: str, name: str) -> None:
    if name not in case.contestants:
        pytest.skip(f"{name}: not on this machine, or not at this point")
    benchmark.group = group
    benchmark(case.contestants[name])


@pytest.mark.parametrize("name", CONTESTANTS)
@pytest.mark.parametrize("point", cases_hamming.POINTS, ids=lambda point: point.name)
def bench_knn(benchmark: Callable, point: Point, name: str) -> None:
    _run(benchmark, made(point), f"knn {point.name}", name)


@pytest.mark.parametrize("name", [NONE, *map(label, KEPT), BOOLEAN])
@pytest.mark.parametrize("point", cases_hamming_filter.POINTS, ids=lambda point: point.name)
def bench_filter(benchmark: Callable, point: Point, name: str) -> None:
    _run(benchmark, filtered(point), f"knn with a filter, {point.name}", name)
