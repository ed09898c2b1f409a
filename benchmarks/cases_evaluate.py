"""Mean average precision of a whole query set: fasthash against the forms that public code uses.

The peers are written here from the definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from cases import Case, Report
from goals import Goal
from threadpoolctl import threadpool_limits

from fasthash import _native, codes, metrics

BITS = 64
BASELINE, NUMPY, HISTOGRAMS = "torch loop", "NumPy loop", "torch histograms"
NAMES = {"scalar": "scalar", "avx2": "AVX2", "avx512": "AVX-512"}
EXPECTED, STABLE = (f"fasthash {ties}, {NAMES['avx512']}" for ties in ("expected", "stable"))
GOALS = (
    Goal(EXPECTED, BASELINE, 100, None),
    Goal(EXPECTED, NUMPY, 30, None),
    Goal(EXPECTED, HISTOGRAMS, 10, None),
    Goal(STABLE, BASELINE, 40, None),
    Goal(STABLE, NUMPY, 10, None),
)


@dataclass(frozen=True)
class Point:
    """Sizes as of a data set's usual split."""

    data: str
    nq: int
    nb: int
    classes: int
    labels_each: float  # of an item, on average

    @property
    def name(self) -> str:
        return f"{self.data}, Q {self.nq:,} x N {self.nb:,}, {self.classes} classes"

    def case(self) -> Case:
        found = contestants(make_inputs(self.nq, self.nb, self.classes, self.labels_each), threads=1)
        goals = tuple(goal for goal in GOALS if goal.contestant in found)
        return Case(self.name, found, BASELINE, check=lambda: check(found), goals=goals)


POINTS = (Point("MIRFlickr-25K", 2000, 18_015, 24, 3.7), Point("MS-COCO", 100, 117_218, 80, 2.9))


@dataclass(frozen=True)
class Inputs:
    """Codes around one centre for each class, so that relevant items tend to be near; in the forms contestants want."""

    packed: tuple[np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray]
    signs: tuple[np.ndarray, np.ndarray]  # float32 -1/+1
    hot: tuple[np.ndarray, np.ndarray]  # float32 0/1

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """(query signs, database signs, query labels, database labels)."""
        return tuple(torch.from_numpy(array) for array in (*self.signs, *self.hot))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """As `tensors`, in NumPy."""
        return (*self.signs, *self.hot)


def make_inputs(nq: int, nb: int, classes: int, labels_each: float, bits: int = BITS, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, bits))
    labels = rng.random((nq + nb, classes)) < labels_each / classes
    signs = np.where(labels @ centres + 2.5 * rng.standard_normal((nq + nb, bits)) >= 0, 1, -1).astype(np.float32)
    packed, hot = codes.pack(signs), labels.astype(np.float32)
    return Inputs(
        (packed[:nq], packed[nq:]), (labels[:nq], labels[nq:]), (signs[:nq], signs[nq:]), (hot[:nq], hot[nq:])
    )


def torch_loop(query: torch.Tensor, database: torch.Tensor, label_q: torch.Tensor, label_d: torch.Tensor) -> float:
    """One query at a time: relevance, distances, sort, positions of the relevant items."""
    bits, total = query.shape[1], 0.0
    for code, label in zip(query, label_q, strict=True):
        relevant = label @ label_d.T > 0
        if not relevant.any():
            continue
        distance = 0.5 * (bits - code @ database.T)
        ranks = relevant[torch.argsort(distance, stable=True)].nonzero().squeeze(1) + 1
        total += float((torch.arange(1, len(ranks) + 1) / ranks).mean())
    return total / len(query)


def numpy_loop(
    query: np.ndarray, database: np.ndarray, label_q: np.ndarray, label_d: np.ndarray, radix: bool = False
) -> float:
    """The same in NumPy; radix: distances as 16-bit integers, whose stable sort is NumPy's fastest."""
    bits, total = query.shape[1], 0.0
    for code, label in zip(query, label_q, strict=True):
        relevant = label @ label_d.T > 0
        if not relevant.any():
            continue
        distance = 0.5 * (bits - code @ database.T)
        order = np.argsort(distance.astype(np.int16), kind="stable") if radix else np.argsort(distance)
        ranks = np.flatnonzero(relevant[order]) + 1
        total += float((np.arange(1, len(ranks) + 1) / ranks).mean())
    return total / len(query)


