"""BertAdam against its formulas in a float64 loop, against AdamW where the two coincide, and across a restart."""

import copy
import math

import numpy as np
import pytest
import torch

from fasthash.methods._bert_adam import BertAdam, schedule

SHAPES = [(3, 4), (4,), (1,), ()]


def parameters(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def gradients(step, scale=1.0):
    """Lengths below and above 1, so that some tensors are clipped and some are not."""
    generator = torch.Generator().manual_seed(100 + step)
    sizes = [scale * 3.0, scale * 0.05, scale * 2.0, scale * 0.3]
    return [torch.randn(shape, generator=generator) * size for shape, size in zip(SHAPES, sizes, strict=True)]


def run(optimizer, params, steps, scale=1.0):
    for step in steps:
        for p, grad in zip(params, gradients(step, scale), strict=True):
            p.grad = grad.to(p.dtype).clone()
        optimizer.step()


def by_hand(params, steps, lr, total, warmup=0.1, b1=0.9, b2=0.98, eps=1e-6, decay=0.2, max_norm=1.0):
    """The rule, one number after the other."""
    weights = [p.detach().double().numpy().reshape(-1).copy() for p in params]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t in range(steps):
        x = t / total
        rate = lr * (x / warmup if x < warmup else 0.5 * (1 + math.cos(math.pi * x)))
        for k, grad in enumerate(gradients(t)):
            g = grad.double().numpy().reshape(-1)
            length = math.sqrt(sum(value * value for value in g))
            g = g * min(1.0, max_norm / (length + 1e-6))
            for i in range(len(g)):
                m[k][i] = b1 * m[k][i] + (1 - b1) * g[i]
                v[k][i] = b2 * v[k][i] + (1 - b2) * g[i] ** 2
                update = m[k][i] / (math.sqrt(v[k][i]) + eps) + decay * weights[k][i]
                weights[k][i] -= rate * update
    return [torch.tensor(w.reshape(shape)) for w, shape in zip(weights, SHAPES, strict=True)]


@pytest.mark.parametrize(
    ("dtype", "max_norm", "tolerance"),
    [
        (torch.float32, 1.0, 1e-5),
        (torch.float64, 1.0, 1e-7),
        (torch.float64, math.inf, 1e-12),
    ],  # the clipping is float32
)
def test_equals_the_rule_in_float64(dtype, max_norm, tolerance):
    params = parameters(dtype=dtype)
    want = by_hand(params, 30, 0.05, 40, max_norm=max_norm)
    limit = None if max_norm == math.inf else max_norm
    run(BertAdam(params, 0.05, total_steps=40, max_norm=limit), params, range(30))
    for p, w in zip(params, want, strict=True):
        torch.testing.assert_close(p.detach().double(), w, rtol=tolerance, atol=tolerance)


def test_every_tensor_is_clipped_by_itself():
    params = parameters()
    optimizer = BertAdam(params, 0.1)
    run(optimizer, params, [0])
    for p, grad in zip(params, gradients(0), strict=True):
        length = float(grad.norm())
        want = grad / length if length > 1 else grad
        torch.testing.assert_close(optimizer.state[p]["exp_avg"], 0.1 * want, rtol=1e-5, atol=1e-6)
    assert {float(g.norm()) > 1 for g in gradients(0)} == {True, False}


def test_coincides_with_adamw_where_nothing_is_corrected_or_clipped():
    """With means that forget at once there is no bias to correct; with old ones AdamW's correction has died out."""
    for betas, start in (((0.0, 0.0), 0), ((0.9, 0.98), 10_000)):
        ours, theirs = parameters(), parameters()
        adamw = torch.optim.AdamW(theirs, 0.01, betas=betas, eps=1e-6, weight_decay=0.2)
        for p in theirs:
            state = {"step": torch.tensor(float(start)), "exp_avg": torch.zeros_like(p)}
            adamw.state[p] = state | {"exp_avg_sq": torch.zeros_like(p)}
        run(BertAdam(ours, 0.01, betas=betas, max_norm=None), ours, range(5))
        run(adamw, theirs, range(5))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_differs_from_adamw_by_the_missing_correction():
    (w,) = params = [torch.nn.Parameter(torch.zeros(1))]
    w.grad = torch.tensor([0.5])
    BertAdam(params, 0.1, weight_decay=0.0).step()
    assert float(w.detach()) == pytest.approx(-0.1 * 0.05 / (math.sqrt(0.02 * 0.25) + 1e-6), rel=1e-5)


def test_schedule_rises_and_falls_with_its_jump():
    factors = [schedule(t, 1000, 0.1) for t in range(1001)]
    assert factors[0] == 0
    assert factors[50] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.99)
    assert factors[100] == pytest.approx(0.97553, abs=1e-5)
    assert factors[500] == pytest.approx(0.5)
    assert factors[1000] == 0
    assert schedule(2000, 1000, 0.1) == 0
    assert schedule(0, 1000, 0.0) == 1
    assert schedule(7, None, 0.1) == 1


