"""Codes whose distances are distributed as the affinities of labels are: SePH's objective, over blocks of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fasthash.methods._closed_form import Floats

ROWS = 512  # against which all later rows are held: bounds the memory of the pairs


class LabelDivergence:
    """KL(P | Q) + alpha mean (|h| - 1)^2 of relaxed codes H [n, bits], and its gradient; natural logarithms.

    Over ordered pairs i != j, p_ij is the cosine of two label rows, q_ij is 1 / (1 + |h_i - h_j|^2 / 4), each divided
    by its sum; |h_i - h_j|^2 / 4 is the Hamming distance where h are signs.

    Args:
        labels: [n, c] of at least 0, none of them a row of zeros, at least one pair with a label in common.
        alpha: weight of the distance to signs.
        counts: [n], how many items have each row's labels and code; default 1 each.
    Time: O(n^2 (bits + c)) a call. Memory: ROWS n: each pair is looked at once, and forgotten.
    """

    def __init__(self, labels: Floats, alpha: float, counts: Floats | None = None) -> None:
        self.labels = torch.nn.functional.normalize(torch.from_numpy(labels))
        self.alpha = alpha
        self.counts = torch.ones(len(labels)).double() if counts is None else torch.from_numpy(counts)
        mass = entropy = 0.0
        for start in range(0, len(labels), ROWS):
            affinity, weight = self._affinity(start)
            mass += float((weight * affinity).sum())
            entropy += float((weight * torch.xlogy(affinity, affinity)).sum())
        if not mass > 0:
            raise ValueError("seph: labels must be shared by at least one pair of training rows, no two rows share any")
        self._mass, self._entropy = mass, entropy / mass - float(np.log(mass))

    def _affinity(self, start: int) -> tuple[Tensor, Tensor]:
        """Cosines of a block with all rows from its first on; how many ordered pairs of items each stands for."""
        block, own = self.labels[start : start + ROWS], self.counts[start : start + ROWS]
        affinity = block @ self.labels[start:].T
        weight = own[:, None] * self.counts[start:]
        weight[:, len(block) :] *= 2
        weight[:, : len(block)].diagonal().sub_(own)  # an item is no pair with itself
        return affinity, weight

    def __call__(self, h: Floats) -> tuple[float, Floats]:
        """Value, and gradient [n, bits], at codes [n, bits]."""
        codes = torch.from_numpy(h)
        pull, push = torch.zeros_like(codes), torch.zeros_like(codes)
        attraction = total = 0.0
        for start in range(0, len(codes), ROWS):
            affinity, weight = self._affinity(start)
            kernel = _student(codes[start : start + ROWS], codes[start:])
            affinity *= weight
            attraction -= float((affinity * kernel.log()).sum())
            affinity *= kernel
            _add_differences(pull, codes, affinity, start)
            weight *= kernel
            total += float(weight.sum())
            weight *= kernel
            _add_differences(push, codes, weight, start)
        away, share = codes.abs() - 1, (self.counts / (self.counts.sum() * codes.shape[1]))[:, None]
        value = self._entropy + attraction / self._mass + float(np.log(total))
        value += self.alpha * float((share * away.square()).sum())
        gradient = pull / self._mass - push / total + 2 * self.alpha * share * away * codes.sign()
        return value, gradient.numpy()


def _student(block: Tensor, codes: Tensor) -> Tensor:
    """1 / (1 + |h_i - h_j|^2 / 4)."""
    squares = (block.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)).addmm_(block, codes.T, alpha=-2)
    return squares.clamp_(min=0).mul_(0.25).add_(1).reciprocal_()


def _add_differences(out: Tensor, codes: Tensor, weight: Tensor, start: int) -> None:
    """Half of sum_j w_ij (h_i - h_j) to row i, the opposite to j, of pairs of a block with all rows from its first on.

    A pair within the block is there twice, once from either end, with half the weight of the others.
    """
    block = codes[start : start + len(weight)]
    out[start : start + len(weight)] += 0.5 * (weight.sum(dim=1, keepdim=True) * block - weight @ codes[start:])
    out[start:] += 0.5 * (weight.sum(dim=0)[:, None] * codes[start:] - weight.T @ block)


def descend(
    objective: LabelDivergence,
    start: Floats,
    iterations: int,
    report: Callable[[int, int, float | None], None],
) -> tuple[Floats, tuple[float, ...]]:
    """L-BFGS from codes [n, bits]: the last ones, and the objective after each iteration, which never rises."""
    from scipy.optimize import minimize

    scale = np.sqrt(objective.counts.numpy())[:, None]  # a step is as long as that of all the items a row stands for
    values: list[float] = []

    def after(intermediate_result: Any) -> None:
        values.append(float(intermediate_result.fun))
        report(len(values), iterations, values[-1])

    def scaled(point: Floats) -> tuple[float, Floats]:
        value, gradient = objective(point.reshape(start.shape) / scale)
        return value, (gradient / scale).ravel()

    limits = {"maxiter": iterations, "maxfun": 10 * iterations + 20, "ftol": 1e-9, "gtol": 0.0}
    found = minimize(scaled, (start * scale).ravel(), jac=True, method="L-BFGS-B", callback=after, options=limits)
    return found.x.reshape(start.shape) / scale, tuple(values)
