import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from nll_cases import relative, runners
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import cosine_reconstruction, use_backend

OP = torch.ops.fasthash.cosine_reconstruction
RUNNERS = runners("cosine_reconstruction")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]

# Relative errors, norm-wise, of (loss, gradients) against float64 on the same inputs.
TOL = {
    torch.float64: (1e-13, 1e-13),  # only the order of sums differs
    torch.float32: (2e-6, 5e-6),  # cosines within 1e-7, and their differences from a target of their size
    torch.float16: (2e-6, 1e-3),  # computed in float32; the gradients are rounded to 11 bits at the end
    torch.bfloat16: (2e-6, 5e-3),  # likewise to 8 bits
}
ON_GPU = {torch.float32: (1e-5, 1e-5), torch.float16: (1e-3, 2e-3), torch.bfloat16: (1e-3, 5e-3)}  # half: TF32 products

SHAPES = [(1, 1, 1), (1, 300, 16), (5, 257, 17), (66, 70, 64), (37, 65, 100), (64, 33, 128)]  # n, m, d: ragged, whole


def make(n, m, d, dtype=torch.float32, seed=0):
    """Codes of lengths that differ, and a target that is beyond -1..1 in places."""
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(rows, d, generator=g) * torch.rand(rows, 1, generator=g).mul(4).exp() for rows in (n, m))
    return a.to(dtype), b.to(dtype), 1.5 * torch.rand(n, m, generator=g) - 0.5


def truth(a, b, target):
    """Loss and both gradients in float64, row by row and pair by pair."""
    x, y, t = (v.detach().double().numpy() for v in (a, b, target))
    loss, grads = 0.0, (np.zeros_like(x), np.zeros_like(y))
    lengths = [np.sqrt((rows**2).sum(axis=1)) for rows in (x, y)]
    for i in range(len(x)):
        for j in range(len(y)):
            u, v = lengths[0][i], lengths[1][j]
            cosine = 0.0 if min(u, v) < 1e-12 else x[i] @ y[j] / (u * v)
            loss += (cosine - t[i, j]) ** 2
            slope = 2 * (cosine - t[i, j])
            # d cos / dx = y / (|x| |y|) - cos x / |x|^2
            if min(u, v) >= 1e-12:
                grads[0][i] += slope * (y[j] / (u * v) - cosine * x[i] / u**2)
                grads[1][j] += slope * (x[i] / (u * v) - cosine * y[j] / v**2)
    return loss, *grads


def run(runner, a, b, target, **options):
    a, b = (x.detach().clone().requires_grad_() for x in (a, b))
    with runner():
        loss = cosine_reconstruction(a, b, target, **options)
    return loss.detach(), *torch.autograd.grad(loss, (a, b))