def test_the_first_step_of_a_schedule_moves_nothing():
    params = parameters()
    before = [p.detach().clone() for p in params]
    optimizer = BertAdam(params, 0.1, total_steps=10)
    run(optimizer, params, [0])
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    run(optimizer, params, [1])
    assert not any(torch.equal(p, b) for p, b in zip(params, before, strict=True))


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_resumes_to_the_same_bits(stop, tmp_path):
    whole, parts = parameters(), parameters()
    run(BertAdam(whole, 0.05, total_steps=10), whole, range(10))
    first = BertAdam(parts, 0.05, total_steps=10)
    run(first, parts, range(stop))
    torch.save([first.state_dict(), [p.detach() for p in parts]], tmp_path / "state.pt")
    state, values = torch.load(tmp_path / "state.pt", weights_only=True)
    fresh = [torch.nn.Parameter(value.clone()) for value in values]
    second = BertAdam(fresh, 1.0)  # every setting comes with the state
    second.load_state_dict(copy.deepcopy(state))
    run(second, fresh, range(stop, 10))
    assert all(torch.equal(a, b) for a, b in zip(whole, fresh, strict=True))


def test_groups_have_their_own_rate():
    a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    optimizer = BertAdam([{"params": [a]}, {"params": [b], "lr": 1e-5}], 1e-3, weight_decay=0.0)
    for p in (a, b):
        p.grad = torch.tensor([0.1, -0.2])
    optimizer.step()
    torch.testing.assert_close(b.detach() * 100, a.detach(), rtol=1e-5, atol=0)


def test_parameters_without_a_gradient_stay():
    params = parameters()
    optimizer = BertAdam(params, 0.1)
    params[0].grad = torch.ones(3, 4)
    before = params[1].detach().clone()
    optimizer.step()
    assert torch.equal(params[1], before)
    assert params[1] not in optimizer.state


def test_gradients_of_another_layout():
    plain, turned = torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(3, 4))
    grad = torch.arange(12.0).reshape(3, 4)
    plain.grad, turned.grad = grad.clone(), grad.T.contiguous().T
    BertAdam([plain, turned], 0.1).step()
    assert torch.equal(plain, turned)


def test_closure():
    w = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = BertAdam([w], 0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 4
    assert float(w.detach()) < 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr must be a number from 0, got -1.0"),
        ({"lr": math.nan}, "lr must be a number from 0, got nan"),
        ({"total_steps": 0}, "total_steps must be a whole number from 1 or None, got 0"),
        ({"warmup": 1.5}, "warmup must be from 0 to 1, got 1.5"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers from 0 to below 1, got \(0.9, 1.0\)"),
        ({"eps": 0.0}, "eps must be a number above 0, got 0.0"),
        ({"weight_decay": -0.1}, "weight_decay must be a number from 0, got -0.1"),
        ({"max_norm": 0.0}, "max_norm must be a number above 0 or None, got 0.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=f"^BertAdam: {message}$"):
        BertAdam(parameters(), **settings)


def test_a_bad_group_is_refused():
    with pytest.raises(ValueError, match="^BertAdam: eps must be a number above 0, got -1$"):
        BertAdam([{"params": parameters(), "eps": -1}])


def test_sparse_gradients_are_refused():
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="^BertAdam: gradients must be dense, got layout torch.sparse_coo$"):
        BertAdam(table.parameters()).step()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_does_the_same_and_waits_for_nothing():
    ours, theirs = parameters(), [torch.nn.Parameter(p.detach().cuda()) for p in parameters()]
    run(BertAdam(ours, 0.05, total_steps=10), ours, range(6))
    optimizer = BertAdam(theirs, 0.05, total_steps=10)
    for step in range(6):
        for p, grad in zip(theirs, gradients(step), strict=True):
            p.grad = grad.cuda()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if step else "default")
        optimizer.step()
        torch.cuda.set_sync_debug_mode("default")
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach().cpu(), rtol=1e-4, atol=1e-5)
