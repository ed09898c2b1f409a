"""Divergences of neighbour distributions against sums written out in float64, and the temperature of a perplexity."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from fasthash.losses import NeighbourDivergence
from fasthash.losses.neighbours import temperature_of


def cosines(m, seed):
    x = torch.nn.functional.normalize(torch.randn(m, 4, generator=torch.Generator().manual_seed(seed)).double())
    return x @ x.T


def distribution(row, i, temperature):
    weights = [0.0 if j == i else math.exp(value / temperature) for j, value in enumerate(row)]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("m", [3, 8])
def test_is_the_sum_written_out(m):
    teacher, student = cosines(m, 0), cosines(m, 1)
    wanted = 0.0
    for i in range(m):
        p, q = distribution(teacher[i].tolist(), i, 0.2), distribution(student[i].tolist(), i, 0.5)
        wanted += sum(p[j] * math.log(p[j] / q[j]) for j in range(m) if j != i) / m
    assert float(NeighbourDivergence()(teacher, student, 0.2, 0.5)) == pytest.approx(wanted, rel=1e-12)


def test_same_distributions_do_not_diverge_and_the_diagonal_does_not_count():
    teacher = cosines(6, 0)
    student = 2 * teacher
    student.fill_diagonal_(-100)
    assert float(NeighbourDivergence()(teacher, student, 0.1, 0.2)) == pytest.approx(0, abs=1e-12)


def test_gradient_of_codes_and_temperature():
    teacher, loss = cosines(5, 0), NeighbourDivergence()
    inputs = cosines(5, 1).requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda s, t: loss(teacher, s, 0.2, t), inputs)


@pytest.mark.parametrize("perplexity", [1.5, 4.0, 12.0])
def test_temperature_gives_the_perplexity(perplexity):
    x = cosines(40, 0)
    t = temperature_of(x, perplexity)
    entropy = [-sum(p * math.log(p) for p in distribution(x[i].tolist(), i, t) if p) for i in range(40)]
    assert math.exp(np.mean(entropy)) == pytest.approx(perplexity, rel=1e-3)


def test_no_more_than_half_of_the_rows_are_neighbours():
    assert temperature_of(cosines(9, 0), 1000.0) == temperature_of(cosines(9, 0), 4.0)


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        (torch.ones(4, 4), torch.ones(4, 5), r"student must be \[4, 4\] like teacher, got \[4, 5\]"),
        (torch.ones(2, 2), torch.ones(2, 2), r"cosines must be \[m, m\] with m >= 3, got \[2, 2\]"),
        (torch.ones(4, 5), torch.ones(4, 5), r"cosines must be \[m, m\] with m >= 3, got \[4, 5\]"),
    ],
)
def test_bad_input_is_one_line(teacher, student, message):
    with pytest.raises(ValueError, match=message):
        NeighbourDivergence()(teacher, student, 0.1, 0.1)
