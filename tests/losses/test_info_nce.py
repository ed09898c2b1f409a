"""InfoNCE against its formula, entry by entry."""

import math

import numpy as np
import pytest
import torch

from fasthash.losses import InfoNCE


def by_hand(a, b, tau):
    n = len(a)
    s = [[p @ q / math.sqrt((p @ p) * (q @ q)) / tau for q in b] for p in a]
    rows = sum(-s[i][i] + math.log(sum(math.exp(s[i][j]) for j in range(n))) for i in range(n))
    columns = sum(-s[i][i] + math.log(sum(math.exp(s[j][i]) for j in range(n))) for i in range(n))
    return (rows + columns) / (2 * n)


@pytest.mark.parametrize("tau", [0.07, 1.0])
def test_equals_the_formula(tau):
    a, b = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    loss = InfoNCE(tau)
    assert float(loss(torch.from_numpy(a[0]), torch.from_numpy(b[0]))) == pytest.approx(by_hand(a[0], b[0], tau))
    sets = np.mean([by_hand(*each, tau) for each in zip(a, b, strict=True)])
    assert float(loss(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(sets)


def test_gradient_and_one_row():
    x, y = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(InfoNCE(0.5), (x, y))
    one = torch.randn(1, 3, requires_grad=True)
    loss = InfoNCE()(one, torch.randn(1, 3))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(one.grad).all()


def test_bad_input():
    with pytest.raises(ValueError, match="^InfoNCE: temperature must be above 0, got 0$"):
        InfoNCE(0)
    with pytest.raises(
        ValueError, match=r"^InfoNCE: a and b must both be \[m, width\] or \[m, k, width\], got .*4, 3.*"
    ):
        InfoNCE()(torch.zeros(4, 3), torch.zeros(3, 3))
    assert repr(InfoNCE()) == "InfoNCE(temperature=0.07)"
