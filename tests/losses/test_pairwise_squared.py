"""The squared pairwise term against its formula in plain loops."""

import numpy as np
import pytest
import torch

from fasthash.losses import PairwiseNLL, PairwiseSquared
from fasthash.ops import pack_labels


def made(n=5, m=7, d=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = [(rng.random((k, 4)) < 0.4).astype(np.uint8) for k in (n, m)]
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)), *labels


def test_is_half_the_squared_difference():
    a, b, la, lb = made()
    want = 0.0
    for i in range(5):
        for j in range(7):
            theta = 0.3 * a[i] @ b[j]
            want += 0.5 * (0.999 * float(la[i] @ lb[j] > 0) * theta - np.logaddexp(0, theta)) ** 2
    got = PairwiseSquared(0.3)(*map(torch.from_numpy, (a, b, la, lb)))
    assert float(got) == pytest.approx(want, rel=1e-12)


def test_packed_labels_and_gradcheck():
    a, b, la, lb = map(torch.from_numpy, made())
    loss = PairwiseSquared(0.5, similar=1.0)
    assert torch.equal(loss(a, b, la, lb), loss(a, b, pack_labels(la), pack_labels(lb)))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, la, lb), (a.requires_grad_(), b.requires_grad_()))


def test_differs_from_the_likelihood_but_pulls_the_same_way():
    a, b, la, lb = map(torch.from_numpy, made())
    pulls = []
    for loss in (PairwiseSquared(0.5), PairwiseNLL(0.5)):
        theta = (a @ b.T).requires_grad_()  # as codes: theta_ij = row i of theta times unit vector j
        loss(theta, torch.eye(7, dtype=torch.float64), la, lb).backward()
        pulls.append(theta.grad)
    assert torch.equal(pulls[0].sign(), pulls[1].sign())
    assert not torch.allclose(*pulls)


def test_stays_finite_for_large_codes():
    a, b, la, lb = map(torch.from_numpy, made())
    assert torch.isfinite(PairwiseSquared()(a.float() * 1e3, b.float() * 1e3, la, lb))


def test_errors():
    a, b, la, lb = map(torch.from_numpy, made())
    with pytest.raises(ValueError, match=r"PairwiseSquared: b must be \[n, 6\] like a, got \[7, 5\]"):
        PairwiseSquared()(a, b[:, :5], la, lb)
    with pytest.raises(ValueError, match="PairwiseSquared: scale"):
        PairwiseSquared(float("nan"))
