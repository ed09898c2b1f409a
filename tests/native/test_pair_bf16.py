"""The pairwise likelihood by products of bfloat16 numbers, against float64 sums over the pairs.

Two ways: codes that are bfloat16 numbers multiplied as they are ("codes"), and any codes as sums of two bfloat16
numbers ("split"). AMX's kernels run over emulated tiles where the processor has none.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from amx_emulation import emulated_amx  # noqa: F401 - a fixture
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_pair_kernels import LEVELS, Side, near, nll_truth, problem, rows

from fasthash import _native

pytestmark = pytest.mark.skipif(_native.reason() is not None, reason="needs the native module")

UNITS = [name for name in ("avx512_bf16", "amx_bf16") if LEVELS and name in _native.bf16_names()]
WAYS = [*((unit, way) for unit in UNITS for way in ("codes", "split") if (unit, way) != ("avx512_bf16", "split")),
        ("emulated", "codes"), ("emulated", "split")]  # fmt: skip
# Norm-wise. Of bfloat16 codes nothing is lost but in the residual, which keeps 8 bits; split numbers keep 16.
LOSS, GRADIENT = {"codes": 1e-6, "split": 1e-6}, {"codes": 3e-3, "split": 1e-5}
AVX512 = _native.ISAS.index("avx512")
# One tile; ragged in every dimension; several blocks and groups of rows; operands that swap roles
SHAPES = [(32, 1000, 17), (33, 300, 64), (140, 530, 100), (300, 129, 128), (47, 1030, 33)]


def bf16(x):
    """The nearest bfloat16 numbers, as float32; ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.fixture(params=WAYS, ids="-".join)
def run(request):
    """The loss by one unit in one way, and `codes`, which makes codes fit for it."""
    unit, way = request.param
    emulated = request.getfixturevalue("emulated_amx") if unit == "emulated" else None

    def loss(a, b, *, scale=0.5, words=0, dense=None, weights=None, factor=1.0, threads=1):
        told = (a.told(), b.told(), a.d, words, *(0 if x is None else x.ctypes.data for x in (dense, weights)), factor)
        if emulated:
            return emulated.pairwise_nll(told, scale, threads, way == "codes")
        isa, products = AVX512, _native.BF16.index(unit)
        return _native.load().pairwise_nll(told, scale, isa, threads, products, way == "codes")

    loss.codes = bf16 if way == "codes" else lambda x: x
    loss.way = way
    return loss


@pytest.mark.parametrize("kind", ["ids", "masks", "two words", "dense"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_likelihood(run, kind, shape):
    a, b, la, lb, dense, similar, words = problem(kind, shape)
    a, b = run.codes(a), run.codes(b)
    x, y = Side(a, la), Side(b, lb)
    loss = run(x, y, words=words, dense=dense)
    want, grad_a, grad_b = nll_truth(a, b, similar, 1.0, 0.5)
    assert loss == pytest.approx(want, rel=LOSS[run.way])
    assert near(x.grad, grad_a, GRADIENT[run.way])
    assert near(y.grad, grad_b, GRADIENT[run.way])


@pytest.mark.parametrize("shape", SHAPES[1:4], ids=str)
@pytest.mark.parametrize("weighted", ["pairs", "rows", "all"])
def test_weights_scale_and_rows_further_apart(run, weighted, shape):
    a, b, la, lb, _, similar, words = problem("masks", shape)
    a, b = run.codes(a), run.codes(b)
    rng = np.random.default_rng(1)
    pairs = rng.random(similar.shape).astype(np.float32) if weighted != "rows" else None
    each = [rng.random(k).astype(np.float32) if weighted != "pairs" else None for k in similar.shape]
    x, y = Side(a, la, each[0], spare=5), Side(b, lb, each[1], spare=3)
    loss = run(x, y, scale=0.3, words=words, weights=pairs, factor=3.0)
    weights = 3.0 * (1.0 if pairs is None else pairs.astype(float))
    if weighted != "pairs":
        weights = weights * each[0][:, None] * each[1]
    want, grad_a, grad_b = nll_truth(a, b, similar, weights, 0.3)
    assert loss == pytest.approx(want, rel=2e-6)
    assert near(x.grad[:, : x.d], grad_a, GRADIENT[run.way])
    assert near(y.grad[:, : y.d], grad_b, GRADIENT[run.way])


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)], ids=str)
def test_gradients_that_are_not_wanted_change_nothing(run, wanted):
    a, b, la, lb, _, _, words = problem("masks", (140, 530, 64))
    both = [Side(run.codes(a), la), Side(run.codes(b), lb)]
    sides = [Side(run.codes(x), labels, grad=grad) for x, labels, grad in zip((a, b), (la, lb), wanted, strict=True)]
    assert run(*sides, words=words) == run(*both, words=words)
    for side, full in zip(sides, both, strict=True):
        assert side.grad is None or np.array_equal(side.grad, full.grad)


