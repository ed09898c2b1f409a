"""Backends, inputs and the independent truth of the pairwise likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fasthash import _native
from fasthash.ops import backends, use_backend


@dataclass(frozen=True)
class Runner:
    """A backend, with one instruction set where it has several."""

    backend: str
    isa: str | None = None

    def __str__(self) -> str:
        return self.backend + (f"-{self.isa}" if self.isa else "")

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(use_backend(self.backend))
            if self.isa:
                stack.enter_context(_native.use_isa(self.isa))
            yield


def runners(op: str) -> list[Runner]:
    """Everything that can run this operation here."""
    isas = _native.isa_names() if _native.reason() is None else ()
    return [
        runner
        for backend in backends(op)
        for runner in ([Runner("cpp", isa) for isa in isas] if backend == "cpp" else [Runner(backend)])
    ]


@dataclass(frozen=True)
class Pairs:
    """Codes of two sides with multi-hot labels."""

    a: Tensor
    b: Tensor
    labels_a: Tensor
    labels_b: Tensor

    def sim(self) -> np.ndarray:
        """[n, m] 0/1, from sets of classes."""
        left, right = ([set(np.flatnonzero(row)) for row in x.numpy()] for x in (self.labels_a, self.labels_b))
        return np.array([[float(bool(x & y)) for y in right] for x in left])


def make_pairs(n: int, m: int, d: int, c: int = 24, dtype: torch.dtype = torch.float32, seed: int = 0) -> Pairs:
    """n and m codes of width d whose theta spans about -10 to 10, with c classes; some rows have no label."""
    g = torch.Generator().manual_seed(seed)
    a, b = (3 * torch.randn(rows, d, generator=g, dtype=torch.float64) / d**0.25 for rows in (n, m))
    la, lb = (torch.rand(rows, c, generator=g) < (0.4 / c) ** 0.5 for rows in (n, m))
    return Pairs(a.to(dtype), b.to(dtype), la, lb)


def nll_truth(a: Tensor, b: Tensor, sim: np.ndarray, scale: float = 0.5) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss and both gradients in float64, from the definition."""
    x, y, s = (np.asarray(v, dtype=np.float64) for v in (a.detach().double(), b.detach().double(), sim))
    theta = scale * x @ y.T
    with np.errstate(all="ignore"):
        # softplus(theta) - S theta as S softplus(-theta) + (1 - S) softplus(theta): exact where both are large
        loss = (s * np.logaddexp(0, -theta) + (1 - s) * np.logaddexp(0, theta)).sum()
        up, down = 1 / (1 + np.exp(-theta)), 1 / (1 + np.exp(theta))
        residual = scale * ((1 - s) * up - s * down)
    return float(loss), residual @ y, residual.T @ x


def plain(
    labels: Sequence[Tensor | None], grad_a: bool, grad_b: bool, sim: Tensor | None = None, scale: float = 0.5
) -> tuple[object, ...]:
    """The op's arguments behind a and b, without layers and weights."""
    return (*labels, sim, None, None, None, [], [], scale, grad_a, grad_b)


def weighted_truth(
    a: Tensor, b: Tensor, ids: tuple[Tensor, Tensor], bits: Sequence[int], weights: Sequence[float],
    factors: np.ndarray, scale: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray]:  # fmt: skip
    """Loss and both gradients of several layers in float64, pair by pair; factors: [n, m] weights of the pairs."""
    x, y = (v.detach().double().numpy() for v in (a, b))
    out_x, out_y, loss, start = np.zeros_like(x), np.zeros_like(y), 0.0, 0
    for layer, (width, weight) in enumerate(zip(bits, weights, strict=True)):
        part = slice(start, start + width)
        for i in range(len(x)):
            for j in range(len(y)):
                theta = scale * float(x[i, part] @ y[j, part])
                sign = -1 if ids[0][i, layer] == ids[1][j, layer] else 1
                size = weight * factors[i, j]
                loss += size * (max(sign * theta, 0) + math.log1p(math.exp(-abs(theta))))
                slope = size * scale * sign / (1 + math.exp(-sign * theta))
                out_x[i, part] += slope * y[j, part]
                out_y[j, part] += slope * x[i, part]
        start += width
    return loss, out_x, out_y


def relative(got: Tensor, want: np.ndarray) -> float:
    """Norm of the difference over the norm of the truth."""
    size = float(np.linalg.norm(want))
    return float(np.linalg.norm(got.detach().double().cpu().numpy() - want)) / (size if size > 0 else 1.0)
