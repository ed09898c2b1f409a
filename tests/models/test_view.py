"""Views of shallow methods: float64 maps against NumPy, and back from their files."""

import json

import numpy as np
import pytest
import torch

from fasthash import codes
from fasthash.models import HashModel
from fasthash.models.encoder import build_encoder
from fasthash.models.view import Rbf, UnitRows, View


def numpy_rbf(x, anchors, width):
    squares = ((x[:, None] - anchors) ** 2).sum(axis=2)
    return np.exp(-squares / (2 * width**2))


@pytest.fixture
def parts():
    rng = np.random.default_rng(3)
    return rng.standard_normal((40, 6)) + 5, rng.standard_normal(6), rng.standard_normal((6, 11)), rng


def test_a_linear_view_is_a_centred_projection_less_a_threshold(parts):
    x, mean, weights, rng = parts
    threshold = rng.standard_normal(11)
    h = View(mean, weights, threshold)(torch.from_numpy(x))
    assert h.dtype == torch.float64
    np.testing.assert_allclose(h.numpy(), (x - mean) @ weights - threshold, rtol=1e-12, atol=1e-12)


def test_maps_go_one_after_the_other(parts):
    x, mean, _, rng = parts
    anchors, weights = rng.standard_normal((9, 6)) / 3, rng.standard_normal((9, 11))
    unit = (x - mean) / np.linalg.norm(x - mean, axis=1, keepdims=True)
    offset = numpy_rbf(unit, anchors, 0.7).mean(axis=0)
    view = View(mean, weights, maps=[UnitRows(), Rbf(anchors, 0.7, offset)])
    made = (numpy_rbf(unit, anchors, 0.7) - offset) @ weights
    np.testing.assert_allclose(view(torch.from_numpy(x)).numpy(), made, rtol=1e-10, atol=1e-12)


def test_a_row_on_an_anchor_is_at_distance_zero():
    """The squares of equal large numbers cancel to a little below 0: exp must not exceed 1."""
    anchors = np.full((3, 4), 1e8) + np.arange(3)[:, None]
    made = Rbf(anchors, 1.0, np.zeros(3))(torch.from_numpy(anchors))
    assert (made <= 1).all()
    assert (made.diagonal() == 1).all()


def test_rows_of_zeros_stay_zeros():
    assert (UnitRows()(torch.zeros(2, 3).double()) == 0).all()


def test_a_stored_model_gives_the_same_codes_bit_for_bit(parts, tmp_path):
    x, mean, weights, rng = parts
    image = View(mean, weights, maps=[UnitRows(), Rbf(rng.standard_normal((6, 6)), 1.5, np.zeros(6))])
    model = HashModel(image, View(mean, weights, rng.standard_normal(11)), info={"method": "view"})
    model.save(tmp_path)
    again = HashModel.load(tmp_path)
    features = x.astype(np.float32)
    assert isinstance(again.image, View)
    for state, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert other.dtype == torch.float64
        assert torch.equal(state, other)
    assert (model.encode_image(features) == again.encode_image(features)).all()
    assert (model.encode_text(features) == codes.pack(again.relax_text(features))).all()


def test_its_description_is_json_and_builds_the_same_shape(parts):
    _, mean, weights, rng = parts
    view = View(mean, weights, maps=[Rbf(rng.standard_normal((6, 6)), 2.0, np.ones(6))])
    config = json.loads(json.dumps(view.config.to_dict()))
    again = build_encoder(config, {})
    assert again.config == view.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in view.state_dict().items()}


def test_a_sign_too_small_for_float32_is_kept():
    """1e-60 is 0 in float32, and the sign of 0 is +1."""
    view = View(np.zeros(1), np.array([[-1e-60, 1e-60]]))
    model = HashModel(view, view)
    assert (model.encode_image(np.ones((1, 1), np.float32)) == codes.pack(np.array([[-1.0, 1.0]]))).all()


def test_one_encoder_for_both_sides_can_be_stored(parts, tmp_path):
    x, mean, weights, _ = parts
    view = View(mean, weights)
    HashModel(view, view).save(tmp_path)
    again, features = HashModel.load(tmp_path), x.astype(np.float32)
    assert (again.encode_image(features) == again.encode_text(features)).all()


@pytest.mark.parametrize("damage", [{"kind": "vew"}, {"maps": [["rbv", {}]]}, {"maps": [["rbf", {"anchors": 2}]]}])
def test_a_description_of_no_known_encoder_is_refused_in_a_line(parts, tmp_path, damage):
    _, mean, weights, _ = parts
    HashModel(View(mean, weights), View(mean, weights)).save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["image"] |= damage
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="describes no") as caught:
        HashModel.load(tmp_path)
    assert "\n" not in str(caught.value)
