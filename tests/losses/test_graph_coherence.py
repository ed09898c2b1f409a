"""DGCPN's loss against its formulas in float64."""

import math

import numpy as np
import pytest
import torch

from fasthash.losses import GraphCoherence


def cosines(a, b):
    return np.array([[p @ q / math.sqrt((p @ p) * (q @ q)) for q in b] for p in a])


def by_hand(image, text, s, target=1.5, pair=1.0, coherence=1.0, consistency=1.0):
    m = len(image)
    own, across = (cosines(image, image), cosines(text, text)), cosines(image, text)
    pairs = np.mean([(across[i, i] - target) ** 2 for i in range(m)])
    off = sum((c[i, j] - s[i, j]) ** 2 for c in (*own, across) for i in range(m) for j in range(m) if i != j) / m**2
    agree = np.mean((across - own[0]) ** 2) + np.mean((across - own[1]) ** 2)
    agree += np.mean((own[0] - own[1]) ** 2) + np.mean((across - across.T) ** 2)
    return {"pairs": pair * pairs, "reconstruction": coherence * off, "consistency": consistency * agree}


@pytest.fixture
def given():
    rng = np.random.default_rng(1)
    s = rng.uniform(-1, 2, (6, 6))
    return *rng.standard_normal((2, 6, 4)), (s + s.T) / 2


@pytest.mark.parametrize(
    "settings", [{}, {"target": 1.0, "pair": 0.5, "coherence": 3.0, "consistency": 0.2}, {"consistency": 0.0}], ids=str
)
def test_equals_the_formulas(given, settings):
    got = GraphCoherence(**settings)(*(torch.from_numpy(x) for x in given))
    assert {k: float(v) for k, v in got._asdict().items()} == pytest.approx(by_hand(*given, **settings), rel=1e-9)


def test_gradient_is_that_of_the_formulas(given):
    """The diagonal stands out of the sums, and out of their gradient."""
    image, text, s = given
    leaves = [torch.from_numpy(x).clone().requires_grad_() for x in (image, text)]
    sum(GraphCoherence()(*leaves, torch.from_numpy(s))).backward()
    for value, leaf in ((image, leaves[0]), (text, leaves[1])):
        for at in np.ndindex(*value.shape):
            middle, ends = value[at], []
            for step in (1e-6, -1e-6):
                value[at] = middle + step
                ends.append(sum(by_hand(image, text, s).values()))
            value[at] = middle
            assert float(leaf.grad[at]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_the_diagonal_of_the_affinity_does_not_count(given):
    image, text, s = (torch.from_numpy(x) for x in given)
    before = GraphCoherence()(image, text, s)
    kept = s.clone()
    s.diagonal().fill_(77.0)
    after = GraphCoherence()(image, text, s)
    assert [float(x) for x in after] == pytest.approx([float(x) for x in before])
    assert torch.equal(s.diagonal(), torch.full((6,), 77.0, dtype=s.dtype))  # what is given stays as it is
    assert not torch.equal(kept, s)


@pytest.mark.parametrize("m", [1, 2])
def test_few_pairs_and_rows_of_zeros(m):
    for make in (torch.randn, torch.zeros):
        codes = [make(m, 4).requires_grad_() for _ in range(2)]
        sum(GraphCoherence()(*codes, torch.ones(m, m))).backward()
        assert all(torch.isfinite(x.grad).all() for x in codes)


def test_bad_input():
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"^GraphCoherence: b_text must be \[3, 4\] like b_image, got \[2, 4\]$"):
        GraphCoherence()(x, x[:2], torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"^GraphCoherence: affinity must be real \[3, 3\]"):
        GraphCoherence()(x, x, torch.ones(2, 2))
    with pytest.raises(ValueError, match="^GraphCoherence: target must be a finite number, got nan$"):
        GraphCoherence(target=math.nan)
    assert repr(GraphCoherence()) == "GraphCoherence(target=1.5, pair=1.0, coherence=1.0, consistency=1.0)"
