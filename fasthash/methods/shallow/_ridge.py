"""Ridge regression with one factorisation for many right sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from fasthash.methods._closed_form import Floats


class Ridge:
    """Solves (X'X + delta I) W = X'T by Cholesky.

    Args:
        rows: X [n, r], r at most n: of more features than rows, `LinearFeatures` has what is needed.
        delta: above 0.
    Memory: r x r.
    """

    def __init__(self, rows: Floats, delta: float) -> None:
        from scipy.linalg import cho_factor

        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += delta
        self._factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, cross: Floats) -> Floats:
        """W [r, k] of X'T [r, k]."""
        from scipy.linalg import cho_solve

        made: Any = cho_solve(self._factor, cross, check_finite=False)
        return made


def solve_ridge(gram: Floats, delta: float, right: Floats) -> Floats:
    """(G + delta I)^-1 R of a small positive semi-definite G [k, k] and R [k, m]."""
    from scipy.linalg import cho_factor, cho_solve

    shifted = gram + delta * np.eye(len(gram))
    made: Any = cho_solve(cho_factor(shifted, lower=True, overwrite_a=True), right)
    return made
