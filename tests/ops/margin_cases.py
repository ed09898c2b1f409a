"""The independent truth of the margin loss."""

import math

import numpy as np
import torch


def truth(a, b, sim, margin):
    """Loss and both gradients in float64, pair by pair; at distance 0 nothing pushes."""
    x, y = (v.detach().double().numpy() for v in (a, b))
    loss, grad_x, grad_y = 0.0, np.zeros_like(x), np.zeros_like(y)
    for i in range(len(x)):
        for j in range(len(y)):
            like = float(sim[i, j])
            step = x[i] - y[j]
            distance = math.sqrt(float(step @ step))
            near = (1 - like) * distance < margin
            lack = (1 - like) * margin - ((1 - like) * distance if near else margin)
            loss += (like * distance) ** 2 + lack**2
            slope = 2 * like**2 * distance - 2 * (1 - like) * lack * near
            if distance > 0:
                grad_x[i] += slope * step / distance
                grad_y[j] -= slope * step / distance
    return loss, grad_x, grad_y


def margin_of(a, b):
    """Within the distances: some dissimilar pairs are near, some are far enough."""
    return float(torch.cdist(a.double(), b.double()).median())
