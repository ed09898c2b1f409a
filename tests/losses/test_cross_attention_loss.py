import numpy as np
import pytest
import torch

from fasthash import losses
from fasthash.ops import backends, cross_attention_score, pack_labels, use_backend


def make_batch(m=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(m, 1, 8, generator=g, dtype=torch.float64)
    regions, words = (torch.randn(m, k, 8, generator=g, dtype=torch.float64) + common for k in (5, 4))
    return regions.requires_grad_(), words.requires_grad_(), torch.rand(m, 4, generator=g) < 0.8


def truth(scores, similar, margin, hardest):
    """Entry by entry."""
    a, m, total = scores.detach().numpy(), len(scores), 0.0
    for i in range(m):
        for costs in (
            [max(0.0, margin - a[i, i] + a[i, j]) for j in range(m) if j != i and not similar[i, j]],
            [max(0.0, margin - a[i, i] + a[j, i]) for j in range(m) if j != i and not similar[j, i]],
        ):
            total += (max(costs, default=0.0)) if hardest else sum(costs)
    return total


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("kind", ["ids", "multi-hot", "packed", "sim", "none"])
def test_matches_the_formula(hardest, margin, kind):
    regions, words, mask = make_batch()
    ids = torch.tensor([0, 0, 1, 2, 1, 0])
    multi = torch.nn.functional.one_hot(ids, 3)
    similar = (ids[:, None] == ids).numpy() if kind != "none" else np.zeros((6, 6), dtype=bool)
    given = {"ids": {"labels": ids}, "multi-hot": {"labels": multi}, "packed": {"labels": pack_labels(multi)},
             "sim": {"sim": torch.from_numpy(similar).float()}, "none": {}}[kind]  # fmt: skip
    loss = losses.CrossAttention(margin, hardest=hardest)(regions, words, word_mask=mask, **given)
    scores = cross_attention_score(regions, words, mask, direction="both")
    assert float(loss.detach()) == pytest.approx(truth(scores, similar, margin, hardest), rel=1e-12)
    mean = losses.CrossAttention(margin, hardest=hardest, reduction="mean")(regions, words, word_mask=mask, **given)
    assert float(mean.detach()) == pytest.approx(float(loss.detach()) / 6)


@pytest.mark.parametrize("hardest", [True, False])
def test_gradcheck(hardest):
    regions, words, mask = make_batch(3)
    regions, words = (x.detach()[..., :3].clone().requires_grad_() for x in (regions, words))
    module = losses.CrossAttention(0.5, hardest=hardest, pool="lse", pool_temperature=5.0)
    ids = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda x, y: module(x, y, ids, mask), (regions, words))


@pytest.mark.parametrize("hardest", [True, False])
def test_rows_without_negatives_add_nothing(hardest):
    regions, words, _ = make_batch()
    module = losses.CrossAttention(1.0, hardest=hardest)
    loss = module(regions, words, torch.zeros(6, dtype=torch.int64))  # all of one class
    assert float(loss.detach()) == 0
    assert not any(x.any() for x in torch.autograd.grad(loss, (regions, words)))
    assert float(module(regions[:1], words[:1]).detach()) == 0
    # rows without any label are similar to none but themselves
    alone = module(regions, words, torch.zeros(6, 3))
    assert float(alone.detach()) == pytest.approx(float(module(regions, words).detach()))


@pytest.mark.parametrize("backend", backends("cross_attention_score"))
def test_compiles_as_one_graph_on_every_backend(backend):
    regions, words, mask = make_batch()
    args = [x.detach().float().requires_grad_() for x in (regions, words)]
    module = losses.CrossAttention()
    compiled = torch.compile(module, fullgraph=True)
    ids = torch.tensor([0, 0, 1, 2, 1, 0])
    with use_backend(backend):
        want = torch.autograd.grad(module(*args, ids, mask), args)
        got = torch.autograd.grad(compiled(*args, ids, mask), args)
    torch.testing.assert_close(got, want)


def test_nan_is_not_hidden():
    regions, words, _ = make_batch()
    with torch.no_grad():
        words[2, 1, 3] = float("nan")
    assert losses.CrossAttention()(regions, words).isnan()


def test_scales_of_attention_are_used():
    regions, words, _ = make_batch()
    usual = losses.CrossAttention()(regions, words)
    for options in ({"temperature": 1.0}, {"pool": "lse"}, {"leak": 0.0}):
        assert float(losses.CrossAttention(**options)(regions, words).detach()) != float(usual.detach())
    assert "margin=0.2" in repr(losses.CrossAttention())


def test_bad_input_is_one_clear_line():
    regions, words, _ = make_batch()
    module = losses.CrossAttention()
    ids = torch.zeros(6, dtype=torch.int64)
    for message, call in (
        (r"words must have the 6 rows of regions, got 5", lambda: module(regions, words[:5])),
        (r"labels must have 6 rows", lambda: module(regions, words, ids[:4])),
        (r"labels must be class ids >= 0, got -1", lambda: module(regions, words, ids - 1)),
        (r"expected labels or sim, got both", lambda: module(regions, words, ids, sim=torch.zeros(6, 6))),
        (r"sim must be \[6, 6\] on cpu, got float32 \[6, 5\]", lambda: module(regions, words, sim=torch.zeros(6, 5))),
        (r"margin must be at least 0, got -1", lambda: losses.CrossAttention(-1)),
        (r"margin must be a finite number, got nan", lambda: losses.CrossAttention(float("nan"))),
        (r"reduction must be one of sum, mean, got 'none'", lambda: losses.CrossAttention(reduction="none")),
    ):
        with pytest.raises(ValueError, match=f"^CrossAttention: {message}"):
            call()
