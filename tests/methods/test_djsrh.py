"""DJSRH against its loss written out in float64, and the rules of its schedule."""

import math

import numpy as np
import pytest
import torch

from fasthash.methods import get, resolve_options


@pytest.fixture
def method(rows):
    torch.manual_seed(0)
    kind = get("djsrh")
    options = resolve_options(kind, "test", {"text_hidden": (4,), "beta": 0.6, "lambda1": 0.2, "lambda2": 0.3})
    return kind(rows, 8, options)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_loss_equals_the_formulas(method, rows, batch_of):
    batch = batch_of(0, 2, 3, 5)
    method.begin_epoch(8)
    with torch.no_grad():
        b_i = np.tanh(3 * method.image(batch.image).double().numpy())
        b_t = np.tanh(3 * method.text(batch.text).double().numpy())
    f_i, f_t = unit(batch.image.double().numpy()), unit(batch.text.double().numpy())
    fused = 0.6 * (2 * f_i @ f_i.T - 1) + 0.4 * (2 * f_t @ f_t.T - 1)
    target = 1.5 * (0.6 * fused + 0.4 / 4 * fused @ fused)
    u, v = unit(b_i), unit(b_t)
    want = np.mean((target - u @ v.T) ** 2)
    want += 0.2 * np.mean((target - u @ u.T) ** 2) + 0.3 * np.mean((target - v @ v.T) ** 2)
    assert float(method(batch, "joint").detach()) == pytest.approx(want, rel=1e-5)


def test_all_parameters_get_a_gradient_and_the_teacher_none(method, batch_of):
    batch = batch_of(0, 1, 2, 3)
    batch.image.requires_grad_()
    method(batch, "joint").backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


@pytest.mark.parametrize("epoch", [0, 3, 79])
def test_relaxation_hardens_as_the_root_of_the_epoch(method, epoch):
    method.begin_epoch(epoch)
    assert method.alpha == math.sqrt(epoch + 1)


def test_one_joint_phase_drops_the_partial_batch(method):
    (phase,) = method.phases(0)
    assert (phase.optimizers, phase.sampler, phase.drop_last) == (("image", "text"), "shuffle", True)


def test_takes_no_labels(rows):
    kind = get("djsrh")
    assert kind.supervision == "none"
    kind(type(rows)(rows.image, rows.text, None), 8, resolve_options(kind, "test", {"text_hidden": ()}))


def test_the_state_holds_no_teacher(method):
    assert {name.split(".")[0] for name in method.state_dict()} == {"image", "text"}
