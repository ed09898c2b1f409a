"""How sure a mean over queries is, and a difference of two runs on the same queries.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap, 1993 (chapters 13 and 16); Smucker, Allan and
Carterette, A Comparison of Statistical Significance Tests for Information Retrieval Evaluation, CIKM 2007.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._native import to_numpy

Floats = NDArray[np.float64]

METHODS = ("randomisation", "bootstrap")
EXACT_UP_TO = 20  # queries that differ: a million signs
_CHUNK = 1 << 21  # drawn numbers looked at together


@dataclass(frozen=True)
class Interval:
    """A mean over queries and where it could as well have lain with other queries of the kind."""

    value: Any  # float, or float64 [m] where each query has m values
    low: Any
    high: Any
    level: float
    samples: int
    queries: int

    def __str__(self) -> str:
        if np.ndim(self.value):
            return f"{np.size(self.value)} means with {100 * self.level:g}% intervals over {self.queries:,} queries"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] ({100 * self.level:g}%, {self.queries:,} queries)"


@dataclass(frozen=True)
class PairedTest:
    """Two runs on the same queries."""

    difference: float  # mean of a - b
    p_value: float  # two-sided: chance of a difference as large if neither run were better
    method: str
    exact: bool  # all sign patterns were tried
    samples: int  # drawn, or the number of patterns where exact
    queries: int

    def __str__(self) -> str:
        p = (
            f"p < {self.p_value:.1g}"
            if not self.exact and self.p_value <= 1 / self.samples
            else f"p = {self.p_value:.4g}"
        )
        how = "exact" if self.exact else f"{self.samples:,} samples"
        return f"{self.difference:+.4f}, {p} ({self.method}, {how}, {self.queries:,} queries)"


def bootstrap(per_query: Any, *, level: float = 0.95, samples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile interval of a mean over queries: queries are drawn with replacement, as many as there are.

    Args:
        per_query: one value a query, [nq], such as ``scores.per_query[scores.counted]`` (but of map_at_k_hitonly with
            expected ties, whose value is not the mean of these); or [nq, m], several values a query, such as points of
            a curve, for an interval of each.
        level: share of the drawn means that the interval holds, between 0 and 1.
        samples: how often queries are drawn.
        seed: the result follows from it.
    Raises:
        ValueError, TypeError: one line that names the argument.
    Memory: a few arrays of 2 million numbers, and the drawn means [samples, m].
    """
    values = _values(per_query, "bootstrap", "per_query", (1, 2))
    if not 0 < level < 1:
        raise ValueError(f"bootstrap: level must be between 0 and 1, got {level}")
    samples = whole_number(samples, 1, sys.maxsize, "bootstrap", "samples")
    seed = whole_number(seed, 0, sys.maxsize, "bootstrap", "seed")
    means = np.concatenate([drawn @ values for drawn in _resampled(len(values), samples, seed)]) / len(values)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    value = values.mean(axis=0)
    if values.ndim == 1:
        return Interval(float(value), float(low), float(high), level, samples, len(values))
    return Interval(value, low, high, level, samples, len(values))


def paired_test(a: Any, b: Any, *, method: str = "randomisation", samples: int = 10_000, seed: int = 0) -> PairedTest:
    """Whether the mean of a differs from that of b, query by query.

    Args:
        a, b: values of two runs on the same queries in the same order, both [nq].
        method: "randomisation", each query's difference is given a sign at random, exactly (all signs) where at most 20
            queries differ; "bootstrap", differences less their mean are drawn with replacement.
        samples: how many are drawn; the smallest p that can be found is 1 / (samples + 1).
        seed: the result follows from it.
    Raises:
        ValueError, TypeError: one line that names the argument.
    """
    first, second = (_values(x, "paired_test", name, (1,)) for x, name in ((a, "a"), (b, "b")))
    if len(first) != len(second):
        raise ValueError(f"paired_test: b must have {len(first)} values like a, got {len(second)}")
    if method not in METHODS:
        raise ValueError(f"paired_test: method must be one of {', '.join(METHODS)}, got {method!r}")
    samples = whole_number(samples, 1, sys.maxsize, "paired_test", "samples")
    seed = whole_number(seed, 0, sys.maxsize, "paired_test", "seed")
    gap = first - second
    seen, moved = float(gap.mean()), gap[gap != 0]
    bound = abs(gap.sum()) - 1e-12 * np.abs(gap).sum()  # sums in another order are as large, whatever cancels in them
    if method == "randomisation" and len(moved) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for value in moved:
            sums = np.concatenate([sums + value, sums - value])
        p, drawn, exact = float((np.abs(sums) >= bound).mean()), len(sums), True
    else:
        parts = _signed(moved, samples, seed) if method == "randomisation" else _centred(gap, samples, seed)
        beyond = sum(int((np.abs(sums) >= bound).sum()) for sums in parts)
        p, drawn, exact = (beyond + 1) / (samples + 1), samples, False
    return PairedTest(seen, p, method, exact, drawn, len(gap))


def _resampled(n: int, samples: int, seed: int) -> Iterator[Floats]:
    """How often each query was drawn, float64 [part of samples, n]."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _centred(gap: Floats, samples: int, seed: int) -> Iterator[Floats]:
    for drawn in _resampled(len(gap), samples, seed):
        yield drawn @ (gap - gap.mean())


def _signed(gap: Floats, samples: int, seed: int) -> Iterator[Floats]:
    """Sums of the differences with signs of random bits."""
    rng = np.random.default_rng(seed)
    width = -(-len(gap) // 8)
    step = max(1, _CHUNK // len(gap))
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        bits = np.unpackbits(rng.integers(0, 256, (rows, width), np.uint8), axis=1)[:, : len(gap)]
        yield 2 * (bits.astype(np.float64) @ gap) - gap.sum()


def _values(x: Any, op: str, name: str, ndims: tuple[int, ...]) -> Floats:
    values = to_numpy(x, op, name)
    if values.ndim not in ndims or len(values) == 0:
        form = " or ".join(("[nq]", "[nq, m]")[: len(ndims)])
        raise ValueError(f"{op}: {name} must be {form} with at least one query, got shape {values.shape}")
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ValueError(f"{op}: {name} must be finite numbers, got {values.dtype} with {_first_bad(values)}")
    return values.astype(np.float64)


def _first_bad(values: NDArray[Any]) -> str:
    if values.dtype.kind not in "fiub":
        return "other values"
    return str(values[~np.isfinite(values)][0])