def torch_histograms(
    query: torch.Tensor, database: torch.Tensor, label_q: torch.Tensor, label_d: torch.Tensor, chunk: int = 100
) -> float:
    """The best plain torch can do: distances and relevance by matrix products, counted, expected AP from the counts."""
    bits, nb, total = query.shape[1], len(database), 0.0
    harmonic = torch.cat([torch.zeros(1, dtype=torch.float64), (1.0 / torch.arange(1, nb + 1).double()).cumsum(0)])
    for start in range(0, len(query), chunk):
        part = query[start : start + chunk]
        distance = (0.5 * (bits - part @ database.T)).to(torch.int64)
        relevant = label_q[start : start + chunk] @ label_d.T > 0
        cell = distance + torch.arange(len(part))[:, None] * (bits + 1)
        size = len(part) * (bits + 1)
        n = torch.bincount(cell.view(-1), minlength=size).view(len(part), -1)
        r = torch.bincount(cell[relevant], minlength=size).view(len(part), -1)
        n0, r0 = n.cumsum(1) - n, r.cumsum(1) - r
        gap = harmonic[n0 + n] - harmonic[n0]
        others = (r - 1) / (n - 1).clamp(min=1)
        sums = r / n.clamp(min=1) * ((r0 + 1) * gap + others * (n - (n0 + 1) * gap))
        total += float((sums.sum(1) / r.sum(1).clamp(min=1)).sum())
    return total / len(query)


def contestants(inputs: Inputs, threads: int) -> dict[str, Callable[[], float]]:
    """name -> mAP of all queries, computed with so many threads."""

    def peer(function: Callable[..., float], arguments: tuple, **options: bool) -> Callable[[], float]:
        def call() -> float:
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                return function(*arguments, **options)

        return call

    def ours(isa: str, **options: str) -> Callable[[], float]:
        def call() -> float:
            with _native.use_isa(isa):
                return metrics.evaluate(*inputs.packed, *inputs.labels, bits=BITS, threads=threads, **options).value

        return call

    found = {
        BASELINE: peer(torch_loop, inputs.tensors),
        NUMPY: peer(numpy_loop, inputs.arrays),
        "NumPy loop, radix sort": peer(numpy_loop, inputs.arrays, radix=True),
        HISTOGRAMS: peer(torch_histograms, inputs.tensors),
    }
    for isa in _native.isa_names()[1:] or _native.isa_names():
        found[f"fasthash expected, {NAMES[isa]}"] = ours(isa)
        found[f"fasthash stable, {NAMES[isa]}"] = ours(isa, ties="stable")
    return found


def check(found: dict[str, Callable[[], float]]) -> None:
    """Everyone finds the same mAP, under the rule for ties that it follows."""
    values = {name: call() for name, call in found.items()}
    stable = next(value for name, value in values.items() if name.startswith("fasthash stable"))
    expected = next(value for name, value in values.items() if name.startswith("fasthash expected"))
    for name, value in values.items():
        if "stable" in name or "radix" in name or name == BASELINE:
            assert abs(value - stable) < 1e-6, (name, value, stable)  # the torch loop divides in float32
        elif name == NUMPY:
            assert abs(value - stable) < 0.01, (name, value, stable)  # its sort leaves ties in any order
        else:  # torch divides in float32
            assert abs(value - expected) < (1e-6 if name == HISTOGRAMS else 1e-9), (name, value, expected)


def report(quick: bool = False) -> Report:
    used = [replace(point, nq=point.nq // 50, nb=point.nb // 50) if quick else point for point in POINTS]
    points = {point.name: point for point in used}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="evaluate_cpu",
        title="Mean average precision on the CPU",
        unit="pair",
        notes=(
            f"mAP over the whole database at {BITS} bits; sizes of the usual splits, made-up codes and labels.",
            "The peers compute mAP alone, from codes and labels that lie ready as floats. fasthash takes packed codes",
            "and boolean labels, checks and packs them inside the time, and returns the curve by radius as well.",
            "One thread each: with more, the peers' barriers wait for whatever else a shared machine is doing.",
            "",
            "- torch loop, NumPy loop: one query at a time, matrix product, sort, positions of the relevant items;",
            "- radix sort: the same with distances as 16-bit integers, NumPy's fastest stable sort;",
            "- torch histograms: distances and relevance of 100 queries by matrix products, counted with bincount;",
            "- expected, stable: the two rules for ties; all results are compared before anything is timed.",
        ),
        versions=("numpy", "torch"),
        cases=cases,
        rounds=3 if quick else 5,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
