"""Graphs of nearest neighbours, sparse, and the vectors that are smooth on them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fasthash.methods._closed_form import Floats
from fasthash.models.neighbour_graph import NeighbourGraph


def neighbour_graph(rows: Floats, k: int) -> Any:
    """0/1 adjacency (CSR) of the k nearest rows, Euclidean, with an edge where either has the other among its own.

    Args:
        rows: [n, p], n at least 2; of n - 1 neighbours or fewer, all are taken.
    Time: O(n^2 p), in float32: which of two neighbours is nearer is told to six digits. Memory: O(n (p + k)).
    """
    from scipy import sparse

    n = len(rows)
    narrow = torch.from_numpy(rows).float()
    squares = narrow.square().sum(dim=1)

    def nearness(r: Tensor, c: Tensor) -> Tensor:  # runs of rows: slices, so that nothing is copied
        here, there = (slice(int(part[0]), int(part[-1]) + 1) for part in (r, c))
        return torch.addmm(-squares[there], narrow[here], narrow[there].T, alpha=2)

    nearest = NeighbourGraph.build(nearness, n, min(k, n - 1)).columns.numpy()
    ends = np.arange(0, nearest.size + 1, nearest.shape[1])
    graph = sparse.csr_array((np.ones(nearest.size), nearest.ravel(), ends), shape=(n, n))
    return graph.maximum(graph.T)


def laplacian(graph: Any) -> Any:
    """D - W, D the diagonal of W's row sums."""
    from scipy import sparse

    return (sparse.diags_array(graph.sum(axis=1)) - graph).tocsr()


class Smoothness:
    """M = c I + L - K K', symmetric; what it does to vectors costs O(n (r + neighbours)) each, and no n x n is made.

    Args:
        constant: c.
        graph: L, sparse [n, n].
        factor: K [n, r].
    """

    def __init__(self, constant: float, graph: Any, factor: Floats) -> None:
        self.constant, self.graph, self.factor = constant, graph, factor

    def __call__(self, z: Floats) -> Floats:
        """M Z of Z [n, m]."""
        made: Floats = self.constant * z + self.graph @ z
        made -= self.factor @ (self.factor.T @ z)
        return made

    def diagonal(self) -> Floats:
        made: Floats = self.constant + self.graph.diagonal() - np.square(self.factor).sum(axis=1)
        return made

    def smallest(self, count: int, tolerance: float, iterations: int, rng: np.random.Generator) -> Floats:
        """The eigenvectors [n, count] of the smallest eigenvalues, smallest first, orthogonal to the constant vector.

        By LOBPCG with M's diagonal for preconditioner; of few rows, from M itself. Of a vector and its opposite,
        equally good, it is the one whose largest entry is positive.

        Args:
            tolerance: of the residuals |M v - e v|, beside M's largest diagonal entry; a warning tells where they are
                larger after so many iterations.
        Source: Knyazev, Toward the Optimal Preconditioned Eigensolver, SIAM J. Sci. Comput. 23(2), 2001.
        """
        n = self.graph.shape[0]
        level = np.full((n, 1), n**-0.5)
        if n <= 5 * (count + 1):  # too few for LOBPCG's subspace
            whole = self(np.eye(n))
            lifted = whole + 2 * np.abs(whole).sum(axis=1).max() * level @ level.T  # the constant goes to the top
            found = np.linalg.eigh((lifted + lifted.T) / 2)[1][:, :count]
        else:
            found = self._lobpcg(level, count, tolerance * float(self.diagonal().max()), iterations, rng)
        return found * np.where(found[np.abs(found).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)

    def _lobpcg(self, level: Floats, count: int, tolerance: float, iterations: int, rng: np.random.Generator) -> Floats:
        from scipy import sparse
        from scipy.sparse.linalg import lobpcg

        start = rng.standard_normal((len(level), count))
        scale = sparse.diags_array(1 / np.maximum(self.diagonal(), 1e-6 * self.diagonal().max()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # residuals are looked at below
            values, found = lobpcg(self, start, M=scale, Y=level, largest=False, tol=tolerance, maxiter=iterations)
        order = np.argsort(values)
        values, found = values[order], found[:, order]
        residual = float(np.linalg.norm(self(found) - found * values, axis=0).max())
        if not residual <= 2 * tolerance:
            told = f"eigenvectors have residuals up to {residual:.2g}, {tolerance:.2g} was asked for"
            warnings.warn(f"{told}: more iterations, or a larger tolerance", RuntimeWarning, stacklevel=4)
        made: Floats = found
        return made
