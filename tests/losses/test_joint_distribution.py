"""The joint affinity with weighted extremes against its formulas in float64, and the fit of its distribution."""

import math

import numpy as np
import pytest
import torch

from fasthash.losses import AffinityDistribution, JointDistribution

KNOWN = AffinityDistribution(-0.1, 0.05, 0.0, 0.06, -0.4, 0.7)  # both thresholds have entries beyond them


def cosines(a, b):
    return np.array([[p @ q / math.sqrt((p @ p) * (q @ q)) for q in b] for p in a])


def affinity_by_hand(f_image, f_text, alpha, beta, gamma, affine=True):
    s_image, s_text = cosines(f_image, f_image), cosines(f_text, f_text)
    if affine:
        s_image, s_text = 2 * s_image - 1, 2 * s_text - 1
    across = cosines(s_image, s_text)  # of the rows: how alike two pairs are by all the others
    return alpha * s_image + beta * s_text + gamma * (across + across.T) / 2


def target_by_hand(s, known, mu, weights, scales):
    out = s.copy()
    left = known.location_left - scales[0] * known.scale_left
    right = known.location_right + scales[1] * known.scale_right
    for at in np.ndindex(*s.shape):
        if s[at] < left:
            out[at] = (1 + weights[0] * math.exp(-(s[at] - known.lowest))) * s[at]
        if s[at] > right:
            out[at] = (1 + weights[1] * math.exp(s[at] - known.highest)) * s[at]
    return mu * out, (s < left).sum(), (s > right).sum()


@pytest.fixture
def features():
    rng = np.random.default_rng(3)
    return [torch.from_numpy(np.abs(rng.standard_normal((7, p)))) for p in (6, 4)]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("gamma", [0.3, 0.0])
def test_loss_equals_the_formulas(features, affine, gamma):
    rng = np.random.default_rng(4)
    b_image, b_text = rng.standard_normal((2, 7, 5))
    settings = {"alpha": 0.5, "beta": 0.2, "gamma": gamma, "affine": affine}
    loss = JointDistribution(**settings, mu=1.3, intra=0.2, pair=0.7, left_weight=0.3, right_weight=0.4)
    loss.distribution = KNOWN
    s = affinity_by_hand(*(f.numpy() for f in features), **settings)
    np.testing.assert_allclose(loss.affinity(*features), s, rtol=1e-12)
    target, left, right = target_by_hand(s, KNOWN, 1.3, (0.3, 0.4), (2, 4))
    assert right > 7
    assert left > 0 or not affine
    np.testing.assert_allclose(loss.target(*features), target, rtol=1e-12)
    both = np.mean((cosines(b_image, b_text) - target) ** 2) + np.mean((cosines(b_text, b_image) - target) ** 2)
    own = sum(np.mean((cosines(b, b) - target) ** 2) for b in (b_image, b_text))
    got = loss(torch.from_numpy(b_image), torch.from_numpy(b_text), *features)
    assert float(got.reconstruction) == pytest.approx(both + 0.2 * own, rel=1e-9)
    assert float(got.pairs) == pytest.approx(-0.7 * np.diag(cosines(b_image, b_text)).mean(), rel=1e-9)


def test_gradient_and_symmetry(features):
    loss = JointDistribution()
    loss.distribution = KNOWN
    codes = [torch.randn(7, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: sum(loss(a, b, *features)), codes)
    target = loss.target(*features)
    torch.testing.assert_close(target, target.T)
    assert not target.requires_grad


def test_the_teacher_takes_no_gradient(features):
    loss = JointDistribution()
    loss.distribution = KNOWN
    given = [f.clone().requires_grad_() for f in features]
    sum(loss(torch.randn(7, 3).double().requires_grad_(), torch.randn(7, 3).double(), *given)).backward()
    assert all(f.grad is None for f in given)


def test_fit_finds_the_two_halves():
    rng = np.random.default_rng(0)
    left, right = -np.abs(rng.normal(0, 0.02, 30000)), rng.exponential(0.09, 60000)
    found = AffinityDistribution.fit(torch.from_numpy(rng.permutation(np.r_[left, right]) - 0.49))
    assert found.location_left == found.location_right == pytest.approx(-0.49, abs=0.01)
    assert found.scale_left == pytest.approx(0.02, abs=0.008)
    assert found.scale_right == pytest.approx(0.09, abs=0.01)
    assert (found.lowest, found.highest) == pytest.approx((left.min() - 0.49, right.max() - 0.49))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_fit_of_few_values(n):
    found = AffinityDistribution.fit(torch.full((n,), 0.25))
    assert found == AffinityDistribution(0.25, 0.0, 0.25, 0.0, 0.25, 0.25)


def test_fit_leaves_the_diagonal_out(features):
    loss = JointDistribution()
    found = loss.fit([features])
    s = loss.affinity(*features).numpy()
    others = s[~np.eye(7, dtype=bool)]
    assert found is loss.distribution
    assert (found.lowest, found.highest) == (others.min(), others.max())
    assert found.highest < s.diagonal().max()


def test_a_batch_of_one_and_rows_of_zeros(features):
    loss = JointDistribution()
    loss.distribution = KNOWN
    codes = [torch.randn(1, 4, requires_grad=True) for _ in range(2)]
    sum(loss(*codes, *(f[:1].float() for f in features))).backward()
    zeros = [torch.zeros(3, 4, requires_grad=True) for _ in range(2)]
    sum(loss(*zeros, *(torch.zeros(3, p) for p in (6, 4)))).backward()
    assert all(torch.isfinite(x.grad).all() for x in (*codes, *zeros))


def test_bad_input(features):
    loss = JointDistribution()
    with pytest.raises(ValueError, match="^JointDistribution: distribution must be set or fitted first, got None$"):
        loss.target(*features)
    with pytest.raises(ValueError, match="^JointDistribution: f_text must have 7 rows on cpu like f_image, got 3 on"):
        loss.affinity(features[0], features[1][:3])
    with pytest.raises(ValueError, match="^JointDistribution: alpha must be from 0 to 1, got 2$"):
        JointDistribution(alpha=2)
    with pytest.raises(ValueError, match=r"^AffinityDistribution.fit: values must be finite \[n\], got \[0\]$"):
        AffinityDistribution.fit(torch.zeros(0))
    assert "left_scales=2.0" in repr(loss)
