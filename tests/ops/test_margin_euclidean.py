import math

import numpy as np
import pytest
import torch
from margin_cases import margin_of, truth
from nll_cases import make_pairs, relative, runners

from fasthash.ops import margin_euclidean, margin_for, pack_labels, use_backend

OP = torch.ops.fasthash.margin_euclidean
RUNNERS = runners("margin_euclidean")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]

# Relative errors, norm-wise, of (loss, gradients) against float64 on the same inputs.
TOL = {
    torch.float64: (1e-13, 1e-13),  # only the order of sums differs
    torch.float32: (2e-6, 5e-6),  # squared distances within a few roundings of squared lengths
    torch.float16: (2e-6, 1e-3),  # computed in float32; the gradients are rounded to 11 bits at the end
    torch.bfloat16: (2e-6, 5e-3),  # likewise to 8 bits
}

SHAPES = [(1, 1, 1), (1, 300, 16), (5, 257, 17), (66, 70, 64), (37, 65, 100), (64, 33, 128)]  # n, m, d: ragged, whole


def run(runner, a, b, labels=(None, None), **options):
    a, b = (x.detach().clone().requires_grad_() for x in (a, b))
    with runner():
        loss = margin_euclidean(a, b, *labels, **options)
    return loss.detach(), *torch.autograd.grad(loss, (a, b))


def check(got, want, tol=TOL[torch.float32]):
    assert abs(float(got[0]) - want[0]) <= tol[0] * abs(want[0])
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        assert relative(gradient, expected) <= tol[1]


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["multi-hot", "ids", "sim"])
def test_matches_float64(runner, shape, kind, nan_filled):
    pairs = make_pairs(*shape, c=70)
    g = torch.Generator().manual_seed(1)
    margin, options, labels = 1.1 * margin_of(pairs.a, pairs.b), {}, (None, None)
    if kind == "ids":
        labels = [torch.randint(0, 4, (n,), generator=g) + 2**40 for n in shape[:2]]
        sim = (labels[0][:, None] == labels[1]).double()
    elif kind == "sim":
        sim = torch.rand(shape[:2], generator=g).clamp(0.1, 0.7)  # at both ends some are 0.1 and 0.7
        options["sim"] = sim
    else:
        labels, sim = [pack_labels(x) for x in (pairs.labels_a, pairs.labels_b)], pairs.sim()
    want = truth(pairs.a, pairs.b, sim, margin)
    check(run(runner, pairs.a, pairs.b, labels, margin=margin, reduction="sum", **options), want)
    mean = run(runner, pairs.a, pairs.b, labels, margin=margin, **options)
    check(mean, tuple(x / (shape[0] * shape[1]) for x in want))


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(128, 2000, 64), (700, 600, 32), (1, 5000, 48), (2000, 3, 20)], ids=str)
def test_several_blocks_match_the_reference(runner, shape, nan_filled):
    pairs = make_pairs(*shape)
    ids = [torch.arange(n) % 5 for n in shape[:2]]
    with use_backend("reference"):
        want = [x.numpy() for x in OP(pairs.a.double(), pairs.b.double(), *ids, None, 9.0, True, True)]
    check(run(runner, pairs.a, pairs.b, ids, margin=9.0, reduction="sum"), want)


def test_the_margin_of_the_paper():
    assert margin_for(64, 0.5) == 8.0
    assert margin_for(16, 0.75) == pytest.approx(math.sqrt(24))
    for bits, threshold in ((0, 0.5), (16, 0), (16, 1.5)):
        with pytest.raises(ValueError, match=r"^margin_for: expected bits >= 1 and 0 < threshold <= 1, got"):
            margin_for(bits, threshold)
    with pytest.raises(ValueError, match=r"^margin_for: threshold must be a finite number, got nan"):
        margin_for(16, math.nan)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_dissimilar_rows_that_are_one(runner, nan_filled):
    a = make_pairs(1, 40, 24).b
    ids = torch.arange(40), torch.arange(40) + 100
    loss, grad_a, grad_b = run(runner, a, a.clone(), ids, margin=1e-3, reduction="sum")
    assert float(loss) == pytest.approx(40 * 1e-6)  # of the pairs of a row with its copy, exactly at distance 0
    assert not grad_a.any()
    assert not grad_b.any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("apart", [1.0, 1e-2, 1e-4, 1e-6])
def test_small_distances_of_dissimilar_rows_keep_their_digits(runner, apart, nan_filled):
    # lengths of about 8, as of codes of 64 bits
    pairs = make_pairs(40, 40, 64)
    a = pairs.a / pairs.a.norm(dim=1, keepdim=True) * 8
    b = (a + apart * torch.randn(40, 64, generator=torch.Generator().manual_seed(5)) / 8).float()
    ids = torch.zeros(40, dtype=torch.int64), torch.ones(40, dtype=torch.int64)
    want = truth(a, b, torch.zeros(40, 40), 5.0)
    # rows sum to the difference of nearly equal vectors times 1 / distance
    check(run(runner, a, b, ids, margin=5.0, reduction="sum"), want, (2e-6, 5e-6 + 1e-7 * 8 / apart))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_codes_that_are_all_alike(runner, nan_filled):
    # an untrained network: every code within a hundredth of one vector of length 80
    g = torch.Generator().manual_seed(0)
    a, b = (10 + 0.01 * torch.randn(n, 64, generator=g) for n in (30, 70))
    ids = torch.arange(30) % 3, torch.arange(70) % 3
    sim = (ids[0][:, None] == ids[1]).double()
    want = truth(a, b, sim, 0.2)
    check(run(runner, a, b, ids, margin=0.2, reduction="sum"), want, (1e-5, 1e-4))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("sim", [0.0, 0.25, 1.0])
