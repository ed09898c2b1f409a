"""mAP of a query set, a group for each size; the ratios that count come from `python benchmarks/run.py evaluate`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases_evaluate import SIZES, contestants, make_inputs

QUERIES = 100  # the loops take time in proportion


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", contestants(make_inputs(2, 10, 3, 1.0), 1))
def bench_evaluate(benchmark: Callable, size: str, name: str) -> None:
    inputs = make_inputs(QUERIES, *SIZES[size][1:])
    benchmark.group = f"mAP, first {QUERIES} queries of {size}, 1 thread"
    benchmark(contestants(inputs, 1)[name])
