"""Pieces that the closed forms share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._canonical import add_ridge

Floats = NDArray[np.float64]


def check_ridge(ridge: Any, op: str) -> float:
    """A finite number above 0."""
    try:
        value = float(ridge)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{op}: ridge must be a finite number above 0, got {ridge!r}")
    return value


def check_features(features: Any, op: str, name: str, width: int | None = None) -> Floats:
    """Features as float64 [n, width], n >= 1 and all finite."""
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or 0 in rows.shape or width not in (None, rows.shape[1]):
        raise ValueError(f"{op}: {name} must be [n, {width or 'width'}] with n >= 1, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"{op}: {name} must be finite, row {bad} is not")
    return rows


def covariance(centred: Floats, ridge: float) -> Floats:
    """[p, p] covariance of centred rows, with ridge times the mean variance added to the diagonal."""
    return add_ridge(centred.T @ centred / len(centred), ridge)
