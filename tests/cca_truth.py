"""Canonical correlation analysis by SciPy's generalised eigensolver, independent of fasthash's whitening."""

import numpy as np
import scipy.linalg


def covariances(image, text, ridge):
    """C_xx, C_yy with ridge times the mean variance on the diagonal, and C_xy."""
    x, y = image - image.mean(0), text - text.mean(0)
    c_xx, c_yy, c_xy = x.T @ x / len(x), y.T @ y / len(y), x.T @ y / len(x)
    c_xx += ridge * np.trace(c_xx) / len(c_xx) * np.eye(len(c_xx))
    c_yy += ridge * np.trace(c_yy) / len(c_yy) * np.eye(len(c_yy))
    return c_xx, c_yy, c_xy


def cca_truth(image, text, ridge, width):
    """Weights [p, width], [q, width] and correlations: C_xy C_yy^-1 C_yx w = rho^2 C_xx w, largest weight positive."""
    c_xx, c_yy, c_xy = covariances(np.asarray(image, np.float64), np.asarray(text, np.float64), ridge)
    squares, w_x = scipy.linalg.eigh(c_xy @ np.linalg.inv(c_yy) @ c_xy.T, c_xx)
    w_x, correlations = w_x[:, ::-1][:, :width], np.sqrt(squares[::-1][:width])
    w_x = w_x * np.sign(w_x[np.abs(w_x).argmax(axis=0), np.arange(width)])
    return w_x, np.linalg.solve(c_yy, c_xy.T @ w_x) / correlations, correlations
