"""DSPH against its loss written out in float64, its thresholds, and what it shares with DCGH."""

import numpy as np
import pytest
import torch
from test_dcgh import by_hand, codes_of, with_labels

from fasthash import data
from fasthash.evaluation import random_codes, score
from fasthash.losses import dsph_threshold
from fasthash.losses.proxy_pair import _DISTANCES
from fasthash.methods import get, resolve_options
from fasthash.methods._bert_adam import BertAdam
from fasthash.training import train

KIND = get("dsph")
MANY = [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]]


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", {"code_dropout": 0.0, "margin": 0.0} | options))


@pytest.mark.parametrize("margin", [0.0, -0.4, 0.25])
@pytest.mark.parametrize("weight", [0.8, 0.3, 0.0])
def test_loss_equals_the_formulas(rows, margin, weight):
    rows = with_labels(rows, MANY)
    method = build(rows, margin=margin, pair_weight=weight)
    batch = rows.batch(torch.arange(6))
    proxies = method.proxy_pair.proxies.detach().double().numpy()
    near_far, dissimilar, *_ = by_hand(*codes_of(method, batch), proxies, np.array(MANY), margin=margin)
    assert dissimilar > 0
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    got = {name: float(term.detach()) for name, term in terms.items()}
    assert got == pytest.approx({"proxies": near_far, "pairs": weight * dissimilar}, rel=1e-5, abs=1e-6)
    assert float(method(batch, "joint").detach()) == pytest.approx(near_far + weight * dissimilar, rel=1e-5)


def test_pairs_with_a_row_of_one_label_do_not_count(rows):
    """Of the dissimilar pairs here, only (0, 1) has several labels on both sides."""
    labels = [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    rows = with_labels(rows, labels)
    method = build(rows, margin=-1.0)  # every cosine lies above: all pairs that count are seen
    x, y = (torch.tanh(torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))) for seed in (1, 2))
    terms = method.loss({"image": x, "text": y}, torch.arange(5), "joint")
    cos = torch.nn.functional.cosine_similarity
    pairs = [(x[0], x[1]), (y[0], y[1]), (x[0], y[1]), (x[1], y[0])]
    xx, yy, xy, yx = (float(cos(a, b, dim=0)) + 1 for a, b in pairs)
    assert float(terms["pairs"]) == pytest.approx(0.8 * (xx + yy + (xy + yx) / 2), rel=1e-5)
    single = build(with_labels(rows, np.eye(4, dtype=int)[[0, 1, 2, 3]].tolist()), margin=-1.0)
    alone = single.loss({"image": x[:4], "text": y[:4]}, torch.arange(4), "joint")
    assert float(alone["pairs"]) == 0


@pytest.mark.parametrize(
    ("bits", "classes", "want"),
    [(16, 21, 0), (16, 24, 0), (16, 80, 0.25), (32, 24, 0), (32, 80, 0.125), (64, 21, 0), (64, 80, 0)],
)
def test_thresholds_of_the_paper(rows, bits, classes, want):
    assert dsph_threshold(bits, classes) == want
    labels = np.zeros((6, classes), int)
    labels[:, 0] = 1
    method = build(with_labels(rows, labels.tolist()), bits=bits, margin=None)
    assert method.proxy_pair.threshold == want
    assert build(rows, margin=0.3).proxy_pair.threshold == 0.3


def span(rows):
    """All sums of rows, modulo 2."""
    words = np.zeros((1, len(rows[0])), int)
    for row in rows:
        words = np.concatenate([words, (words + row) % 2])
    return words


@pytest.mark.parametrize("bits", sorted(_DISTANCES))
def test_table_obeys_the_bounds_and_first_order_reed_muller_codes(bits):
    for k, distance in enumerate(_DISTANCES[bits], start=1):
        # Griesmer: a linear code of distance d and dimension k is at least sum of ceil(d / 2^i) long
        assert sum(-(-distance // 2**i) for i in range(k)) <= bits
        # Plotkin: of 2^k words, the mean distance is at most bits 2^(k - 1) / (2^k - 1)
        assert distance * (2**k - 1) <= bits * 2 ** (k - 1)
    distances = _DISTANCES[bits]
    assert list(distances) == sorted(distances, reverse=True)
    assert distances[0] == bits
    order = bits.bit_length() - 1
    generators = [np.ones(bits, int), *(np.arange(bits) >> i & 1 for i in range(order))]
    words = span(generators)
    reached = int(words[1:].sum(axis=1).min())
    assert reached == bits // 2
    for k in range(2, min(order + 1, len(distances)) + 1):
        assert distances[k - 1] >= reached  # a code of fewer words is a part of it


def test_lengths_without_a_threshold_are_told(rows):
    with pytest.raises(ValueError, match="^dsph: option margin must be a number here: .*bits must be one of .*got 24"):
        build(rows, bits=24, margin=None)
    assert build(rows, bits=24, margin=0.1).proxy_pair.threshold == 0.1


def test_proxies_are_normal_numbers_without_tanh(rows):
    classes = np.zeros((6, 40), int)
    classes[:, 0] = 1
    proxies = build(with_labels(rows, classes.tolist()), bits=128).proxy_pair.proxies.detach()
    spread = (2 / 40) ** 0.5
    assert float(proxies.std()) == pytest.approx(spread, rel=0.05)
    assert float(proxies.abs().max()) > 3 * spread


def test_optimisers_are_those_of_the_paper(rows):
    method = build(rows, epochs=7, batch_size=4)
    optimizers = method.optimizers()
    assert isinstance(optimizers["networks"], BertAdam)
    (group,) = optimizers["networks"].param_groups
    assert (group["lr"], group["total_steps"], group["weight_decay"]) == (1e-3, 14, 0.2)
    (group,) = optimizers["proxies"].param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.02, 0.9, 5e-4)
    taken = sorted(id(p) for o in optimizers.values() for g in o.param_groups for p in g["params"])
    assert taken == sorted(id(p) for p in method.parameters())
    assert method.phases(0)[0].optimizers == ("networks", "proxies")


def test_every_parameter_moves_in_the_second_step(rows, batch_of):
    method = build(rows, image_hidden=(6,), text_hidden=(4,), epochs=10)
    optimizers, before = method.optimizers(), {name: p.detach().clone() for name, p in method.named_parameters()}
    for step in range(2):
        method.zero_grad()
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        for optimizer in optimizers.values():
            optimizer.step()
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        assert moved == ({"proxy_pair.proxies"} if step == 0 else set(before))


def test_dropped_logits_are_zero_bits(rows, batch_of):
    method = build(rows, bits=256, code_dropout=0.5)
    outputs = method.encode(batch_of(0, 1, 2, 3), "joint")
    assert all(0.4 < float((value == 0).float().mean()) < 0.6 for value in outputs.values())


def test_learns_several_labels():
    """Random codes give .17, three seeds .64 or more."""
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    run = train("dsph", pairs, bits=32, epochs=15, batch_size=32, lr=1e-2, eval_every=99, progress=False)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
    assert {"term_joint_proxies", "term_joint_pairs"} <= set(run.history[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair_weight": -1}, "dsph: option pair_weight: .*greater than or equal to 0, got -1"),
        ({"margin": 1.5}, "dsph: option margin: .*less than or equal to 1, got 1.5"),
        ({"variance": "off"}, "dsph: unknown option 'variance'; known: "),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
