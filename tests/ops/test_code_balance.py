"""code_balance against column sums written as a loop in float64, and its contracts as an operation."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import backends, code_balance, use_backend

SHAPES = [(1, 1), (1, 64), (3, 17), (128, 64), (1000, 33)]
TOLERANCE = {  # of the sum of n terms in float32; narrow gradients are rounded once
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
}


def truth(h, rest):
    sums = [0.0] * h.shape[1] if rest is None else rest.tolist()
    for row in h.tolist():
        sums = [total + x for total, x in zip(sums, row, strict=True)]
    return sum(s * s for s in sums), [2 * s for s in sums]


@pytest.mark.parametrize("backend", backends("code_balance"))
@pytest.mark.parametrize("with_rest", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(shape, dtype, with_rest, backend):
    h = torch.randn(shape).to(dtype).requires_grad_()
    rest = 10 * torch.randn(shape[1], dtype=torch.float64) if with_rest else None
    with use_backend(backend):
        loss = code_balance(h, rest)
    want, row = truth(h.detach().double(), rest)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.item() == pytest.approx(want, rel=10 * min(TOLERANCE[dtype], 1e-5))
    loss.backward()
    assert h.grad.dtype == dtype
    expected = torch.tensor([row], dtype=torch.float64).expand(shape)
    size = expected.abs().max().item()
    torch.testing.assert_close(h.grad.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * size)


def test_rest_stands_for_the_rows_that_are_not_there():
    h = torch.randn(20, 8, dtype=torch.float64, requires_grad=True)
    whole = code_balance(h)
    part = h.detach()[:5].clone().requires_grad_()
    loss = code_balance(part, h.detach()[5:].sum(0))
    torch.testing.assert_close(loss, whole)
    whole.backward()
    loss.backward()
    torch.testing.assert_close(part.grad, h.grad[:5])


def test_contracts():
    h, rest = torch.randn(5, 7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    opcheck(torch.ops.fasthash.code_balance.default, (h, rest))
    opcheck(torch.ops.fasthash.code_balance.default, (h.float(), None))
    assert gradcheck(lambda x: code_balance(x, rest), h.clone().requires_grad_())
    assert gradcheck(code_balance, h.clone().requires_grad_())


def test_compiles_as_one_graph():
    h, rest = torch.randn(6, 9, requires_grad=True), torch.randn(9, dtype=torch.float64)
    compiled = torch.compile(lambda x: 3 * code_balance(x, rest), fullgraph=True, backend="aot_eager")
    (got,) = torch.autograd.grad(compiled(h), h)
    (want,) = torch.autograd.grad(3 * code_balance(h, rest), h)
    torch.testing.assert_close(got, want)


def test_autocast_does_not_narrow():
    h = torch.randn(2000, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(code_balance(h), code_balance(h))
        assert code_balance(h).dtype == torch.float32
    torch.testing.assert_close(code_balance(h), h.double().sum(0).square().sum().float(), rtol=1e-4, atol=1e-3)


def test_large_values_and_nan():
    h = torch.full((2000, 2), 0.5, dtype=torch.float16, requires_grad=True)
    loss = code_balance(h)
    assert loss.item() == 2e6  # beyond float16
    (loss / 1e6).backward()
    torch.testing.assert_close(h.grad, torch.full_like(h, 2e-3))  # scaled in float32, then narrowed
    assert code_balance(torch.full((3, 2), 1e4)).item() == pytest.approx(2 * 9e8)
    h = torch.zeros(3, 2)
    h[1, 1] = float("nan")
    assert code_balance(h).isnan()


def test_same_bits_for_any_number_of_threads():
    h, threads = torch.randn(4096, 64), torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            x = h.clone().requires_grad_()
            loss = code_balance(x)
            loss.backward()
            found.append((loss.detach(), x.grad))
    finally:
        torch.set_num_threads(threads)
    for loss, grad in found[1:]:
        assert torch.equal(loss, found[0][0])
        assert torch.equal(grad, found[0][1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device():
    h, rest = torch.randn(100, 64), torch.randn(64, dtype=torch.float64)
    x = h.cuda().requires_grad_()
    loss = code_balance(x, rest.cuda())
    loss.backward()
    want, row = truth(h.double(), rest)
    assert loss.item() == pytest.approx(want, rel=1e-5)
    torch.testing.assert_close(x.grad.cpu().double()[7], torch.tensor(row, dtype=torch.float64), rtol=1e-5, atol=1e-3)


def test_bad_arguments():
    h = torch.ones(3, 4)
    for rest, message in (
        (torch.ones(3), r"code_balance: rest must be float64 or float32 \[4\] on cpu, got float32 \[3\] on cpu"),
        (torch.ones(4).half(), "code_balance: rest must be float64 or float32 .* got float16"),
        (torch.ones(4, requires_grad=True), "code_balance: rest must be a constant"),
    ):
        with pytest.raises(ValueError, match=message):
            code_balance(h, rest)
    with pytest.raises(TypeError, match="code_balance: rest must be a torch tensor, got list"):
        code_balance(h, [1.0])
    with pytest.raises(ValueError, match="code_balance: h must be a matrix with at least one row and one column"):
        code_balance(h[:0])
