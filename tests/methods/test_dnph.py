"""DNPH against its loss written out in float64, its proxies that move, and targets that follow from the state."""

import itertools
import math

import numpy as np
import pytest
import torch

from fasthash import data
from fasthash.evaluation import random_codes, score
from fasthash.methods import TrainData, get, resolve_options
from fasthash.training import train

KIND = get("dnph")
ALL = torch.arange(6)


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", {"code_dropout": 0.0} | options))


def unit(x):
    return np.asarray(x) / math.sqrt(sum(a * a for a in x))


def nca(codes, proxies, labels, margin):
    total = 0.0
    for h, has in zip(codes, labels, strict=True):
        distances = [sum((unit(h) - unit(p)) ** 2) + margin * own for p, own in zip(proxies, has, strict=True)]
        below = math.log(sum(math.exp(-d) for d in distances))
        total += sum(d + below for d, own in zip(distances, has, strict=True) if own)
    return total / len(codes)


def cross_entropy(logits, labels):
    """Against the first label of each row."""
    total = 0.0
    for row, has in zip(logits, labels, strict=True):
        first = min(c for c, own in enumerate(has) if own)
        total += math.log(sum(math.exp(v) for v in row)) - row[first]
    return total / len(logits)


def uniform(codes, targets):
    """Mean inner product with the targets in the order of least Euclidean distances, by trying all orders."""

    def cost(order):
        return sum(math.sqrt(sum((codes[i] - targets[j]) ** 2)) for i, j in enumerate(order))

    best = min(itertools.permutations(range(len(codes))), key=cost)
    return np.mean([codes[i] @ targets[j] for i, j in enumerate(best)])


@pytest.mark.parametrize(
    "options",
    [{}, {"margin": 0.3, "uniformity": 0.7, "class_weight": 0.2}, {"uniformity": 0.0}, {"class_weight": 0.0}],
    ids=str,
)
def test_loss_equals_the_formulas(rows, options):
    method = build(rows, image_hidden=(6,), **options)
    o, labels = method.options, rows.labels.numpy().astype(int)
    assert (labels.sum(axis=1) > 1).any()
    batch = rows.batch(ALL)
    with torch.no_grad():
        outputs = {name: value.double().numpy() for name, value in method.encode(batch, "joint").items()}
    codes = [outputs["image"], outputs["text"]]
    generator = torch.Generator().manual_seed(int(method.target_seed))
    targets = (2 * torch.randint(2, (6, 8), generator=generator) - 1).double().numpy()
    proxies = method.nca.proxies.detach().double().numpy()
    want = {"proxies": nca([*codes[0], *codes[1]], proxies, [*labels, *labels], o.margin)}
    if o.class_weight:
        guesses = [outputs[f"class_{side}"] for side in ("image", "text")]
        want["classes"] = o.class_weight * sum(cross_entropy(guess, labels) for guess in guesses)
    if o.uniformity:
        want["uniformity"] = -o.uniformity * sum(uniform(h, targets) for h in codes)
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(want, rel=1e-5)


