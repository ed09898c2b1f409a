import math

import numpy as np
import pytest
import torch
from nll_cases import make_pairs, nll_truth, plain, relative, runners

from fasthash.ops import pack_labels, pairwise_nll, use_backend

OP = torch.ops.fasthash.pairwise_nll
RUNNERS = runners("pairwise_nll")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]

# Relative errors, norm-wise, of (loss, gradients) against float64 on the same inputs.
TOL = {
    torch.float64: (1e-13, 1e-13),  # only the order of sums differs
    torch.float32: (1e-6, 2e-6),  # float32 products and sums in blocks; exp and log1p within 2e-7
    torch.float16: (1e-6, 1e-3),  # computed in float32; the gradients are rounded to 11 bits at the end
    torch.bfloat16: (1e-6, 5e-3),  # likewise to 8 bits
}
HALF_PRODUCTS = {torch.float16: (1e-3, 2e-3), torch.bfloat16: (5e-3, 1e-2)}  # triton: the residual is rounded as well

SHAPES = [(1, 1, 1), (1, 300, 16), (5, 257, 17), (66, 70, 64), (37, 65, 100), (64, 33, 128)]  # n, m, d: ragged, whole


def run(runner, pairs, labels=None, **options):
    a, b = (x.detach().clone().requires_grad_() for x in (pairs.a, pairs.b))
    labels = (pairs.labels_a, pairs.labels_b) if labels is None else labels
    with runner():
        loss = pairwise_nll(a, b, *labels, **options)
    return loss, *torch.autograd.grad(loss, (a, b))


def check(got, want, tol):
    assert abs(float(got[0].detach()) - want[0]) <= tol[0] * abs(want[0])
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        assert relative(gradient, expected) <= tol[1]


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["multi-hot", "packed", "ids", "sim"])
def test_matches_float64(runner, shape, kind, nan_filled):
    pairs = make_pairs(*shape)
    g = torch.Generator().manual_seed(1)
    if kind == "ids":
        labels = [torch.randint(0, 4, (n,), generator=g) + 2**40 for n in shape[:2]]
        sim, options = (labels[0][:, None] == labels[1]).double().numpy(), {}
    elif kind == "sim":
        graded = torch.rand(shape[:2], generator=g)
        labels, sim, options = (None, None), graded.double().numpy(), {"sim": graded}
    else:
        labels, sim, options = [pairs.labels_a, pairs.labels_b], pairs.sim(), {}
        labels = [pack_labels(x) for x in labels] if kind == "packed" else labels
    check(run(runner, pairs, labels, **options), nll_truth(pairs.a, pairs.b, sim), TOL[torch.float32])


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize(
    "shape",
    [(128, 2000, 64), (700, 600, 32), (1, 5000, 48), (2000, 3, 20), (150, 300, 512), (144, 768, 24)],
    ids=str,
)
def test_several_blocks_match_float64(runner, shape, nan_filled):
    pairs = make_pairs(*shape)
    sim = (pairs.labels_a.double() @ pairs.labels_b.double().T > 0).double()
    check(run(runner, pairs), nll_truth(pairs.a, pairs.b, sim.numpy()), TOL[torch.float32])
    check(run(runner, pairs, (None, None), sim=sim), nll_truth(pairs.a, pairs.b, sim.numpy()), TOL[torch.float32])


def test_wide_codes_and_many_rows_in_several_spans(nan_filled):
    # 8 lanes of partial gradients, 512 wide, hold 1,980 batch rows: the second span adds to what the first one wrote
    pairs = make_pairs(2100, 2200, 512)
    sim = (pairs.labels_a.double() @ pairs.labels_b.double().T > 0).double()
    with use_backend("cpp"):
        loss, *grads = OP(pairs.a, pairs.b, *plain(words(pairs), True, True))
    check((loss, *grads), nll_truth(pairs.a, pairs.b, sim.numpy()), TOL[torch.float32])


