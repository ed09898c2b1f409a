"""Towers that choose between two logits: their signs, their first weights, and how they come back from a file."""

import math

import pytest
import torch

from fasthash.models import HashModel, PairTower, ShortenedTower
from fasthash.models.pair_tower import PairTowerConfig, ShortenedTowerConfig, pairs


def pair_tower(bits=12, **config):
    torch.manual_seed(0)
    return PairTower(PairTowerConfig(7, (5,), bits, **config)).eval()


def test_the_sign_is_the_larger_logit():
    tower, x = pair_tower(), torch.randn(40, 7)
    logits = tower.logits(x)
    assert logits.shape == (40, 12, 2)
    assert torch.equal(tower(x) > 0, logits.argmax(dim=2) == 1)


@pytest.mark.parametrize("shift", [-50.0, 0.0, 50.0])
def test_bits_do_not_depend_on_the_level_of_the_logits(shift):
    """Behind a ReLU, pairs of negative logits would all tie, and every such bit fall to one side."""
    tower, x = pair_tower(bits=64), torch.randn(200, 7)
    before = tower(x) >= 0
    with torch.no_grad():
        tower.layers[-1].bias += shift
    logits = tower.logits(x)
    assert bool((logits < 0).all()) == (shift < 0)
    after = tower(x) >= 0
    assert float((after == before).float().mean()) > 0.999  # rounding of numbers about 50
    assert 0.3 < float(after.float().mean()) < 0.7


def test_pairs_are_the_softmax_of_the_logits():
    tower, x = pair_tower(), torch.randn(6, 7)
    u = pairs(tower(x))
    torch.testing.assert_close(u, tower.logits(x).softmax(dim=2).flatten(1))
    assert torch.isfinite(pairs(torch.tensor([[1e4, -1e4]]))).all()


def test_weights_by_fan_out():
    torch.manual_seed(3)
    tower = PairTower(PairTowerConfig(60, (90, 128), 64, by_fan_out=True))
    linear = [layer for layer in tower.layers if isinstance(layer, torch.nn.Linear)]
    for layer, fan_out in zip(linear, (90, 128, 2), strict=True):
        bound = math.sqrt(6 / fan_out)
        assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert not layer.bias.any()


def test_shortened_codes_are_those_of_the_matrix():
    torch.manual_seed(1)
    tower = ShortenedTower(ShortenedTowerConfig(7, (5,), 4, long_bits=10)).eval()
    assert not tower.transform.any()
    tower.transform.uniform_(-1, 1)
    x = torch.randn(9, 7)
    u = tower.logits(x).softmax(dim=2).double().flatten(1)
    want = (u @ tower.transform.double()).unflatten(1, (4, 2))
    assert tower.long(x).shape == (9, 10)
    torch.testing.assert_close(tower(x).double(), want[..., 1] - want[..., 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [PairTower, ShortenedTower])
def test_a_saved_model_gives_the_same_codes(kind, tmp_path):
    torch.manual_seed(2)
    more = {"long_bits": 24} if kind is ShortenedTower else {"by_fan_out": True}
    towers = [kind(kind.config_type(width, (20,), 16, normalize=True, **more)) for width in (7, 6)]
    if kind is ShortenedTower:
        for tower in towers:
            tower.transform.uniform_(-1, 1)
            torch.nn.init.normal_(tower.layers[-1].weight)
    model = HashModel(*towers)
    model.save(tmp_path)
    again = HashModel.load(tmp_path)
    assert type(again.image) is kind
    assert again.image.config == towers[0].config
    x = torch.randn(30, 7)
    assert torch.equal(again.encode_image(x), model.encode_image(x))
    assert len(set(map(bytes, model.encode_image(x).numpy()))) > 10
