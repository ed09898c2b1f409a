"""A HashModel on backbones: encodes raw pictures and texts, saved and loaded without any other file."""

import json

import numpy as np
import pytest
import tiny_clip
import torch
from PIL import Image
from tiny_backbone import SIZE, Tiny

from fasthash import codes
from fasthash.features import BagOfWords
from fasthash.models import HashModel, Tower, TowerConfig, backbones
from fasthash.models.tokens import TokenRows

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (24 + i, 30, 3), dtype=np.uint8) for i in range(9)]
TEXTS = ["red heart", "sun", "dog cat tree", ""]


def towers(text_backbone=None):
    torch.manual_seed(1)
    image = Tower(TowerConfig(8, (6,), 20), Tiny())
    if text_backbone is None:
        return image, Tower(TowerConfig(5, (), 20))
    return image, Tower(TowerConfig(text_backbone.width, (), 20), text_backbone)


@pytest.fixture(scope="module")
def clip_text(tmp_path_factory):
    torch.manual_seed(2)
    return backbones.build(f"clip:{tiny_clip.save(tmp_path_factory.mktemp('clip'))}", side="text")


def test_encodes_pictures_by_the_test_view(tmp_path):
    model = HashModel(*towers())
    view = model.image.backbone.transform.test
    pixels = torch.from_numpy(np.stack([view.base(p) for p in PICTURES])).permute(0, 3, 1, 2)
    with torch.no_grad():
        h = model.eval().image(pixels).numpy()
    packed = model.train().encode_image(PICTURES)
    assert np.array_equal(codes.unpack(packed, 20), np.where(h >= 0, 1, -1))
    assert model.training
    Image.fromarray(PICTURES[0]).save(tmp_path / "0.png")
    mixed = [tmp_path / "0.png", Image.fromarray(PICTURES[1]), *PICTURES[2:]]
    assert np.array_equal(model.encode_image(mixed), packed)
    assert model.takes("image") == "pictures"
    assert model.takes("text") == "features"


def test_batches_do_not_change_codes(monkeypatch):
    model = HashModel(*towers())
    whole = model.encode_image(PICTURES)
    monkeypatch.setattr("fasthash.models.hash_model.RAW_BATCH", 2)
    assert np.array_equal(model.encode_image(PICTURES), whole)


def test_encodes_texts_by_their_tokens(clip_text):
    model = HashModel(*towers(clip_text))
    with torch.no_grad():
        h = model.eval().text(TokenRows(TEXTS, clip_text).tokens).numpy()
    assert np.array_equal(codes.unpack(model.encode_text(TEXTS), 20), np.where(h >= 0, 1, -1))
    assert model.takes("text") == "texts"


def test_saved_and_loaded_without_other_files(clip_text, tmp_path, monkeypatch):
    model = HashModel(*towers(clip_text))
    model.save(tmp_path)
    monkeypatch.setattr(backbones, "build", lambda *_, **__: pytest.fail("looked for weights"))
    again = HashModel.load(tmp_path)
    assert np.array_equal(again.encode_image(PICTURES), model.encode_image(PICTURES))
    assert np.array_equal(again.encode_text(TEXTS), model.encode_text(TEXTS))
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "config.json"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_features_are_refused_and_nothing_is_told(clip_text):
    model = HashModel(*towers(clip_text))
    with pytest.raises(
        ValueError, match="encode_image: this model was trained on raw images: pass a list of images, n"
    ):
        model.encode_image(np.zeros((3, 8), np.float32))
    with pytest.raises(ValueError, match="encode_text: this model was trained on raw texts: pass a list of texts, not"):
        model.encode_text(torch.zeros(3, 12))
    with pytest.raises(ValueError, match="encode_image: nothing to encode, got an empty list"):
        model.encode_image([])
    with pytest.raises(ValueError, match="encode_text: expected a list of texts or a feature array, got one str"):
        model.encode_text("red")
    with pytest.raises(ValueError, match="encode_image: expected a list of images or a feature array, got one Image"):
        model.encode_image(Image.fromarray(PICTURES[0]))


def test_extractors_beside_backbones_are_dropped(clip_text, tmp_path):
    words = BagOfWords.fit(["red heart"])
    model = HashModel(*towers(clip_text), text_extractor=words)
    assert model.text_extractor is None
    model.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["text_extractor"] is None
    assert HashModel(*towers(), text_extractor=words).text_extractor is words


def test_a_tower_takes_its_backbones_width():
    with pytest.raises(ValueError, match="Tower: width must be the backbone's 8, got 9"):
        Tower(TowerConfig(9, (), 4), Tiny())
    config = Tower(TowerConfig(8, (), 4), Tiny(augment=False)).config
    again = Tower(TowerConfig.from_dict(json.loads(json.dumps(config.to_dict()))))
    assert again.backbone.config() == {"kind": "tiny", "augment": False, "dropout": 0.1}
    assert "backbone" not in TowerConfig(8, (), 4).to_dict()
    assert again(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)).shape == (2, 4)


def test_a_damaged_description_is_told(tmp_path):
    HashModel(*towers()).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["image"]["backbone"]["kind"] = "other"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="backbones.from_config: kind must be one of .*, got 'other'"):
        HashModel.load(tmp_path)
