import functools
import math

import numpy as np
import pytest
import torch
from cross_attention_cases import gradient_truth, make_items, relative, truth
from hypothesis import given, settings
from hypothesis import strategies as st
from nll_cases import runners

from fasthash.ops import cross_attention_score, use_backend

FORWARD = torch.ops.fasthash.cross_attention_score
BACKWARD = torch.ops.fasthash.cross_attention_score_backward
RUNNERS = runners("cross_attention_score")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]
WAYS = [(direction, pool) for direction in ("t2i", "i2t", "both") for pool in ("mean", "lse")]

# Errors against float64 on the same inputs: of scores, which are near 1, and norm-wise of gradients.
TOL = {
    torch.float64: (1e-12, 1e-11),  # only the order of sums differs
    torch.float32: (2e-6, 2e-5),  # float32 sums; what a column is divided by may be small
    torch.float16: (2e-6, 1e-3),  # computed in float32; the gradients are rounded to 11 bits at the end
    torch.bfloat16: (2e-6, 5e-3),  # likewise to 8 bits
}
SHAPES = [(1, 1, 1, 2, 3), (2, 3, 5, 4, 7), (3, 2, 1, 6, 16), (2, 3, 7, 1, 33), (2, 2, 36, 20, 40)]  # n_i, n_t, R, T, D


def run(runner, items, masks=(None, None), dtype=None, **options):
    """Scores and both gradients."""
    regions, words = (x.to(dtype or x.dtype).clone().requires_grad_() for x in (items.regions, items.words))
    with runner():
        scores = cross_attention_score(regions, words, *masks, **options)
        return scores.detach(), *torch.autograd.grad(scores, (regions, words), items.grad.to(scores.dtype))


def reference(items, masks=(None, None), **options):
    """The same in float64 by the reference, whose scores and gradients other tests check."""
    return run(lambda: use_backend("reference"), items, masks, torch.float64, **options)


@functools.cache
def cached_truth(shape, masked, direction, pool):
    items = make_items(*shape)
    masks = items.masks if masked else (None, None)
    return truth(items.regions, items.words, *masks, direction=direction, pool=pool)


@functools.cache
def cached_reference(shape, masked, direction):
    items = make_items(*shape)
    return reference(items, items.masks if masked else (None, None), direction=direction)


def check(got, want, tol):
    assert float((got[0].double() - want[0]).abs().max()) <= tol[0]
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        assert relative(gradient, expected.numpy()) <= tol[1]


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
@pytest.mark.parametrize("masked", [False, True])
def test_scores_match_loops_in_float64(runner, shape, direction, pool, masked, nan_filled):
    items = make_items(*shape)
    masks = items.masks if masked else (None, None)
    with runner():
        got = cross_attention_score(items.regions, items.words, *masks, direction=direction, pool=pool)
    want = cached_truth(shape, masked, direction, pool)
    assert got.dtype == torch.float32
    assert np.abs(got.double().numpy() - want).max() <= TOL[torch.float32][0]


@pytest.mark.parametrize(("direction", "pool"), WAYS)
@pytest.mark.parametrize("leak", [0.0, 0.1, 1.0])
def test_the_reference_is_exact(direction, pool, leak):
    items = make_items(3, 4, 5, 6, 8, dtype=torch.float64)
    options = {"direction": direction, "pool": pool, "leak": leak}
    got = reference(items, items.masks, **options)
    want = truth(items.regions, items.words, *items.masks, **options)
    np.testing.assert_allclose(got[0].numpy(), want, rtol=0, atol=TOL[torch.float64][0])
    for side, index, slope in gradient_truth(items, items.masks, 3, **options):
        assert float(got[1 + side][index]) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_match_float64(runner, shape, direction, pool, masked, nan_filled):
    items = make_items(*shape)
    masks = items.masks if masked else (None, None)
    options = {"direction": direction, "pool": pool}
    want, got = reference(items, masks, **options), run(runner, items, masks, **options)
    assert float((got[0].double() - want[0]).abs().max()) <= TOL[torch.float32][0]
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        # a single region or word makes derivatives that are nearly 0 as differences of ones that are not
        assert float((gradient - expected).norm()) <= TOL[torch.float32][1] * max(float(expected.norm()), 0.1)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(9, 18, 36, 20, 32), (7, 3, 50, 70, 17), (1, 2, 200, 190, 8), (60, 90, 3, 2, 96)])