def test_the_first_of_several_labels_is_the_class(rows):
    labels = torch.tensor([[0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=torch.uint8)
    rows = TrainData(rows.image.features[:4], rows.text.features[:4], labels)
    method = build(rows)
    zero = torch.zeros(4, 8)
    guess = torch.tensor([[0.0, 9, 0], [0, 0, 9], [9, 0, 0], [9, 9, 9]])
    outputs = {"image": zero, "text": zero, "class_image": guess, "class_text": guess}
    terms = method.loss(outputs, torch.arange(4), "joint")
    assert float(terms["classes"]) == pytest.approx(2 * math.log(1 + 2 * math.exp(-9)), rel=1e-3)
    none = method.loss({name: value[3:] for name, value in outputs.items()}, torch.tensor([3]), "joint")
    assert float(none["classes"]) == 0
    assert float(none["proxies"].detach()) == 0


def test_every_parameter_moves_in_the_second_step(rows, batch_of):
    """The released code makes an optimiser of the proxies and never steps it."""
    method = build(rows, image_hidden=(6,), text_hidden=(4,), epochs=10)
    optimizers, before = method.optimizers(), {name: p.detach().clone() for name, p in method.named_parameters()}
    for step in range(2):
        method.zero_grad()
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        for name in method.phases(0)[0].optimizers:
            optimizers[name].step()
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        assert moved == ({"nca.proxies"} if step == 0 else set(before))


def test_training_moves_the_proxies_unless_they_are_official():
    pairs = data.load("synthetic", kind="multilabel", pairs=60)
    made = []

    class Kept(KIND):
        def __init__(self, *args):
            super().__init__(*args)
            made.append((self, self.nca.proxies.detach().clone()))

    for proxies in ("learned", "official"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fasthash.methods._registry._METHODS", {"dnph": Kept})
            train("dnph", pairs, bits=8, epochs=2, batch_size=16, progress=False, proxies=proxies)
    (learned, before), (official, random) = made
    assert not torch.equal(learned.nca.proxies, before)
    assert torch.equal(official.nca.proxies, random)
    assert set(official.optimizers()) == {"networks"}
    assert official.phases(0)[0].optimizers == ("networks",)


def test_optimisers_are_those_of_the_released_code(rows):
    method = build(rows, epochs=7, batch_size=4)
    optimizers = method.optimizers()
    (group,) = optimizers["networks"].param_groups
    assert (group["lr"], group["total_steps"], group["weight_decay"]) == (1e-3, 14, 0.2)
    (group,) = optimizers["proxies"].param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-4, 0, 0)
    taken = sorted(id(p) for o in optimizers.values() for g in o.param_groups for p in g["params"])
    assert taken == sorted(id(p) for p in method.parameters())


def test_targets_follow_from_the_state(rows, batch_of):
    first, second = build(rows), build(rows, seed=1)
    state = first.state_dict()
    one, two = (float(first(batch_of(*range(6)), "joint").detach()) for _ in range(2))
    assert one != two  # new ones in each step
    second.load_state_dict(state | {"steps_made": torch.tensor(1)})
    torch.manual_seed(77)  # the state alone counts
    assert float(second(batch_of(*range(6)), "joint").detach()) == two
    assert int(second.steps_made) == 2


def test_without_uniformity_nothing_is_matched(rows, batch_of, monkeypatch):
    monkeypatch.setattr("fasthash.losses.match_codes", None)
    assert set(build(rows, uniformity=0.0).loss(*_step(rows, batch_of), "joint")) == {"proxies", "classes"}


def _step(rows, batch_of):
    batch = batch_of(0, 1, 2)
    return build(rows).encode(batch, "joint"), batch.index


def test_learns_several_labels():
    """Random codes give .17, three seeds .66 or more."""
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    options = {"uniformity": 0.02, "lr_proxies": 0.02, "momentum_proxies": 0.9}
    run = train("dnph", pairs, bits=32, epochs=10, batch_size=32, lr=1e-2, eval_every=99, progress=False, **options)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
    assert {"term_joint_proxies", "term_joint_classes", "term_joint_uniformity"} <= set(run.history[-1])


def test_uniformity_spreads_codes_out(rows):
    """Codes that are all alike are drawn to different places, each to its own."""
    method = build(rows, uniformity=1.0)
    h = {side: torch.full((6, 8), 0.1).requires_grad_() for side in ("image", "text")}
    guess = {f"class_{side}": torch.zeros(6, 3) for side in h}
    method.loss(h | guess, torch.arange(6), "joint")["uniformity"].backward()
    for code in h.values():
        targets = -6 * code.grad
        assert set(targets.unique().tolist()) == {-1.0, 1.0}
        assert len(targets.unique(dim=0)) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proxies": "frozen"}, "dnph: option proxies: .*'learned' or 'official', got 'frozen'"),
        ({"uniformity": -0.1}, "dnph: option uniformity: .*greater than or equal to 0, got -0.1"),
        ({"momentum_proxies": 2}, "dnph: option momentum_proxies: .*less than or equal to 1, got 2"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
