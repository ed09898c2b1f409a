"""LSSH: sparse codes of pictures and latent factors of texts, tied by a linear map.

Zhou, Ding, Guo: Latent Semantic Sparse Hashing for Cross-Modal Similarity Search, SIGIR 2014. Minimised is
|X - B S|^2 + rho |S|_1 + mu |T - A Y|^2 + lambda |Y - R S|^2 over S, Y and B, A, R with columns of length 1 at most:
Y in closed form, B, A and R column by column, S by feature-sign search from the S before; nothing raises it. Pictures
are projected to their principal directions, and rows of both sides are at length 1. Codes are the signs of R s for a
picture whose own lasso gives s, of (A'A + lambda/mu I)^-1 A' t for a text, of Y for a training pair.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from fasthash.methods._base import Positive, Preset
from fasthash.methods._closed_form import ClosedForm, ClosedFormOptions, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._linear_features import LinearFeatures, LinearOptions
from fasthash.methods.shallow._ridge import solve_ridge
from fasthash.models.sparse_codes import Projection, SparseCodes, sparse_codes
from fasthash.models.view import UnitRows, View


class LSSHOptions(ClosedFormOptions):
    """The paper's weights and atoms; where it leaves a number open, it is fasthash's own."""

    atoms: int = Field(512, ge=1)  # of B; as many as training pairs at most
    image_directions: int = Field(64, ge=1)  # principal ones that a picture is projected to; fasthash's own
    rho: Positive = 0.2  # of the l1 norms
    mu: Positive = 0.5  # of the texts' factorisation
    lam: Positive = 1.0  # lambda, of the tie
    iterations: int = Field(20, ge=1)
    sweeps: int = Field(3, ge=1)  # over the columns of B, A and R in each iteration; fasthash's own, like steps
    # of feature-sign search in each iteration, which goes on where the one before stopped; a new picture has as many as
    # it needs
    steps: int = Field(5, ge=1)


@register
class LSSH(ClosedForm):
    """Texts decide the codes: pictures follow as far as their sparse codes allow."""

    name = "lssh"
    paper = "Zhou, Ding, Guo: Latent Semantic Sparse Hashing for Cross-Modal Similarity Search, SIGIR 2014"
    supervision = "none"
    learns_codes = True
    options_type = LSSHOptions
    presets: ClassVar[dict[str, Preset]] = {}

    options: LSSHOptions

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        o = self.options
        directions = principal_directions(pairs, o.image_directions)
        x, t = (UnitRows()(torch.from_numpy(rows)).numpy() for rows in (pairs.x @ directions, pairs.y))
        factors = _Factors(x, t, bits, o, np.random.default_rng(seed))
        objective = []
        for done in range(1, o.iterations + 1):
            factors.improve()
            objective.append(factors.objective())
            report(done, o.iterations, objective[-1])
        maps = [Projection(directions), UnitRows(), SparseCodes(factors.b, o.rho)]
        image = View(pairs.x_mean, factors.r.T, maps=maps)
        text = View(pairs.y_mean, factors.from_text(), maps=[UnitRows()])
        return Solution(image, text, learned=factors.y, objective=tuple(objective))


class _Factors:
    """All unknowns; rows are pairs: X [n, w], T [n, p], S [n, atoms], Y [n, bits]."""

    def __init__(self, x: Floats, t: Floats, bits: int, options: LSSHOptions, rng: np.random.Generator) -> None:
        self.x, self.t, self.o = x, t, options
        n = len(x)
        self.b = x[rng.choice(n, min(options.atoms, n), replace=False)].T.copy()
        self.a = _unit_columns(rng.standard_normal((t.shape[1], bits)))
        self.r = _unit_columns(rng.standard_normal((bits, self.b.shape[1])))
        self.s = _code(x, self.b, options.rho)
        self.y = np.empty((n, bits))

    def improve(self) -> None:
        """One round over all unknowns."""
        o, ratio = self.o, self.o.lam / self.o.mu
        right = ratio * (self.s @ self.r.T) + self.t @ self.a
        self.y = solve_ridge(self.a.T @ self.a, ratio, right.T).T
        self.a = bounded_columns(self.t.T @ self.y, self.y.T @ self.y, self.a, o.sweeps)
        gram = self.s.T @ self.s
        self.b = bounded_columns(self.x.T @ self.s, gram, self.b, o.sweeps)
        self.r = bounded_columns(self.y.T @ self.s, gram, self.r, o.sweeps)
        tie = np.sqrt(o.lam)
        targets, dictionary = np.hstack([self.x, tie * self.y]), np.vstack([self.b, tie * self.r])
        self.s = _code(targets, dictionary, o.rho, self.s, o.steps)

    def objective(self) -> float:
        o = self.o
        image = np.square(self.x - self.s @ self.b.T).sum() + o.rho * np.abs(self.s).sum()
        text = o.mu * np.square(self.t - self.y @ self.a.T).sum()
        return float(image + text + o.lam * np.square(self.y - self.s @ self.r.T).sum())

    def from_text(self) -> Floats:
        """[p, bits]: the Y of a text without a picture."""
        return solve_ridge(self.a.T @ self.a, self.o.lam / self.o.mu, self.a.T).T


def _code(
    rows: Floats, dictionary: Floats, rho: float, start: Floats | None = None, steps: int | None = None
) -> Floats:
    given = None if start is None else torch.from_numpy(start)
    made: Floats = sparse_codes(torch.from_numpy(rows), torch.from_numpy(dictionary), rho, given, steps).numpy()
    return made


def principal_directions(pairs: Pairs, width: int) -> Floats:
    """[p, width] of the pictures, most variance first; fewer where their rows span fewer dimensions."""
    from scipy.linalg import eigh

    features = LinearFeatures.of(pairs.x, pairs.x_mean, LinearOptions())
    gram = features.rows.T @ features.rows
    width = min(width, len(gram))
    _, found = eigh(gram, subset_by_index=(len(gram) - width, len(gram) - 1))
    found = features.weights(found[:, ::-1])
    return found * np.where(found[np.abs(found).argmax(axis=0), np.arange(width)] < 0, -1.0, 1.0)


def bounded_columns(cross: Floats, gram: Floats, start: Floats, sweeps: int) -> Floats:
    """D [p, k] that lowers |T - C D'|^2 from ``start`` on, its columns of length 1 at most.

    Each column is exactly the best there is, given the others, sweep after sweep.

    Args:
        cross: T'C [p, k]. gram: C'C [k, k].
    Source: Mairal, Bach, Ponce, Sapiro, Online dictionary learning for sparse coding, ICML 2009, algorithm 2.
    """
    d = start.copy()
    for _ in range(sweeps):
        for j in np.flatnonzero(gram.diagonal() > 1e-12):
            column = d[:, j] + (cross[:, j] - d @ gram[:, j]) / gram[j, j]
            d[:, j] = column / max(float(np.linalg.norm(column)), 1.0)
    return d


def _unit_columns(columns: Floats) -> Floats:
    return columns / np.linalg.norm(columns, axis=0)
