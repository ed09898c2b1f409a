"""Canonical directions of two paired sets of variables, from their covariances: NumPy alone, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def add_ridge(covariance: Floats, ridge: float) -> Floats:
    """[p, p] with ridge times the mean variance added to the diagonal, in place."""
    mean_variance = float(np.trace(covariance)) / len(covariance)
    covariance[np.diag_indices_from(covariance)] += ridge * (mean_variance or 1.0)
    return covariance


def canonical_directions(c_xx: Floats, c_yy: Floats, c_xy: Floats, width: int) -> tuple[Floats, Floats, Floats]:
    """The ``width`` most correlated directions, w_x' C_xx w_x = w_y' C_yy w_y = 1.

    They are the singular vectors of L_x^-1 C_xy L_y^-T, C = L L', mapped back by L^-T.

    Args:
        c_xx, c_yy: [p, p] and [q, q], positive definite: with a ridge where need be.
        c_xy: [p, q].
    Returns:
        [p, width], [q, width], and their correlations [width], descending. Of a direction and its opposite, equally
        good, the one whose largest weight on the side of x is positive.
    """
    lower_x, lower_y = np.linalg.cholesky(c_xx), np.linalg.cholesky(c_yy)
    whitened: Any = np.linalg.solve(lower_y, np.linalg.solve(lower_x, c_xy).T).T
    left, correlations, right = np.linalg.svd(whitened, full_matrices=False)
    w_x = np.linalg.solve(lower_x.T, left[:, :width])
    w_y = np.linalg.solve(lower_y.T, right[:width].T)
    sign = np.where(w_x[np.abs(w_x).argmax(axis=0), np.arange(width)] < 0, -1.0, 1.0)
    return w_x * sign, w_y * sign, correlations[:width]
