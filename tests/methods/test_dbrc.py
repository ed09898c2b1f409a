"""DBRC against its loss written out in float64, the codes of one modality alone, and the learned activation."""

import math

import numpy as np
import pytest
import torch

from fasthash import data
from fasthash.evaluation import random_codes, score
from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import HashModel, JointSide, SparseRows
from fasthash.models.adaptive_tanh import AdaptiveTanh
from fasthash.training import train

KIND = get("dbrc")
SMALL = {"image_hidden": (6, 4), "text_hidden": (5,)}


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", SMALL | options))


def layers_of(modules):
    """(weight, bias) of each linear layer, float64."""
    linear = [m for m in modules if isinstance(m, torch.nn.Linear)]
    return [(m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in linear]


def through(layers, x):
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        x = np.maximum(x, 0) if i + 1 < len(layers) else x
    return x


def scaled(features, batch, options):
    """The batch's features as the first layers see them."""
    x = features.double().numpy()
    if options.centre:
        x = x - features.double().numpy().mean(axis=0)
    if options.normalize:
        x = x / np.linalg.norm(x, axis=1, keepdims=True) * math.sqrt(x.shape[1])
    return x[batch.index.numpy()]


def by_hand(method, rows, batch):
    """Terms of the loss: one hash layer on both encoders' outputs, a missing modality a row of zeros."""
    o = method.options
    x = {"image": scaled(rows.image.features, batch, o), "text": scaled(rows.text.features, batch, o)}
    nothing = {side: np.zeros_like(rows) for side, rows in x.items()}
    image, text = layers_of(method.image.layers), layers_of(method.text.layers)
    a = np.log1p(np.exp(method.activation.raw.detach().double().numpy()))
    joint = np.hstack([image[-1][0], text[-1][0]]), image[-1][1] + text[-1][1]
    terms = {"image": 0.0, "text": 0.0}
    for one, other in ((x["image"], x["text"]), (x["image"], nothing["text"]), (nothing["image"], x["text"])):
        both = np.hstack([np.maximum(through(image[:-1], one), 0), np.maximum(through(text[:-1], other), 0)])
        h = both @ joint[0].T + joint[1]
        code = np.tanh(a * h) if o.scaling == "linear" else np.tanh(np.sinh(a * h))
        for side in terms:
            rebuilt = through(layers_of(method.decoders[side]), code)
            terms[side] += np.mean((rebuilt - x[side]) ** 2) / 3
    return terms | {"sharpness": o.sharpness * sum(1 / v**2 for v in a)}


@pytest.mark.parametrize(
    "options",
    [{}, {"scaling": "nonlinear"}, {"centre": False}, {"normalize": False, "sharpness": 0.5}],
    ids=str,
)
def test_loss_equals_the_formulas(rows, options):
    method = build(rows, **options)
    with torch.no_grad():
        method.activation.raw.add_(torch.linspace(-1, 1, 8))
    batch = rows.batch(torch.tensor([0, 1, 2, 4, 5, 3]))
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    got = {name: float(term.detach()) for name, term in terms.items()}
    assert got == pytest.approx(by_hand(method, rows, batch), rel=1e-5)


@pytest.mark.parametrize("hidden", [(6, 4), ()])
def test_the_encoder_of_a_side_makes_the_code_of_it_alone(rows, batch_of, hidden):
    method = build(rows, image_hidden=hidden)
    batch, (optimizer,) = batch_of(0, 1, 2, 3, 4, 5), method.optimizers().values()
    for _ in range(3):
        method.zero_grad()
        method(batch, "joint").backward()
        optimizer.step()
    stale = method.image.missing.clone()
    method.end_epoch(0)
    assert not torch.equal(method.image.missing, stale)
    with torch.no_grad():
        both, image, text = method.codes(batch)
        for side, code in (("image", image), ("text", text)):
            encoder = getattr(method, side)
            assert torch.equal(torch.tanh(method.activation.scale * encoder(getattr(batch, side))), code)
            assert torch.equal(encoder(getattr(batch, side)) >= 0, code >= 0)
        assert not torch.equal(image, both)
        zeros = method.text.share(method.text.mean[None])  # a row at the mean is one of zeros to the first layer
        torch.testing.assert_close(method.image.missing, zeros[0])


def test_every_parameter_moves_in_one_step(rows, batch_of):
    method = build(rows)
    before, (optimizer,) = {n: p.detach().clone() for n, p in method.named_parameters()}, method.optimizers().values()
    method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
    optimizer.step()
    assert {name for name, p in method.named_parameters() if torch.equal(p, before[name])} == set()


def test_sparse_texts_have_the_loss_of_dense_ones(rows, monkeypatch):
    monkeypatch.setattr("fasthash.methods._networks.WORTH_ENTRIES", 0)
    text = rows.text.features * (torch.arange(5) % 2)
    values, gradients = [], []
    for given in (TrainData(rows.image.features, text), TrainData(rows.image.features, SparseRows(text))):
        method = build(given)
        loss = method(given.batch(torch.tensor([0, 1, 4])), "joint")
        loss.backward()
        values.append(float(loss.detach()))
        first = method.text.layers[0]
        gradients.append(first.weight.grad if hasattr(first, "weight") and first.weight.is_leaf else first.rows.grad.T)
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scaling", ["linear", "nonlinear"])
def test_activation_keeps_signs_and_learns_its_scale(scaling):
    layer = AdaptiveTanh(3, scaling)
    torch.testing.assert_close(layer.scale, torch.ones(3))
    layer.raw.data = torch.tensor([-5.0, 0.0, 50.0])
    h = torch.tensor([[-1e30, -0.1, 0.1], [1e-30, 0.0, -1e30]], requires_grad=True)
    out = layer(h)
    assert torch.equal(out.sign(), h.sign())
    assert out.abs().max() <= 1
    (out.sum() + layer.penalty()).backward()
    assert all(torch.isfinite(x.grad).all() for x in (h, layer.raw))
    assert float(layer.raw.grad[0]) < 0  # a step makes a flat unit steeper
    a = torch.nn.functional.softplus(layer.raw.detach().double())
    assert float(layer.penalty().detach()) == pytest.approx(float((1 / a**2).sum()), rel=1e-5)


def test_learns_without_labels_and_is_stored(tmp_path):
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    run = train("dbrc", pairs, bits=32, epochs=8, batch_size=32, image_hidden=(64,), text_hidden=(64,), progress=False)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.1
    assert run.scores.t2i > floor.t2i + 0.1
    run.model.save(tmp_path)
    again = HashModel.load(tmp_path)
    assert isinstance(again.image, JointSide)
    assert torch.equal(again.image.missing, run.model.image.missing)
    assert np.array_equal(again.encode_image(pairs.image), run.model.encode_image(pairs.image))
    assert np.array_equal(again.encode_text(pairs.text), run.model.encode_text(pairs.text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "cubic"}, "dbrc: option scaling: .*'linear' or 'nonlinear', got 'cubic'"),
        ({"sharpness": -1}, "dbrc: option sharpness: .*greater than or equal to 0, got -1"),
        ({"image_hidden": (0,)}, "dbrc: option image_hidden.0: .*greater than or equal to 1, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