def test_same_bits_for_any_number_of_threads(run):
    a, b, la, lb, _, _, words = problem("masks", (70, 3000, 32))
    results = []
    for threads in (1, 2, 3, 1):
        x, y = Side(run.codes(a), la), Side(run.codes(b), lb)
        results.append((run(x, y, words=words, threads=threads), x.grad.tobytes(), y.grad.tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_inner_products(run, size):
    rng = np.random.default_rng(0)
    n, m, d = 40, 300, 64
    signs = rng.choice([-1.0, 1.0], (n, d)), rng.choice([-1.0, 1.0], (m, d))
    a, b = (run.codes((x * np.sqrt(2 * size / d)).astype(np.float32)) for x in signs)
    a[:5], b[:7] = np.abs(a[0]), np.abs(b[0])  # theta = size
    ids = rng.integers(0, 3, n), rng.integers(0, 3, m)
    x, y = Side(a, ids[0]), Side(b, ids[1])
    loss = run(x, y)
    want, grad_a, grad_b = nll_truth(a, b, (ids[0][:, None] == ids[1]).astype(float), 1.0, 0.5)
    assert loss == pytest.approx(want, rel=1e-6 if run.way == "codes" else 1e-5)
    assert near(x.grad, grad_a, GRADIENT[run.way])
    assert near(y.grad, grad_b, GRADIENT[run.way])


def test_pairs_that_are_certain_leave_loss_and_residual_zero(run):
    a, b = (np.full((n, 64), 20, np.float32) for n in (50, 400))  # theta = 12,800, all similar
    x, y = Side(a, np.zeros(50, np.int64)), Side(b, np.zeros(400, np.int64))
    assert run(x, y) == 0
    assert not x.grad.any()
    assert not y.grad.any()
    b[300:] *= -1  # and now not so: residual -1 / 2 in part of the second block
    assert run(x, Side(b, np.zeros(400, np.int64))) == pytest.approx(50 * 100 * 12800.0, rel=1e-6)
    assert np.array_equal(x.grad, np.full_like(x.grad, 0.5 * 100 * 20))


def test_zero_codes(run):
    x, y = Side(np.zeros((40, 32), np.float32), np.arange(40)), Side(np.zeros((500, 32), np.float32), np.arange(500))
    assert run(x, y) == pytest.approx(40 * 500 * np.log(2), rel=1e-6)
    assert not x.grad.any()
    assert not y.grad.any()


@pytest.mark.parametrize("where", ["a", "b"])
def test_nan_reaches_the_loss_and_stays_in_its_rows(run, where):
    a, b, la, lb, _, _, words = problem("masks", (45, 300, 50))
    a, b = run.codes(a), run.codes(b)
    (a if where == "a" else b)[17, 3] = np.nan
    x, y = Side(a, la), Side(b, lb)
    assert np.isnan(run(x, y, words=words))
    own, other = (x, y) if where == "a" else (y, x)
    assert np.isnan(own.grad[17]).all()
    assert np.isfinite(np.delete(own.grad, 17, axis=0)).all()
    assert np.isnan(other.grad).all()


@pytest.mark.parametrize("unit", UNITS)
@given(
    n=st.integers(32, 300), m=st.integers(1024, 1500), d=st.integers(16, 130), kind=st.sampled_from(["ids", "masks"])
)
@settings(max_examples=25, deadline=None)
@example(n=32, m=1024, d=16, kind="masks")
def test_any_shape(unit, n, m, d, kind):
    a, b, la, lb, _, similar, words = problem(kind, (n, m, d))
    a, b = bf16(a), bf16(b)
    x, y = Side(a, la), Side(b, lb)
    told = (x.told(), y.told(), d, words, 0, 0, 1.0)
    loss = _native.load().pairwise_nll(told, 0.5, AVX512, 1, _native.BF16.index(unit), True)
    want, grad_a, grad_b = nll_truth(a, b, similar, 1.0, 0.5)
    assert loss == pytest.approx(want, rel=1e-6)
    assert near(x.grad, grad_a, GRADIENT["codes"])
    assert near(y.grad, grad_b, GRADIENT["codes"])


@pytest.mark.parametrize("unit", UNITS)
def test_spans_of_the_batch_add_up(unit):
    # partial gradients 512 wide hold 1,980 batch rows: the second span adds to what the first one wrote
    rng = np.random.default_rng(0)
    a, b = (bf16(rows(rng, n, 512) / 4) for n in (2100, 2200))
    ids = rng.integers(0, 3, 2100), rng.integers(0, 3, 2200)
    x, y = Side(a, ids[0]), Side(b, ids[1])
    told = (x.told(), y.told(), 512, 0, 0, 0, 1.0)
    loss = _native.load().pairwise_nll(told, 0.5, AVX512, 2, _native.BF16.index(unit), True)
    want, grad_a, grad_b = nll_truth(a, b, (ids[0][:, None] == ids[1]).astype(float), 1.0, 0.5)
    assert loss == pytest.approx(want, rel=1e-6)
    assert near(x.grad, grad_a, GRADIENT["codes"])
    assert near(y.grad, grad_b, GRADIENT["codes"])


def in_bits(a, b, la, lb, words, unit, bf16_codes):
    x, y = Side(a, la), Side(b, lb)
    told = (x.told(), y.told(), x.d, words, 0, 0, 1.0)
    loss = _native.load().pairwise_nll(told, 0.5, AVX512, 1, _native.BF16.index(unit), bf16_codes)
    return loss, x.grad.tobytes(), y.grad.tobytes()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shape", [(31, 500, 64), (64, 127, 64), (100, 500, 15), (1, 1, 1)], ids=str)
def test_small_problems_are_computed_in_float32(unit, shape):
    a, b, la, lb, _, _, words = problem("masks", shape)
    assert in_bits(bf16(a), bf16(b), la, lb, words, unit, True) == in_bits(
        bf16(a), bf16(b), la, lb, words, "none", True
    )


@pytest.mark.skipif("avx512_bf16" not in UNITS, reason="needs AVX512_BF16")
def test_vectors_take_no_other_codes():
    """Three products of vectors take longer than one of float32."""
    a, b, la, lb, _, _, words = problem("masks", (140, 530, 64))
    assert in_bits(a, b, la, lb, words, "avx512_bf16", False) == in_bits(a, b, la, lb, words, "none", False)


def test_the_trial_before_amx_is_used(emulated_amx):  # noqa: F811
    assert emulated_amx.trial(1.0)
    assert not emulated_amx.trial(1.02)
    assert not emulated_amx.trial(float("nan"))


def test_use_bf16():
    names = _native.bf16_names()
    assert names[0] == "none"
    assert (names[-1] == "amx_bf16") == (_native.load().why_not_amx() == "")
    for name in names:
        with _native.use_bf16(name):
            assert _native.BF16[_native.bf16()] == name
    missing = next((name for name in _native.BF16 if name not in names), "sse")
    message = f"use_bf16: expected one of none.* on this machine, got '{missing}'"
    with pytest.raises(ValueError, match=message), _native.use_bf16(missing):
        pass


def test_environment_variable():
    code = "from fasthash import _native; print(_native.BF16[_native.bf16()])"
    environment = {**os.environ, "FASTHASH_BF16": "none"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"
    environment["FASTHASH_BF16"] = "fast"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "ValueError: FASTHASH_BF16: expected one of none" in done.stderr


def test_the_operation_uses_them_with_avx512_alone():
    torch = pytest.importorskip("torch")
    from fasthash.ops import pairwise_nll, use_backend

    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 64, generator=g).bfloat16() for n in (40, 300))
    labels = torch.randint(0, 3, (40,), generator=g), torch.randint(0, 3, (300,), generator=g)
    with use_backend("cpp"):
        found = {}
        for isa in LEVELS:
            for name in _native.bf16_names():
                x = a.clone().requires_grad_()
                with _native.use_isa(isa), _native.use_bf16(name):
                    (grad,) = torch.autograd.grad(pairwise_nll(x, b, *labels), x)
                found[isa, name] = grad
    for (isa, name), grad in found.items():
        assert torch.equal(grad, found[isa, "none"]) == (isa != "avx512" or name == "none")
        assert (grad - found["scalar", "none"]).float().norm() <= 6e-3 * grad.float().norm()
