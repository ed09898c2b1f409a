"""IMH: codes that are alike for neighbours in either modality and linear in the features of both.

Song, Yang, Yang, Huang, Shen: Inter-Media Hashing for Large-Scale Retrieval from Heterogeneous Data Sources, SIGMOD
2013. With A_v = I - X_v (X_v'X_v + beta I)^-1 X_v' and L_v the Laplacian of a modality's graph of neighbours, minimised
is sum_v tr F_v'(A_v + lambda L_v) F_v + M |F_1 - F_2|^2, where pairs are to agree so much (M = 1e10) that F_1 is F_2:
eigenvectors F of A_1 + A_2 + lambda (L_1 + L_2). A_v is I less a product of factors as wide as the features, L_v is
sparse.

The constant vector is an eigenvector that tells no item from another; it is left out. In a collection of
re-implementations in MATLAB each set of items is cut at its own medians; here all are cut at the training rows'.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from fasthash.methods._base import Positive, Preset, Weight
from fasthash.methods._closed_form import ClosedForm, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._graph_embedding import Smoothness, laplacian, neighbour_graph
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features


def _chosen(data: str) -> str:
    return f"fasthash's own: unit rows, more neighbours, less ridge; chosen on a fifth of {data}'s training rows"


class IMHOptions(LinearOptions):
    """The paper's values, where it has any."""

    neighbours: int = Field(5, ge=1)  # of each item, in each modality's graph
    lam: Weight = 1.0  # lambda, of the graphs
    beta: Positive = 1.0  # ridge of the maps from features to codes
    tolerance: Positive = 1e-5  # of the eigenvectors' residuals, beside the largest diagonal entry
    iterations: int = Field(300, ge=1)  # of LOBPCG at most


@register
class IMH(ClosedForm):
    """Codes of new items are x_v W_v above its median over the training rows, W_v = (X_v'X_v + beta I)^-1 X_v'F."""

    name = "imh"
    paper = (
        "Song, Yang, Yang, Huang, Shen: Inter-Media Hashing for Large-Scale Retrieval from Heterogeneous Data Sources,"
        " SIGMOD 2013"
    )
    supervision = "none"
    learns_codes = True
    options_type = IMHOptions
    presets: ClassVar[dict[str, Preset]] = {
        "wiki": Preset(_chosen("wiki"), {"scale": "rows", "neighbours": 15, "beta": 0.1}),
        "emoji": Preset(_chosen("emoji"), {"scale": "rows", "neighbours": 15, "beta": 0.1, "lam": 0.1}),
    }

    options: IMHOptions

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        from scipy import sparse

        o, n = self.options, len(pairs)
        if n <= bits:
            raise ValueError(f"imh: bits must be at most {n - 1}, one less than the training pairs, got {bits}")
        sides = linear_features(pairs, o)
        graph = sparse.csr_array((n, n))
        if o.lam:
            graph = o.lam * sum(laplacian(neighbour_graph(side.rows, o.neighbours)) for side in sides)
        fits = [ridge_factor(side.rows, o.beta) for side in sides]
        smoothness = Smoothness(2.0, graph, np.hstack([factor for factor, _ in fits]))
        f = smoothness.smallest(bits, o.tolerance, o.iterations, np.random.default_rng(seed))
        views = []
        for side, (factor, lower) in zip(sides, fits, strict=True):
            made = factor @ (factor.T @ f)
            view = side.view(side.weights(_back(lower, factor.T @ f)))
            view.threshold += view.threshold.new_tensor(np.median(made, axis=0))
            views.append(view)
        image, text = views
        return Solution(image, text, learned=f - np.median(f, axis=0))


def ridge_factor(rows: Floats, beta: float) -> tuple[Floats, Floats]:
    """K [n, r] with K K' = X (X'X + beta I)^-1 X', and the lower C [r, r] with K = X C^-T, C C' = X'X + beta I."""
    from scipy.linalg import cholesky, solve_triangular

    gram = rows.T @ rows
    gram[np.diag_indices_from(gram)] += beta
    lower = cholesky(gram, lower=True, overwrite_a=True)
    factor: Floats = solve_triangular(lower, rows.T, lower=True).T
    return factor, lower


def _back(lower: Floats, inner: Floats) -> Floats:
    """C^-T of [r, k]."""
    from scipy.linalg import solve_triangular

    made: Floats = solve_triangular(lower, inner, lower=True, trans="T")
    return made
