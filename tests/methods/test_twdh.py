"""TwDH against its loss written out in float64, its centres, and the matrix that is learned from labels alone."""

import math

import numpy as np
import pytest
import torch

from fasthash import data
from fasthash.evaluation import random_codes, score
from fasthash.losses import HashCentres
from fasthash.methods import TrainData, get, resolve_options
from fasthash.methods._code_transform import learn_transform
from fasthash.training import train

KIND = get("twdh")
SMALL = {"long_bits": 16, "head_width": 6, "head_init": "default", "lr_transform": 0.05, "steps_transform": 60}


def build(rows, seed=0, bits=4, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", SMALL | options))


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def centre_of(labels, centres):
    """Sign of the mean of the classes' centres; their tie code where that is 0."""
    total = sum(centres.centres[c].double().numpy() for c, own in enumerate(labels) if own)
    return np.where(total == 0, centres.ties.numpy(), np.sign(total))


def terms_of(h, wanted):
    """Binary cross-entropy of both entries of each pair, and 1 - mean (2 u - 1)^2."""
    entropy, spread = [], []
    for row, code in zip(h, wanted, strict=True):
        for v, c in zip(row, code, strict=True):
            pair, target = (1 - sigmoid(v), sigmoid(v)), (c < 0, c > 0)
            entropy += [-math.log(u) if t else -math.log(1 - u) for u, t in zip(pair, target, strict=True)]
            spread += [(2 * u - 1) ** 2 for u in pair]
    return np.mean(entropy), 1 - np.mean(spread)


def short_of(h, transform):
    u = np.stack([1 / (1 + np.exp(h)), 1 / (1 + np.exp(-h))], axis=2).reshape(len(h), -1)
    logits = (u @ transform).reshape(len(h), -1, 2)
    return logits[..., 1] - logits[..., 0]


@pytest.mark.parametrize("short_weight", [0.0, 0.3])
def test_loss_equals_the_formulas(rows, batch_of, short_weight):
    method = build(rows, short_weight=short_weight)
    labels = rows.labels.numpy()
    assert (labels.sum(axis=1) > 1).any()
    batch = batch_of(0, 1, 2, 3, 4, 5)
    with torch.no_grad():
        h = [value.double().numpy() for value in method.encode(batch, "joint").values()]
    assert h[0].shape == (6, 16)
    long, short = (np.stack([centre_of(row, c) for row in labels]) for c in (method.long, method.short))
    (near_i, spread_i), (near_t, spread_t) = (terms_of(z, long) for z in h)
    want = {"centres": (near_i + near_t) / 2, "quantization": 0.5 * (spread_i + spread_t) / 2}
    if short_weight:
        transform = method.image.transform.double().numpy()
        values = [sum(terms_of(short_of(z, transform), short)) for z in h]
        want["short"] = short_weight * np.mean(values)
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(want, rel=1e-5)


def test_codes_are_the_long_ones_shortened(rows, batch_of):
    method = build(rows)
    batch = batch_of(0, 1, 2, 3)
    h = method.encode(batch, "joint")["image"].detach().double().numpy()
    want = short_of(h, method.image.transform.double().numpy())
    np.testing.assert_allclose(method.image(batch.image).detach().numpy(), want, rtol=1e-4, atol=1e-5)
    assert torch.equal(method.image.transform, method.text.transform)
    assert method.image.config.bits == 4


@pytest.mark.parametrize(("classes", "bits"), [(24, 16), (10, 64), (40, 16)])
def test_the_matrix_takes_every_class_to_its_short_centre(classes, bits):
    torch.manual_seed(0)
    long, short = HashCentres(classes, 512), HashCentres(classes, bits)
    labels = torch.zeros(300, classes, dtype=torch.uint8)
    labels[torch.arange(300), torch.arange(300) % classes] = 1
    labels[:5] = 0
    transform = learn_transform(long, short, labels, steps=300, lr=1e-2, sparsity=1e-3)
    assert transform.shape == (1024, 2 * bits)
    u = torch.stack([long.centres < 0, long.centres > 0], dim=2).flatten(1).double()
    logits = (u @ transform.double()).unflatten(1, (-1, 2))
    assert torch.equal(logits.argmax(dim=2) > 0, short.centres > 0)


def test_the_matrix_stops_when_it_is_right():
    """The first look is before the first step, so a matrix that is right at once stays as it was drawn."""
    torch.manual_seed(0)
    long, short = HashCentres(1, 8), HashCentres(1, 1)
    one = torch.ones(1, 1)
    state = torch.get_rng_state()
    seen = set()
    for seed in range(6):
        torch.manual_seed(seed)
        drawn = torch.empty(2, 16, 1).uniform_(-1, 1)
        torch.manual_seed(seed)
        transform = learn_transform(long, short, one, steps=1, lr=1e-2, sparsity=0.0)
        right = bool(((drawn[1] - drawn[0])[1::2].sum() >= 0) == (short.centres[0, 0] > 0))
        same = torch.equal(transform, drawn.permute(1, 2, 0).flatten(1))
        seen.add(right)
        assert same or not right
    assert seen == {True, False}
    torch.set_rng_state(state)


def test_sparsity_shrinks_the_matrix():
    torch.manual_seed(0)
    long, short = HashCentres(8, 64), HashCentres(8, 16)
    labels = torch.eye(8)
    sizes = []
    for sparsity in (0.0, 0.1):
        torch.manual_seed(1)
        made = learn_transform(long, short, labels[:4], steps=40, lr=1e-2, sparsity=sparsity)
        sizes.append(float(made.abs().mean()))
    assert sizes[1] < 0.9 * sizes[0]


def test_the_matrix_is_fixed_and_follows_from_the_seed(rows, batch_of):
    method = build(rows)
    assert torch.equal(method.image.transform, build(rows).image.transform)
    assert not torch.equal(method.image.transform, build(rows, seed=1).image.transform)
    (optimizer,) = method.optimizers().values()
    before = method.image.transform.clone()
    for _ in range(2):
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        optimizer.step()
    assert torch.equal(method.image.transform, before)
    assert "transform" not in {name.split(".")[-1] for name, _ in method.named_parameters()}


@pytest.mark.parametrize("short_weight", [0.0, 0.5])
def test_every_parameter_moves_in_the_second_step(rows, batch_of, short_weight):
    method = build(rows, image_hidden=(6,), text_hidden=(4,), epochs=10, short_weight=short_weight)
    (optimizer,) = method.optimizers().values()
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    for _ in range(2):  # the schedule is 0 in the first
        method.zero_grad()
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())


