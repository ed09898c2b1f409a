"""One binary code for both views of each row: factors of the views' features, smooth along signed graphs.

    J = sum_v w_v^gamma (|F_v - B U_v|^2 + smooth Tr(B' L_v B) + ridge |U_v|^2),  B in {-1, +1}, sum_v w_v = 1,

with L_v = D_v - A_v of a signed graph A_v and the sums D_v of its absolute weights. U_v and w_v have closed forms, B is
updated bit by bit; no step lets J rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from fasthash.methods._signed_graph import CentredRows, SignedGraph, row_sums

SHIFTS = (0.0, 0.125, 0.25, 0.5, 1.0)  # tried in turn, of what makes a bit's step safe for certain


@dataclass(frozen=True)
class FactorView:
    """One modality of the rows."""

    features: CentredRows
    graph: SignedGraph

    def product(self, codes: Tensor) -> Tensor:
        """B' F [bits, p], float64."""
        return torch.stack([codes[rows].T @ part.cpu().double() for rows, part in self.features.parts()]).sum(dim=0)

    def projected(self, basis: Tensor) -> Tensor:
        """F U' [n, bits], float64."""
        return torch.cat([part.cpu().double() @ basis.T for _, part in self.features.parts()])

    def square(self) -> float:
        """|F|^2."""
        return float(sum(part.double().square().sum().cpu() for _, part in self.features.parts()))


class BinaryFactors:
    """The problem of some views; `solve` improves codes.

    Args:
        gamma: above 1; the larger, the more even the views' weights.
        smooth: weight of the graphs.
        ridge: of U.
    """

    def __init__(self, views: Sequence[FactorView], *, gamma: float, smooth: float, ridge: float) -> None:
        self.views, self.gamma, self.smooth, self.ridge = views, gamma, smooth, ridge
        self._squares = [view.square() for view in views]
        self._degrees = [float(view.graph.degrees().sum()) for view in views]

    def solve(self, codes: Tensor, weights: Tensor, *, iterations: int, sweeps: int) -> Solved:
        """Alternate U, w and B.

        Args:
            codes: float64 [n, bits] of -1 and +1, on the CPU.
            weights: float64 [views], w.
            sweeps: over the bits at most, in an iteration; fewer where no code changes any more.
        """
        codes, objective = codes.clone(), []
        for _ in range(iterations):
            bases, errors = self._bases(codes)
            weights = view_weights(errors, self.gamma)
            factor = weights**self.gamma
            objective.append(float((factor * errors).sum()))
            target = sum(c * view.projected(u) for c, view, u in zip(factor, self.views, bases, strict=True))
            gram = sum(c * (u @ u.T) for c, u in zip(factor, bases, strict=True))
            graphs = [c * view.graph.matrix for c, view in zip(self.smooth * factor, self.views, strict=True)]
            improve_codes(codes, target, gram, Links(reduce(torch.add, graphs)), sweeps)
        return Solved(codes, weights, tuple(objective))

    def _bases(self, codes: Tensor) -> tuple[list[Tensor], Tensor]:
        """U_v [bits, p] of each view for these codes, and what each view then contributes to J, before its weight."""
        products = [view.product(codes) for view in self.views]
        gram = codes.T @ codes
        gram.diagonal().add_(self.ridge)
        bases = [torch.linalg.solve(gram, product) for product in products]
        return bases, self._errors(codes, bases, products)

    def _errors(self, codes: Tensor, bases: Sequence[Tensor], products: Sequence[Tensor]) -> Tensor:
        gram = codes.T @ codes
        errors = []
        for v, view in enumerate(self.views):
            u = bases[v]
            fit = self._squares[v] - 2 * (products[v] * u).sum() + ((gram @ u) * u).sum()
            rough = self._degrees[v] * codes.shape[1] - (codes * (view.graph.matrix @ codes)).sum()
            errors.append(fit + self.smooth * rough + self.ridge * u.square().sum())
        return torch.stack(errors)


@dataclass(frozen=True)
class Solved:
    """What `BinaryFactors.solve` found."""

    codes: Tensor
    weights: Tensor
    objective: tuple[float, ...]  # J in each iteration, before its codes' update


class Links:
    """A symmetric sparse matrix A [n, n], by rows: products with few changed entries cost their rows alone."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix.coalesce()
        self.columns, self.values = self.matrix.indices()[1], self.matrix.values()
        counts = torch.bincount(self.matrix.indices()[0], minlength=matrix.shape[0])
        self.offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        # Gershgorin: A + bound I has no negative eigenvalue
        self.bound = float(row_sums(self.matrix, self.values.abs()).max()) if len(self.values) else 0.0

    def product(self, change: Tensor) -> Tensor:
        """A x of a vector [n]; A is symmetric, so the rows of the entries that are not 0 are added up."""
        rows = change.nonzero()[:, 0]
        counts = self.offsets[rows + 1] - self.offsets[rows]
        first = torch.repeat_interleave(self.offsets[rows] - (counts.cumsum(0) - counts), counts)
        at = first + torch.arange(len(first))
        values = self.values[at] * torch.repeat_interleave(change[rows], counts)
        return torch.zeros_like(change).index_add_(0, self.columns[at], values)


def view_weights(errors: Tensor, gamma: float) -> Tensor:
    """w_v proportional to e_v^(1 / (1 - gamma)), of sum 1: the minimum of sum_v w_v^gamma e_v."""
    logs = errors.clamp_min(1e-300).log() / (1 - gamma)
    return torch.softmax(logs, dim=0)


def improve_codes(codes: Tensor, target: Tensor, gram: Tensor, links: Links, sweeps: int) -> int:
    """Sweeps over the bits of B [n, bits], in place; -2 <B, target> + <B gram, B> - <B, A B> never rises.

    A bit's step b <- sgn(target_k - B_{not k} gram_{not k, k} + A b + s b) climbs for certain where A + s I has no
    negative eigenvalue. s = 0 moves most and mostly climbs, too: a larger shift is taken only where it does not.

    Returns:
        the number of sweeps done.
    """
    linked = torch.sparse.mm(links.matrix, codes)  # A B
    for sweep in range(sweeps):
        changed = False
        for k in range(codes.shape[1]):
            old = codes[:, k].clone()
            pull = target[:, k] - codes @ gram[:, k] + old * gram[k, k]
            step = _step(old, pull, linked[:, k], links)
            if step is not None:
                codes[:, k], moved = step
                linked[:, k] += moved
                changed = True
        if not changed:
            return sweep + 1
    return sweeps


def _step(old: Tensor, pull: Tensor, linked: Tensor, links: Links) -> tuple[Tensor, Tensor] | None:
    """The first shift's new bit that climbs, and A times its change; None where no entry changes."""
    for share in SHIFTS:
        new = torch.where(pull + linked + share * links.bound * old >= 0, 1.0, -1.0).to(old.dtype)
        change = new - old
        if not change.any():
            return None  # a larger shift changes less
        moved = links.product(change)
        if float(2 * ((pull + linked) @ change) + moved @ change) >= 0:
            return new, moved
    return None  # the last shift climbs but for rounding