def check(got, want, tol):
    assert abs(float(got[0]) - want[0]) <= tol[0] * abs(want[0])
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        small = 1e-7 * float(np.abs(want[0]) ** 0.5)  # where gradients vanish, as with d = 1
        assert relative(gradient, expected) <= tol[1] or float(gradient.double().norm()) <= small


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(runner, shape, nan_filled):
    a, b, target = make(*shape)
    want = truth(a, b, target)
    check(run(runner, a, b, target, reduction="sum"), want, TOL[torch.float32])
    mean = tuple(x / (shape[0] * shape[1]) for x in want)
    check(run(runner, a, b, target), mean, TOL[torch.float32])


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(128, 2000, 64), (700, 600, 32), (1, 5000, 48), (2000, 3, 20)], ids=str)
def test_several_blocks_match_the_reference(runner, shape, nan_filled):
    a, b, target = make(*shape)
    with use_backend("reference"):
        want = [x.numpy() for x in OP(a.double(), b.double(), target.double(), True, True)]
    check(run(runner, a, b, target, reduction="sum"), want, TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_rows_without_a_direction(runner, nan_filled):
    a, b, target = make(6, 40, 16)
    a[2], b[5], b[7] = 0, 0, 1e-15
    got = run(runner, a, b, target, reduction="sum")
    check(got, truth(a, b, target), TOL[torch.float32])
    assert not got[1][2].any()
    assert not got[2][[5, 7]].any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_lengths_do_not_count(runner, size):
    a, b, target = make(9, 40, 24)
    loss, grad_a, grad_b = run(runner, a, b, target)
    scaled = run(runner, a * size, b / size, target)
    torch.testing.assert_close(scaled[0], loss, rtol=2e-6, atol=0)
    torch.testing.assert_close(scaled[1] * size, grad_a, rtol=1e-4, atol=1e-6 * float(grad_a.abs().max()))
    torch.testing.assert_close(scaled[2] / size, grad_b, rtol=1e-4, atol=1e-6 * float(grad_b.abs().max()))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_gradients_do_not_change_lengths(runner):
    a, b, target = make(9, 40, 24)
    _, grad_a, grad_b = run(runner, a, b, target)
    for x, grad in ((a, grad_a), (b, grad_b)):
        along = (x * grad).sum(dim=1).abs()
        assert bool((along <= 2e-6 * x.norm(dim=1) * grad.norm(dim=1)).all())


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_exact_targets_cost_next_to_nothing(runner):
    a, b, _ = make(20, 50, 32)
    cosines = torch.nn.functional.normalize(a.double()) @ torch.nn.functional.normalize(b.double()).T
    loss, *_ = run(runner, a, b, cosines)
    assert float(loss) <= 1e-13  # float32 cosines within 3e-7


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_one_set_of_codes_with_itself(runner):
    a, _, target = make(45, 45, 24)
    want = truth(a, a, target)
    a.requires_grad_()
    with runner():
        loss = cosine_reconstruction(a, a, target, reduction="sum")
    assert float(loss.detach()) == pytest.approx(want[0], rel=2e-6)
    assert relative(torch.autograd.grad(loss, a)[0], want[1] + want[2]) <= 5e-6


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("where", ["a", "b", "target"])
def test_nan_is_not_hidden(runner, where):
    a, b, target = make(5, 40, 16)
    {"a": a, "b": b, "target": target}[where][3, 2] = math.nan
    loss, grad_a, grad_b = run(runner, a, b, target)
    assert loss.isnan()
    assert (grad_b if where == "b" else grad_a)[3].isnan().all()
    assert (grad_a if where == "b" else grad_b).isnan().any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_unwanted_gradients_change_nothing(runner):
    a, b, target = make(20, 90, 24)
    with runner():
        loss, grad_a, grad_b = OP(a, b, target, True, True)
        for want_a, want_b in ((True, False), (False, True), (False, False)):
            got = OP(a, b, target, want_a, want_b)
            torch.testing.assert_close(got[0], loss, rtol=1e-6, atol=0)
            for wanted, x, full in ((want_a, got[1], grad_a), (want_b, got[2], grad_b)):
                torch.testing.assert_close(x, full if wanted else full.new_empty(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(128, 3000, 64), (1000, 900, 40)], ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(runner, shape):
    a, b, target = make(*shape)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with runner():
                results.append(OP(a, b, target, True, True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_non_contiguous_inputs(runner):
    a, b, target = make(10, 60, 16)
    want = truth(a, b, target)
    strided = a.T.contiguous().T, torch.stack([b, b], 2)[:, :, 1], target.double().T.contiguous().T
    assert not any(x.is_contiguous() for x in strided)
    check(run(runner, *strided, reduction="sum"), want, TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("dtype", TOL, ids=str)
def test_dtypes(runner, dtype):
    a, b, target = make(30, 40, 32, dtype)
    if dtype == torch.float64 and runner.backend != "reference":
        with pytest.raises(RuntimeError, match=f"'{runner.backend}' cannot run: it computes in float32, got float64"):
            run(runner, a, b, target)
        return
    got = run(runner, a, b, target)
    assert got[0].dtype == torch.promote_types(dtype, torch.float32)
    assert got[1].dtype == got[2].dtype == dtype
    check(got, tuple(x / 1200 for x in truth(a, b, target)), TOL[dtype])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_contracts(runner):
    a, b, target = make(5, 4, 7, torch.float64 if runner.backend == "reference" else torch.float32)
    with runner():
        for wanted in ((True, True), (False, True), (False, False)):
            opcheck(OP.default, (a, b, target, *wanted))


def test_gradcheck():
    a, b, target = make(5, 4, 7, torch.float64)
    a, b = (x.requires_grad_() for x in (a, b))
    for reduction in ("sum", "mean"):
        assert gradcheck(lambda x, y, r=reduction: cosine_reconstruction(x, y, target, reduction=r), (a, b))
    square = torch.rand(5, 5, dtype=torch.float64)
    assert gradcheck(lambda x: cosine_reconstruction(x, x, square), (a,))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_compiles_as_one_graph(runner):
    a, b, target = make(6, 8, 16)

    def step(a, b):
        return 2 * cosine_reconstruction(torch.tanh(a), b, target)

    a, b = (x.clone().requires_grad_() for x in (a, b))
    with runner():
        want = torch.autograd.grad(step(a, b), (a, b))
        got = torch.autograd.grad(torch.compile(step, fullgraph=True)(a, b), (a, b))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_autocast(runner):
    a, b, target = make(6, 8, 16)
    weight = torch.eye(16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16), runner():
        h = a @ weight
        loss = cosine_reconstruction(h, b, target, reduction="sum")  # a half-precision layer against a float32 bank
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(truth(a.half(), b, target)[0], rel=2e-6)
    assert torch.autograd.grad(loss, weight)[0].isfinite().all()


def test_memory_is_linear():
    # beyond the target of 268 MB: one [n, m] matrix would take as much again
    code = (
        "import resource, torch\n"
        "from fasthash.ops import cosine_reconstruction\n"
        "torch.set_num_threads(2)\n"
        "a, b = torch.randn(8192, 64, requires_grad=True), torch.randn(8192, 64, requires_grad=True)\n"
        "target = torch.rand(8192, 8192)\n"
        "cosine_reconstruction(a[:300], b[:300], target[:300, :300]).backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "cosine_reconstruction(a, b, target).backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": torch.zeros(3)}, r"a must be a matrix with at least one row and one column, got float32 \[3\] on cpu"),
        ({"a": torch.zeros(3, 8, dtype=torch.int32)}, r"a must be float64, float32, float16 or bfloat16, got int32"),
        ({"b": torch.zeros(4, 7)}, r"b must be \[n, 8\] like a, got \[4, 7\]"),
        ({"b": torch.zeros(4, 8, dtype=torch.float64)}, r"b must have the dtype and device of a"),
        ({"target": torch.zeros(4, 3)}, r"target must be real \[3, 4\] on cpu, got float32 \[4, 3\]"),
        ({"target": torch.zeros(3, 4, dtype=torch.complex64)}, r"target must be real \[3, 4\] on cpu, got complex64"),
        ({"target": torch.zeros(3, 4, requires_grad=True)}, r"target must be a constant, got a tensor that requires"),
        ({"reduction": "none"}, r"reduction must be one of sum, mean, got 'none'"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    a, b, target = make(3, 4, 8)
    arguments = {"a": a, "b": b, "target": target} | changes
    with pytest.raises(ValueError, match=f"^cosine_reconstruction: {message}") as caught:
        cosine_reconstruction(**arguments)
    assert "\n" not in str(caught.value)


def test_lists_are_refused():
    a, b, _ = make(3, 4, 8)
    with pytest.raises(TypeError, match=r"^cosine_reconstruction: target must be a torch tensor, got list"):
        cosine_reconstruction(a, b, [[1.0]])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ON_GPU, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (128, 16862, 64), (3000, 2000, 64), (200, 300, 512)], ids=str)
def test_on_the_gpu(dtype, shape):
    a, b, target = make(*shape, dtype)
    with use_backend("reference"):
        want = [x.numpy() for x in OP(a.double(), b.double(), target.double(), True, True)]
    a, b = (x.cuda().requires_grad_() for x in (a, b))
    with use_backend("triton"):
        loss = cosine_reconstruction(a, b, target.cuda(), reduction="sum")
    check((loss.detach(), *torch.autograd.grad(loss, (a, b))), want, ON_GPU[dtype])
