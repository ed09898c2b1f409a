"""Rotations that bring signs nearer to what they are signs of: NumPy alone, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def orthonormal(x: Floats) -> Floats:
    """The columns of a normal random matrix made orthonormal; the signs make every outcome equally likely."""
    q, r = np.linalg.qr(x)
    made: Floats = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return made


def itq_rotation(v: Floats, iterations: int, seed: int) -> tuple[Floats, tuple[float, ...]]:
    """R [bits, bits], orthogonal, that lowers the quantisation error |sign(V R) - V R|^2 of rows V [n, bits].

    From a random rotation on, B = sign(V R) and R = U W' (singular value decomposition V' B = U S W') take turns:
    neither raises the error.

    Returns:
        The rotation; the error divided by n before each iteration and after the last.
    Source: Gong, Lazebnik, Gordo, Perronnin, Iterative Quantization, TPAMI 2013, section 2.2.
    """
    bits = v.shape[1]
    rotation = orthonormal(np.random.default_rng(seed).standard_normal((bits, bits)))
    errors = []
    for last in [False] * iterations + [True]:
        turned = v @ rotation
        signs = np.where(turned >= 0, 1.0, -1.0)
        errors.append(float(np.square(signs - turned).sum() / len(turned)))
        if not last:
            left, _, right = np.linalg.svd(v.T @ signs)
            rotation = left @ right
    return rotation, tuple(errors)
