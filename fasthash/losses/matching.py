"""Target codes, each given to the row that is near it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.ops._checks import check_matrix, check_same

_NAME = "match_codes"


@torch.no_grad()
def match_codes(h: Tensor, targets: Tensor) -> Tensor:
    """The targets in the order in which the sum of their Euclidean distances to the rows of h is least.

    Pulled towards codes drawn at random and matched so, codes spread evenly over the cube while each moves as little
    as it may. The distances are added up themselves, not their squares: with those, the sum of inner products alone
    would count.

    Args:
        h: [m, bits] relaxed codes.
        targets: [m, bits], dtype and device of ``h``.
    Returns:
        [m, bits], a permutation of the rows of ``targets``; no gradient flows through it.
    Raises:
        ValueError: shapes, dtypes or devices disagree, or an entry is not finite. RuntimeError: without scipy.
    Time: O(m^3) at worst, on the CPU, by the Hungarian method; 1 to 3 ms at m = 128.
    Source: Bojanowski and Joulin, Unsupervised Learning by Predicting Noise, ICML 2017; Huo et al., Deep
        Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint for Cross-modal Retrieval, ACM TOMM 2024.
    """
    check_matrix(_NAME, "h", h)
    check_same(_NAME, "targets", targets, "h", h, rows=True)
    cost = torch.cdist(h.float(), targets.float()).cpu()
    if not torch.isfinite(cost).all():
        raise ValueError(f"{_NAME}: h and targets must be finite")
    _, columns = _solver()(cost.numpy())
    return targets[torch.from_numpy(columns).to(targets.device)]


def _solver() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment  # late: most methods go without
    except ImportError:
        raise RuntimeError(f"{_NAME}: needs the package scipy: pip install 'fasthash[learn]'") from None
    return linear_sum_assignment
