"""The plain baseline: its loss in float64, what it trains, that it learns."""

import numpy as np
import pytest
import torch

from fasthash import data, methods
from fasthash.evaluation import random_codes, score
from fasthash.methods import TrainData
from fasthash.training import train


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    image, text = (torch.from_numpy(rng.standard_normal((10, w)).astype(np.float32)) for w in (6, 5))
    labels = torch.from_numpy((rng.random((10, 4)) < 0.4).astype(np.uint8))
    kind = methods.get("two_tower")
    options = methods.resolve_options(kind, "none", {"image_hidden": [7], "text_hidden": [7], "gamma": 0.3})
    torch.manual_seed(0)
    return kind(TrainData(image, text, labels), 8, options), labels.numpy()


@pytest.mark.parametrize("rows", [[3, 1, 7, 2, 0], [4]])
def test_loss_by_hand(made, rows):
    method, labels = made
    rng = np.random.default_rng(1)
    h_image, h_text = rng.standard_normal((2, len(rows), 8))
    outputs = {"image": torch.from_numpy(h_image).float(), "text": torch.from_numpy(h_text).float()}
    terms = method.loss(outputs, torch.tensor(rows), "joint")
    nll = 0.0
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            theta = h_image[i] @ h_text[j] / 2
            nll += np.log1p(np.exp(theta)) - float(labels[a] @ labels[b] > 0) * theta
    assert terms["nll"].item() == pytest.approx(nll / len(rows) ** 2, rel=1e-5)
    off = sum(((np.where(h >= 0, 1, -1) - h) ** 2).sum() for h in (h_image, h_text))
    assert terms["quantization"].item() == pytest.approx(0.3 * off / (8 * len(rows)), rel=1e-5)


def test_every_parameter_moves(made):
    method, _ = made
    before = {name: p.clone() for name, p in method.named_parameters()}
    (optimizer,) = method.optimizers().values()
    index = torch.arange(10)
    batch = methods.Batch(index, *(torch.randn(10, w) for w in (6, 5)))
    method(batch, "joint").backward()
    optimizer.step()
    assert all(not torch.equal(before[name], p) for name, p in method.named_parameters())


def test_learning_rate_falls_along_half_a_cosine(made):
    method, _ = made
    o = method.options
    rates = [method.learning_rates(epoch)["towers"] for epoch in range(o.epochs)]
    assert rates[0] == pytest.approx(o.lr_first)
    assert rates[-1] == pytest.approx(o.lr_last)
    assert rates == sorted(rates, reverse=True)
    assert rates[7] == pytest.approx(o.lr_last + (o.lr_first - o.lr_last) * (1 + np.cos(np.pi * 7 / 29)) / 2)


def test_learns():
    """Five seeds of data and run gave 1; random codes give about .35."""
    rng = np.random.default_rng(0)
    ids = np.arange(120) % 3
    image, text = (rng.standard_normal((3, w))[ids] + 0.4 * rng.standard_normal((120, w)) for w in (12, 9))
    small = data.PairedDataset.from_arrays(image, text, query=np.arange(24), labels=ids)
    options = {"epochs": 20, "batch_size": 16, "lr_first": 1e-2, "image_hidden": [32], "text_hidden": [32]}
    run = train("two_tower", small, bits=16, progress=False, dropout=0.2, eval_every=100, **options)
    floor = score(random_codes(small, 16), small)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
