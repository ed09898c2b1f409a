"""Inputs and the independent truth of joint semantics: float64, the target entry by entry, gradients by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WEIGHTS = {"beta": 0.6, "eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.3}
STEP = {name: value for name, value in WEIGHTS.items() if name != "beta"}  # what a teacher does not hold


def make_inputs(m=6, d=4, p_image=7, p_text=5, dtype=torch.float64, seed=0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes as of a tanh layer and features without negative entries, in a few groups of similar rows."""
    g = torch.Generator().manual_seed(seed)
    group = torch.randint(0, 4, (m,), generator=g)

    def grouped(width, spread):
        centres = torch.randn(4, width, generator=g, dtype=torch.float64)
        return centres[group] + spread * torch.randn(m, width, generator=g, dtype=torch.float64)

    codes = (torch.tanh(grouped(d, 1.0)) for _ in range(2))
    features = (grouped(p, 0.5).clamp_min(0) + 0.01 for p in (p_image, p_text))
    return tuple(x.to(dtype) for x in (*codes, *features))


def cosines(x, y):
    """Entry by entry; a row of zeros has cosine 0."""
    out = np.zeros((len(x), len(y)))
    lengths = [[max(np.linalg.norm(row), 1e-12) for row in z] for z in (x, y)]
    for i, u in enumerate(x):
        for j, v in enumerate(y):
            out[i, j] = u @ v / (lengths[0][i] * lengths[1][j])
    return out


def affinity(f_image, f_text, beta, affine=True):
    image, text = (cosines(f, f) for f in (f_image.double().numpy(), f_text.double().numpy()))
    if affine:
        image, text = 2 * image - 1, 2 * text - 1
    return beta * image + (1 - beta) * text


def target(f_image, f_text, beta, eta, mu, affine=True):
    fused = affinity(f_image, f_text, beta, affine)
    return mu * ((1 - eta) * fused + eta / len(fused) * fused @ fused.T)


def truth(b_image, b_text, f_image, f_text, lambda1, lambda2, affine=True, **weights):
    """(loss, gradient of b_image, gradient of b_text)"""
    t = target(f_image, f_text, affine=affine, **weights)
    codes = [b.detach().double().numpy() for b in (b_image, b_text)]
    terms = ((0, 1, 1.0), (0, 0, lambda1), (1, 1, lambda2))
    loss, gradients = 0.0, [np.zeros_like(x) for x in codes]
    for left, right, weight in terms:
        c = cosines(codes[left], codes[right])
        loss += weight * ((c - t) ** 2).mean()
        slope = 2 * weight * (c - t) / c.size  # of each cosine
        gradients[left] += through_cosines(codes[left], codes[right], c, slope)
        gradients[right] += through_cosines(codes[right], codes[left], c.T, slope.T)
    return loss, *gradients


def through_cosines(x, y, c, slope):
    """Sum over j of slope_ij d cos(x_i, y_j) / d x_i = y_j / |x_i||y_j| - cos x_i / |x_i|^2, row by row."""
    out = np.zeros_like(x)
    for i, row in enumerate(x):
        length = np.linalg.norm(row)
        for j, other in enumerate(y):
            unit = other / max(np.linalg.norm(other), 1e-12)
            if length >= 1e-12:  # shorter rows have no direction, and no gradient
                out[i] += slope[i, j] * (unit / length - c[i, j] * row / length**2)
    return out


def relative(got: Tensor, want) -> float:
    """Norm-wise."""
    return float(np.linalg.norm(got.detach().double().numpy() - want) / max(np.linalg.norm(want), 1e-300))


def truth_by_factors(b_image, b_text, f_image, f_text, beta, eta, mu, lambda1, lambda2):
    """`truth` of many rows: S = G D G^T in float64, products and traces by its factors; without rows of zeros."""
    x, y, f, h = (z.detach().double().numpy() for z in (b_image, b_text, f_image, f_text))
    lengths = [np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y, f, h)]
    u, v, f, h = (z / length for z, length in zip((x, y, f, h), lengths, strict=True))
    m = len(u)
    factors = np.hstack([np.sqrt(2 * beta) * f, np.sqrt(2 - 2 * beta) * h, np.ones((m, 1))])
    signs = np.array([1.0] * (factors.shape[1] - 1) + [-1.0])[:, None]

    def target_times(z):
        first = factors @ (signs * (factors.T @ z))
        return mu * ((1 - eta) * first + eta / m * (factors @ (signs * (factors.T @ first))))

    power = signs * (factors.T @ factors)
    square = power @ power
    inner = mu * ((1 - eta) * power + eta / m * square)  # T = G inner' G^T: the traces of T T are those of inner inner
    norm = np.sum(inner * inner.T)
    tu, tv = target_times(u), target_times(v)
    uu, vv = u.T @ u, v.T @ v
    loss = norm + np.sum(uu * vv) - 2 * np.sum(u * tv)
    loss += lambda1 * (norm + np.sum(uu * uu) - 2 * np.sum(u * tu))
    loss += lambda2 * (norm + np.sum(vv * vv) - 2 * np.sum(v * tv))
    g_image = 4 * lambda1 * (u @ uu - tu) + 2 * (u @ vv - tv)
    g_text = 4 * lambda2 * (v @ vv - tv) + 2 * (v @ uu - tu)
    gradients = [
        (g - np.sum(g * z, axis=1, keepdims=True) * z) / length / m**2
        for g, z, length in ((g_image, u, lengths[0]), (g_text, v, lengths[1]))
    ]
    return loss / m**2, *gradients
