"""Layers of codes side by side, and weights of pairs and rows."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nll_cases import make_pairs, nll_truth, relative, runners, weighted_truth
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import pack_labels, pairwise_nll, use_backend

OP = torch.ops.fasthash.pairwise_nll
RUNNERS = runners("pairwise_nll")
NATIVE = [r for r in RUNNERS if r.backend == "cpp"]


def make_ids(n, m, layers, seed=3):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 2 + layers, (rows, layers), generator=g) for rows in (n, m))


def make_weights(n, m, which="prc", seed=4):
    """Arguments for the weights named by p, r (of a), c (of b), and their product [n, m]."""
    g = torch.Generator().manual_seed(seed)
    drawn = {
        "p": ("pair_weights", 3 * torch.rand(n, m, generator=g) * (torch.rand(n, m, generator=g) < 0.8)),
        "r": ("row_weights_a", torch.rand(n, generator=g)),
        "c": ("row_weights_b", 10 * torch.rand(m, generator=g) * (torch.arange(m) % 5 > 0)),
    }
    shapes = {"p": (n, m), "r": (n, 1), "c": (1, m)}
    product = np.ones((n, m))
    for key in which:
        product = product * drawn[key][1].double().reshape(shapes[key]).numpy()
    return dict(drawn[key] for key in which), product


def run(runner, a, b, labels, **options):
    a, b = (x.detach().clone().requires_grad_() for x in (a, b))
    with runner():
        loss = pairwise_nll(a, b, *labels, **options)
    return loss.detach(), *torch.autograd.grad(loss, (a, b))


def check(got, want, tol=(1e-6, 2e-6)):
    assert abs(float(got[0]) - want[0]) <= tol[0] * abs(want[0])
    for gradient, expected in zip(got[1:], want[1:], strict=True):
        assert relative(gradient, expected) <= tol[1]


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize(
    ("n", "m", "bits"), [(1, 1, (1,)), (3, 40, (16, 16)), (40, 35, (16, 32, 16)), (33, 66, (3, 21)), (70, 20, (64, 8))]
)
def test_layers_match_float64(runner, n, m, bits, nan_filled):
    pairs, ids = make_pairs(n, m, sum(bits)), make_ids(n, m, len(bits))
    weights = [0.2, 0.8, 0.0][: len(bits)]
    want = weighted_truth(pairs.a, pairs.b, ids, bits, weights, np.ones((n, m)), 0.7)
    check(run(runner, pairs.a, pairs.b, ids, layer_weights=weights, layer_bits=bits, scale=0.7), want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("which", ["p", "r", "c", "prc"])
@pytest.mark.parametrize(("n", "m"), [(5, 37), (70, 66)])
def test_weights_match_float64(runner, which, n, m, nan_filled):
    pairs = make_pairs(n, m, 20)
    ids = make_ids(n, m, 1)
    options, factors = make_weights(n, m, which)
    want = weighted_truth(pairs.a, pairs.b, ids, [20], [1.0], factors)
    check(run(runner, pairs.a, pairs.b, [x[:, 0] for x in ids], **options), want)
    sim = (ids[0] == ids[1].T).float()
    check(run(runner, pairs.a, pairs.b, (None, None), sim=sim, **options), want)
    mean = run(runner, pairs.a, pairs.b, (None, None), sim=sim, reduction="mean", **options)
    check(mean, tuple(x / (n * m) for x in want))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_layers_and_weights_together(runner, nan_filled):
    pairs, ids = make_pairs(30, 50, 48), make_ids(30, 50, 2)
    options, factors = make_weights(30, 50)
    want = weighted_truth(pairs.a, pairs.b, ids, [24, 24], [0.2, 0.8], factors)
    check(run(runner, pairs.a, pairs.b, ids, layer_weights=[0.2, 0.8], **options), want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_graded_similarity_with_weights(runner):
    pairs = make_pairs(20, 45, 16)
    sim = torch.rand(20, 45, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(45)
    got = run(runner, pairs.a, pairs.b, (None, None), sim=sim, row_weights_b=weights)
    losses, left, right = zip(
        *(nll_truth(pairs.a, pairs.b[j : j + 1], sim[:, j : j + 1].double().numpy()) for j in range(45)), strict=True
    )
    w = weights.double().numpy()
    want = w @ np.array(losses), sum(x * y for x, y in zip(w, left, strict=True)), w[:, None] * np.concatenate(right)
    check(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_a_row_of_weight_zero_is_as_if_it_was_not_there(runner):
    pairs, ids = make_pairs(12, 40, 16), make_ids(12, 40, 1)
    labels = [x[:, 0] for x in ids]
    keep = torch.arange(40) % 3 > 0
    got = run(runner, pairs.a, pairs.b, labels, row_weights_b=keep)
    want = run(runner, pairs.a, pairs.b[keep], [labels[0], labels[1][keep]])
    torch.testing.assert_close(got[:2], want[:2], rtol=2e-6, atol=2e-5)
    torch.testing.assert_close(got[2][keep], want[2], rtol=2e-6, atol=2e-6)
    assert not got[2][~keep].any()


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_weights_of_one_change_little(runner):
    pairs = make_pairs(9, 40, 16)
    labels = pairs.labels_a, pairs.labels_b
    ones = {"pair_weights": torch.ones(9, 40, dtype=torch.int32), "row_weights_a": torch.ones(9, dtype=torch.bool)}
    got, want = run(runner, pairs.a, pairs.b, labels, **ones), run(runner, pairs.a, pairs.b, labels)
    torch.testing.assert_close(got, want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("strided", [False, True])
def test_labels_and_weights_may_be_strided(runner, strided):
    pairs, ids = make_pairs(6, 40, 24), make_ids(6, 40, 2)
    options, factors = make_weights(6, 40)
    want = weighted_truth(pairs.a, pairs.b, ids, [8, 16], [1.0, 2.0], factors)
    if strided:
        ids = [x.T.contiguous().T for x in ids]
        options = {name: torch.stack([x.T, x.T])[0].T if x.ndim == 2 else x for name, x in options.items()}
        options["row_weights_a"] = torch.stack([options["row_weights_a"]] * 2, dim=1)[:, 0]
    a, b = (torch.cat([x, x], dim=1)[:, :24] for x in (pairs.a, pairs.b))
    check(run(runner, a, b, ids, layer_weights=[1, 2], layer_bits=[8, 16], **options), want)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_float16_survives_weights_of_any_size(runner, scale):
    pairs, ids = make_pairs(20, 30, 16, dtype=torch.float16), make_ids(20, 30, 1)
    labels = [x[:, 0] for x in ids]
    weights = torch.full((20,), scale)
    want = weighted_truth(pairs.a, pairs.b, ids, [16], [1.0], np.ones((20, 30)))
    a, b = (x.clone().requires_grad_() for x in (pairs.a, pairs.b))
    with runner():
        loss = pairwise_nll(a, b, *labels, row_weights_a=weights) / scale
    check((loss.detach(), *torch.autograd.grad(loss, (a, b))), want, (1e-3, 2e-3))


@pytest.mark.parametrize("runner", NATIVE, ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(runner):
    pairs, ids, before = make_pairs(150, 1500, 64), make_ids(150, 1500, 2), torch.get_num_threads()
    options, _ = make_weights(150, 1500)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(runner, pairs.a, pairs.b, ids, layer_weights=[0.2, 0.8], **options))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), widths=st.lists(st.integers(1, 40), min_size=1, max_size=4), n=st.integers(1, 40))
def test_layers_are_losses_of_their_own(seed, widths, n):
    pairs, ids = make_pairs(n, 19, sum(widths), seed=seed), make_ids(n, 19, len(widths), seed)
    weights = [0.5 + k for k in range(len(widths))]
    starts = [0, *itertools.accumulate(widths)]
    for backend in {r.backend for r in RUNNERS}:
        with use_backend(backend):
            whole = pairwise_nll(pairs.a, pairs.b, *ids, layer_weights=weights, layer_bits=widths)
            parts = [
                w * pairwise_nll(pairs.a[:, s:e], pairs.b[:, s:e], *(x[:, k] for x in ids))
                for k, (w, s, e) in enumerate(zip(weights, starts, starts[1:], strict=False))
            ]
        torch.testing.assert_close(whole, torch.stack(parts).sum(), rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_contracts(runner):
    pairs = make_pairs(5, 4, 8, dtype=torch.float64 if runner.backend == "reference" else torch.float32)
    ids, (weights, _) = make_ids(5, 4, 2), make_weights(5, 4)
    sizes = list(weights.values())
    with runner():
        for wanted in ((True, True), (False, True), (False, False)):
            opcheck(OP.default, (pairs.a, pairs.b, *ids, None, *sizes, [2, 6], [0.3, 0.7], 0.5, *wanted))
            opcheck(OP.default, (pairs.a, pairs.b, None, None, torch.rand(5, 4), *sizes, [], [], 0.5, *wanted))


def test_gradcheck():
    pairs, ids = make_pairs(5, 4, 6, dtype=torch.float64), make_ids(5, 4, 2)
    options, _ = make_weights(5, 4)
    a, b = (x.requires_grad_() for x in (pairs.a, pairs.b))
    for more in ({}, options):
        assert gradcheck(
            lambda x, y, o=more: pairwise_nll(x, y, *ids, layer_weights=[0.2, 0.8], layer_bits=[2, 4], **o), (a, b)
        )


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_compiles_as_one_graph(runner):
    pairs, ids = make_pairs(6, 8, 16), make_ids(6, 8, 2)
    options, _ = make_weights(6, 8)

    def step(a, b):
        return pairwise_nll(torch.tanh(a), b, *ids, layer_weights=[0.2, 0.8], reduction="mean", **options)

    a, b = (x.clone().requires_grad_() for x in (pairs.a, pairs.b))
    with runner():
        want = torch.autograd.grad(step(a, b), (a, b))
        got = torch.autograd.grad(torch.compile(step, fullgraph=True)(a, b), (a, b))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_nan_is_not_hidden_by_weights(runner):
    pairs, ids = make_pairs(5, 40, 16), make_ids(5, 40, 2)
    options, _ = make_weights(5, 40, "rc")
    pairs.a[3, 9] = math.nan  # in the second layer
    loss, grad_a, grad_b = run(runner, pairs.a, pairs.b, ids, layer_weights=[0.5, 0.5], **options)
    assert loss.isnan()
    assert grad_a[3, 8:].isnan().all()
    assert grad_a[:, :8].isfinite().all()
    assert grad_b[:, 8:].isnan().any()


IDS2 = {"labels_a": torch.zeros(3, 2, dtype=torch.int64), "labels_b": torch.zeros(4, 2, dtype=torch.int64)}
TREE = {**IDS2, "layer_weights": [0.2, 0.8]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**IDS2, "layer_bits": [4, 4]}, r"layer_bits goes with layer_weights, got layer_bits alone"),
        ({**TREE, "layer_weights": []}, r"layer_weights must be one or more numbers >= 0, got \[\]"),
        ({**TREE, "layer_weights": [1, -1]}, r"layer_weights must be one or more numbers >= 0, got \[1.0, -1.0\]"),
        ({**TREE, "layer_weights": [1, math.inf]}, r"layer_weights must be a finite number, got inf"),
        ({**TREE, "layer_bits": [8]}, r"layer_bits must be 2 widths >= 1 like layer_weights, got \[8\]"),
        ({**TREE, "layer_bits": [0, 8]}, r"layer_bits must be 2 widths >= 1 like layer_weights, got \[0, 8\]"),
        ({**TREE, "layer_bits": [4, 5]}, r"layer_bits must add up to the codes' width 8, got \[4, 5\]"),
        ({**TREE, "layer_weights": [1, 1, 1]}, r"layer_bits must add up to the codes' width 8, got \[2, 2, 2\]"),
        (
            {**TREE, "labels_a": torch.zeros(3, 3, dtype=torch.int64)},
            r"labels_a must be int64 class ids \[3, 2\] on cpu",
        ),
        ({**TREE, "labels_b": torch.zeros(4, 2)}, r"labels_b must be int64 class ids \[4, 2\] on cpu .*got float32"),
        ({**TREE, "labels_a": pack_labels(torch.ones(3, 2))}, r"labels_a must be class ids .*got packed labels"),
        ({**TREE, "labels_a": IDS2["labels_a"] - 1}, r"labels_a must be class ids >= 0, got -1"),
        ({**TREE, "sim": torch.zeros(3, 4)}, r"layer_weights goes with class ids of each layer, got sim"),
        ({"pair_weights": torch.ones(4, 3)}, r"pair_weights must be real \[3, 4\] on cpu, got float32 \[4, 3\]"),
        ({"row_weights_a": torch.ones(4)}, r"row_weights_a must be real \[3\] on cpu, got float32 \[4\]"),
        ({"row_weights_b": torch.ones(4, 1)}, r"row_weights_b must be real \[4\] on cpu, got float32 \[4, 1\]"),
        ({"row_weights_b": torch.ones(4, requires_grad=True)}, r"row_weights_b must be a constant"),
        ({"row_weights_a": torch.tensor([1.0, -2, 0])}, r"row_weights_a must be finite and >= 0, got values from -2"),
        ({"pair_weights": torch.full((3, 4), math.nan)}, r"pair_weights must be finite and >= 0, got values from nan"),
        ({"pair_weights": torch.full((3, 4), math.inf)}, r"pair_weights must be finite and >= 0, got .*to inf"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    pairs = make_pairs(3, 4, 8)
    arguments = {"labels_a": torch.arange(3), "labels_b": torch.arange(4)} | changes
    if "sim" in changes:
        arguments |= {"labels_a": None, "labels_b": None}
    with pytest.raises(ValueError, match=f"^pairwise_nll: {message}") as caught:
        pairwise_nll(pairs.a, pairs.b, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(128, 700), (700, 300)], ids=str)
def test_on_the_gpu(dtype, shape):
    pairs, ids = make_pairs(*shape, 48, dtype=dtype), make_ids(*shape, 2)
    options, factors = make_weights(*shape)
    want = weighted_truth(pairs.a, pairs.b, ids, [32, 16], [0.2, 0.8], factors)
    a, b = (x.cuda().requires_grad_() for x in (pairs.a, pairs.b))
    with use_backend("triton"):
        loss = pairwise_nll(
            a, b, *(x.cuda() for x in ids), layer_weights=[0.2, 0.8], layer_bits=[32, 16],
            **{name: x.cuda() for name, x in options.items()},
        )  # fmt: skip
    tol = {torch.float32: (1e-5, 1e-5), torch.float16: (1e-3, 2e-3), torch.bfloat16: (5e-3, 1e-2)}[dtype]
    check((loss.detach(), *torch.autograd.grad(loss, (a, b))), want, tol)
