"""The features that linear methods are fitted to, and the way back from their solutions to encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from fasthash.methods._closed_form import ClosedFormOptions, Floats, Pairs
from fasthash.models.view import FeatureMap, Rbf, UnitRows, View

Anchors = Annotated[int, Field(ge=0)]
Scale = Literal["none", "rows", "variance"]


class LinearOptions(ClosedFormOptions):
    """Options of methods that are linear in features, or in RBF features of them."""

    # so many training rows, evenly spaced, of which each side has RBF features instead of its own; 0: its own
    anchors: Anchors = 0
    # of the centred features. rows: each at length 1, before any anchors; variance: each feature, or the RBF feature of
    # each anchor, at variance 1
    scale: Scale = "none"


@dataclass(frozen=True, eq=False)
class LinearFeatures:
    """One side's training rows [n, r], centred, r at most n; solutions for them are turned into weights of a `View`.

    Where there are more features than rows, the rows are written in an orthonormal basis of the space they span: what
    lies outside it, no ridge solution and no correlated direction uses, so that nothing p x p is made (dual forms).

    Args:
        rows: [n, r].
        width: features q that the view projects: of `maps`, or the side's own.
    """

    rows: Floats
    width: int
    _mean: Floats  # [p]
    _maps: tuple[FeatureMap, ...] = ()
    _shift: Floats | None = None  # [q] training mean of the mapped features
    _scale: Floats | None = None  # [q] of the standard deviations
    _basis: Floats | None = None  # [q, r]

    @classmethod
    def of(cls, centred: Floats, mean: Floats, options: LinearOptions) -> LinearFeatures:
        """Of centred rows [n, p], which may be overwritten."""
        rows, maps = centred, list[FeatureMap]()
        if options.scale == "rows":
            maps.append(UnitRows())
            rows = maps[-1](torch.from_numpy(rows)).numpy()
        if options.anchors:
            maps.append(fit_rbf(rows, options.anchors))
            rows = maps[-1](torch.from_numpy(rows)).numpy()
        shift = rows.mean(axis=0) if maps else None
        if shift is not None:
            rows -= shift
        made = cls(rows, rows.shape[1], mean, tuple(maps), shift)
        return (made._at_unit_variance() if options.scale == "variance" else made)._within_span()

    def _at_unit_variance(self) -> LinearFeatures:
        deviation = np.sqrt(np.square(self.rows).mean(axis=0))
        largest = float(deviation.max())
        scale = np.where(deviation > 1e-10 * largest, deviation, 1.0)  # what is constant up to rounding stays so
        np.divide(self.rows, scale, out=self.rows)
        return replace(self, _scale=scale)

    def _within_span(self) -> LinearFeatures:
        if len(self.rows) >= self.rows.shape[1]:
            return self
        basis, triangle = np.linalg.qr(self.rows.T)
        return replace(self, rows=np.ascontiguousarray(triangle.T), _basis=basis)

    def weights(self, solution: Floats) -> Floats:
        """[q, bits] that project the features as ``solution`` [r, bits] projects `rows`."""
        whole = solution if self._basis is None else self._basis @ solution
        return whole if self._scale is None else whole / self._scale[:, None]

    def project(self, weights: Floats) -> Floats:
        """[n, bits] of the training rows, with `weights`."""
        inside = weights if self._scale is None else weights * self._scale[:, None]
        return self.rows @ (inside if self._basis is None else self._basis.T @ inside)

    def view(self, weights: Floats) -> View:
        """The encoder with such weights; its projections of the training rows have mean 0."""
        threshold = None if self._shift is None else self._shift @ weights
        return View(self._mean, weights, threshold, self._maps)


def fit_rbf(rows: Floats, anchors: int) -> Rbf:
    """RBF features without offset: anchors evenly spaced among ``rows`` [n, p], width their mean distance."""
    picked = np.linspace(0, len(rows) - 1, min(anchors, len(rows))).round().astype(int)
    drawn = torch.from_numpy(rows[picked])
    distances = torch.cdist(torch.from_numpy(rows), drawn)
    return Rbf(drawn, float(distances.mean()) or 1.0, torch.zeros(len(drawn)))


def linear_features(pairs: Pairs, options: LinearOptions) -> tuple[LinearFeatures, LinearFeatures]:
    """Of image and text."""
    sides = ((pairs.x, pairs.x_mean), (pairs.y, pairs.y_mean))
    x, y = (LinearFeatures.of(rows, mean, options) for rows, mean in sides)
    return x, y


def most_directions(widths: Sequence[int], options: LinearOptions) -> tuple[int, int]:
    """Features that each side of these widths has at most."""
    image, text = (options.anchors or width for width in widths)
    return image, text
