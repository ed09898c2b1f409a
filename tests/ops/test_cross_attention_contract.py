"""The contract of cross_attention_score with torch and with its callers: graphs, autocast, memory, errors."""

import math
import subprocess
import sys

import pytest
import torch
from cross_attention_cases import make_items, relative, truth
from nll_cases import runners
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import cross_attention_score

FORWARD = torch.ops.fasthash.cross_attention_score
BACKWARD = torch.ops.fasthash.cross_attention_score_backward
RUNNERS = runners("cross_attention_score")
WAYS = [(direction, pool) for direction in ("t2i", "i2t", "both") for pool in ("mean", "lse")]


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_contracts(runner):
    items = make_items(2, 3, 4, 5, 6, dtype=torch.float64 if runner.backend == "reference" else torch.float32)
    options = ([0.5, 9.0, 6.0], [0.5, 4.0, 0.0], 0.1)
    with runner():
        for masks in ((None, None), (items.region_mask, items.word_mask)):
            args = (items.regions, items.words, *masks, *options)
            opcheck(FORWARD.default, args)
            for wanted in ((True, True), (False, True)):
                opcheck(BACKWARD.default, (items.grad.to(items.words.dtype), *args, *wanted))


@pytest.mark.parametrize(("direction", "pool"), WAYS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(direction, pool, masked):
    items = make_items(2, 2, 3, 4, 3, dtype=torch.float64)
    regions, words = (x.requires_grad_() for x in (items.regions, items.words))
    masks = items.masks if masked else (None, None)
    options = {"direction": direction, "pool": pool, "leak": 0.0 if masked else 0.1}
    assert gradcheck(lambda x, y: cross_attention_score(x, y, *masks, **options), (regions, words))


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_compiles_as_one_graph(runner):
    items = make_items(3, 4, 5, 6, 16)

    def step(regions, words, mask):
        return cross_attention_score(torch.tanh(regions), words, mask, direction="both").square().sum()

    compiled = torch.compile(step, fullgraph=True)
    args = [x.clone().requires_grad_() for x in (items.regions, items.words)]
    with runner():
        want = torch.autograd.grad(step(*args, items.word_mask), args)
        got = torch.autograd.grad(compiled(*args, items.word_mask), args)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_autocast(runner):
    items = make_items(3, 4, 5, 6, 16)
    weight = torch.eye(16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16), runner():
        regions = items.regions @ weight
        assert regions.dtype == torch.float16
        scores = cross_attention_score(regions, items.words)  # a half-precision layer against float32 words
    assert scores.dtype == torch.float32
    want = truth(items.regions.half(), items.words)
    assert relative(scores, want) <= 1e-5  # not half-precision products
    assert torch.autograd.grad(scores.sum(), weight)[0].isfinite().all()


def test_without_gradients():
    items = make_items(2, 3, 4, 5, 6)
    regions = items.regions.requires_grad_()
    with torch.no_grad():
        assert not cross_attention_score(regions, items.words).requires_grad
    scores = cross_attention_score(regions, items.words)
    with pytest.raises(RuntimeError, match="does not require grad"):  # never a wrong second derivative
        torch.autograd.grad(torch.autograd.grad(scores.sum(), regions, create_graph=True)[0].sum(), regions)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_masks_of_any_dtype(dtype):
    items = make_items(2, 3, 4, 5, 6)
    want = cross_attention_score(items.regions, items.words, *items.masks)
    got = cross_attention_score(items.regions, items.words, *(2 * mask.to(dtype) for mask in items.masks))
    assert torch.equal(got, want)


def bad(**changes):
    items = make_items(2, 3, 4, 5, 6)
    arguments = {"regions": items.regions, "words": items.words} | changes
    return lambda: cross_attention_score(arguments.pop("regions"), arguments.pop("words"), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": torch.zeros(3, 6)}, r"regions must be \[items, vectors, D\] .*got float32 \[3, 6\] on cpu"),
        ({"words": torch.zeros(3, 0, 6)}, r"words must be \[items, vectors, D\] with at least one of each"),
        ({"regions": torch.zeros(2, 4, 6, dtype=torch.int32)}, r"regions must be float64, float32.*got int32"),
        ({"words": torch.zeros(3, 5, 7)}, r"words must be \[n_t, T, 6\] like regions, got \[3, 5, 7\]"),
        ({"words": torch.zeros(3, 5, 6).double()}, r"words must have the dtype and device of regions .*got float64"),
        ({"words": torch.zeros(3, 5, 6, device="meta")}, r"words must have the dtype and device of .* on meta"),
        ({"word_mask": torch.ones(3, 4)}, r"word_mask must be \[3, 5\] on cpu, got float32 \[3, 4\]"),
        ({"region_mask": torch.ones(2, 4, device="meta")}, r"region_mask must be \[2, 4\] on cpu, got .* on meta"),
        ({"direction": "i2i"}, r"direction must be one of t2i, i2t, both, got 'i2i'"),
        ({"pool": "max"}, r"pool must be one of mean, lse, got 'max'"),
        ({"temperature": 0}, r"temperature must be greater than 0, got 0"),
        ({"temperature": math.inf}, r"temperature must be a finite number, got inf"),
        ({"temperature": (1.0, 2.0)}, r"temperature must be a number, or a pair for direction 'both', got \(1.0, 2"),
        ({"temperature": (1.0,), "direction": "both"}, r"temperature must be a number, or a pair for direction 'both'"),
        ({"pool": "lse", "pool_temperature": -1.0}, r"pool_temperature must be greater than 0, got -1.0"),
        ({"leak": 1.5}, r"leak must be between 0 and 1, got 1.5"),
        ({"leak": math.nan}, r"leak must be a finite number, got nan"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    with pytest.raises(ValueError, match=f"^cross_attention_score: {message}") as caught:
        bad(**changes)()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["regions", "words", "word_mask", "region_mask"])
def test_lists_are_refused(name):
    with pytest.raises(TypeError, match=f"^cross_attention_score: {name} must be a torch tensor, got list"):
        bad(**{name: [[1.0]]})()


def test_memory_does_not_grow_with_the_pairs():
    # the cosines of all pairs would take 320 MB, attended vectors 640; the inputs, their unit vectors and gradients 31
    code = (
        "import resource, torch\n"
        "from fasthash.ops import cross_attention_score\n"
        "torch.set_num_threads(2)\n"
        "regions, words = torch.randn(400, 25, 64, requires_grad=True), torch.randn(400, 20, 64, requires_grad=True)\n"
        "cross_attention_score(regions[:20], words[:20], direction='both').sum().backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "cross_attention_score(regions, words, direction='both').sum().backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 48 * 1024  # KiB
