"""A float space that embeddings of both modalities lie in, where they do not share one by themselves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from fasthash._canonical import add_ridge, canonical_directions


class JointSpace:
    """Linear maps of both modalities' features into one space, whose cosines compare pictures with texts.

    Coordinates are those of regularised canonical correlation analysis, each times its correlation: what both
    modalities say alike counts most. Fitted on pairs alone, without labels, in closed form.

    Args:
        means: of image and text features, [p_image] and [p_text].
        weights: [p_image, d] and [p_text, d].
        correlations: [d] of the coordinates on the pairs that it was fitted on, descending.
    Source: Hotelling, Biometrika 28, 1936; coordinates scaled by their correlations: Gong, Ke, Isard, Lazebnik, A
        Multi-View Embedding Space for Modeling Internet Images, Tags, and their Semantics, IJCV 2014 (power 1).
    """

    def __init__(self, means: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], correlations: Tensor) -> None:
        self.means, self.weights, self.correlations = means, weights, correlations

    @classmethod
    def fit(cls, pairs: Iterable[tuple[Tensor, Tensor]], *, ridge: float, width: int | None = None) -> JointSpace:
        """From pairs that come part by part: memory grows with the widths of the features alone.

        Args:
            pairs: (image [m, p_image], text [m, p_text]) of some pairs at a time; 2 pairs or more in all.
            ridge: what is added to each variance, as a multiple of the modality's mean variance.
            width: coordinates; None: as many as the narrower modality has features.
        Raises:
            ValueError: fewer than two pairs, or a width beyond the narrower modality's.
        """
        n, first, sums, squares = 0, None, None, None
        for image, text in pairs:
            both = np.concatenate([x.detach().to("cpu", torch.float64).numpy() for x in (image, text)], axis=1)
            if first is None:  # a mean of the first part: squares of values far from 0 would lose digits
                p, first = image.shape[1], both.mean(axis=0)
                sums, squares = np.zeros(both.shape[1]), np.zeros((both.shape[1],) * 2)
            both -= first
            n += len(both)
            sums += both.sum(axis=0)
            squares += both.T @ both
        if n < 2 or first is None or sums is None or squares is None:
            raise ValueError(f"JointSpace: pairs must be 2 or more, got {n}")
        p_text = len(first) - p
        width = min(p, p_text) if width is None else width
        if not 1 <= width <= min(p, p_text):
            raise ValueError(f"JointSpace: width must be from 1 to {min(p, p_text)}, got {width}")
        shift = sums / n
        squares /= n
        squares -= np.outer(shift, shift)
        parts = add_ridge(squares[:p, :p].copy(), ridge), add_ridge(squares[p:, p:].copy(), ridge), squares[:p, p:]
        *weights, correlations = canonical_directions(*parts, width)
        made = [torch.from_numpy(np.float32(x)) for x in (first + shift, *(w * correlations for w in weights))]
        return cls((made[0][:p], made[0][p:]), (made[1], made[2]), torch.from_numpy(np.float32(correlations)))

    def image(self, features: Tensor) -> Tensor:
        """[n, d] coordinates of image features [n, p_image]."""
        return self._of(0, features)

    def text(self, features: Tensor) -> Tensor:
        """[n, d] coordinates of text features [n, p_text]."""
        return self._of(1, features)

    def _of(self, side: int, features: Tensor) -> Tensor:
        if self.correlations.device != features.device:  # once: the rows of a run are on one device
            self.correlations, *moved = (x.to(features.device) for x in (self.correlations, *self.means, *self.weights))
            self.means, self.weights = (moved[0], moved[1]), (moved[2], moved[3])
        weights = self.weights[side]
        return (features - self.means[side]).to(weights.dtype) @ weights
