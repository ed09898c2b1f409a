"""The contract of proxy_pair with torch and with its callers: graphs, autocast, memory, errors."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from nll_cases import relative, runners
from proxy_pair_cases import Inputs, make_inputs, truth
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import PackedLabels, ProxyPairTerms, pack_labels, proxy_pair

OP = torch.ops.fasthash.proxy_pair
RUNNERS = runners("proxy_pair")


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_contracts(runner):
    inputs = make_inputs(5, 70, 7, dtype=torch.float64 if runner.backend == "reference" else torch.float32)
    words = pack_labels(inputs.labels).words
    with runner():
        for relevant, grads in ((False, True), (True, True), (False, False)):
            args = (inputs.x, inputs.y, inputs.proxies, words, 0.1, 0.8, 0.05, 1.0, relevant, grads)
            opcheck(OP.default, args)


def hinges(inputs, threshold):
    """Every gap whose sign decides, but for rows with themselves, whose cosine does not change."""
    x, y, p = (torch.nn.functional.normalize(t) for t in (inputs.x, inputs.y, inputs.proxies))
    labels = torch.nn.functional.normalize(inputs.labels.double())
    itself = torch.eye(len(x), dtype=torch.bool)
    gaps = [z @ p.T - threshold for z in (x, y)]
    for a, b in ((x, x), (y, y), (x, y)):
        cos = (a @ b.T)[~itself] if a is b else a @ b.T
        wanted = (labels @ labels.T)[~itself] if a is b else labels @ labels.T
        gaps += [cos - threshold, cos - wanted]
    return torch.cat([g.flatten() for g in gaps])


@pytest.mark.parametrize("form", ["official", "relevant"])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_gradcheck(form, threshold):
    inputs = make_inputs(5, 6, 7, dtype=torch.float64, seed=3)
    assert hinges(inputs, threshold).abs().min() > 1e-4  # no hinge is where a difference quotient would meet it
    settings = {"threshold": threshold, "variance_form": form, "positive_pairs": 0.5}
    assert gradcheck(lambda x, y, p: proxy_pair(x, y, p, inputs.labels, **settings), inputs.leaves())
    terms = gradcheck_terms(inputs, settings)
    assert all(not t.requires_grad for t in terms)


def gradcheck_terms(inputs, settings):
    loss, terms = proxy_pair(*inputs.leaves(), inputs.labels, with_terms=True, **settings)
    assert isinstance(terms, ProxyPairTerms)
    weights = {"proxy_positive": 1, "proxy_negative": 1, "positive_pairs": 0.5, "negative_pairs": 0.8, "variance": 1}
    total = sum(weights[name] * float(term) for name, term in terms._asdict().items())
    assert float(loss.detach()) == pytest.approx(total)
    return terms


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_compiles_as_one_graph(runner):
    inputs = make_inputs(6, 9, 16)
    labels = pack_labels(inputs.labels)

    def step(x, y, proxies, labels):
        loss, terms = proxy_pair(torch.tanh(x), y, proxies, labels, threshold=0.1, with_terms=True)
        return 2 * loss, terms.variance

    compiled = torch.compile(step, fullgraph=True)
    leaves = inputs.leaves()
    with runner():
        for given in (labels, inputs.labels):
            want, want_term = step(*leaves, given)
            got, got_term = compiled(*leaves, given)
            torch.testing.assert_close(got_term, want_term)
            want, got = (torch.autograd.grad(loss, leaves) for loss in (want, got))
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_autocast(runner):
    inputs = make_inputs(12, 9, 16)
    weight, proxies = torch.eye(16, requires_grad=True), inputs.proxies.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.float16), runner():
        x = inputs.x @ weight
        assert x.dtype == torch.float16
        loss = proxy_pair(x, inputs.y, proxies, inputs.labels)  # half-precision codes against float32 proxies
    assert loss.dtype == torch.float32
    want = truth(Inputs(inputs.x.half(), inputs.y, inputs.proxies, inputs.labels))
    assert float(loss.detach()) == pytest.approx(want[0], rel=2e-6)
    by_weight, by_proxies = torch.autograd.grad(loss, (weight, proxies))
    assert by_proxies.dtype == torch.float32
    assert relative(by_proxies, want[2][2]) <= 5e-6
    assert relative(by_weight, inputs.x.double().numpy().T @ want[2][0]) <= 2e-3


def test_scaled_losses_keep_small_gradients():
    inputs = make_inputs(64, 9, 16, dtype=torch.float16)
    leaves = inputs.leaves()
    want = truth(inputs)
    loss = proxy_pair(*leaves, inputs.labels) * 2.0**14  # as a gradient scaler does
    for gradient, expected in zip(torch.autograd.grad(loss, leaves), want[2], strict=True):
        assert relative(gradient.double() / 2**14, expected) <= 1e-3


def test_without_gradients():
    inputs = make_inputs(3, 4, 8)
    leaves = inputs.leaves()
    with torch.no_grad():
        assert not proxy_pair(*leaves, inputs.labels).requires_grad
    loss = proxy_pair(*leaves, inputs.labels)
    with pytest.raises(RuntimeError, match="does not require grad"):  # never a wrong second derivative
        torch.autograd.grad(torch.autograd.grad(loss, leaves[0], create_graph=True)[0].sum(), leaves[0])


def bad(**changes):
    inputs = make_inputs(3, 5, 8)
    tensors = {"x": inputs.x, "y": inputs.y, "proxies": inputs.proxies, "labels": inputs.labels}
    arguments = tensors | changes
    given = [arguments.pop(name) for name in tensors]
    return lambda: proxy_pair(*given, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(3)}, r"x must be a matrix with at least one row and one column, got float32 \[3\] on cpu"),
        ({"x": torch.zeros(0, 8)}, r"x must be a matrix with at least one row"),
        ({"x": torch.zeros(3, 8, dtype=torch.int32)}, r"x must be float64, float32, float16 or bfloat16, got int32"),
        ({"y": torch.zeros(4, 8)}, r"y must be \[3, 8\] like x, got \[4, 8\]"),
        ({"y": torch.zeros(3, 7)}, r"y must be \[3, 8\] like x, got \[3, 7\]"),
        ({"y": torch.zeros(3, 8).double()}, r"y must have the dtype and device of x .*got float64 \[3, 8\] on cpu"),
        ({"y": torch.zeros(3, 8, device="meta")}, r"y must have the dtype and device of x .* on meta"),
        ({"proxies": torch.zeros(5, 7)}, r"proxies must be \[n, 8\] like x, got \[5, 7\]"),
        ({"proxies": torch.zeros(5, 8).half()}, r"proxies must have the dtype and device of x .*got float16 \[5, 8\]"),
        ({"proxies": torch.zeros(0, 8)}, r"proxies must be a matrix with at least one row"),
        ({"labels": torch.zeros(3)}, r"labels must be multi-hot \[3, 5\] or PackedLabels .*got float32 \[3\] on cpu"),
        ({"labels": torch.zeros(4, 5)}, r"labels must be multi-hot \[3, 5\] .*on cpu, got float32 \[4, 5\] on cpu"),
        ({"labels": torch.zeros(3, 5, device="meta")}, r"labels must be multi-hot \[3, 5\] .*\[3, 5\] on meta"),
        ({"labels": torch.zeros(3, 6)}, r"labels must be multi-hot \[3, 5\] .*, got 6 classes"),
        ({"labels": PackedLabels(torch.zeros(3, 1, dtype=torch.int64), 4)}, r"labels must be .*, got 4 classes"),
        ({"labels": pack_labels(torch.ones(2, 5))}, r"labels must be .*, got int64 \[2, 1\] on cpu packed"),
        ({"threshold": math.nan}, r"threshold must be a finite number, got nan"),
        ({"negative_pairs": "1"}, r"negative_pairs must be a finite number, got '1'"),
        ({"positive_pairs": math.inf}, r"positive_pairs must be a finite number, got inf"),
        ({"variance": None}, r"variance must be a finite number, got None"),
        ({"variance_form": "unbiased"}, r"variance_form must be one of official, relevant, got 'unbiased'"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    with pytest.raises(ValueError, match=f"^proxy_pair: {message}") as caught:
        bad(**changes)()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x", "y", "proxies", "labels"])
def test_lists_are_refused(name):
    with pytest.raises(TypeError, match=f"^proxy_pair: {name} must be a torch tensor, got list"):
        bad(**{name: [[1.0]]})()


def test_memory_is_linear():
    # one [m, m] matrix would take 144 MB; the inputs and gradients take 6
    code = (
        "import resource, torch\n"
        "from fasthash.ops import proxy_pair\n"
        "torch.set_num_threads(2)\n"
        "x, y, p = (torch.randn(n, 64, requires_grad=True) for n in (6000, 6000, 80))\n"
        "labels = torch.rand(6000, 80) < 0.03\n"
        "proxy_pair(x[:300], y[:300], p, labels[:300]).backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "proxy_pair(x, y, p, labels).backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 48 * 1024  # KiB


def test_the_native_module_alone_gives_the_same_bits():
    # without torch no OpenMP runtime is loaded: threads of its own do the work
    code = (
        "import sys, numpy as np\n"
        "from fasthash import _native\n"
        "rng = np.random.default_rng(0)\n"
        "codes = [rng.standard_normal((n, 48), dtype=np.float32) for n in (200, 200, 70)]\n"
        "labels = rng.integers(0, 2**60, (200, 2)) & rng.integers(0, 2**60, (200, 2)) & [2**60 - 1, 63]\n"
        "results, grads = np.full(6, np.nan, np.float32), [np.full_like(x, np.nan) for x in codes]\n"
        "if sys.argv[1] == 'torch':\n"
        "    import torch\n"
        "where = [x.ctypes.data for x in (*codes, labels)]\n"
        "_native.load().proxy_pair(\n"
        "    *where, 200, 48, 70, 2, 0.0, 0.8, 0.05, 1.0, False, results.ctypes.data,\n"
        "    *(x.ctypes.data for x in grads), _native.isa(), 3)\n"
        "assert ('torch' in sys.modules) == (sys.argv[1] == 'torch')\n"
        "print(hash(results.tobytes()), *(hash(x.tobytes()) for x in grads), np.isnan(grads[1]).any())\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    runs = [
        subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True, env=env).stdout
        for kind in ("alone", "torch")
    ]
    assert runs[0] == runs[1]
    assert runs[0].endswith("False\n")


def test_the_truth_is_the_formula_of_the_variance():
    # V of a row with relevant distances delta is (sum delta^2 - (sum delta)^2 / C) / (C - 1)
    inputs = make_inputs(1, 6, 5, dtype=torch.float64)
    inputs = inputs.with_labels(torch.tensor([[True, False, True, False, True, False]]))
    cos = torch.nn.functional.cosine_similarity(inputs.x, inputs.proxies).numpy()
    delta = 1 - cos[::2]
    cos = torch.nn.functional.cosine_similarity(inputs.y, inputs.proxies).numpy()
    other = 1 - cos[::2]
    want = sum(((v**2).sum() - v.sum() ** 2 / 6) / 5 for v in (delta, other))
    assert truth(inputs)[1][4] == pytest.approx(want)
    assert truth(inputs, variance_form="relevant")[1][4] == pytest.approx(np.var(delta) + np.var(other))
