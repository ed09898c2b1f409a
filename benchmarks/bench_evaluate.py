"""Mean average precision of a whole query set: fasthash against the forms that public code uses.

The peers get their codes as -1/+1 floats and their labels as floats, made beforehand; fasthash gets packed codes and
boolean labels, and checks and packs the labels inside the time. They are written here from the definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fasthash import codes, metrics

NQ, NB, CLASSES, BITS = 2000, 18015, 24, 64  # MIRFlickr-25K as DCMH, SSAH and DJSRH split it
SUBSET = 100  # queries that the loops are timed on: their time is proportional to the number of queries


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


def make_inputs(nq: int = NQ, nb: int = NB, classes: int = CLASSES, bits: int = BITS, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, bits))
    labels = rng.random((nq + nb, classes)) < 3.7 / classes  # labels of an item, on average, as in MIRFlickr
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


def fasthash_map(inputs: Inputs, ties: str, threads: int | None = None, **options: object) -> float:
    """mAP, and with it the curve of precision and recall by radius."""
    scores = metrics.evaluate(*inputs.packed, *inputs.labels, bits=BITS, ties=ties, threads=threads, **options)
    return scores.value


def first_queries(inputs: tuple, count: int) -> tuple:
    """The inputs of a loop for some of the queries."""
    query, database, label_q, label_d = inputs
    return query[:count], database, label_q[:count], label_d


def contestants(inputs: Inputs, threads: int | None = None) -> dict[str, tuple[Callable[[], float], float]]:
    """name -> (call, factor from its time to that of all queries)."""
    tensors, arrays = inputs.tensors, inputs.arrays
    part = first_queries(tensors, SUBSET), first_queries(arrays, SUBSET)
    whole = len(tensors[0]) / SUBSET
    return {
        "torch loop over queries": (lambda: torch_loop(*part[0]), whole),
        "NumPy loop over queries": (lambda: numpy_loop(*part[1]), whole),
        "NumPy loop, radix sort": (lambda: numpy_loop(*part[1], radix=True), whole),
        "torch histograms, vectorised": (lambda: torch_histograms(*tensors), 1.0),
        "fasthash, expected ties, with PR curve": (lambda: fasthash_map(inputs, "expected", threads), 1.0),
        "fasthash, stable ties, with PR curve": (lambda: fasthash_map(inputs, "stable", threads), 1.0),
        "fasthash, map_at_k (k = 50), expected ties": (
            lambda: fasthash_map(inputs, "expected", threads, protocol="map_at_k"),
            1.0,
        ),
    }


def check(inputs: Inputs) -> None:
    """All contestants agree before anything is timed."""
    tensors, arrays = inputs.tensors, inputs.arrays
    some = Inputs(*((pair[0][:SUBSET], pair[1]) for pair in (inputs.packed, inputs.labels, inputs.signs, inputs.hot)))
    stable = fasthash_map(some, "stable")
    torch_ap = torch_loop(*first_queries(tensors, SUBSET))
    radix_ap = numpy_loop(*first_queries(arrays, SUBSET), radix=True)
    assert max(abs(torch_ap - stable), abs(radix_ap - stable)) < 1e-6, stable  # the torch loop divides in float32
    assert abs(numpy_loop(*first_queries(arrays, SUBSET)) - stable) < 0.01, stable  # its sort orders ties at random
    expected = fasthash_map(inputs, "expected")
    assert abs(torch_histograms(*tensors) - expected) < 1e-9, expected
