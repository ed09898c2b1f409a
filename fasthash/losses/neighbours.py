"""Neighbour distributions: which rows of a batch lie near a row, in one space and as another one has it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fasthash.ops._checks import check_matrix, check_same, of_one_dtype

TEMPERATURES = (1e-4, 1e2)  # of cosines: all weight on the nearest row, and the same weight on every row
_HALVINGS = 40


class NeighbourDivergence(nn.Module):
    """Divergence of the codes' neighbour distributions from those of a teacher, its mean over the rows.

    With cosines t_ij of the teacher and s_ij of the codes, p_i = softmax_j(t_ij / tau), q_i = softmax_j(s_ij / tau'),
    it is sum_j p_ij log(p_ij / q_ij); pairs i = j, of a row with itself or with its own partner, are left out.

    Source: the objective of stochastic neighbour embedding (Hinton and Roweis, NIPS 2002) with cosines in the place of
        squared distances, between two networks as in Passalis and Tefas, Learning Deep Representations with
        Probabilistic Knowledge Transfer, ECCV 2018.
    """

    def forward(
        self, teacher: Tensor, student: Tensor, temperature: float, student_temperature: float | Tensor
    ) -> Tensor:
        """The loss [] in nats, float32 or wider.

        Args:
            teacher, student: [m, m] cosines of the same rows and columns, m >= 3.
            temperature: tau, above 0; for instance of `temperature_of`.
            student_temperature: tau', above 0; a tensor [] may be learned.
        Raises:
            ValueError: shapes, dtypes or devices disagree, or the cosines are no square of 3 rows or more.
        """
        check_matrix("NeighbourDivergence", "teacher", teacher)
        teacher, student = of_one_dtype(teacher, check_matrix("NeighbourDivergence", "student", student))
        check_same("NeighbourDivergence", "student", student, "teacher", teacher, rows=True)
        log_p, log_q = (
            torch.log_softmax(others(_wide(x)) / t, dim=1)
            for x, t in ((teacher, temperature), (student, student_temperature))
        )
        return nn.functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def others(square: Tensor) -> Tensor:
    """[m, m - 1], a square matrix without its diagonal."""
    m = len(square)
    if square.shape != (m, m) or m < 3:
        raise ValueError(f"NeighbourDivergence: cosines must be [m, m] with m >= 3, got {list(square.shape)}")
    return square.flatten()[1:].view(m - 1, m + 1)[:, :-1].reshape(m, m - 1)


@torch.no_grad()
def temperature_of(cosines: Tensor, perplexity: float) -> float:
    """The temperature at which the distributions of `NeighbourDivergence` have this perplexity in the mean.

    The perplexity, exp of the entropy, is the number of rows that count as neighbours. More than half of the other rows
    are never asked for; what no temperature in `TEMPERATURES` gives, the nearest of them comes closest to.

    Args:
        cosines: [m, m]; the diagonal is left out.
        perplexity: of the geometric mean over the rows, above 1.
    """
    rest = others(cosines.double())
    wanted = math.log(min(perplexity, rest.shape[1] / 2))
    low, high = TEMPERATURES
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        log_p = torch.log_softmax(rest / middle, dim=1)
        entropy = float(-(log_p.exp() * log_p).sum(dim=1).mean())
        low, high = (low, middle) if entropy > wanted else (middle, high)
    return math.sqrt(low * high)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
