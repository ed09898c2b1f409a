"""DCMH against its objective written out in float64, and the rules of its schedule."""

import math

import numpy as np
import pytest
import torch

from fasthash.methods import get, resolve_options


@pytest.fixture
def method(rows):
    torch.manual_seed(0)
    kind = get("dcmh")
    options = resolve_options(kind, "test", {"text_hidden": (4,), "gamma": 0.7, "eta": 0.3})
    return kind(rows, 8, options)


def objective(method, rows, index, side):
    """Jiang and Li's objective restricted to a batch's rows of one modality against the other's whole bank."""
    tower, features = (method.image, rows.image.features) if side == "image" else (method.text, rows.text.features)
    own, other = (method.image_bank, method.text_bank) if side == "image" else (method.text_bank, method.image_bank)
    with torch.no_grad():
        h = tower(features[index]).double().numpy()
    own, other = own.codes.double().numpy().copy(), other.codes.double().numpy()
    own[index] = h
    labels = rows.labels.numpy().astype(int)
    total = 0.0
    for i, row in enumerate(index):
        for j in range(len(labels)):
            theta = 0.5 * h[i] @ other[j]
            total += np.logaddexp(0, theta) - float(labels[row] @ labels[j] > 0) * theta
    unified = method.unified.double().numpy()[index]
    total += 0.7 * ((unified - h) ** 2).sum() + 0.3 * (own.sum(axis=0) ** 2).sum()
    return total / (len(labels) * len(index))


@pytest.mark.parametrize("side", ["image", "text"])
def test_loss_equals_the_objective(method, rows, batch_of, side):
    index = [4, 0, 3]
    want = objective(method, rows, index, side)
    assert float(method(batch_of(*index), side).detach()) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("side", ["image", "text"])
def test_gradient_is_that_of_the_paper(method, rows, batch_of, side):
    """d/dh_i = sum_j (sigma(theta_ij) - S_ij) g_j / 2 + 2 gamma (h_i - b_i) + 2 eta 1^T H, over N m."""
    index = [1, 5]
    seen = {}
    tower = getattr(method, side)
    tower.register_forward_hook(lambda module, args, h: (h.retain_grad(), seen.update(h=h))[1])
    other = (method.text_bank if side == "image" else method.image_bank).codes.double().clone()
    method(batch_of(*index), side).backward()
    h = seen["h"].detach().double()
    own = (method.image_bank if side == "image" else method.text_bank).codes.double()
    labels = rows.labels.double()
    sim = (labels[index] @ labels.T > 0).double()
    want = 0.5 * (torch.sigmoid(0.5 * h @ other.T) - sim) @ other
    want += 2 * 0.7 * (h - method.unified[index].double()) + 2 * 0.3 * own.sum(dim=0)
    torch.testing.assert_close(seen["h"].grad.double(), want / (6 * 2), rtol=1e-5, atol=1e-7)


def test_each_phase_moves_its_own_tower_only(method, batch_of):
    for side, still in (("image", "text"), ("text", "image")):
        method.zero_grad(set_to_none=True)
        method(batch_of(0, 1, 2), side).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(method, side).parameters())
        assert all(p.grad is None for p in getattr(method, still).parameters())


def test_banks_take_the_forward_values_and_do_not_alias(method, batch_of):
    text_before, image_before = method.text_bank.codes.clone(), method.image_bank.codes.clone()
    with torch.no_grad():
        h = method.image(batch_of(2, 4).image)
    method(batch_of(2, 4), "image")
    assert torch.equal(method.image_bank.codes[[2, 4]], h)
    assert torch.equal(method.image_bank.codes[[0, 1, 3, 5]], image_before[[0, 1, 3, 5]])
    assert torch.equal(method.text_bank.codes, text_before)
    assert method.image_bank.codes.data_ptr() != method.text_bank.codes.data_ptr()


def test_unified_code_is_the_sign_of_the_sum_and_has_no_zero(method):
    method.image_bank.codes.zero_()
    method.text_bank.codes.zero_()
    method.end_epoch(0)
    assert torch.equal(method.unified, torch.ones(6, 8))
    method.text_bank.codes[0, 0] = -1e-9
    method.end_epoch(0)
    assert method.unified[0, 0] == -1


def test_learning_rate_is_geometric(method):
    rates = [method.learning_rates(epoch)["image"] for epoch in (0, 249, 250, 499)]
    assert rates[0] == pytest.approx(10**-1.5)
    assert rates[3] == pytest.approx(1e-3)
    assert math.sqrt(rates[1] * rates[2]) == pytest.approx(math.sqrt(10**-1.5 * 1e-3))


def test_features_are_centred_by_the_training_mean(method, rows):
    torch.testing.assert_close(method.image.mean, rows.image.features.mean(dim=0))
    torch.testing.assert_close(method.text.mean, rows.text.features.mean(dim=0))
