"""Canonical directions of two paired sets of variables, from their covariances: NumPy and SciPy, float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def add_ridge(covariance: Floats, ridge: float, width: int | None = None) -> Floats:
    """[p, p] with ridge times the mean variance added to the diagonal, in place.

    Args:
        width: of how many variables the variance is the mean, where the rows were turned into fewer; None: p.
    """
    mean_variance = float(np.trace(covariance)) / (width or len(covariance))
    covariance[np.diag_indices_from(covariance)] += ridge * (mean_variance or 1.0)
    return covariance


@dataclass(frozen=True, eq=False)
class Whitening:
    """Coordinates L^-1 x in which a covariance C = L L' is the identity."""

    lower: Floats  # [p, p]

    @classmethod
    def of(cls, covariance: Floats) -> Whitening:
        """Of a positive definite [p, p]: with a ridge where need be."""
        lower: Any = np.linalg.cholesky(covariance)
        return cls(lower)

    def into(self, cross: Floats) -> Floats:
        """L^-1 cross, of [p, k]."""
        return self._solve(cross, "N")

    def back(self, coordinates: Floats) -> Floats:
        """Directions w = L^-T u [p, k] in the variables themselves: w'Cw = u'u."""
        return self._solve(coordinates, "T")

    def _solve(self, right: Floats, trans: str) -> Floats:
        from scipy.linalg import solve_triangular  # late: the models that need it load without it

        made: Any = solve_triangular(self.lower, right, trans=trans, lower=True, check_finite=False)
        return made


def align_signs(w_x: Floats, w_y: Floats) -> tuple[Floats, Floats]:
    """Of a direction and its opposite, equally good, the one whose largest weight is positive.

    The largest of x [p, k]; of y [q, k] where a direction has no weights on x.
    """
    columns = np.arange(w_x.shape[1])
    largest = w_x[np.abs(w_x).argmax(axis=0), columns]
    largest = np.where(largest == 0, w_y[np.abs(w_y).argmax(axis=0), columns], largest)
    sign = np.where(largest < 0, -1.0, 1.0)
    return w_x * sign, w_y * sign


def canonical_directions(c_xx: Floats, c_yy: Floats, c_xy: Floats, width: int) -> tuple[Floats, Floats, Floats]:
    """The ``width`` most correlated directions, w_x' C_xx w_x = w_y' C_yy w_y = 1.

    They are the singular vectors of L_x^-1 C_xy L_y^-T, C = L L', mapped back by L^-T.

    Args:
        c_xx, c_yy: [p, p] and [q, q], positive definite: with a ridge where need be.
        c_xy: [p, q].
    Returns:
        [p, width], [q, width], and their correlations [width], descending; signs by `align_signs`.
    """
    x, y = Whitening.of(c_xx), Whitening.of(c_yy)
    left, correlations, right = np.linalg.svd(y.into(x.into(c_xy).T).T, full_matrices=False)
    w_x, w_y = align_signs(x.back(left[:, :width]), y.back(right[:width].T))
    return w_x, w_y, correlations[:width]