def words(pairs):
    return pack_labels(pairs.labels_a).words, pack_labels(pairs.labels_b).words


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("classes", [1, 24, 64, 65, 130])
def test_any_number_of_classes(runner, classes):
    pairs = make_pairs(9, 40, 16, classes)
    check(run(runner, pairs), nll_truth(pairs.a, pairs.b, pairs.sim()), TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shared", [0, 31, 32, 63, 64, 127])
def test_one_shared_class_decides(runner, shared):
    pairs = make_pairs(6, 6, 16, 128)
    labels = [torch.zeros(6, 128) for _ in range(2)]
    labels[0][:, 5], labels[1][:, 6] = 1, 1  # never shared
    labels[0][::2, shared], labels[1][::3, shared] = 1, 1
    sim = np.zeros((6, 6))
    sim[::2, ::3] = 1
    check(run(runner, pairs, labels), nll_truth(pairs.a, pairs.b, sim), TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("dense", [False, True])
def test_all_or_none_similar(runner, value, dense):
    pairs = make_pairs(7, 50, 16)
    labels = [torch.full((n, 3), bool(value)) for n in (7, 50)]  # rows of zeros are similar to none
    kinds = ((None, None), {"sim": torch.full((7, 50), value)}) if dense else (labels, {})
    got = run(runner, pairs, kinds[0], **kinds[1])
    check(got, nll_truth(pairs.a, pairs.b, np.full((7, 50), value)), TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("similar", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("theta", [1e4, -1e4, 2.0**100])
def test_saturated_pairs_are_exact(runner, similar, dense, theta):
    a, b = torch.ones(3, 2), torch.full((5, 2), theta)  # theta_ij = 0.5 * 2 * theta
    ids = torch.zeros(3, dtype=torch.int64), torch.full((5,), 0 if similar else 1)
    labels, sim = ((None, None), torch.full((3, 5), float(similar))) if dense else (ids, None)
    a.requires_grad_()
    with runner():
        loss = pairwise_nll(a, b, *labels, sim=sim)
    wrong = (theta > 0) != similar
    assert float(loss.detach()) == (torch.tensor(15 * abs(theta), dtype=torch.float32).item() if wrong else 0.0)
    expected = (-0.5 if similar else 0.5) * 5 * theta if wrong else 0.0
    assert torch.equal(torch.autograd.grad(loss, a)[0], torch.full((3, 2), expected))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_small_losses_keep_their_digits(runner):
    # all pairs right and nearly certain: theta = 20, loss log1p(exp(-20)) a pair, lost in a sum of softplus - S theta
    a, b = torch.full((40, 8), 1.0), torch.full((300, 8), 5.0)
    ids = torch.zeros(40, dtype=torch.int64), torch.zeros(300, dtype=torch.int64)
    pairs = type(make_pairs(1, 1, 1))(a, b, *ids)
    tail = math.exp(-20) / (1 + math.exp(-20))
    loss, grad_a, grad_b = run(runner, pairs, ids)
    # equal addends: the rounding of a float32 sum does not average out
    assert float(loss.detach()) == pytest.approx(40 * 300 * math.log1p(math.exp(-20)), rel=1e-5)
    assert relative(grad_a, np.full((40, 8), -0.5 * tail * 300 * 5)) <= 1e-5
    assert relative(grad_b, np.full((300, 8), -0.5 * tail * 40)) <= 1e-5


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_zero_codes(runner):
    pairs = make_pairs(4, 37, 16)
    pairs = type(pairs)(torch.zeros_like(pairs.a), pairs.b, pairs.labels_a, pairs.labels_b)
    loss, grad_a, grad_b = run(runner, pairs)
    assert float(loss.detach()) == pytest.approx(4 * 37 * math.log(2), rel=1e-6)
    residual = 0.5 * (0.5 - pairs.sim())
    assert relative(grad_a, residual @ pairs.b.double().numpy()) <= 1e-6
    assert not grad_b.any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("dense", [False, True])
def test_nan_is_not_hidden(runner, side, dense):
    pairs = make_pairs(5, 40, 16)
    (pairs.a, pairs.b)[side][3, 2] = math.nan
    labels, options = ((None, None), {"sim": torch.from_numpy(pairs.sim())}) if dense else (None, {})
    loss, *grads = run(runner, pairs, labels, **options)
    assert loss.isnan()
    assert grads[side][3].isnan().all()
    assert grads[1 - side].isnan().any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_unwanted_gradients_change_nothing(runner):
    pairs = make_pairs(20, 90, 24)
    with runner():
        loss, grad_a, grad_b = OP(pairs.a, pairs.b, *plain(words(pairs), True, True))
        for want_a, want_b in ((True, False), (False, True), (False, False)):
            got = OP(pairs.a, pairs.b, *plain(words(pairs), want_a, want_b))
            torch.testing.assert_close(got[0], loss, rtol=1e-6, atol=0)
            for wanted, x, full in ((want_a, got[1], grad_a), (want_b, got[2], grad_b)):
                torch.testing.assert_close(x, full if wanted else full.new_empty(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(128, 3000, 64), (1500, 1400, 40), (3000, 20, 64)], ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(runner, shape):
    pairs, before = make_pairs(*shape), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with runner():
                results.append(OP(pairs.a, pairs.b, *plain(words(pairs), True, True)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_non_contiguous_inputs(runner):
    pairs = make_pairs(10, 60, 16)
    want = nll_truth(pairs.a, pairs.b, pairs.sim())
    strided = type(pairs)(
        pairs.a.T.contiguous().T, torch.stack([pairs.b, pairs.b], 2)[:, :, 1],
        torch.stack([pairs.labels_a] * 2, 1)[:, 0], pairs.labels_b.T.contiguous().T,
    )  # fmt: skip
    assert not any(x.is_contiguous() for x in (strided.a, strided.b, strided.labels_a, strided.labels_b))
    check(run(runner, strided), want, TOL[torch.float32])
    sim = torch.from_numpy(pairs.sim()).T.contiguous().T
    check(run(runner, strided, (None, None), sim=sim), want, TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("dtype", TOL, ids=str)
def test_dtypes(runner, dtype):
    if dtype == torch.float64 and runner.backend != "reference":
        with pytest.raises(RuntimeError, match=f"'{runner.backend}' cannot run: it computes in float32, got float64"):
            run(runner, make_pairs(3, 4, 5, dtype=dtype))
        return
    if dtype == torch.bfloat16 and runner.backend == "triton" and not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="interpreter multiplies bfloat16 matrices wrongly"):
            run(runner, make_pairs(3, 4, 5, dtype=dtype))
        return
    pairs = make_pairs(30, 40, 32, dtype=dtype)
    got = run(runner, pairs, reduction="mean")
    assert got[0].dtype == torch.promote_types(dtype, torch.float32)
    assert got[1].dtype == got[2].dtype == dtype
    loss, *grads = nll_truth(pairs.a, pairs.b, pairs.sim())
    tol = HALF_PRODUCTS.get(dtype, TOL[dtype]) if runner.backend == "triton" else TOL[dtype]
    check(got, (loss / 1200, *(g / 1200 for g in grads)), tol)


def test_a_sum_that_overflows_float16_does_not_spoil_its_mean():
    a, b = torch.full((8, 16), -8.0, dtype=torch.float16), torch.full((60000, 16), 8.0, dtype=torch.float16)
    a.requires_grad_()
    loss = pairwise_nll(
        a, b, torch.zeros(8, dtype=torch.int64), torch.zeros(60000, dtype=torch.int64), reduction="mean"
    )
    torch.testing.assert_close(torch.autograd.grad(loss, a)[0], torch.full_like(a, -0.5 * 8 / 8))


@pytest.mark.parametrize("scale", [0.5, -1.25, 3.0])
@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_scale_and_reduction(runner, scale):
    pairs = make_pairs(11, 13, 16)
    want = nll_truth(pairs.a, pairs.b, pairs.sim(), scale)
    check(run(runner, pairs, scale=scale), want, TOL[torch.float32])
    mean = run(runner, pairs, scale=scale, reduction="mean")
    check(mean, tuple(x / (11 * 13) for x in want), TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_one_tensor_on_both_sides(runner):
    pairs = make_pairs(20, 20, 16)
    pairs = type(pairs)(pairs.a, pairs.a, pairs.labels_a, pairs.labels_a)
    a = pairs.a.clone().requires_grad_()
    with runner():
        loss = pairwise_nll(a, a, pairs.labels_a, pairs.labels_a)
    _, left, right = nll_truth(pairs.a, pairs.a, pairs.sim())
    assert relative(torch.autograd.grad(loss, a)[0], left + right) <= TOL[torch.float32][1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (128, 16862, 64), (3000, 2000, 64), (200, 300, 512)], ids=str)
def test_on_the_gpu(dtype, shape):
    pairs = make_pairs(*shape, dtype=dtype)
    sim = (pairs.labels_a.double() @ pairs.labels_b.double().T > 0).double()
    a, b = (x.cuda().requires_grad_() for x in (pairs.a, pairs.b))
    with use_backend("triton"):
        loss = pairwise_nll(a, b, pairs.labels_a.cuda(), pairs.labels_b.cuda(), reduction="mean")
    size = shape[0] * shape[1]
    want = tuple(x / size for x in nll_truth(pairs.a, pairs.b, sim.numpy()))
    check((loss, *torch.autograd.grad(loss, (a, b))), want, HALF_PRODUCTS.get(dtype, (1e-5, 1e-5)))
