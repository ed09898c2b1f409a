"""HashModel: encoding, saving, refusing."""

import json

import numpy as np
import pytest
import torch

from fasthash import codes
from fasthash.features import BagOfWords
from fasthash.models import HashModel, Tower, TowerConfig


@pytest.fixture
def model():
    torch.manual_seed(3)
    words = BagOfWords.fit(["red heart", "blue heart", "red car"])
    image = Tower(TowerConfig(6, (5,), 20, normalize=True))
    text = Tower(TowerConfig(words.width, (), 20))
    text.fit_mean(torch.rand(words.width))
    return HashModel(image, text, text_extractor=words, info={"method": "test"})


def test_encodes_the_sign_of_the_tower(model):
    x = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)
    with torch.no_grad():
        h = model.eval().image(torch.from_numpy(x)).numpy()
    packed = model.encode_image(x)
    assert packed.dtype == np.uint8
    assert np.array_equal(codes.unpack(packed, 20), np.where(h >= 0, 1, -1))


def test_batches_do_not_change_codes(model, monkeypatch):
    x = np.random.default_rng(1).standard_normal((11, 6)).astype(np.float32)
    whole = model.encode_image(x)
    monkeypatch.setattr("fasthash.models.hash_model.BATCH", 3)
    assert np.array_equal(model.encode_image(x), whole)


def test_texts_equal_their_features(model):
    texts = ["red heart", "a red car", "unknown words"]
    assert np.array_equal(model.encode_text(texts), model.encode_text(model.text_extractor.encode(texts)))


def test_torch_in_torch_out(model):
    packed = model.encode_image(torch.zeros(2, 6))
    assert isinstance(packed, torch.Tensor)


def test_mode_is_kept(model):
    model.train()
    model.encode_image(np.zeros((1, 6), np.float32))
    assert model.training


def test_save_load_gives_the_same_codes(model, tmp_path):
    model.save(tmp_path)
    again = HashModel.load(tmp_path)
    x = np.random.default_rng(2).standard_normal((7, 6)).astype(np.float32)
    assert np.array_equal(again.encode_image(x), model.encode_image(x))
    assert np.array_equal(again.encode_text(["red car"]), model.encode_text(["red car"]))
    assert again.info == {"method": "test"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (np.zeros((2, 5), np.float32), r"features must be \[n, 6\] as in training, got \(2, 5\)"),
        (np.zeros((0, 6), np.float32), "nothing to encode, got 0 rows"),
        (np.full((2, 6), np.nan, np.float32), "features of row 0 are not finite"),
        (["a.png"], "knows no way from raw images"),
        ("a.png", "expected a list of images or a feature array, got one str"),
    ],
)
def test_bad_images(model, items, message):
    with pytest.raises(ValueError, match=message):
        model.encode_image(items)


def test_empty_text_list(model):
    with pytest.raises(ValueError, match="nothing to encode, got an empty list"):
        model.encode_text([])


def test_bits_must_agree():
    with pytest.raises(ValueError, match="same bits, got 8 and 9"):
        HashModel(Tower(TowerConfig(3, (), 8)), Tower(TowerConfig(3, (), 9)))


def test_refuses_damaged_files(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        HashModel.load(tmp_path)
    model.save(tmp_path)
    tensors = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(tensors[: len(tensors) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        HashModel.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        HashModel.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"version": 99}))
    with pytest.raises(ValueError, match="format version 99, this fasthash reads up to 1"):
        HashModel.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"other": 1}))
    with pytest.raises(ValueError, match="is not a fasthash model's config"):
        HashModel.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        HashModel.load(tmp_path)


def test_a_failed_save_leaves_nothing(model, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