def test_rows_without_labels_are_drawn_nowhere(rows):
    labels = torch.tensor([[1, 0, 0], [0, 0, 0]], dtype=torch.uint8)
    method = build(TrainData(rows.image.features[:2], rows.text.features[:2], labels))
    h = torch.randn(2, 16, requires_grad=True)
    method.loss({"image": h, "text": h}, torch.arange(2), "joint")["centres"].backward()
    assert h.grad[0].all()
    assert not h.grad[1].any()


def test_large_logits_stay_finite(rows):
    method = build(rows, short_weight=0.1)
    h = torch.full((6, 16), 1e4, requires_grad=True)
    value = sum(method.loss({"image": h, "text": -h}, torch.arange(6), "joint").values())
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(h.grad).all()


def test_learns_several_labels():
    """Random codes give .17, three seeds .65 or more."""
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    options = {"lr_transform": 2e-2, "steps_transform": 100, "long_bits": 256, "head_init": "default"}
    run = train("twdh", pairs, bits=32, epochs=10, batch_size=32, lr=1e-2, eval_every=99, progress=False, **options)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
    assert {"term_joint_centres", "term_joint_quantization"} <= set(run.history[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_bits": 0}, "twdh: option long_bits: .*greater than or equal to 1, got 0"),
        ({"short_weight": -1}, "twdh: option short_weight: .*greater than or equal to 0, got -1"),
        ({"head_init": "paper"}, "twdh: option head_init: .*'official' or 'default', got 'paper'"),
        ({"steps_transform": 0}, "twdh: option steps_transform: .*greater than or equal to 1, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
