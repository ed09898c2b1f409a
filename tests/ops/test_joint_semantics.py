import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint_cases import WEIGHTS, affinity, make_inputs, relative, target, truth, truth_by_factors
from nll_cases import runners

from fasthash.ops import JointTeacher, joint_semantics_affinity, joint_semantics_loss, use_backend

RUNNERS = runners("joint_semantics_loss")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]
FLOAT32 = (2e-7, 1e-6)  # loss, gradients: the loss is rounded to float32 once and is a difference of traces before
# m, d, p_image, p_text: one call; products on the affinity; products on the features; wide codes, ragged everything
SHAPES = [(1, 5, 7, 3), (2, 16, 3, 4), (33, 17, 40, 30), (128, 64, 20, 12), (129, 64, 90, 60), (300, 24, 30, 21)]
FORMS = ("features", "gathered affinity", "all of the affinity", "gathered features", "all of the features")


def run(form, inputs, **weights):
    """(loss, gradients) by one form of the loss."""
    b_image, b_text = (b.detach().clone().requires_grad_() for b in inputs[:2])
    f_image, f_text = inputs[2:]
    m = len(b_image)
    if form == "features":
        loss = joint_semantics_loss(b_image, b_text, f_image, f_text, **weights)
    else:
        shares = {"beta": weights.pop("beta"), "affine": weights.pop("affine", True)}
        index = None
        if form.startswith("gathered"):  # among other rows, in another order
            g = torch.Generator().manual_seed(9)
            index = torch.randperm(m + 7, generator=g)[:m]
            wide = [torch.rand(m + 7, f.shape[1], generator=g).to(f.dtype) for f in (f_image, f_text)]
            for rows, f in zip(wide, (f_image, f_text), strict=True):
                rows[index] = f
            f_image, f_text = wide
        teacher = JointTeacher(f_image, f_text, **shares, max_bytes=1 << 30 if form.endswith("affinity") else 0)
        loss = teacher.loss(b_image, b_text, index, **weights)
    return loss.detach(), *torch.autograd.grad(loss, (b_image, b_text))


def check(got, want, tol=FLOAT32):
    assert abs(float(got[0]) - want[0]) <= tol[0] * abs(want[0])
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        assert relative(gradient, expected) <= tol[1]


@pytest.fixture(scope="module")
def cases():
    """Inputs and their truth, made once a shape."""
    made = {}
    for shape in SHAPES:
        inputs = make_inputs(*shape, dtype=torch.float32)
        made[shape] = inputs, truth(*inputs, **WEIGHTS)
    return made


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_matches_float64(runner, shape, form, cases, nan_filled):
    inputs, want = cases[shape]
    with runner():
        got = run(form, inputs, **WEIGHTS)
    # one or two rows: nothing averages out; many rows on triton: torch's own products, in float32
    loose = shape[0] <= 2 or (runner.backend == "triton" and shape[0] > 128)
    check(got, want, (2e-6, 2e-6) if loose else FLOAT32)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("eta", "beta"), [(0.0, 0.6), (1.0, 0.6), (0.4, 0.0), (0.4, 1.0)])
@pytest.mark.parametrize("m", [9, 140])
def test_shares_at_their_ends(runner, affine, eta, beta, m, nan_filled):
    inputs = make_inputs(m, 8, 20, 15, torch.float32)
    weights = {**WEIGHTS, "eta": eta, "beta": beta, "affine": affine}
    want = truth(*inputs, **weights)
    with runner():
        for form in FORMS:
            check(run(form, inputs, **dict(weights)), want, (2e-6, 3e-6))


def test_both_truths_agree():
    inputs = make_inputs(20, 6, 9, 8)
    for got, want in zip(truth_by_factors(*inputs, **WEIGHTS), truth(*inputs, **WEIGHTS), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(8300, 16, 20, 12), (550, 300, 40, 30), (600, 16, 500, 300)], ids=str)
def test_several_blocks_and_lanes(runner, form, sizes, nan_filled):
    if sizes[0] > 4096 and "affinity" in form:
        pytest.skip("cubic in m")
    inputs = make_inputs(*sizes, dtype=torch.float32)
    want = truth_by_factors(*inputs, **WEIGHTS)
    with runner():
        check(run(form, inputs, **WEIGHTS), want, (3e-7, 2e-6))


@pytest.mark.parametrize("weights", [{"lambda1": 0.0}, {"lambda2": 0.0}, {"lambda1": 0, "lambda2": 0}, {"mu": 0.0}])
@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [5, 150])
def test_weights_of_zero(weights, runner, m, nan_filled):
    inputs = make_inputs(m, 8, 20, 15, torch.float32)
    weights = {**WEIGHTS, **weights}
    with runner():
        check(run("features", inputs, **weights), truth(*inputs, **weights), (2e-6, 2e-6))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 160), st.integers(1, 20), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99),
    st.sampled_from(FORMS), st.sampled_from(RUNNERS),
)  # fmt: skip
def test_any_size(m, d, p_image, p_text, seed, form, runner):
    inputs = make_inputs(m, d, p_image, p_text, torch.float32, seed)
    with runner():
        loss, g_image, g_text = run(form, inputs, **WEIGHTS)
    with use_backend("reference"):
        want = run("features", tuple(x.double() for x in inputs), **WEIGHTS)
    torch.testing.assert_close(loss.double(), want[0], rtol=2e-6, atol=1e-6)
    # what changes a length alone cancels, in one dimension all of it: an error in proportion to what was there before
    before = 4 / m * sum(float((1 / b.norm(dim=1)).norm()) for b in inputs[:2])
    limit = 2e-5 * float(torch.cat(want[1:]).norm()) + 2e-6 * before
    for got, expected in ((g_image, want[1]), (g_text, want[2])):
        assert float((got.double() - expected).norm()) <= limit


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("m", [32, 128, 400, 9000])
def test_same_bits_for_any_number_of_threads(runner, form, m):
    if m == 9000 and form in ("gathered affinity", "all of the affinity"):
        pytest.skip("cubic in m")
    inputs = make_inputs(m, 32, 100, 60, torch.float32)
    before, results = torch.get_num_threads(), []
    with runner():
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            results.append(run(form, inputs, **WEIGHTS))
    torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [10, 140])
