"""The contract of margin_euclidean with torch and with its callers: graphs, autocast, memory, errors."""

import math
import subprocess
import sys

import pytest
import torch
from margin_cases import margin_of, truth
from nll_cases import make_pairs, runners
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import margin_euclidean, pack_labels

OP = torch.ops.fasthash.margin_euclidean
RUNNERS = runners("margin_euclidean")


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_contracts(runner):
    pairs = make_pairs(5, 4, 7, dtype=torch.float64 if runner.backend == "reference" else torch.float32)
    words = pack_labels(pairs.labels_a).words, pack_labels(pairs.labels_b).words
    with runner():
        for labels, sim in ((words, None), ((None, None), torch.rand(5, 4))):
            for wanted in ((True, True), (False, True), (False, False)):
                opcheck(OP.default, (pairs.a, pairs.b, *labels, sim, 6.0, *wanted))


@pytest.mark.parametrize("kind", ["masks", "ids", "sim"])
def test_gradcheck(kind):
    pairs = make_pairs(5, 4, 7, 70, dtype=torch.float64)
    labels = {"masks": (pairs.labels_a, pairs.labels_b), "ids": (torch.arange(5) % 3, torch.arange(4) % 3)}
    sim = torch.rand(5, 4, dtype=torch.float64) if kind == "sim" else None
    a, b = (x.requires_grad_() for x in (pairs.a, pairs.b))
    margin = margin_of(a.detach(), b.detach())
    for reduction in ("sum", "mean"):
        assert gradcheck(
            lambda x, y, r=reduction: margin_euclidean(
                x, y, *labels.get(kind, ()), sim=sim, margin=margin + 0.1, reduction=r
            ),
            (a, b),
        )


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_compiles_as_one_graph(runner):
    pairs = make_pairs(6, 8, 16)
    bank = pack_labels(pairs.labels_b)

    def step(a, b, labels):
        return 2 * margin_euclidean(torch.tanh(a), b, labels, bank, margin=4.0)

    a, b = (x.clone().requires_grad_() for x in (pairs.a, pairs.b))
    with runner():
        want = torch.autograd.grad(step(a, b, pairs.labels_a), (a, b))
        got = torch.autograd.grad(torch.compile(step, fullgraph=True)(a, b, pairs.labels_a), (a, b))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_autocast(runner):
    pairs = make_pairs(6, 8, 16)
    weight = torch.eye(16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16), runner():
        h = pairs.a @ weight
        loss = margin_euclidean(h, pairs.b, pairs.labels_a, pairs.labels_b, margin=8.0, reduction="sum")
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(truth(pairs.a.half(), pairs.b, pairs.sim(), 8.0)[0], rel=2e-6)
    assert torch.autograd.grad(loss, weight)[0].isfinite().all()


def test_memory_is_linear():
    # one [n, m] matrix would take 268 MB; the inputs and gradients take 8
    code = (
        "import resource, torch\n"
        "from fasthash.ops import margin_euclidean\n"
        "torch.set_num_threads(2)\n"
        "a, b = torch.randn(8192, 64, requires_grad=True), torch.randn(8192, 64, requires_grad=True)\n"
        "ids = torch.arange(8192) % 10\n"
        "margin_euclidean(a[:300], b[:300], ids[:300], ids[:300], margin=8.0).backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "margin_euclidean(a, b, ids, ids, margin=8.0).backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB


IDS = {"labels_a": torch.arange(3), "labels_b": torch.arange(4)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": torch.zeros(3)}, r"a must be a matrix with at least one row and one column, got float32 \[3\] on cpu"),
        ({"b": torch.zeros(4, 7)}, r"b must be \[n, 8\] like a, got \[4, 7\]"),
        ({"b": torch.zeros(4, 8, device="meta")}, r"b must have the dtype and device of a .* on meta"),
        ({"labels_a": torch.arange(2)}, r"labels_a must have 3 rows .*got int64 \[2\] on cpu"),
        ({"labels_b": torch.ones(4, 2)}, r"labels_b must be of the kind of labels_a \(class ids\), got 2 classes"),
        ({"labels_b": torch.tensor([0, 1, -7, 2])}, r"labels_b must be class ids >= 0, got -7"),
        ({"labels_a": None}, r"expected labels_a and labels_b, or sim, got no labels_a"),
        ({"sim": torch.zeros(3, 4)}, r"expected labels_a and labels_b or sim, got both"),
        ({"reduction": "none"}, r"reduction must be one of sum, mean, got 'none'"),
        ({"margin": 0.0}, r"margin must be > 0, got 0.0"),
        ({"margin": math.inf}, r"margin must be a finite number, got inf"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    pairs = make_pairs(3, 4, 8)
    arguments = {"a": pairs.a, "b": pairs.b, "margin": 8.0} | IDS | changes
    with pytest.raises(ValueError, match=f"^margin_euclidean: {message}") as caught:
        margin_euclidean(**arguments)
    assert "\n" not in str(caught.value)
