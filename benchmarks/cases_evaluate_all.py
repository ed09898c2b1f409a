"""Every metric at once: all protocols, curves by radius and by rank, lookup, area and nDCG, against mAP alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from cases import Case, Report
from cases_evaluate import BASELINE, BITS, HISTOGRAMS, Inputs, make_inputs, torch_histograms, torch_loop
from goals import Goal

from fasthash import metrics

VECTORISED, EVERYTHING, MAP = "torch, sorted in chunks", "fasthash, everything", "fasthash, mAP alone"
STABLE = "fasthash, everything, stable ties as well"
CHUNK = 1 << 24  # pairs of a query and an item that torch sorts together


@dataclass(frozen=True)
class Point:
    """Sizes as of a data set's usual split; peers take the first queries alone, and their time is multiplied."""

    data: str
    nq: int
    nb: int
    classes: int
    labels_each: float
    threads: int
    peer_queries: int
    goals: tuple[Goal, ...]

    @property
    def name(self) -> str:
        return f"{self.data}, Q {self.nq:,} x N {self.nb:,}, {self.classes} classes, {_threads(self.threads)}"

    def case(self) -> Case:
        inputs = make_inputs(self.nq, self.nb, self.classes, self.labels_each)
        found = self.peers(inputs) | ours(inputs.packed, inputs.labels, self.threads)
        times = dict.fromkeys((BASELINE, VECTORISED, HISTOGRAMS), self.nq / self.peer_queries)
        return Case(
            self.name, found, BASELINE, check=lambda: check(inputs, self.peers(inputs), self.peer_queries),
            goals=self.goals, times=times,
        )  # fmt: skip

    def peers(self, inputs: Inputs) -> dict[str, Callable[[], float]]:
        query, database, label_q, label_d = inputs.tensors
        part = query[: self.peer_queries], database, label_q[: self.peer_queries], label_d

        def peer(function: Callable[..., float]) -> Callable[[], float]:
            def call() -> float:
                torch.set_num_threads(self.threads)
                return function(*part)

            return call

        return {BASELINE: peer(torch_loop), VECTORISED: peer(torch_sorted), HISTOGRAMS: peer(torch_histograms)}


@dataclass(frozen=True)
class Large:
    """Ten million items, which no peer can take in one piece: class ids, codes at random."""

    nq: int
    nb: int
    threads: int

    @property
    def name(self) -> str:
        return f"random codes, Q {self.nq:,} x N {self.nb:,}, 1,000 class ids, {_threads(self.threads)}"

    def case(self) -> Case:
        rng = np.random.default_rng(0)
        packed = tuple(rng.integers(0, 256, (n, BITS // 8), np.uint8) for n in (self.nq, self.nb))
        ids = tuple(rng.integers(0, 1000, n) for n in (self.nq, self.nb))
        return Case(self.name, ours(packed, ids, self.threads), EVERYTHING)


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def usual(threads: int) -> tuple[Goal, ...]:
    """What evaluation must reach on a usual split."""
    return tuple(
        Goal(own, peer, least, None) for own in (EVERYTHING, MAP) for peer, least in ((BASELINE, 50), (VECTORISED, 20))
    )


POINTS = (
    Point("MIRFlickr-25K", 2000, 18_015, 24, 3.7, 1, 2000, usual(1)),
    Point("NUS-WIDE", 5000, 190_000, 80, 2.9, 2, 100, (*usual(2), Goal(EVERYTHING, BASELINE, 2, 1, "seconds"))),
)
LARGE = Large(20, 10_000_000, 2)


def ours(
    packed: tuple[np.ndarray, ...], labels: tuple[np.ndarray, ...], threads: int
) -> dict[str, Callable[[], object]]:
    """name -> a call that returns all it measured."""
    options = {"bits": BITS, "threads": threads}
    both = {
        f"{m.protocol} {ties}": metrics.Measure(m.protocol, ties, m.k)
        for m in metrics.MEASURES.values()
        for ties in ("expected", "stable")
    }

    def stable() -> metrics.Summary:
        return metrics.summary(*packed, *labels, measures=both, ties=("expected", "stable"), graded=True, **options)

    return {
        EVERYTHING: lambda: metrics.summary(*packed, *labels, graded=True, **options),
        STABLE: stable,
        MAP: lambda: metrics.evaluate(*packed, *labels, **options).value,
    }


def torch_sorted(query: torch.Tensor, database: torch.Tensor, label_q: torch.Tensor, label_d: torch.Tensor) -> float:
    """Some queries at a time: distances and relevance by matrix products, one stable sort, running sums."""
    bits, nb, total = query.shape[1], len(database), 0.0
    ranks = torch.arange(1, nb + 1, dtype=torch.float64)
    for part, labels in zip(*(x.split(max(1, CHUNK // nb)) for x in (query, label_q)), strict=True):
        distance = (0.5 * (bits - part @ database.T)).to(torch.uint8)
        relevant = labels @ label_d.T > 0
        ranked = relevant.gather(1, torch.sort(distance, dim=1, stable=True).indices)
        hits = ranked.cumsum(1)
        precision = torch.where(ranked, hits / ranks, 0.0).sum(1)
        total += float((precision / hits[:, -1].clamp(min=1)).sum())
    return total / len(query)


def check(inputs: Inputs, peers: dict[str, Callable[[], float]], queries: int) -> None:
    """The peers find the mAP of the summary, under the rule for ties that each follows."""
    (query, database), (label_q, label_d) = inputs.packed, inputs.labels
    measures = {ties: metrics.Measure("map_all", ties) for ties in ("expected", "stable")}
    found = metrics.summary(query[:queries], database, label_q[:queries], label_d, bits=BITS, measures=measures)
    for name, call in peers.items():
        want = found.scores["expected" if name == HISTOGRAMS else "stable"].value
        assert abs(call() - want) < 1e-6, (name, call(), want)  # the torch loop divides in float32


def report(quick: bool = False) -> Report:
    used: list[Point | Large] = [*POINTS, LARGE]
    if quick:
        small = (
            Point(p.data, p.nq // 50, p.nb // 50, p.classes, p.labels_each, p.threads, 20, p.goals) for p in POINTS
        )
        used = [*small, Large(20, 100_000, 2)]
    points = {point.name: point for point in used}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="evaluate_all_cpu",
        title="Every metric at once on the CPU",
        unit="pair",
        notes=(
            f"{BITS} bits; sizes of the usual splits, made-up codes and labels. The peers compute mAP over the whole",
            "database alone, from codes and labels that lie ready as floats; on the large split they take 100 queries,",
            "and their times are multiplied by 50. fasthash takes packed codes and boolean labels, and checks them.",
            "",
            "- torch loop: one query at a time, matrix product, sort, positions of the relevant items;",
            "- torch, sorted in chunks: as many queries at a time as fit, distances as bytes, one stable sort;",
            "- torch histograms: distances and relevance of 100 queries by matrix products, counted with bincount;",
            "- everything: five protocols, precision and recall by radius (pooled and averaged) and at about 60 ranks,",
            "  area under the curve, lookup at radius 2, nDCG by the number of common labels; expected ties;",
            "- stable ties as well: the protocols and the curve by rank also in the order of the database;",
            "- ten million items: what is asked for is memory, beyond the codes and labels.",
        ),
        versions=("numpy", "torch"),
        cases=cases,
        rounds=3 if quick else 5,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
