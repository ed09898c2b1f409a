"""Inputs and the independent truth of the proxy and pair loss: float64, entry by entry."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Codes of m pairs, proxies, multi-hot labels; some rows have no label, some one, most several."""

    x: Tensor
    y: Tensor
    proxies: Tensor
    labels: Tensor

    def leaves(self) -> list[Tensor]:
        return [t.detach().clone().requires_grad_() for t in (self.x, self.y, self.proxies)]

    def with_labels(self, labels: Tensor) -> Inputs:
        return replace(self, labels=labels)


def make_inputs(m: int, classes: int, d: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    x, y, p = (torch.randn(n, d, generator=g, dtype=torch.float64) for n in (m, m, classes))
    labels = torch.rand(m, classes, generator=g) < min(0.5, 2.5 / classes)
    return Inputs(torch.tanh(x).to(dtype), torch.tanh(x + y).to(dtype), p.to(dtype), labels)


class _Rows:
    """Codes of one kind in float64, and the gradient that has come to them so far."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes.detach().double().numpy()
        self.grad = np.zeros_like(self.codes)


def _cosine(a: _Rows, i: int, b: _Rows, j: int) -> float:
    length = math.sqrt((a.codes[i] ** 2).sum() * (b.codes[j] ** 2).sum())
    return float(a.codes[i] @ b.codes[j]) / length if length > 0 else 0.0


def _add_gradient(a: _Rows, i: int, b: _Rows, j: int, by_cosine: float) -> None:
    """d cos / d a_i = b_j / (|a_i| |b_j|) - cos a_i / |a_i|^2, and likewise for b_j; none where a row is 0."""
    left, right = a.codes[i], b.codes[j]
    p, q = (left**2).sum(), (right**2).sum()
    if p == 0 or q == 0:
        _zero_row_gradient(a, i, b, j, by_cosine, p, q)
        return
    cos = left @ right / math.sqrt(p * q)
    into_left = right / math.sqrt(p * q) - cos * left / p
    into_right = left / math.sqrt(p * q) - cos * right / q
    a.grad[i] += by_cosine * into_left
    b.grad[j] += by_cosine * into_right


def _zero_row_gradient(a: _Rows, i: int, b: _Rows, j: int, by_cosine: float, p: float, q: float) -> None:
    """cos = a_i . b_j' with a unit vector 0 in place of a row of zeros: nothing flows through it or to it."""
    assert (a.codes[i] @ b.codes[j]) == 0
    assert p == 0 or q == 0
    assert math.isfinite(by_cosine)


def truth(
    inputs: Inputs, threshold: float = 0.0, negative_pairs: float = 0.8, positive_pairs: float = 0.05,
    variance: float = 1.0, variance_form: str = "official",
) -> tuple[float, list[float], list[np.ndarray]]:  # fmt: skip
    """(loss, the five terms, gradients of x, y and proxies) from the definition, one entry after the other."""
    x, y, p = (_Rows(z) for z in (inputs.x, inputs.y, inputs.proxies))
    sets = [set(np.flatnonzero(row)) for row in inputs.labels.numpy()]
    m, classes = inputs.labels.shape
    near = far = spread = pull = push = 0.0
    positives = sum(len(s) for s in sets)
    negatives = m * classes - positives
    for side in (x, y):
        for i in range(m):
            distances = {}
            for k in range(classes):
                cos = _cosine(side, i, p, k)
                if k in sets[i]:
                    distances[k] = 1 - cos
                    near += (1 - cos) / positives
                    _add_gradient(side, i, p, k, -1 / positives)
                elif cos - threshold > 0:
                    far += (cos - threshold) / negatives
                    _add_gradient(side, i, p, k, 1 / negatives)
            q = len(sets[i])
            if variance_form == "official" and classes > 1:
                mean = sum(distances.values()) / classes
                squares = sum((distances.get(k, 0.0) - mean) ** 2 for k in range(classes))
                spread += squares / (classes - 1) / m
                for k, distance in distances.items():  # d Var / d value_k = 2 (value_k - mean) / (C - 1)
                    _add_gradient(side, i, p, k, -variance * 2 * (distance - mean) / (classes - 1) / m)
            if variance_form == "relevant" and q > 1:
                mean = sum(distances.values()) / q
                spread += sum((v - mean) ** 2 for v in distances.values()) / q / m
                for k, distance in distances.items():
                    _add_gradient(side, i, p, k, -variance * 2 * (distance - mean) / q / m)
    shared = [(i, j) for i in range(m) for j in range(m) if sets[i] & sets[j]]
    apart = [(i, j) for i in range(m) for j in range(m)
             if not sets[i] & sets[j] and len(sets[i]) > 1 and len(sets[j]) > 1]  # fmt: skip
    for a, b in ((x, x), (y, y), (x, y)):
        for i, j in shared:
            gap = len(sets[i] & sets[j]) / math.sqrt(len(sets[i]) * len(sets[j])) - _cosine(a, i, b, j)
            if gap > 0:
                pull += gap / len(shared)
                _add_gradient(a, i, b, j, -positive_pairs / len(shared))
        for i, j in apart:
            gap = _cosine(a, i, b, j) - threshold
            if gap > 0:
                push += gap / len(apart)
                _add_gradient(a, i, b, j, negative_pairs / len(apart))
    loss = near + far + positive_pairs * pull + negative_pairs * push + variance * spread
    return loss, [near, far, pull, push, spread], [x.grad, y.grad, p.grad]
