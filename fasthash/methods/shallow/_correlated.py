"""Directions of two views by their correlation, in coordinates in which each view's covariance is the identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from fasthash._canonical import Whitening, add_ridge, align_signs
from fasthash.methods._closed_form import Floats
from fasthash.methods.shallow._linear_features import LinearFeatures
from fasthash.models.view import View

Sides = tuple[Floats, Floats]  # coordinates [r_x, k] and [r_y, k] of k directions
NONE = 1e-10  # a singular value is none below this share of the largest


class Correlation:
    """The canonical problem of two views, and the whole joint generalised eigenproblem it is a part of:

        [0 C_xy; C_yx 0] [w_x; w_y] = rho [C_xx 0; 0 C_yy] [w_x; w_y],  C_vv = X_v'X_v / n + ridge I.

    With the whitened cross-covariance T = L_x^-1 C_xy L_y^-T, its eigenvectors are singular vectors of T: (u, v) with
    rho, (u, -v) with -rho, and (u, 0), (0, v) with 0 from the null spaces.

    Args:
        ridge: as a multiple of each view's mean variance.
    """

    def __init__(self, x: LinearFeatures, y: LinearFeatures, ridge: float) -> None:
        self.x, self.y = x, y
        n = len(x.rows)
        self.white = tuple(Whitening.of(add_ridge(v.rows.T @ v.rows / n, ridge, v.width)) for v in (x, y))
        self.cross = self.into(x.rows.T @ y.rows / n)

    def into(self, cross: Floats) -> Floats:
        """L_x^-1 C L_y^-T of C [r_x, r_y]."""
        return self.white[1].into(self.white[0].into(cross).T).T

    def weights(self, sides: Sides) -> Sides:
        """Weights [q, k] of both views."""
        image, text = (
            v.weights(white.back(side)) for v, white, side in zip((self.x, self.y), self.white, sides, strict=True)
        )
        return image, text

    def views(self, sides: Sides) -> tuple[View, View]:
        """Encoders of both views, of each direction and its opposite the one whose largest weight is positive."""
        image, text = align_signs(*self.weights(sides))
        return self.x.view(image), self.y.view(text)

    def canonical(self, most: int | None = None) -> tuple[Sides, Floats]:
        """The directions with a correlation above 0, the highest first, and these; the first ``most`` alone."""
        left, values, right = leading(self.cross, most)
        return (left, right), values

    def canonical_beside(self, taken: Sides, most: int) -> Sides:
        """Up to ``most`` canonical directions among those uncorrelated with the ones ``taken``, within each view."""
        if not taken[0].shape[1]:
            return self.canonical(most)[0]
        free = [_complement(side) for side in taken]
        if not free[0].shape[1] or not free[1].shape[1]:
            return tuple(side[:, :0] for side in taken)  # type: ignore[return-value]
        left, _, right = leading(free[0].T @ self.cross @ free[1], most)
        return free[0] @ left, free[1] @ right

    def uncorrelated(self, taken: Sides, most: int) -> Sides:
        """Up to ``most`` further directions, uncorrelated with those taken; of eigenvalue 0, beside all canonical ones.

        Any basis of that space is as good: here, each view's directions of most variance. A view that has no direction
        left takes no part: its weights are 0, its bit constant.
        """
        found = [self._of_most_variance(side, taken[side].shape[1], taken[side], most) for side in (0, 1)]
        k = max(part.shape[1] for part in found)
        left, right = (np.pad(part, ((0, 0), (0, k - part.shape[1]))) for part in found)
        return left, right

    def _of_most_variance(self, side: int, count: int, taken: Floats, most: int) -> Floats:
        """With w'Cw = 1, variance and ridge make 1 together: least |w|^2 is most variance."""
        free = _complement(taken) if count else np.eye(len(taken))
        if not free.shape[1]:
            return free
        lengths = self.white[side].back(free)
        return free @ np.linalg.eigh(lengths.T @ lengths)[1][:, :most]

    def joint(self, k: int) -> Sides:
        """The first ``k`` eigenvectors of the joint problem by falling eigenvalue; fewer where there are no more."""
        (left, right), _ = self.canonical(k)
        parts = [(left, right)]
        if k > left.shape[1]:
            parts.append(self.uncorrelated((left, right), k - left.shape[1]))
            parts.append((left[:, ::-1], -right[:, ::-1]))
        return stack(parts, k)


def stack(parts: list[Sides], k: int) -> Sides:
    """The first ``k`` of several sets of directions."""
    left, right = (np.hstack([part[side] for part in parts])[:, :k] for side in (0, 1))
    return left, right


def leading(matrix: Floats, most: int | None = None) -> tuple[Floats, Floats, Floats]:
    """Left vectors, singular values above 0 and right vectors, the largest first; the first ``most`` alone.

    A few of many come from the smaller Gram matrix: that halves the digits of small singular values, so only where
    those asked for are not small.
    """
    if most is not None and 4 * most <= min(matrix.shape):
        found = _from_gram(matrix, most)
        if found is not None:
            return found
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    k = min(int((values > NONE * max(float(values[0]), NONE)).sum()), most or len(values))
    return left[:, :k], values[:k], right[:k].T


def _from_gram(matrix: Floats, most: int) -> tuple[Floats, Floats, Floats] | None:
    """None where the least of the ``most`` largest singular values is below a thousandth of the largest."""
    from scipy.linalg import eigh

    if matrix.shape[0] > matrix.shape[1]:
        found = _from_gram(matrix.T, most)
        return None if found is None else found[::-1]
    n = len(matrix)
    squares, left = eigh(matrix @ matrix.T, subset_by_index=[n - most, n - 1], check_finite=False)
    if not squares[0] > 1e-6 * squares[-1]:
        return None
    values, left = np.sqrt(squares[::-1]), left[:, ::-1]
    return left, values, matrix.T @ left / values


def _complement(basis: Floats) -> Floats:
    """[r, r - k]: an orthonormal basis of what is orthogonal to the orthonormal columns of [r, k]."""
    from scipy.linalg import qr

    whole: Any = qr(basis, check_finite=False)[0]
    return whole[:, basis.shape[1] :]


def top_of_product(a: Floats, b: Floats, k: int) -> tuple[Floats, Floats, Floats]:
    """The ``k`` leading singular triples of A B', which is not made: A [p, m] and B [q, m], m small; none of value 0.

    Returns:
        [p, k], [k] and [q, k]; fewer than k where there are no more.
    """
    (q_a, r_a), (q_b, r_b) = np.linalg.qr(a), np.linalg.qr(b)
    left, values, right = leading(r_a @ r_b.T)
    return q_a @ left[:, :k], values[:k], q_b @ right[:, :k]