def test_equal_codes_and_weights_give_a_symmetric_gradient(runner, m):
    b, _, f_image, f_text = make_inputs(m, 8, dtype=torch.float32)
    with runner():
        _, g_image, g_text = run("features", (b, b, f_image, f_text), **{**WEIGHTS, "lambda2": WEIGHTS["lambda1"]})
    torch.testing.assert_close(g_image, g_text, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [10, 140])
@pytest.mark.parametrize("form", FORMS)
def test_rows_of_zeros(runner, m, form, nan_filled):
    inputs = make_inputs(m, 8, 40, 30, dtype=torch.float32)
    for x, row in zip(inputs, (2, 3, 1, 1), strict=True):
        x[row] = 0
    want = truth(*inputs, **WEIGHTS)
    with runner():
        loss, g_image, g_text = run(form, inputs, **WEIGHTS)
    assert float(loss) == pytest.approx(want[0], rel=2e-6)
    for got, expected, row in ((g_image, want[1], 2), (g_text, want[2], 3)):
        assert not got[row].any()
        assert relative(got, expected) <= 5e-6


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [6, 140])
@pytest.mark.parametrize("which", range(4))
def test_nan_is_not_hidden(runner, m, which):
    inputs = make_inputs(m, 8, 20, 15, torch.float32)
    inputs[which][m // 2, 0] = torch.nan
    with runner():
        for form in FORMS:
            assert run(form, inputs, **WEIGHTS)[0].isnan()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [6, 140])
def test_large_and_small_values(runner, m):
    inputs = make_inputs(m, 8, 20, 15, torch.float32)
    want = truth(*inputs, **WEIGHTS)
    for scale in (1e4, 1e-4):
        with runner():
            loss, *grads = run("features", tuple(scale * x for x in inputs), **WEIGHTS)
        assert float(loss) == pytest.approx(want[0], rel=3e-6)  # cosines do not see the scale
        check((loss, *(scale * g for g in grads)), want, (3e-6, 3e-6))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("m", [1, 9, 130])
def test_affinity_matches_the_formula(runner, affine, eta, beta, m, nan_filled):
    *_, f_image, f_text = make_inputs(m, dtype=torch.float32)
    with runner():
        got = joint_semantics_affinity(f_image, f_text, beta=beta, eta=eta, mu=1.5, affine=affine)
    np.testing.assert_allclose(got.numpy(), target(f_image, f_text, beta, eta, 1.5, affine), rtol=0, atol=2e-6)
    assert got.dtype == torch.float32


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("sizes", [(9, 20, 15), (200, 20, 15), (200, 150, 90)], ids=str)
def test_moments_are_the_traces_of_powers(runner, affine, sizes):
    m, p_image, p_text = sizes
    *_, f_image, f_text = make_inputs(m, 4, p_image, p_text, torch.float32)
    s = affinity(f_image, f_text, 0.6, affine)
    want = [np.trace(np.linalg.matrix_power(s, k)) for k in (2, 3, 4)]
    op = torch.ops.fasthash.joint_semantics_moments
    given = torch.from_numpy(s).float()
    with runner():
        from_features = op(f_image, f_text, None, None, 0.6, affine, False, True)
        from_affinity = op(None, None, given, None, 0.6, affine, True, True)
        gathered = op(None, None, given, torch.arange(m).flip(0), 0.6, affine, True, True)
        first = op(None, None, given, None, 0.6, affine, True, False)
    for got in (from_features, from_affinity, gathered):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6 if runner.backend == "triton" else 5e-7)
    assert float(first[0]) == pytest.approx(want[0], rel=1e-6)


def test_memory_is_linear():
    # S of 40,000 rows would take 6.4 GB
    code = (
        "import resource, torch\n"
        "from fasthash.ops import joint_semantics_loss\n"
        "torch.set_num_threads(2)\n"
        "m, d, p = 40_000, 32, 32\n"
        "codes = [torch.randn(m, d, requires_grad=True) for _ in range(2)]\n"
        "features = [torch.rand(m, p) for _ in range(2)]\n"
        f"weights = {WEIGHTS}\n"
        "joint_semantics_loss(*(x[:300] for x in codes + features), **weights).backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "joint_semantics_loss(*codes, *features, **weights).backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # normalised codes and two products, 3 * 2 m d floats; gradients twice; 1 / length; a few blocks
    assert int(done.stdout) * 1024 < 40_000 * 32 * 4 * 12 + (16 << 20)
