"""DCGH against its loss written out entry by entry in float64, its options, and the rules of its schedule."""

import math

import numpy as np
import pytest
import torch

from fasthash import data
from fasthash.evaluation import random_codes, score
from fasthash.methods import TrainData, get, resolve_options
from fasthash.methods._bert_adam import BertAdam
from fasthash.training import train

KIND = get("dcgh")
PLAIN = {"code_dropout": 0.0}


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", PLAIN | options))


def with_labels(rows, labels):
    labels = torch.tensor(labels, dtype=torch.uint8)
    return TrainData(rows.image.features[: len(labels)], rows.text.features[: len(labels)], labels)


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def spread(row, distances, form):
    if form == "official":
        values = [d if has else 0.0 for d, has in zip(distances, row, strict=True)]
        return float(np.var(values, ddof=1))
    values = [d for d, has in zip(distances, row, strict=True) if has]
    return float(np.var(values)) if len(values) > 1 else 0.0


def by_hand(x, y, proxies, labels, form="official", margin=0.0):
    """(A + N, n2n, p2p, V) of the released code."""
    m, classes = labels.shape
    near_far = similar = dissimilar = variance = 0.0
    for codes in (x, y):
        to = [[cosine(codes[i], proxies[c]) for c in range(classes)] for i in range(m)]
        cells = [(i, c) for i in range(m) for c in range(classes)]
        near_far += mean([1 - to[i][c] for i, c in cells if labels[i, c]])
        near_far += mean([max(to[i][c] - margin, 0) for i, c in cells if not labels[i, c]])
        if form != "off":
            variance += mean([spread(labels[i], [1 - t for t in to[i]], form) for i in range(m)])
    several = labels.sum(axis=1) > 1
    for u, v in ((x, x), (y, y), (x, y)):
        pairs = [(i, j) for i in range(m) for j in range(m)]
        shared = {(i, j): cosine(labels[i].astype(float), labels[j].astype(float)) for i, j in pairs}
        similar += mean([max(shared[i, j] - cosine(u[i], v[j]), 0) for i, j in pairs if shared[i, j] > 0])
        apart = [(i, j) for i, j in pairs if shared[i, j] == 0 and several[i] and several[j]]
        dissimilar += mean([max(cosine(u[i], v[j]) - margin, 0) for i, j in apart])
    return near_far, dissimilar, similar, variance


def codes_of(method, batch):
    with torch.no_grad():
        outputs = method.encode(batch, "joint")
    return outputs["image"].double().numpy(), outputs["text"].double().numpy()


def expected(method, batch, labels, form="official", margin=0.0):
    proxies = method.proxy_pair.proxies.detach().double().numpy()
    return by_hand(*codes_of(method, batch), proxies, labels, form, margin)


MANY = [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("form", ["official", "relevant", "off"])
@pytest.mark.parametrize("margin", [0.0, -0.3])
def test_loss_equals_the_formulas(rows, form, margin):
    rows = with_labels(rows, MANY)
    method = build(rows, variance=form, margin=margin)
    batch = rows.batch(torch.tensor([0, 1, 2, 4, 5]))
    near_far, dissimilar, similar, variance = expected(method, batch, np.array(MANY)[[0, 1, 2, 4, 5]], form, margin)
    assert dissimilar > 0
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    got = {name: float(term.detach()) for name, term in terms.items()}
    want = {"proxies": near_far, "pairs": 0.8 * dissimilar + 0.05 * similar, "variance": variance}
    assert got == pytest.approx(want, rel=1e-5, abs=1e-6)
    assert float(method(batch, "joint").detach()) == pytest.approx(sum(want.values()), rel=1e-5)


@pytest.mark.parametrize(("weight", "pairs"), [(0.0, (0.8, 0.05)), (1.0, (0.0, 0.0)), (2.5, (0.3, 0.7))])
def test_weights_of_the_terms(rows, batch_of, weight, pairs):
    method = build(rows, proxy_weight=weight, pair_weights=pairs)
    batch = batch_of(0, 1, 3, 5)
    near_far, dissimilar, similar, variance = expected(method, batch, rows.labels.numpy()[[0, 1, 3, 5]])
    want = weight * near_far + pairs[0] * dissimilar + pairs[1] * similar + variance
    assert float(method(batch, "joint").detach()) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"variance": "relevant"}, {"proxy_weight": 0.25, "pair_weights": (0.5, 1.0)}])
