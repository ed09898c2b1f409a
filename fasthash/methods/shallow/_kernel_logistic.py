"""Logistic regression of many bits at once on RBF features of k-means anchors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasthash.methods._closed_form import Floats
from fasthash.models.view import Rbf, View

ROWS = 4096  # whose distances to all centres are held at a time


def kmeans(rows: Floats, count: int, rounds: int, rng: np.random.Generator) -> Floats:
    """Centres [count, p] of rows [n, p] by Lloyd's rounds from rows drawn at random; all rows where there are no more.

    Rounds end early when nothing moves; a centre that lost all its rows stays where it is.
    """
    if len(rows) <= count:
        return rows.copy()
    x = torch.from_numpy(rows)
    centres = x[torch.from_numpy(np.sort(rng.choice(len(rows), count, replace=False)))].clone()
    nearest = torch.full((len(x),), -1)
    for _ in range(rounds):
        found = torch.cat([torch.cdist(part, centres).argmin(dim=1) for part in x.split(ROWS)])
        if torch.equal(found, nearest):
            break
        nearest = found
        members = torch.bincount(nearest, minlength=count).double()[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        centres = torch.where(members > 0, sums / members.clamp(min=1), centres)
    made: Floats = centres.numpy()
    return made


def rbf_around(rows: Floats, anchors: Floats) -> Rbf:
    """RBF features of anchors [m, p], less their mean over ``rows`` [n, p]; width^2 is the mean squared distance."""
    x, a = torch.from_numpy(rows), torch.from_numpy(anchors)
    squares = sum(float(torch.cdist(part, a).square_().sum()) for part in x.split(ROWS)) / (len(x) * len(a))
    bare = Rbf(a, squares**0.5 or 1.0, torch.zeros(len(a)))
    return Rbf(a, squares**0.5 or 1.0, sum(bare(part).sum(dim=0) for part in x.split(ROWS)) / len(x))


def logistic(features: Tensor, signs: Tensor, ridge: float, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Of each bit the weights w [q] and the intercept b that minimise sum log(1 + exp(-s (f w + b))) + ridge |w|^2.

    The Hessian is at most that of all probabilities at 1/2: steps with this bound, factored once for all bits, never
    overshoot. They are accelerated, anew where a bit's momentum points uphill.

    Args:
        features: [n, q]. signs: -1 and 1 [n, bits]. ridge: above 0.
        tolerance: on what a further step promises, in nats per row, of the worst bit.
    Returns:
        [q, bits] and [bits]. The intercept of a bit that has one sign only goes as far as the steps do.
    Source: Boehning and Lindsay, Monotonicity of quadratic-approximation algorithms, Ann. Inst. Stat. Math. 40, 1988.
    """
    n, bits = signs.shape
    design = torch.cat([features, features.new_ones(n, 1)], dim=1)
    penalty = torch.full_like(design[0], 2 * ridge)[:, None]
    penalty[-1] = 0
    bound = design.T @ design / 4 + penalty[:, 0].diag()
    factor = torch.linalg.cholesky(bound)
    w = design.new_zeros(design.shape[1], bits)
    ahead, pace = w, design.new_ones(1, bits)
    for _ in range(iterations):
        slope = design.T @ (-signs * torch.sigmoid(-signs * (design @ ahead))) + penalty * ahead
        step = torch.cholesky_solve(slope, factor)
        new = ahead - step
        uphill = (slope * (new - w)).sum(dim=0, keepdim=True) > 0
        pace = torch.where(uphill, 1.0, pace)
        following = (1 + (1 + 4 * pace * pace).sqrt()) / 2
        ahead = new + (pace - 1) / following * (new - w)
        w, pace = new, following
        if float((slope * step).sum(dim=0).max()) <= 2 * n * tolerance:
            break
    return w[:-1], w[-1]


def fit_view(
    rows: Floats, mean: Floats, anchors: Floats, signs: Floats, known: NDArray[Any], ridge: float, iterations: int
) -> View:
    """A view whose relaxed codes are log odds, by `logistic` on the rows that int ``known`` [k] tells, of ``signs``."""
    features = rbf_around(rows, anchors)
    inputs = torch.cat([features(part) for part in torch.from_numpy(rows[known]).split(ROWS)])
    weights, intercept = logistic(inputs, torch.from_numpy(signs), ridge, iterations, 1e-7)
    return View(mean, weights, -intercept, [features])
