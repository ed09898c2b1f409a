import functools
import math

import numpy as np
import pytest
import torch
from nll_cases import relative, runners
from proxy_pair_cases import Inputs, make_inputs, truth

from fasthash.ops import pack_labels, proxy_pair, use_backend

OP = torch.ops.fasthash.proxy_pair
RUNNERS = runners("proxy_pair")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]
SHAPES = [(1, 1, 1), (1, 24, 16), (5, 3, 17), (33, 24, 64), (26, 70, 33), (20, 130, 100)]  # m, classes, d

# Relative errors of (loss and terms, gradients norm-wise) against float64 on the same inputs.
TOL = {
    torch.float64: (1e-12, 1e-12),  # only the order of sums differs
    torch.float32: (2e-6, 5e-6),  # float32 sums in blocks; the parts along the codes cancel in the gradients
    torch.float16: (2e-6, 1e-3),  # computed in float32; the gradients are rounded to 11 bits at the end
    torch.bfloat16: (2e-6, 5e-3),  # likewise to 8 bits
}
DSPH = {"threshold": 0.125, "positive_pairs": 0.0, "variance": 0.0}
SETTINGS = {
    "dcgh": {},
    "dsph": DSPH,
    "relevant": {"variance_form": "relevant"},
    "heavy": {"threshold": -0.25, "negative_pairs": 3.0, "positive_pairs": 2.0, "variance": 0.5},
}


@functools.cache
def case(shape, name, dtype=torch.float32):
    inputs = make_inputs(*shape, dtype=dtype)
    return inputs, truth(inputs, **SETTINGS[name])


def run(runner, inputs, labels=None, **settings):
    leaves = inputs.leaves()
    with runner():
        loss, terms = proxy_pair(*leaves, inputs.labels if labels is None else labels, with_terms=True, **settings)
    return loss.detach(), terms, torch.autograd.grad(loss, leaves)


def check(got, want, tol, atol=2e-6):  # a cosine of 1 is right to 2e-7, and so is a hinge that should be 0
    loss, terms, grads = got
    assert float(loss) == pytest.approx(want[0], rel=tol[0], abs=atol)
    assert [float(t) for t in terms] == pytest.approx(want[1], rel=tol[0], abs=atol)
    for gradient, expected in zip(grads, want[2], strict=True):
        size = float(np.linalg.norm(expected))
        assert relative(gradient, expected) * (size if size > 0 else 1.0) <= tol[1] * size + atol


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_matches_float64(runner, shape, name, nan_filled):
    inputs, want = case(shape, name)
    check(run(runner, inputs, **SETTINGS[name]), want, TOL[torch.float32])