def test_gradient_is_that_of_the_formulas(rows, options):
    """Of codes and proxies, by central differences of the loss written out."""
    labels = np.array(MANY)
    method = build(with_labels(rows, MANY), bits=3, **options)
    rng = np.random.default_rng(2)
    values = [rng.standard_normal((6, 3)), rng.standard_normal((6, 3)), rng.standard_normal((4, 3))]
    weight, pairs = method.options.proxy_weight, method.options.pair_weights

    def total():
        near_far, dissimilar, similar, variance = by_hand(*values, labels, method.options.variance)
        return weight * near_far + pairs[0] * dissimilar + pairs[1] * similar + variance

    leaves = [torch.tensor(value, dtype=torch.float32, requires_grad=True) for value in values[:2]]
    method.proxy_pair.proxies.data = torch.tensor(values[2], dtype=torch.float32)
    terms = method.loss({"image": leaves[0], "text": leaves[1]}, torch.arange(6), "joint")
    sum(terms.values()).backward()
    for value, leaf in zip(values, [*leaves, method.proxy_pair.proxies], strict=True):
        for at in np.ndindex(*value.shape):
            middle = value[at]
            value[at] = middle + 1e-5
            above = total()
            value[at] = middle - 1e-5
            slope = (above - total()) / 2e-5
            value[at] = middle
            assert float(leaf.grad[at]) == pytest.approx(slope, abs=2e-5), at


def test_pairs_alone_do_not_move_proxies(rows, batch_of):
    method = build(rows, proxy_weight=0.0, variance="off")
    method(batch_of(0, 1, 2, 3), "joint").backward()
    assert float(method.proxy_pair.proxies.grad.abs().max()) < 1e-6


def test_variance_forms_on_rows_with_one_label(rows):
    """Official: (delta^2 - delta^2 / C) / (C - 1) = delta^2 / C of a distance delta; relevant: 0."""
    rows = with_labels(rows, np.eye(4, dtype=int)[[0, 1, 1, 3]].tolist())
    batch = rows.batch(torch.arange(4))
    official, relevant = build(rows), build(rows, variance="relevant")
    x, y = codes_of(official, batch)
    proxies = official.proxy_pair.proxies.detach().double().numpy()
    distances = [[1 - cosine(z[i], proxies[c]) for i, c in enumerate([0, 1, 1, 3])] for z in (x, y)]
    want = sum(mean([d * d / 4 for d in of_one]) for of_one in distances)
    terms = official.loss(official.encode(batch, "joint"), batch.index, "joint")
    assert float(terms["variance"]) == pytest.approx(want, rel=1e-5)
    terms = relevant.loss(relevant.encode(batch, "joint"), batch.index, "joint")
    assert float(terms["variance"]) == 0
    assert float(terms["pairs"]) == pytest.approx(0.05 * expected(official, batch, rows.labels.numpy())[2], rel=1e-5)


@pytest.mark.parametrize("x", [[0.2, 0.5, 0.1, -0.3, 0.4], [0.6, 0.6, 0.6, 0.1, -0.2]])
def test_official_variance_is_its_closed_form(rows, x):
    """Of q distances delta: (sum delta^2 - (sum delta)^2 / C) / (C - 1), which is not 0 where they are all the same."""
    rows = with_labels(rows, [[1, 1, 1, 0, 0]])
    delta = 1 - np.array(x[:3]) / np.linalg.norm(x)
    want = {
        "official": ((delta**2).sum() - delta.sum() ** 2 / 5) / 4,
        "relevant": (delta**2).mean() - delta.mean() ** 2,
    }
    codes = {"image": torch.tensor([x]), "text": torch.tensor([x])}
    for form, value in want.items():
        method = build(rows, bits=5, variance=form)
        method.proxy_pair.proxies.data = 0.7 * torch.eye(5)  # cosines to them are the entries of a unit row
        terms = method.loss(codes, torch.tensor([0]), "joint")
        assert float(terms["variance"]) == pytest.approx(2 * value, rel=1e-5, abs=1e-7)
    assert want["official"] > 0.01


@pytest.mark.parametrize(
    "labels",
    [
        [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],  # no irrelevant proxy, no dissimilar pair
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],  # each row is similar to itself only; none has several labels
        [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]],  # one row with several labels: it has no partner
        [[1, 0, 1, 0]],  # a batch of one
    ],
)
def test_empty_groups_count_nothing(rows, labels):
    rows = with_labels(rows, labels)
    method = build(rows)
    batch = rows.batch(torch.arange(len(labels)))
    near_far, dissimilar, similar, variance = expected(method, batch, np.array(labels))
    loss = method(batch, "joint")
    assert dissimilar == 0
    assert float(loss.detach()) == pytest.approx(near_far + 0.05 * similar + variance, rel=1e-5)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_dropped_logits_are_zero_bits_in_training_only(rows, batch_of):
    method = build(rows, bits=256, code_dropout=0.5)
    batch = batch_of(0, 1, 2, 3)
    outputs = method.encode(batch, "joint")
    dropped = {side: float((value == 0).float().mean()) for side, value in outputs.items()}
    assert all(0.4 < share < 0.6 for share in dropped.values())
    method.eval()
    for side, rows_of_side in (("image", batch.image), ("text", batch.text)):
        h = getattr(method, side)(rows_of_side)
        assert torch.equal(method.encode(batch, "joint")[side], torch.tanh(h))
        kept = outputs[side] != 0
        torch.testing.assert_close(torch.tanh(2 * h)[kept], outputs[side][kept])


