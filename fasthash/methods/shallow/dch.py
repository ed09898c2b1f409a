"""DCH: discrete cross-modal hashing, codes that stay binary while labels and features are regressed on and to them.

Xu, Yang, Shen, Shen, Li: Learning Discriminative Binary Codes for Large-Scale Cross-Modal Retrieval, IEEE Transactions
on Image Processing 26(5), 2017. What is minimised, over B of -1 and +1, is

    |L - B W|^2 + lambda |W|^2 + sum_v mu_v (|B - X_v U_v|^2 + delta |U_v|^2):

W and U_v are ridge solutions, B is found bit by bit, each bit exactly given the others (discrete cyclic coordinate
descent), so that it never rises. In a collection of re-implementations in MATLAB the terms of the features are switched
off (mu_v = 0) and B is the sign of a ridge solution. Deep Cauchy hashing has the same letters and is another method.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from fasthash.methods._base import Positive, Preset, Weight
from fasthash.methods._closed_form import ClosedForm, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._linear_features import LinearFeatures, LinearOptions, linear_features
from fasthash.methods.shallow._ridge import Ridge, solve_ridge


class DCHOptions(LinearOptions):
    """The paper's values, where it has any: the weights of the features are fasthash's."""

    lam: Positive = 1.0  # lambda, ridge of the labels' regression
    mu_image: Weight = 1e-3
    mu_text: Weight = 1e-3
    delta: Positive = 0.01  # ridge of the features' regression
    iterations: int = Field(5, ge=1)
    sweeps: int = Field(10, ge=1)  # over the bits in each iteration, fewer where none changes


@register
class DCH(ClosedForm):
    """Codes of new items are the signs of X_v U_v; those learned for the training pairs are B."""

    name = "dch"
    paper = (
        "Xu, Yang, Shen, Shen, Li: Learning Discriminative Binary Codes for Large-Scale Cross-Modal Retrieval, IEEE TIP"
        " 2017"
    )
    supervision = "labels"
    options_type = DCHOptions
    learns_codes = True
    presets: ClassVar = {
        data: Preset(f"fasthash's own: {what}, chosen on a fifth of {data}'s training rows at 64 bits", values)
        for data, what, values in (
            ("wiki", "the paper's anchors", {"anchors": 1000, "scale": "variance"}),
            ("fashion_products", "a ridge for features of networks", {"delta": 1.0}),
            ("movie_posters", "a ridge for features of networks", {"scale": "variance", "delta": 1000.0}),
            ("emoji", "the paper's anchors", {"anchors": 1000, "scale": "variance", "delta": 0.1}),
        )
    }

    options: DCHOptions

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        o, labels = self.options, pairs.labels
        assert labels is not None
        features = linear_features(pairs, o)
        sides = [_Side(v, mu, o.delta) for v, mu in zip(features, (o.mu_image, o.mu_text), strict=True)]
        # bits are rows: each is read and written at once
        b = np.where(np.random.default_rng(seed).standard_normal((len(pairs), bits)).T >= 0, 1.0, -1.0)
        objective = []
        for side in sides:
            side.solve(b)
        w = solve_ridge(b @ b.T, o.lam, b @ labels)
        for done in range(1, o.iterations + 1):
            toward = w @ labels.T + sum(side.mu * side.made for side in sides)
            changed = descend(b, toward, w @ w.T, o.sweeps)
            w = solve_ridge(b @ b.T, o.lam, b @ labels)
            for side in sides:
                side.solve(b)
            error = float(np.square(labels - b.T @ w).sum() + o.lam * np.square(w).sum())
            objective.append(error + sum(side.error for side in sides))
            report(done, o.iterations, objective[-1])
            if not changed:
                break
        image, text = (side.features.view(side.features.weights(side.u)) for side in sides)
        return Solution(image, text, learned=b.T, objective=tuple(objective))


def descend(b: Floats, toward: Floats, gram: Floats, sweeps: int) -> bool:
    """Lower |W'B|^2 - 2 <B, Q> over signs B [bits, n], in place: each bit exactly, given the others.

    Args:
        toward: Q [bits, n]. gram: W W' [bits, bits].
        sweeps: over all bits at most; fewer where one changes nothing.
    Returns:
        Whether any bit changed.
    """
    any_change = False
    for _ in range(sweeps):
        changed = False
        for k in range(len(b)):
            others = gram[k] @ b - gram[k, k] * b[k]
            new = np.where(toward[k] >= others, 1.0, -1.0)
            changed = changed or not np.array_equal(new, b[k])
            b[k] = new
        any_change = any_change or changed
        if not changed:
            break
    return any_change


class _Side:
    """One modality: U [r, bits] from its features to the codes."""

    u: Floats
    made: Floats  # [bits, n], of the features
    error: float  # its part of the objective

    def __init__(self, features: LinearFeatures, mu: float, delta: float) -> None:
        self.features, self.mu, self.delta = features, mu, delta
        self._ridge = Ridge(features.rows, delta)

    def solve(self, b: Floats) -> None:
        """U and what it makes, given codes [bits, n]."""
        cross = (b @ self.features.rows).T
        self.u = self._ridge.solve(cross)
        self.made = (self.features.rows @ self.u).T
        # the least value of |B - X U|^2 + delta |U|^2
        self.error = self.mu * (b.size - float(np.vdot(self.u, cross)))
