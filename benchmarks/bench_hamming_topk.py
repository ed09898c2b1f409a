"""Exact search, one group a size; `python benchmarks/run.py hamming` is the interleaved form whose ratios count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases_hamming import NB, K, contestants

NAMES = ["fasthash, AVX-512", "fasthash, AVX2", "FAISS IndexBinaryFlat", "NumPy bitwise_count"]


@pytest.mark.parametrize("bits", [64, 128, 256])
@pytest.mark.parametrize("nq", [1, 16, 256])
@pytest.mark.parametrize("name", NAMES)
def bench_knn(benchmark: Callable, make_codes: Callable, bits: int, nq: int, name: str) -> None:
    found = contestants(*make_codes(nq, bits), threads=1)
    if name not in found:
        pytest.skip(f"{name}: not on this machine, or too slow at {nq} queries")
    benchmark.group = f"knn bits={bits} N={NB} Q={nq} k={K}, 1 thread"
    benchmark(found[name])