def test_proxies_have_a_seed_of_their_own(rows):
    first, other = build(rows, seed=1), build(rows, seed=2)
    assert torch.equal(first.proxy_pair.proxies, other.proxy_pair.proxies)
    assert not torch.equal(first.image.layers[0].weight, other.image.layers[0].weight)
    assert not torch.equal(build(rows, seed_proxies=1).proxy_pair.proxies, first.proxy_pair.proxies)
    free = [build(rows, seed=seed, seed_proxies=None).proxy_pair.proxies for seed in (1, 2)]
    assert not torch.equal(*free)
    torch.manual_seed(0)
    want = torch.tanh(torch.randn(3, 8) * math.sqrt(2 / 3))  # Kaiming normal by fan-out, which is the classes
    torch.testing.assert_close(first.proxy_pair.proxies.detach(), want)


def test_the_seed_of_the_proxies_leaves_the_random_state_alone(rows):
    build(rows, seed=4, seed_proxies=0)
    here = torch.rand(3)
    build(rows, seed=4, seed_proxies=9)
    assert torch.equal(torch.rand(3), here)


def test_optimisers_are_those_of_the_paper(rows):
    method = build(rows, epochs=7, batch_size=4)
    optimizers = method.optimizers()
    networks, proxies = optimizers["networks"], optimizers["proxies"]
    assert isinstance(networks, BertAdam)
    assert isinstance(proxies, torch.optim.SGD)
    (group,) = networks.param_groups
    got = {key: value for key, value in group.items() if key != "params"}
    settings = {"lr": 1e-3, "total_steps": 14, "warmup": 0.1, "betas": (0.9, 0.98), "eps": 1e-6}
    assert got == settings | {"weight_decay": 0.2, "max_norm": 1.0}
    (group,) = proxies.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.02, 0.9, 5e-4)
    assert [p is method.proxy_pair.proxies for p in group["params"]] == [True]
    (phase,) = method.phases(0)
    assert (phase.optimizers, phase.sampler, phase.drop_last) == (("networks", "proxies"), "shuffle", False)
    taken = sorted(id(p) for o in optimizers.values() for g in o.param_groups for p in g["params"])
    assert taken == sorted(id(p) for p in method.parameters())


def test_every_parameter_moves_in_the_second_step(rows, batch_of):
    """The schedule is 0 in the first step; proxies, which have none, move at once."""
    method = build(rows, image_hidden=(6,), text_hidden=(4,), epochs=10)
    optimizers, before = method.optimizers(), {name: p.detach().clone() for name, p in method.named_parameters()}
    for step in range(2):
        method.zero_grad()
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        for optimizer in optimizers.values():
            optimizer.step()
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        assert moved == ({"proxy_pair.proxies"} if step == 0 else set(before))


def test_learns_several_labels():
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    run = train("dcgh", pairs, bits=32, epochs=15, batch_size=32, lr=1e-2, progress=False)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
    last, first = run.history[-1], run.history[0]
    assert last["loss_joint"] < 0.7 * first["loss_joint"]
    assert {"term_joint_proxies", "term_joint_pairs", "term_joint_variance"} <= set(last)


def test_the_schedule_ends_with_the_last_partial_batch(monkeypatch):
    made = []
    optimizers = KIND.optimizers
    monkeypatch.setattr(KIND, "optimizers", lambda self: made.append(optimizers(self)) or made[-1])
    pairs = data.load("synthetic", kind="multilabel", pairs=100)  # 80 to train on: batches of 32, 32, 16
    train("dcgh", pairs, bits=8, epochs=3, batch_size=32, progress=False)
    (optimizer,) = (each["networks"] for each in made)
    assert {state["step"] for state in optimizer.state.values()} == {9}
    assert optimizer.param_groups[0]["total_steps"] == 9


def test_the_state_holds_towers_and_proxies(rows):
    assert {name.split(".")[0] for name in build(rows).state_dict()} == {"image", "text", "proxy_pair"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": "none"}, "dcgh: option variance: .*'official', 'relevant' or 'off', got 'none'"),
        ({"proxy_weight": -1}, "dcgh: option proxy_weight: .*greater than or equal to 0, got -1"),
        ({"pair_weights": (0.8,)}, "dcgh: option pair_weights.1: Field required"),
        ({"code_dropout": 1.0}, "dcgh: option code_dropout: .*less than 1, got 1.0"),
        ({"clip_norm": 0.0}, "dcgh: option clip_norm: .*greater than 0, got 0.0"),
        ({"alpha": 0.5}, "dcgh: unknown option 'alpha'; known: "),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
