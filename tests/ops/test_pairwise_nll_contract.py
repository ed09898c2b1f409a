"""The contract of pairwise_nll with torch and with its callers: graphs, autocast, memory, errors."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from nll_cases import make_pairs, nll_truth, plain, relative, runners
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import pack_labels, pairwise_nll

OP = torch.ops.fasthash.pairwise_nll
RUNNERS = runners("pairwise_nll")


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_contracts(runner):
    pairs = make_pairs(5, 4, 7, 70, dtype=torch.float64 if runner.backend == "reference" else torch.float32)
    words = pack_labels(pairs.labels_a).words, pack_labels(pairs.labels_b).words
    dense = torch.rand(5, 4)
    ids = torch.arange(5) % 3, torch.arange(4) % 3
    with runner():
        for labels, sim in ((words, None), (ids, None), ((None, None), dense)):
            for wanted in ((True, True), (False, True), (False, False)):
                opcheck(OP.default, (pairs.a, pairs.b, *plain(labels, *wanted, sim=sim)))


@pytest.mark.parametrize("kind", ["masks", "ids", "sim"])
def test_gradcheck(kind):
    pairs = make_pairs(5, 4, 7, 70, dtype=torch.float64)
    labels = {"masks": (pairs.labels_a, pairs.labels_b), "ids": (torch.arange(5) % 3, torch.arange(4) % 3)}
    sim = torch.rand(5, 4, dtype=torch.float64) if kind == "sim" else None
    a, b = (x.requires_grad_() for x in (pairs.a, pairs.b))
    for reduction in ("sum", "mean"):
        assert gradcheck(
            lambda x, y, r=reduction: pairwise_nll(x, y, *labels.get(kind, ()), sim=sim, reduction=r), (a, b)
        )


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_compiles_as_one_graph(runner):
    pairs = make_pairs(6, 8, 16)
    bank = pack_labels(pairs.labels_b)

    def step(a, b, labels):
        return 2 * pairwise_nll(torch.tanh(a), b, labels, bank, reduction="mean")

    compiled = torch.compile(step, fullgraph=True)
    a, b = (x.clone().requires_grad_() for x in (pairs.a, pairs.b))
    with runner():
        want = torch.autograd.grad(step(a, b, pairs.labels_a), (a, b))
        got = torch.autograd.grad(compiled(a, b, pairs.labels_a), (a, b))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_autocast(runner):
    pairs = make_pairs(6, 8, 16)
    weight = torch.eye(16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16), runner():
        h = pairs.a @ weight
        assert h.dtype == torch.float16
        loss = pairwise_nll(h, pairs.b, pairs.labels_a, pairs.labels_b)  # a half-precision layer against a float32 bank
        alone = pairwise_nll(pairs.a, pairs.b, pairs.labels_a, pairs.labels_b)
    assert loss.dtype == torch.float32
    assert relative(alone, np.array(nll_truth(pairs.a, pairs.b, pairs.sim())[0])) <= 1e-6  # not a half-precision matmul
    want, grad_h, _ = nll_truth(pairs.a.half(), pairs.b, pairs.sim())
    assert float(loss) == pytest.approx(want, rel=1e-6)
    assert relative(torch.autograd.grad(loss, weight)[0], pairs.a.double().numpy().T @ grad_h) <= 2e-3


def test_without_gradients():
    pairs = make_pairs(3, 4, 8)
    a = pairs.a.requires_grad_()
    with torch.no_grad():
        assert not pairwise_nll(a, pairs.b, pairs.labels_a, pairs.labels_b).requires_grad
    loss = pairwise_nll(a, pairs.b, pairs.labels_a, pairs.labels_b)
    with pytest.raises(RuntimeError, match="does not require grad"):  # never a wrong second derivative
        torch.autograd.grad(torch.autograd.grad(loss, a, create_graph=True)[0].sum(), a)


def bad(**changes):
    pairs = make_pairs(3, 4, 8)
    arguments = {"a": pairs.a, "b": pairs.b, "labels_a": pairs.labels_a, "labels_b": pairs.labels_b} | changes
    return lambda: pairwise_nll(arguments.pop("a"), arguments.pop("b"), **arguments)


IDS = {"labels_a": torch.arange(3), "labels_b": torch.arange(4)}
NONE = {"labels_a": None, "labels_b": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": torch.zeros(3)}, r"a must be a matrix with at least one row and one column, got float32 \[3\] on cpu"),
        ({"a": torch.zeros(0, 8)}, r"a must be a matrix with at least one row"),
        ({"a": torch.zeros(3, 8, dtype=torch.int32)}, r"a must be float64, float32, float16 or bfloat16, got int32"),
        ({"a": torch.zeros(3, 8, dtype=torch.complex64)}, r"a must be float64.*got complex64"),
        ({"b": torch.zeros(4, 7)}, r"b must be \[n, 8\] like a, got \[4, 7\]"),
        (
            {"b": torch.zeros(4, 8, dtype=torch.float64)},
            r"b must have the dtype and device of a .*got float64 \[4, 8\]",
        ),
        ({"b": torch.zeros(4, 8, device="meta")}, r"b must have the dtype and device of a .* on meta"),
        ({"labels_a": torch.ones(2, 24)}, r"labels_a must have 3 rows .*got float32 \[2, 24\] on cpu"),
        ({"labels_b": torch.ones(4, 24, device="meta")}, r"labels_b must have 4 rows .* on meta"),
        ({"labels_b": torch.ones(4, 23)}, r"labels_b must be of the kind of labels_a \(24 classes\), got 23 classes"),
        ({"labels_b": torch.arange(4)}, r"labels_b must be of the kind of labels_a \(24 classes\), got class ids"),
        ({"labels_a": torch.zeros(3)}, r"labels_a must be int64 class ids when it is a vector, got float32"),
        ({**IDS, "labels_b": torch.tensor([0, 1, -7, 2])}, r"labels_b must be class ids >= 0, got -7"),
        ({"labels_a": None}, r"expected labels_a and labels_b, or sim, got no labels_a"),
        (NONE, r"expected labels_a and labels_b, or sim, got no labels_a and no labels_b"),
        ({"sim": torch.zeros(3, 4)}, r"expected labels_a and labels_b or sim, got both"),
        ({**NONE, "sim": torch.zeros(4, 3)}, r"sim must be real \[3, 4\] on cpu, got float32 \[4, 3\]"),
        ({**NONE, "sim": torch.zeros(3, 4, requires_grad=True)}, r"sim must be a constant"),
        ({"reduction": "none"}, r"reduction must be one of sum, mean, got 'none'"),
        ({"scale": math.nan}, r"scale must be a finite number, got nan"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    with pytest.raises(ValueError, match=f"^pairwise_nll: {message}") as caught:
        bad(**changes)()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "b", "labels_a", "sim"])
def test_lists_are_refused(name):
    changes = {name: [[1.0]]} | (NONE if name == "sim" else {})
    with pytest.raises(TypeError, match=f"^pairwise_nll: {name} must be a torch tensor, got list"):
        bad(**changes)()


def test_memory_is_linear():
    # one [n, m] matrix would take 268 MB; the inputs and gradients take 8
    code = (
        "import resource, torch\n"
        "from fasthash.ops import pairwise_nll\n"
        "torch.set_num_threads(2)\n"
        "a, b = torch.randn(8192, 64, requires_grad=True), torch.randn(8192, 64, requires_grad=True)\n"
        "ids = torch.arange(8192) % 10\n"
        "pairwise_nll(a[:300], b[:300], ids[:300], ids[:300]).backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "pairwise_nll(a, b, ids, ids).backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB


def test_the_native_module_alone_gives_the_same_bits():
    # without torch no OpenMP runtime is loaded: threads of its own do the work
    code = (
        "import sys, numpy as np\n"
        "from fasthash import _native\n"
        "rng = np.random.default_rng(0)\n"
        "a, b = (rng.standard_normal((n, 64), dtype=np.float32) for n in (100, 3000))\n"
        "ids = [rng.integers(0, 9, n) for n in (100, 3000)]\n"
        "grads = [np.full_like(x, np.nan) for x in (a, b)]\n"
        "if sys.argv[1] == 'torch':\n"
        "    import torch\n"
        "sides = [\n"
        "    (x.ctypes.data, len(x), 64, i.ctypes.data, 1, 0, g.ctypes.data)\n"
        "    for x, i, g in zip((a, b), ids, grads)\n"
        "]\n"
        "loss = _native.load().pairwise_nll((*sides, 64, 0, 0, 0, 1.0), 0.5, _native.isa(), 3)\n"
        "assert ('torch' in sys.modules) == (sys.argv[1] == 'torch')\n"
        "print(loss.hex(), *(hash(x.tobytes()) for x in grads), np.isnan(grads[1]).any())\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    runs = [
        subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True, env=env).stdout
        for kind in ("alone", "torch")
    ]
    assert runs[0] == runs[1]
    assert runs[0].endswith("False\n")
