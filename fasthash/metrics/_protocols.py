"""The named definitions of mean average precision: papers mean different things by "mAP"."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fasthash._arguments import whole_number

TIES = {
    "expected": "exact expectation over a random order of the items at equal distance",
    "stable": "items at equal distance in the order of the database",
    "optimistic": "of the items at equal distance, the relevant ones first",
    "pessimistic": "of the items at equal distance, the relevant ones last",
}
NO_RELEVANT = {
    "zero": "a query without relevant items counts 0 in every mean",
    "skip": "a query without relevant items is left out of every mean",
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
    Protocol(
        "map_first_k_relevant",
        "mean of i/pos_i, pos_i the rank of the i-th relevant item, i = 1 .. min(k, R), 0 if R = 0",
        "down to relevant item k, wherever it is: no metric of the top k",
        "the relevant items looked at",
        "all queries",
        'TwDH (k = 5000, reported as "mAP@5000"); the k of the code of DCHMT, DSPH, DCGH, MITH, DCMH in torch',
        5000,
    ),
)


@dataclass(frozen=True)
class Measure:
    """One way to measure mAP; the keywords of `evaluate`. Checked when made.

    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    """

    protocol: str = "map_all"
    ties: str = "expected"
    k: int | None = None  # the cut; default of the protocol when left out
    no_relevant: str = "zero"

    def __post_init__(self) -> None:
        check_measure(self.protocol, self.ties, self.k, self.no_relevant, "Measure")

    @property
    def cut(self) -> int | None:
        """k, or the protocol's default; None for the whole database."""
        return _named(self.protocol).default_k if self.k is None else self.k

    def __str__(self) -> str:
        cut = "" if self.cut is None else f", k = {self.cut}"
        skipped = "" if self.no_relevant == "zero" else ", queries without a relevant item left out"
        return f"{self.protocol}{cut}, {self.ties} ties{skipped}"


def protocols() -> tuple[Protocol, ...]:
    """Every definition of mAP that `evaluate` computes; `TIES` says what its ``ties`` mean."""
    return _PROTOCOLS


def measure_of(protocol: str, ties: str, k: int | None, no_relevant: str, op: str) -> Measure:
    """The checked measure, with errors that start with op."""
    check_measure(protocol, ties, k, no_relevant, op)
    return Measure(protocol, ties, k, no_relevant)


def check_measure(name: str, ties: str, k: int | None, no_relevant: str, op: str) -> None:
    """ValueError or TypeError when there is no such measure."""
    if not any(protocol.name == name for protocol in _PROTOCOLS):
        raise ValueError(f"{op}: protocol must be one of {', '.join(p.name for p in _PROTOCOLS)}, got {name!r}")
    check_ties(ties, op)
    check_no_relevant(no_relevant, op)
    if k is None:
        return
    if _named(name).default_k is None:
        raise ValueError(f"{op}: {name} ranks the whole database and takes no k, got k={k!r}")
    whole_number(k, 1, sys.maxsize, op, "k")


def check_ties(ties: str, op: str) -> None:
    """ValueError for an unknown rule."""
    if ties not in TIES:
        raise ValueError(f"{op}: ties must be one of {', '.join(TIES)}, got {ties!r}")


def check_no_relevant(no_relevant: str, op: str) -> None:
    """ValueError for an unknown treatment."""
    if no_relevant not in NO_RELEVANT:
        raise ValueError(f"{op}: no_relevant must be one of {', '.join(NO_RELEVANT)}, got {no_relevant!r}")


def _named(name: str) -> Protocol:
    return next(protocol for protocol in _PROTOCOLS if protocol.name == name)


MEASURES = {
    "map_all": Measure("map_all"),
    "map_at_50": Measure("map_at_k"),
    "map_at_50_hitonly": Measure("map_at_k_hitonly"),
    "map_at_50_minR": Measure("map_at_k_minR"),
    "map_first_5000_relevant": Measure("map_first_k_relevant"),
}
