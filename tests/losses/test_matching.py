import itertools
import sys

import pytest
import torch

from fasthash.losses import match_codes


def case(seed, m=6, bits=5):
    g = torch.Generator().manual_seed(seed)
    return torch.tanh(torch.randn(m, bits, generator=g)), 2.0 * torch.randint(2, (m, bits), generator=g) - 1


@pytest.mark.parametrize("seed", range(5))
def test_is_the_best_of_all_permutations(seed):
    h, targets = case(seed)
    best = min(
        sum(float((h[i].double() - targets[j].double()).norm()) for i, j in enumerate(order))
        for order in itertools.permutations(range(6))
    )
    matched = match_codes(h, targets)
    assert float((h.double() - matched.double()).norm(dim=1).sum()) == pytest.approx(best, rel=1e-6)
    assert sorted(map(tuple, matched.tolist())) == sorted(map(tuple, targets.tolist()))


def test_distances_count_and_not_inner_products():
    """A case in which the largest sum of inner products belongs to another order."""
    g = torch.Generator().manual_seed(17)
    h, targets = torch.tanh(2 * torch.randn(4, 6, generator=g)), 2.0 * torch.randint(2, (4, 6), generator=g) - 1
    products = max(
        itertools.permutations(range(4)), key=lambda order: sum(float(h[i] @ targets[j]) for i, j in enumerate(order))
    )
    other, matched = targets[list(products)], match_codes(h, targets)
    assert float((h * matched).sum()) < float((h * other).sum())
    assert float((h - matched).norm(dim=1).sum()) < float((h - other).norm(dim=1).sum())


def test_no_gradient_and_any_float():
    h, targets = case(0)
    h.requires_grad_()
    assert not match_codes(h, targets).requires_grad
    want = match_codes(h, targets)
    assert torch.equal(match_codes(h.half(), targets.half()).float(), want)


def test_bad_input():
    h, targets = case(0)
    with pytest.raises(ValueError, match=r"^match_codes: targets must be \[6, 5\] like h, got \[5, 5\]"):
        match_codes(h, targets[:5])
    with pytest.raises(ValueError, match=r"^match_codes: h and targets must be finite"):
        match_codes(h.log(), targets)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(RuntimeError, match=r"^match_codes: needs the package scipy: pip install 'fasthash\[learn\]'$"):
        match_codes(*case(0))