def test_several_blocks_match_float64(runner, shape, nan_filled):
    items = make_items(*shape)
    for masks in ((None, None), items.masks):
        for direction in ("t2i", "i2t", "both"):
            want = cached_reference(shape, masks[0] is not None, direction)
            check(run(runner, items, masks, direction=direction), want, TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_pairs_without_a_gradient(runner, share, nan_filled):
    shape = (2, 4, 3, 5, 8) if runner.backend == "triton" else (7, 20, 9, 11, 24)  # the interpreter is slow
    items = make_items(*shape)
    items.grad.mul_(torch.rand(items.grad.shape, generator=torch.Generator().manual_seed(1)) < share)
    for direction in ("t2i", "both"):
        want = reference(items, items.masks, direction=direction)
        check(run(runner, items, items.masks, direction=direction), want, TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_options(runner):
    items = make_items(3, 4, 6, 5, 12)
    for options, loops in (
        ({"temperature": 2.5}, {"t2i": (2.5, 6.0)}),
        ({"pool": "lse", "pool_temperature": 3}, {"t2i": (9.0, 3.0)}),
        ({"direction": "i2t", "temperature": 150.0, "leak": 0}, {"i2t": (150.0, 20.0)}),
        ({"direction": "both", "temperature": (1.0, 2.0)}, {"t2i": (1.0, 6.0), "i2t": (2.0, 20.0)}),
        ({"direction": "both", "pool": "lse", "pool_temperature": (1.0, 2.0)}, {"t2i": (9.0, 1.0), "i2t": (4.0, 2.0)}),
    ):
        same = {name: options[name] for name in ("direction", "pool", "leak") if name in options}
        want = truth(items.regions, items.words, **same, **loops)
        got = run(runner, items, **options)
        assert np.abs(got[0].double().numpy() - want).max() <= 1e-5
        check(got, reference(items, **options), (1e-5, 1e-4))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
def test_what_is_masked_takes_no_part(runner, direction, pool):
    items, options = make_items(3, 4, 6, 5, 9), {"direction": direction, "pool": pool}
    items.word_mask[1], items.region_mask[2] = True, True
    want = run(runner, items, items.masks, **options)
    for value in (math.nan, math.inf, 1e30):
        items.words[~items.word_mask], items.regions[~items.region_mask] = value, value
        got = run(runner, items, items.masks, **options)
        assert all(torch.equal(x, y) for x, y in zip(got, want, strict=True))
    assert not want[1][~items.region_mask].any()
    assert not want[2][~items.word_mask].any()
    # and what is left is as if there were nothing else
    kept = items.words[0][items.word_mask[0]][None]
    with runner():
        alone = cross_attention_score(items.regions[2:], kept, **options)
    assert float(alone) == pytest.approx(float(want[0][2, 0]), abs=2e-6)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
def test_items_without_anything_have_score_0(runner, direction, pool, nan_filled):
    items = make_items(3, 4, 6, 5, 9)
    items.word_mask[1], items.region_mask[2] = False, False
    scores, *grads = run(runner, items, items.masks, direction=direction, pool=pool)
    assert not scores[:, 1].any()
    assert not scores[2].any()
    assert scores[0, 0] != 0
    assert not grads[0][2].any()
    assert not grads[1][1].any()
    check((scores, *grads), reference(items, items.masks, direction=direction, pool=pool), TOL[torch.float32])
    nothing = torch.zeros(4, 5, dtype=torch.bool)
    assert not any(x.any() for x in run(runner, items, (nothing, None), direction=direction, pool=pool))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
def test_vectors_of_zeros(runner, direction, pool):
    items, options = make_items(3, 4, 6, 5, 9), {"direction": direction, "pool": pool}
    items.regions[0, 2], items.regions[1], items.words[3, 1:3] = 0, 0, 0
    got = run(runner, items, **options)
    want = truth(items.regions, items.words, **options)
    assert np.abs(got[0].double().numpy() - want).max() <= TOL[torch.float32][0]
    assert not got[1][0, 2].any()
    assert not got[1][1].any()
    assert not got[2][3, 1:3].any()
    assert all(x.isfinite().all() for x in got)
    check(got, reference(items, **options), TOL[torch.float32])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_vectors_that_cancel(runner):
    # one word, two opposite regions with the same leak-free similarity 0 on the left: the attended vector is 0
    regions, words = torch.tensor([[[0.0, 1.0], [0.0, -1.0]]]), torch.tensor([[[1.0, 0.0]]])
    items = type(make_items(1, 1, 1, 1, 1))(regions, words, None, None, torch.ones(1, 1))
    got = run(runner, items)
    assert float(got[0]) == 0
    assert all(x.isfinite().all() for x in got)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_lengths_do_not_matter(runner, scale):
    items = make_items(3, 4, 6, 5, 32)
    want = run(runner, items, direction="both")
    long = type(items)(scale * items.regions, items.words * scale, None, None, items.grad)
    got = run(runner, long, direction="both")
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=1e-6)
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        assert relative(scale * gradient, expected.double().numpy()) <= 1e-5


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_not_hidden(runner, direction, pool, value):
    items = make_items(3, 4, 6, 5, 9)
    items.regions[1, 2, 3] = value
    scores, of_regions, of_words = run(runner, items, direction=direction, pool=pool)
    assert scores[1].isnan().all()
    assert scores[[0, 2]].isfinite().all()
    assert of_regions[1].isnan().any()
    assert of_regions[[0, 2]].isfinite().all()
    assert of_words.isnan().any()
    items = make_items(3, 4, 6, 5, 9)
    items.words[1, 2, 3] = value
    scores, of_regions, of_words = run(runner, items, direction=direction, pool=pool)
    assert scores[:, 1].isnan().all()
    assert scores[:, [0, 2, 3]].isfinite().all()
    assert of_words[1].isnan().any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("dtype", TOL, ids=str)
def test_dtypes(runner, dtype):
    items = make_items(5, 6, 7, 8, 32, dtype=dtype)
    if dtype == torch.float64 and runner.backend != "reference":
        with pytest.raises(RuntimeError, match=f"'{runner.backend}' cannot run: it computes in float32, got float64"):
            run(runner, items)
        return
    got = run(runner, items, items.masks, direction="both", pool="lse")
    assert got[0].dtype == torch.promote_types(dtype, torch.float32)
    assert got[1].dtype == got[2].dtype == dtype
    check(got, reference(items, items.masks, direction="both", pool="lse"), TOL[dtype])


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_unwanted_gradients_change_nothing(runner):
    items = make_items(4, 9, 6, 5, 24)
    args = (items.regions, items.words, items.region_mask, items.word_mask, [0.5, 9.0, 0.0], [0.5, 4.0, 0.0], 0.1)
    with runner():
        both = BACKWARD(items.grad.float(), *args, True, True)
        for wanted in ((True, False), (False, True), (False, False)):
            got = BACKWARD(items.grad.float(), *args, *wanted)
            for on, x, full in zip(wanted, got, both, strict=True):
                torch.testing.assert_close(x, full if on else full.new_empty(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("runner", NATIVE, ids=str)
@pytest.mark.parametrize("shape", [(20, 33, 36, 20, 64), (3, 50, 11, 9, 40), (50, 2, 7, 30, 33)], ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(runner, shape):
    items, before = make_items(*shape), torch.get_num_threads()
    sparse = items.grad.float() * (torch.rand(items.grad.shape) < 0.1)
    args = (items.regions, items.words, items.region_mask, items.word_mask, [0.5, 9.0, 6.0], [0.5, 4.0, 20.0], 0.1)
    results = []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            with runner():
                grads = [x for g in (items.grad.float(), sparse) for x in BACKWARD(g, *args, True, True)]
                results.append((FORWARD(*args), *grads))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_non_contiguous_inputs(runner):
    items = make_items(4, 5, 6, 7, 16)
    want = reference(items, items.masks)
    strided = type(items)(
        items.regions.transpose(0, 2).contiguous().transpose(0, 2), torch.stack([items.words] * 2, 3)[..., 1],
        items.region_mask.T.contiguous().T, items.word_mask.T.contiguous().T, items.grad.T.contiguous().T,
    )  # fmt: skip
    assert not any(x.is_contiguous() for x in (strided.regions, strided.words, *strided.masks, strided.grad))
    check(run(runner, strided, strided.masks), want, TOL[torch.float32])


@pytest.mark.parametrize("runner", [r for r in RUNNERS if r.backend != "triton"], ids=str)
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*(st.integers(1, n) for n in (6, 9, 40, 40, 35))),
    seed=st.integers(0, 1000),
    way=st.sampled_from(WAYS),
)
def test_any_sizes_match_float64(runner, sizes, seed, way):
    items, options = make_items(*sizes, seed=seed), {"direction": way[0], "pool": way[1]}
    want, got = reference(items, items.masks, **options), run(runner, items, items.masks, **options)
    assert float((got[0].double() - want[0]).abs().max()) <= 1e-4  # a column of similarities may be nearly 0
    assert float(got[0].max()) <= 1 + (1e-4 if way[1] == "mean" else math.log(40) / 6)
    assert all(x.isfinite().all() for x in got)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (64, 64, 36, 20, 512)], ids=str)
@pytest.mark.parametrize(("direction", "pool"), WAYS)
def test_on_the_gpu(dtype, shape, direction, pool):
    items, options = make_items(*shape, dtype=dtype), {"direction": direction, "pool": pool}
    want = reference(items, items.masks, **options)
    device = type(items)(*(x.cuda() for x in (items.regions, items.words, *items.masks[::-1], items.grad)))
    got = run(lambda: use_backend("triton"), device, device.masks, **options)
    assert float((got[0].double().cpu() - want[0]).abs().max()) <= 1e-4 if dtype == torch.float32 else 2e-3
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        tol = 1e-3 if dtype == torch.float32 else 2e-2
        assert float((gradient.cpu() - expected).norm()) <= tol * max(float(expected.norm()), 0.1)
