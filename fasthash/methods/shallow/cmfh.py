"""CMFH: one latent factor for both modalities of a pair, by collective matrix factorisation.

Ding, Guo, Zhou: Collective Matrix Factorization Hashing for Multimodal Data, CVPR 2014. What is minimised is

    sum_v a_v (|X_v - Y U_v|^2 + mu |Y - X_v W_v|^2) + gamma (|Y|^2 + sum_v a_v (|U_v|^2 + |W_v|^2)),

in U, W and Y by turns, each exactly, so that it never rises. In a collection of re-implementations in MATLAB 1 / mu
stands for mu in the step of W; here W solves its own least squares, with a ridge of gamma / mu.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fasthash.methods._base import Positive, Preset
from fasthash.methods._closed_form import ClosedForm, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._linear_features import LinearFeatures, LinearOptions, linear_features
from fasthash.methods.shallow._ridge import Ridge, solve_ridge


class CMFHOptions(LinearOptions):
    """The paper's values. Factors shrink towards 0 where features are small beside gamma: then scale them."""

    image_weight: Annotated[float, Field(gt=0, lt=1)] = 0.5  # a_1; the text's a_2 is 1 - a_1
    mu: Positive = 100.0  # of the maps from features to factors
    gamma: Positive = 0.01  # of all squared norms
    iterations: int = Field(25, ge=1)


@register
class CMFH(ClosedForm):
    """Codes of new items are the signs of X_v W_v; those learned for the training pairs are the signs of Y."""

    name = "cmfh"
    paper = "Ding, Guo, Zhou: Collective Matrix Factorization Hashing for Multimodal Data, CVPR 2014"
    supervision = "none"
    options_type = CMFHOptions
    learns_codes = True
    presets: ClassVar = {
        data: Preset(
            f"fasthash's own: RBF features, where linear maps fit any factors; chosen on a fifth of {data}'s training"
            " rows at 64 bits",
            {"scale": "rows", "anchors": 1000, "gamma": gamma},
        )
        for data, gamma in (("fashion_products", 0.3), ("movie_posters", 10.0), ("emoji", 3.0))
    }

    options: CMFHOptions

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        o, features = self.options, linear_features(pairs, self.options)
        sides = [
            _Side(v, a, o.mu, o.gamma) for v, a in zip(features, (o.image_weight, 1 - o.image_weight), strict=True)
        ]
        y = np.random.default_rng(seed).standard_normal((len(pairs), bits))
        objective = []
        for side in sides:
            side.solve(y)
        for done in range(1, o.iterations + 1):
            gram = np.sum([side.weight * side.u @ side.u.T for side in sides], axis=0)
            right = np.sum([side.right() for side in sides], axis=0)
            y = solve_ridge(gram, o.mu + o.gamma, right.T).T
            for side in sides:
                side.solve(y)
            objective.append(o.gamma * float(np.square(y).sum()) + sum(side.error for side in sides))
            report(done, o.iterations, objective[-1])
        image, text = (side.features.view(side.features.weights(side.w)) for side in sides)
        return Solution(image, text, learned=y, objective=tuple(objective))


class _Side:
    """One modality: U [bits, r] that makes its features of the factors, W [r, bits] that does the opposite."""

    u: Floats
    w: Floats
    error: float  # its part of the objective

    def __init__(self, features: LinearFeatures, weight: float, mu: float, gamma: float) -> None:
        self.features, self.rows, self.weight, self.mu, self.gamma = features, features.rows, weight, mu, gamma
        self._ridge = Ridge(self.rows, gamma / mu)
        self._squares = float(np.vdot(self.rows, self.rows))

    def solve(self, y: Floats) -> None:
        """Both maps, given the factors [n, bits]."""
        cross = y.T @ self.rows
        self.u = solve_ridge(y.T @ y, self.gamma, cross)
        self.w = self._ridge.solve(cross.T)
        # the least value of |X - Y U|^2 + gamma |U|^2 is |X|^2 - <U, Y'X>; of W's likewise
        apart = float(np.vdot(y, y) - np.vdot(self.w, cross.T))
        self.error = self.weight * (self._squares - float(np.vdot(self.u, cross)) + self.mu * apart)

    def right(self) -> Floats:
        """[n, bits], this side's part of the right side for Y."""
        return self.weight * (self.rows @ (self.u.T + self.mu * self.w))
