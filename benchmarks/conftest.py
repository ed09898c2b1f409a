"""Shared by the pytest-benchmark files. ``pytest benchmarks`` runs them; plain ``pytest`` does not."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest


@functools.lru_cache(maxsize=1)  # one size at a time: a million long codes are not small
def _codes(nq: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    from cases_hamming import make_codes

    return make_codes(nq, bits)


@pytest.fixture
def make_codes() -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """(nq, bits) -> queries and a database of a million uniform codes."""
    return _codes
