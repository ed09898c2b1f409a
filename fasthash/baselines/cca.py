"""Canonical correlation analysis as a hash: the sign of the most correlated directions of both modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._canonical import canonical_directions
from fasthash.baselines._linear import Floats, check_features, check_ridge, covariance
from fasthash.codes import check_bits, pack

BLOCK = 4096  # rows projected at once


@dataclass(frozen=True, eq=False)
class LinearHash:
    """Codes of centred linear projections, threshold 0; encodes as a `HashModel` does."""

    image_mean: Floats  # [p_image]
    text_mean: Floats  # [p_text]
    image_weights: Floats  # [p_image, bits]
    text_weights: Floats  # [p_text, bits]
    correlations: Floats  # [bits] of the two projections on the training rows, descending

    @property
    def bits(self) -> int:
        return self.image_weights.shape[1]

    def project_image(self, features: Any) -> Floats:
        """float64 [n, bits], before the sign, of image features [n, p_image]."""
        return _project(features, self.image_mean, self.image_weights, "image")

    def project_text(self, features: Any) -> Floats:
        """float64 [n, bits], before the sign, of text features [n, p_text]."""
        return _project(features, self.text_mean, self.text_weights, "text")

    def encode_image(self, features: Any) -> NDArray[np.uint8]:
        """Packed codes of image features [n, p_image]."""
        packed: NDArray[np.uint8] = pack(self.project_image(features))
        return packed

    def encode_text(self, features: Any) -> NDArray[np.uint8]:
        """Packed codes of text features [n, p_text]."""
        packed: NDArray[np.uint8] = pack(self.project_text(features))
        return packed


def _project(features: Any, mean: Floats, weights: Floats, name: str) -> Floats:
    rows = check_features(features, "cca", name, len(mean))
    blocks = [(rows[i : i + BLOCK] - mean) @ weights for i in range(0, len(rows), BLOCK)]
    return np.concatenate(blocks)


class CCA:
    """Regularised canonical correlation analysis, unsupervised, in closed form.

    With C = cov + ridge * mean variance * I of each modality, the directions maximise the correlation
    w_x' C_xy w_y subject to w_x' C_xx w_x = w_y' C_yy w_y = 1: left and right singular vectors of
    L_x^-1 C_xy L_y^-T, C = L L', mapped back by L^-T. The same directions solve the generalised eigenproblem
    C_xy C_yy^-1 C_yx w = rho^2 C_xx w.

    Args:
        ridge: what is added to each variance, as a multiple of the modality's mean variance.
    Source: Hotelling, Relations between two sets of variates, Biometrika 28, 1936; the regularised form: Vinod,
        Canonical ridge and econometrics of joint production, J. Econometrics 4, 1976.
    """

    def __init__(self, ridge: float = 0.3) -> None:
        self.ridge = check_ridge(ridge, "cca")

    @staticmethod
    def check(image_width: int, text_width: int, bits: int) -> None:
        """ValueError when there are fewer directions than bits: as many as the narrower modality has features."""
        if check_bits(bits, "cca") > min(image_width, text_width):
            raise ValueError(
                f"cca: bits must be at most {min(image_width, text_width)}, the width of the narrower features "
                f"({image_width} and {text_width}), got {bits}"
            )

    def fit(self, image: Any, text: Any, bits: int) -> LinearHash:
        """The ``bits`` most correlated directions of paired training features [n, p_image] and [n, p_text]."""
        x, y = check_features(image, "cca", "image"), check_features(text, "cca", "text")
        if len(x) != len(y):
            raise ValueError(f"cca: text must have {len(x)} rows like image, got {len(y)}")
        self.check(x.shape[1], y.shape[1], bits)
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        x, y = x - x_mean, y - y_mean
        parts = covariance(x, self.ridge), covariance(y, self.ridge), x.T @ y / len(x)
        return LinearHash(x_mean, y_mean, *canonical_directions(*parts, bits))
