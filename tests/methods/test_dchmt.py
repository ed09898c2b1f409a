"""DCHMT against its loss written out pair by pair in float64, its two heads, and the rules of its schedule."""

import math

import numpy as np
import pytest
import torch

from fasthash import data
from fasthash.evaluation import random_codes, score
from fasthash.methods import get, resolve_options
from fasthash.methods._bert_adam import BertAdam
from fasthash.models import PairTower, Tower
from fasthash.training import train

KIND = get("dchmt")


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", {"head_width": 6} | options))


def distance(a, b):
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))


def by_hand(x, y, labels, bits, threshold):
    """The three terms of the released code."""
    margin = math.sqrt(2 * bits * threshold)
    terms = {}
    for name, (u, v) in {"across": (x, y), "image": (x, x), "text": (y, y)}.items():
        total = 0.0
        for i in range(len(u)):
            for j in range(len(v)):
                s, delta = float(labels[i] @ labels[j] > 0), distance(u[i], v[j])
                total += (s * delta) ** 2 + ((1 - s) * margin - min((1 - s) * delta, margin)) ** 2
        terms[name] = total / len(u) ** 2
    return terms


def codes_of(method, batch):
    with torch.no_grad():
        outputs = method.encode(batch, "joint")
    return outputs["image"].double().numpy(), outputs["text"].double().numpy()


@pytest.mark.parametrize("threshold", [0.5, 0.04])  # the margin lies above all distances, and amid them
@pytest.mark.parametrize("head", ["select", "tanh"])
def test_loss_equals_the_formulas(rows, batch_of, head, threshold):
    method = build(rows, head=head, head_init="default", threshold=threshold)
    batch = batch_of(0, 1, 2, 3, 4, 5)
    x, y = codes_of(method, batch)
    assert x.shape == (6, 16 if head == "select" else 8)
    want = by_hand(x, y, rows.labels.numpy().astype(int), 8, threshold)
    if head == "tanh":
        off = [np.mean([distance(np.where(u >= 0, 1, -1), u) for u in z]) for z in (x, y)]
        want["quantization"] = 0.5 * (off[0] + off[1]) / 2
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(want, rel=1e-5)
    assert float(method(batch, "joint").detach()) == pytest.approx(sum(want.values()), rel=1e-5)


def test_select_codes_are_pairs_of_probabilities(rows, batch_of):
    method = build(rows)
    batch = batch_of(0, 1, 2)
    u = method.encode(batch, "joint")["image"].unflatten(1, (-1, 2))
    torch.testing.assert_close(u.sum(dim=2), torch.ones(3, 8))
    assert torch.equal(u[..., 1] >= 0.5, method.image(batch.image) >= 0)


def test_bits_are_no_ties_of_clipped_logits(rows, batch_of):
    """With a ReLU before the choice, as one port has it, pairs of negative logits tie and their bit is always -1."""
    method = build(rows, bits=256, head_init="default")
    x = batch_of(0, 1, 2, 3, 4, 5).image
    with torch.no_grad():
        logits = method.image.logits(x)
        method.image.layers[-1].bias.sub_(float(logits.max()) + 1)
        assert (method.image.logits(x) < 0).all()
        slip = method.image.logits(x).relu().argmax(dim=2)
        plus = float((method.image(x) >= 0).float().mean())
    assert int(slip.sum()) == 0
    assert 0.4 < plus < 0.6


@pytest.mark.parametrize("head", ["select", "tanh"])
def test_towers_of_the_heads(rows, head):
    method = build(rows, head=head, image_hidden=(5,), head_width=128)
    assert type(method.image) is (PairTower if head == "select" else Tower)
    assert method.image.config.hidden == ((5, 128) if head == "select" else (5,))
    assert method.text.config.hidden == ((128,) if head == "select" else ())
    assert method.image.config.bits == 8


def test_official_first_weights(rows):
    bound = math.sqrt(6 / 2)
    official, default = (build(rows, head_init=init).image.layers[-1] for init in ("official", "default"))
    assert 0.9 * bound < float(official.weight.detach().abs().max()) <= bound
    assert not official.bias.any()
    assert float(default.weight.detach().abs().max()) <= 1 / math.sqrt(6)


def test_optimiser_is_that_of_the_paper(rows):
    method = build(rows, epochs=7, batch_size=4)
    (optimizer,) = method.optimizers().values()
    assert isinstance(optimizer, BertAdam)
    (group,) = optimizer.param_groups
    got = {key: value for key, value in group.items() if key != "params"}
    settings = {"lr": 1e-3, "total_steps": 14, "warmup": 0.1, "betas": (0.9, 0.98), "eps": 1e-6}
    assert got == settings | {"weight_decay": 0.2, "max_norm": 1.0}
    (phase,) = method.phases(0)
    assert (phase.optimizers, phase.sampler, phase.drop_last) == (("networks",), "shuffle", False)
    assert resolve_options(KIND, "test", {}).batch_size == 256


@pytest.mark.parametrize("head", ["select", "tanh"])
def test_every_parameter_moves_in_the_second_step(rows, batch_of, head):
    method = build(rows, head=head, head_init="default", image_hidden=(6,), text_hidden=(4,), epochs=10)
    (optimizer,) = method.optimizers().values()
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    for _ in range(2):  # the schedule is 0 in the first
        method.zero_grad()
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())


@pytest.mark.parametrize("options", [{}, {"head_init": "default"}, {"head": "tanh"}], ids=str)
def test_learns_several_labels(options):
    """Random codes give .17, three seeds of each of these .59 or more."""
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    run = train("dchmt", pairs, bits=32, epochs=8, batch_size=32, lr=1e-2, eval_every=99, progress=False, **options)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
    terms = {"across", "image", "text"} | ({"quantization"} if options.get("head") == "tanh" else set())
    assert {f"term_joint_{name}" for name in terms} <= set(run.history[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "relu"}, "dchmt: option head: .*'select' or 'tanh', got 'relu'"),
        ({"threshold": 0}, "dchmt: option threshold: .*greater than 0, got 0"),
        ({"head_init": "paper"}, "dchmt: option head_init: .*'official' or 'default', got 'paper'"),
        ({"quantization": -1}, "dchmt: option quantization: .*greater than or equal to 0, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