@pytest.mark.parametrize("shape", [(33, 24, 64), (26, 70, 33)], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_reference_in_float64(shape, name):
    inputs, want = case(shape, name, torch.float64)
    reference = next(r for r in RUNNERS if r.backend == "reference")
    check(run(reference, inputs, **SETTINGS[name]), want, TOL[torch.float64], atol=1e-14)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize(
    "shape", [(128, 24, 64), (300, 80, 16), (130, 300, 48), (257, 5, 512), (1030, 81, 72)], ids=str
)
@pytest.mark.parametrize("form", ["official", "relevant"])
def test_several_blocks_match_the_reference(runner, shape, form, nan_filled):
    inputs = make_inputs(*shape)
    wide = make_inputs(*shape, dtype=torch.float64)
    wide = Inputs(*(t.double() for t in (inputs.x, inputs.y, inputs.proxies)), wide.labels)
    with use_backend("reference"):
        leaves = wide.leaves()
        loss, terms = proxy_pair(*leaves, wide.labels, variance_form=form, with_terms=True)
        grads = [g.numpy() for g in torch.autograd.grad(loss, leaves)]
    check(run(runner, inputs, variance_form=form), (float(loss.detach()), list(map(float, terms)), grads), (1e-6, 2e-6))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_packed_labels_and_other_dtypes(runner):
    inputs = make_inputs(13, 70, 20)
    want = run(runner, inputs)
    for labels in (pack_labels(inputs.labels), inputs.labels.float() * 3, inputs.labels.to(torch.uint8)):
        got = run(runner, inputs, labels)
        assert torch.equal(got[0], want[0])
        assert all(torch.equal(a, b) for a, b in zip(got[2], want[2], strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("form", ["official", "relevant"])
@pytest.mark.parametrize(
    "case", ["no positive", "no negative", "one label each", "one multi-label row", "all alike", "alternating"]
)
def test_empty_groups_are_zero(runner, case, form, nan_filled):
    inputs = make_inputs(9, 6, 16)
    labels = torch.zeros(9, 6, dtype=torch.bool)
    if case == "no negative":
        labels[:] = True
    elif case == "one label each":  # no multi-label row: no negative pair
        labels[torch.arange(9), torch.arange(9) % 6] = True
    elif case == "one multi-label row":
        labels[torch.arange(9), torch.arange(9) % 6] = True
        labels[3, 4] = True
    elif case == "all alike":
        labels[:, 1:4] = True
    elif case == "alternating":
        labels[::2, :3], labels[1::2, 3:] = True, True
    inputs = inputs.with_labels(labels)
    got, want = run(runner, inputs, variance_form=form), truth(inputs, variance_form=form)
    check(got, want, TOL[torch.float32])
    empty = {
        "no positive": ("proxy_positive", "positive_pairs", "negative_pairs", "variance"),
        "no negative": ("proxy_negative", "negative_pairs"),
        "one label each": ("negative_pairs",),
        "one multi-label row": ("negative_pairs",),
        "all alike": ("negative_pairs",),
        "alternating": (),
    }[case]
    for name, term in got[1]._asdict().items():
        if name in empty:
            assert float(term) == 0.0


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_rows_without_a_label_count_in_proxy_negative_alone(runner):
    inputs = make_inputs(7, 5, 16)
    labels = inputs.labels.clone()
    labels[2:] = torch.tensor([True, True, False, False, False])
    labels[:2] = False
    with_them = run(runner, inputs.with_labels(labels))[1]
    rest = Inputs(inputs.x[2:], inputs.y[2:], inputs.proxies, labels[2:])
    without = run(runner, rest)[1]
    for name in ("proxy_positive", "positive_pairs", "negative_pairs"):
        assert float(getattr(with_them, name)) == pytest.approx(float(getattr(without, name)), rel=1e-6)
    assert float(with_them.variance) == pytest.approx(float(without.variance) * 5 / 7, rel=1e-6)
    check(run(runner, inputs.with_labels(labels)), truth(inputs.with_labels(labels)), TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_rows_of_zeros_have_no_gradient(runner, nan_filled):
    inputs = make_inputs(9, 6, 16)
    inputs.x[3], inputs.y[5], inputs.proxies[1] = 0, 0, 0
    got = run(runner, inputs)
    check(got, truth(inputs), TOL[torch.float32])
    assert not any(g.isnan().any() for g in got[2])
    for gradient, row in zip(got[2], (3, 5, 1), strict=True):
        assert not gradient[row].any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("labels", ["mixed", "none", "all"])
def test_nan_is_not_hidden(runner, side, labels):
    inputs = make_inputs(40, 24, 16)
    (inputs.x, inputs.y, inputs.proxies)[side][3, 2] = math.nan
    given = {"mixed": inputs.labels, "none": torch.zeros(40, 24), "all": torch.ones(40, 24)}[labels]
    loss, _, grads = run(runner, inputs, given)
    assert loss.isnan()
    assert grads[side][3].isnan().all()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("size", [1e4, 1e-4, 1e-9])
def test_the_length_of_codes_does_not_matter(runner, size):
    inputs = make_inputs(20, 24, 64)
    scaled = Inputs(inputs.x * size, inputs.y / size, inputs.proxies * size, inputs.labels)
    check(run(runner, scaled), truth(scaled), TOL[torch.float32])
    loss, terms, grads = run(runner, inputs)
    got = run(runner, scaled)
    torch.testing.assert_close((got[0], *got[1]), (loss, *terms), rtol=1e-5, atol=1e-7)
    for a, b, factor in zip(got[2], grads, (size, 1 / size, size), strict=True):
        torch.testing.assert_close(a * factor, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_codes_at_their_proxies_have_nothing_to_learn(runner):
    # orthogonal proxies, every row at its own: A, N, p2p, n2n and V vanish to rounding, and so do the gradients
    proxies = 3 * torch.eye(8)
    labels = torch.eye(8)[torch.arange(24) % 8]
    inputs = Inputs(labels * 0.5, labels * 2, proxies, labels.bool())
    _, terms, grads = run(runner, inputs)
    assert max(map(float, terms)) <= 1e-6
    assert max(float(g.abs().max()) for g in grads) <= 1e-6


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_unwanted_gradients_change_nothing(runner):
    inputs = make_inputs(20, 30, 24)
    words = pack_labels(inputs.labels).words
    args = (inputs.x, inputs.y, inputs.proxies, words, 0.0, 0.8, 0.05, 1.0, False)
    with runner():
        full, alone = OP(*args, True), OP(*args, False)
        leaves = inputs.leaves()
        only = torch.autograd.grad(proxy_pair(inputs.x, inputs.y, leaves[2], inputs.labels), leaves[2])[0]
    torch.testing.assert_close(alone[:2], full[:2], rtol=1e-6, atol=0)
    assert [x.numel() for x in alone[2:]] == [0, 0, 0]
    torch.testing.assert_close(only, full[4])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", [(128, 24, 64), (530, 80, 16)], ids=str)
def test_bits_do_not_depend_on_the_run_or_the_threads(runner, shape):
    if runner.backend == "triton" and shape[0] > 128 and not torch.cuda.is_available():
        shape = (70, 80, 16)
    inputs, before = make_inputs(*shape), torch.get_num_threads()
    args = (inputs.x, inputs.y, inputs.proxies, pack_labels(inputs.labels).words, 0.0, 0.8, 0.05, 1.0, False, True)
    results = []
    try:
        for threads in (1, 1) if runner.backend == "reference" else (1, 1, 2, 3):
            torch.set_num_threads(threads)
            with runner():
                results.append(OP(*args))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_non_contiguous_inputs(runner):
    inputs = make_inputs(12, 24, 16)
    strided = Inputs(
        inputs.x.T.contiguous().T, torch.stack([inputs.y] * 2, 2)[:, :, 1], inputs.proxies.T.contiguous().T,
        inputs.labels.T.contiguous().T,
    )  # fmt: skip
    check(run(runner, strided), truth(inputs), TOL[torch.float32])
    words = torch.stack([pack_labels(inputs.labels).words] * 2, 1)[:, 0]
    with runner():
        got = OP(inputs.x, inputs.y, inputs.proxies, words, 0.0, 0.8, 0.05, 1.0, False, False)[0]
    assert float(got) == pytest.approx(truth(inputs)[0], rel=2e-6)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("dtype", TOL, ids=str)
def test_dtypes(runner, dtype):
    inputs = make_inputs(30, 24, 32, dtype=dtype)
    if dtype == torch.float64 and runner.backend != "reference":
        with pytest.raises(RuntimeError, match=f"'{runner.backend}' cannot run: it computes in float32, got float64"):
            run(runner, inputs)
        return
    got = run(runner, inputs)
    assert got[0].dtype == got[1].variance.dtype == torch.promote_types(dtype, torch.float32)
    assert all(g.dtype == dtype for g in got[2])
    check(got, truth(inputs), TOL[dtype])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (128, 24, 64), (60, 80, 512)], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_on_the_gpu(dtype, shape, name):
    inputs, want = case(shape, name, dtype)
    leaves = [t.cuda().requires_grad_() for t in (inputs.x, inputs.y, inputs.proxies)]
    with use_backend("triton"):
        loss, terms = proxy_pair(*leaves, inputs.labels.cuda(), with_terms=True, **SETTINGS[name])
    got = loss.detach(), terms, torch.autograd.grad(loss, leaves)
    # float32 products in three TF32 products; half precision in one, of weights rounded to 11 bits
    tol = {torch.float32: (1e-5, 2e-5), torch.float16: (1e-4, 3e-3), torch.bfloat16: (1e-4, 1e-2)}[dtype]
    check(got, want, tol, atol=5e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_gpu():
    inputs = make_inputs(128, 24, 64)
    leaves = [t.cuda().requires_grad_() for t in (inputs.x, inputs.y, inputs.proxies)]
    labels = inputs.labels.cuda()
    proxy_pair(*leaves, labels).backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        proxy_pair(*leaves, labels).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
