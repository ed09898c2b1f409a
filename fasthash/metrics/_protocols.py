"""The named definitions of mean average precision: papers mean different things by "mAP"."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash.metrics import _expected
from fasthash.metrics._histograms import Inputs

Floats = NDArray[np.float64]
TIES = {
    "expected": "exact expectation over a random order of the items at equal distance",
    "stable": "items at equal distance in the order of the database",
}


@dataclass(frozen=True)
class Protocol:
    """One definition of mAP.

    r_1 .. r_n is the relevance (0 or 1) of the database sorted by distance, R its sum, P@j = (r_1 + .. + r_j) / j.
    """

    name: str
    formula: str  # AP of one query
    cut: str  # how far down the ranking it looks
    denominator: str
    mean_over: str
    used_by: str
    default_k: int | None  # None: takes no k
    ties: tuple[str, ...] = tuple(TIES)

    def __str__(self) -> str:
        return f"{self.name}: AP = {self.formula}; mean over {self.mean_over}; used by {self.used_by}"


_PROTOCOLS = (
    Protocol(
        "map_all",
        "(1/R) sum_j r_j P@j, 0 if R = 0",
        "whole database",
        "R, all relevant items",
        "all queries",
        "DCMH, SSAH, HiCHNet, DCHMT, DSPH, DCGH, MITH",
        None,
    ),
    Protocol(
        "map_at_k",
        "(1/sum_{j<=k} r_j) sum_{j<=k} r_j P@j, 0 if no hit",
        "ranks 1 to k",
        "relevant items among the first k",
        "all queries",
        "DJSRH (k = 50)",
        50,
    ),
    Protocol(
        "map_at_k_hitonly",
        "(1/sum_{j<=k} r_j) sum_{j<=k} r_j P@j",
        "ranks 1 to k",
        "relevant items among the first k",
        "queries with a hit among the first k",
        "CDQ, HashNet (k = 50 in CDQ)",
        50,
    ),
    Protocol(
        "map_at_k_minR",
        "(1/min(k, R)) sum_{j<=k} r_j P@j, 0 if R = 0",
        "ranks 1 to k",
        "relevant items that the first k could hold",
        "all queries",
        "TREC style",
        50,
    ),
)


def protocols() -> tuple[Protocol, ...]:
    """Every definition of mAP that `evaluate` computes; `TIES` says what its ``ties`` mean."""
    return _PROTOCOLS


def find(name: str, ties: str, k: int | None, op: str) -> tuple[Protocol, int | None]:
    """The protocol and its cut; ValueError or TypeError when there is no such thing."""
    protocol = next((p for p in _PROTOCOLS if p.name == name), None)
    if protocol is None:
        raise ValueError(f"{op}: protocol must be one of {', '.join(p.name for p in _PROTOCOLS)}, got {name!r}")
    if ties not in protocol.ties:
        raise ValueError(f"{op}: ties must be one of {', '.join(protocol.ties)}, got {ties!r}")
    if protocol.default_k is None:
        if k is not None:
            raise ValueError(f"{op}: {name} ranks the whole database and takes no k, got k={k!r}")
        return protocol, None
    return protocol, protocol.default_k if k is None else whole_number(k, 1, sys.maxsize, op, "k")


def average_precisions(inputs: Inputs, protocol: Protocol, ties: str, k: int | None) -> tuple[float, Floats]:
    """(mAP, AP of each query)."""
    compute = _expected_ap if ties == "expected" else _stable_ap
    ap, hit = compute(inputs, protocol.name, min(k or inputs.histograms.nb, inputs.histograms.nb))
    if protocol.name == "map_at_k_hitonly":
        return _expected.mean_over_hit_queries(ap, hit), ap
    return float(ap.mean()), ap


def _expected_ap(inputs: Inputs, name: str, k: int) -> tuple[Floats, Floats]:
    """(AP, probability of a hit) of each query."""
    histograms = inputs.histograms
    if name in ("map_at_k", "map_at_k_hitonly"):
        return _expected.precision_per_hit(histograms, k)
    total = histograms.total_relevant
    sums = _expected.precision_sums(histograms, np.full(histograms.nq, k))
    return sums / np.clip(total, 1, k), (total > 0).astype(np.float64)


def _stable_ap(inputs: Inputs, name: str, k: int) -> tuple[Floats, Floats]:
    histograms = inputs.histograms
    sums, hits = inputs.evaluation.stable_precision(histograms.counts, histograms.relevant, k)
    relevant = hits if name in ("map_at_k", "map_at_k_hitonly") else np.minimum(histograms.total_relevant, k)
    return sums / np.maximum(relevant, 1), (hits > 0).astype(np.float64)