def test_large_values_stay_finite(runner, sim):
    a, b = torch.full((3, 20), 1e4), torch.full((40, 20), -1e4)
    got = run(runner, a, b, sim=torch.full((3, 40), sim), margin=8.0, reduction="sum")
    check(got, truth(a, b, np.full((3, 40), sim), 8.0))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("labels", ["ids", "masks", "sim"])
def test_one_set_of_codes_with_itself(runner, labels, nan_filled):
    pairs = make_pairs(45, 45, 24)
    multi = pairs.labels_a.clone()
    multi[:7] = False  # rows without a label are not similar to themselves either
    ids = torch.arange(45) % 4
    sim = {"ids": ids[:, None] == ids, "masks": multi.double() @ multi.double().T > 0}
    dense = torch.rand(45, 45)
    dense = dense.maximum(dense.T)
    want = truth(pairs.a, pairs.a, sim.get(labels, dense), 6.0)
    a = pairs.a.requires_grad_()
    given = {"ids": (ids, ids), "masks": (multi, multi)}.get(labels, (None, None))
    with runner():
        loss = margin_euclidean(a, a, *given, sim=dense if labels == "sim" else None, margin=6.0, reduction="sum")
    assert float(loss.detach()) == pytest.approx(want[0], rel=2e-6)
    assert relative(torch.autograd.grad(loss, a)[0], want[1] + want[2]) <= 5e-6


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("similar", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_nan_is_not_hidden(runner, side, similar, dense):
    pairs = make_pairs(20, 40, 16)
    (pairs.a, pairs.b)[side][13, 2] = math.nan
    ids = torch.zeros(20, dtype=torch.int64), torch.full((40,), int(not similar))
    sim = torch.full((20, 40), float(similar)) if dense else None
    loss, *grads = run(runner, pairs.a, pairs.b, (None, None) if dense else ids, sim=sim, margin=100.0)
    assert loss.isnan()
    touched = grads[side][13].isnan()
    assert touched[2]
    assert touched.all() or similar  # what pulls rows together is apart in each column
    assert grads[1 - side].isnan().any()
    assert grads[side][:13].isfinite().all()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_unwanted_gradients_change_nothing(runner):
    pairs = make_pairs(20, 90, 24)
    args = pairs.a, pairs.b, torch.arange(20) % 3, torch.arange(90) % 3, None, 8.0
    with runner():
        loss, grad_a, grad_b = OP(*args, True, True)
        for want_a, want_b in ((True, False), (False, True), (False, False)):
            got = OP(*args, want_a, want_b)
            torch.testing.assert_close(got[0], loss, rtol=1e-6, atol=0)
            for wanted, x, full in ((want_a, got[1], grad_a), (want_b, got[2], grad_b)):
                torch.testing.assert_close(x, full if wanted else full.new_empty(0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(128, 3000, 64), (1000, 900, 40)], ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(runner, shape):
    pairs = make_pairs(*shape)
    args = pairs.a, pairs.b, torch.arange(shape[0]) % 3, torch.arange(shape[1]) % 3, None, 8.0
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with runner():
                results.append(OP(*args, True, True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_non_contiguous_inputs(runner):
    pairs = make_pairs(10, 60, 16)
    sim = torch.rand(60, 10).T
    want = truth(pairs.a, pairs.b, sim, 7.0)
    a, b = pairs.a.T.contiguous().T, torch.stack([pairs.b, pairs.b], 2)[:, :, 1]
    check(run(runner, a, b, sim=sim, margin=7.0, reduction="sum"), want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("dtype", TOL, ids=str)
def test_dtypes(runner, dtype):
    pairs = make_pairs(30, 40, 32, dtype=dtype)
    labels = pairs.labels_a, pairs.labels_b
    if dtype == torch.float64 and runner.backend != "reference":
        with pytest.raises(RuntimeError, match=f"'{runner.backend}' cannot run: it computes in float32, got float64"):
            run(runner, pairs.a, pairs.b, labels, margin=8.0)
        return
    got = run(runner, pairs.a, pairs.b, labels, margin=8.0)
    assert got[0].dtype == torch.promote_types(dtype, torch.float32)
    assert got[1].dtype == got[2].dtype == dtype
    check(got, tuple(x / 1200 for x in truth(pairs.a, pairs.b, pairs.sim(), 8.0)), TOL[dtype])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (128, 16862, 64), (3000, 2000, 64), (200, 300, 256)], ids=str)
def test_on_the_gpu(dtype, shape):
    pairs = make_pairs(*shape, dtype=dtype)
    ids = [torch.arange(n) % 5 for n in shape[:2]]
    with use_backend("reference"):
        want = [x.numpy() for x in OP(pairs.a.double(), pairs.b.double(), *ids, None, 9.0, True, True)]
    a, b = (x.cuda().requires_grad_() for x in (pairs.a, pairs.b))
    with use_backend("triton"):
        loss = margin_euclidean(a, b, *(x.cuda() for x in ids), margin=9.0, reduction="sum")
    tol = {torch.float32: (1e-5, 1e-5), torch.float16: (1e-5, 1e-3), torch.bfloat16: (1e-5, 5e-3)}[dtype]
    check((loss.detach(), *torch.autograd.grad(loss, (a, b))), want, tol)
