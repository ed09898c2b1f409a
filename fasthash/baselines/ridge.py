"""Labels by ridge regression from each modality: a supervised reference with real values instead of bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthash.baselines._linear import Floats, check_features, check_ridge, covariance


@dataclass(frozen=True, eq=False)
class LabelRegression:
    """One modality's linear map from features to a score for each class."""

    mean: Floats  # [p]
    weights: Floats  # [p, c]
    offset: Floats  # [c] mean label vector of the training rows

    def __call__(self, features: Any) -> Floats:
        """float64 [n, c] scores of features [n, p]."""
        return (check_features(features, "ridge", "features", len(self.mean)) - self.mean) @ self.weights + self.offset


class RidgeLabels:
    """Ridge regression of multi-hot labels on each modality by itself; pairs are compared by the cosine of scores.

    Args:
        ridge: what is added to each variance, as a multiple of the modality's mean variance.
    """

    def __init__(self, ridge: float = 0.3) -> None:
        self.ridge = check_ridge(ridge, "ridge")

    def fit(self, features: Any, labels: Any) -> LabelRegression:
        """Regression of labels, multi-hot [n, c], on the training features [n, p] of one modality."""
        x, y = check_features(features, "ridge", "features"), check_features(labels, "ridge", "labels")
        if len(x) != len(y):
            raise ValueError(f"ridge: labels must have {len(x)} rows like features, got {len(y)}")
        mean, offset = x.mean(axis=0), y.mean(axis=0)
        x = x - mean
        weights = np.linalg.solve(covariance(x, self.ridge), x.T @ (y - offset) / len(x))
        return LabelRegression(mean, weights, offset)
