"""Every library's exact search, a group for each size; ratios come from `python benchmarks/run.py hamming_peers`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from cases_hamming import Point, make_codes
from cases_hamming_peers import POINTS, case, contestants

NAMES = list(contestants(*make_codes(1, 64, 64), 1))
made = functools.lru_cache(maxsize=1)(case)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def bench_peer(benchmark: Callable, point: Point, name: str) -> None:
    benchmark.group = f"peers {point.name}"
    benchmark(made(point).contestants[name])
