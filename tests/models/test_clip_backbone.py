"""CLIP's halves against the whole model, its pictures and tokens, from a folder with a tiny random model."""

import json
import logging
import shutil

import numpy as np
import pytest
import tiny_clip
import torch
from safetensors.torch import load_file, save_file

from fasthash.models import backbones
from fasthash.models.pictures import PictureRows
from fasthash.models.tokens import Tokenizer, TokenRows

transformers = pytest.importorskip("transformers")
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (40 + 5 * i, 60, 3), dtype=np.uint8) for i in range(4)]
TEXTS = ["red heart", "", "Green TREE dog", "sun moon " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    return tiny_clip.save(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def whole(folder):
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers.CLIPModel.from_pretrained(folder).eval()


def test_pictures_embed_as_by_the_whole_model(folder, whole):
    half = backbones.build(f"clip:{folder}").eval()
    pixels = PictureRows(PICTURES, half).take(torch.arange(4))
    x = pixels.double() / 255
    x = (x - torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )[:, None, None]
    with torch.no_grad():
        want = whole.visual_projection(whole.vision_model(pixel_values=x.float()).pooler_output)
        hidden = whole.vision_model(pixel_values=x.float()).last_hidden_state
        got, regions = half.both(pixels)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(regions, hidden[:, 1:], rtol=1e-4, atol=1e-5)  # all but the class token
    assert (half.width, half.local_shape) == (12, (16, 16))
    assert not any("text" in name for name in half.state_dict())


def test_texts_embed_as_by_the_whole_model(folder, whole):
    half = backbones.build(f"clip:{folder}", side="text").eval()
    rows = TokenRows(TEXTS, half)
    tokens = rows.take(torch.arange(4))
    with torch.no_grad():
        out = whole.text_model(input_ids=tokens)
        got, regions = half.both(tokens)
        torch.testing.assert_close(got, whole.text_projection(out.pooler_output))
        # an exact length gives the same embedding: what follows the end does not count
        short = whole.text_projection(whole.text_model(input_ids=tokens[:1, :4]).pooler_output)
    torch.testing.assert_close(got[:1], short, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(regions, out.last_hidden_state)
    assert (half.width, half.local_shape, rows.width, len(rows)) == (12, (32, 16), 12, 4)
    torch.testing.assert_close(rows.mean(), got.mean(dim=0))
    assert not any("vision" in name for name in half.state_dict())


def test_tokens_are_start_words_end_zeros(folder):
    tokenizer = backbones.build(f"clip:{folder}", side="text").tokenizer
    tokens = tokenizer.encode(TEXTS)
    assert tokens.shape == (4, 32)
    assert tokens.dtype == np.int64
    assert (tokens[:, 0] == tiny_clip.START).all()
    assert [int((row == tiny_clip.END).argmax()) for row in tokens] == [3, 1, 4, 31]  # 30 words at most
    for row, text in zip(tokens[:3], TEXTS, strict=False):
        end = len(text.split()) + 1
        assert (row[end + 1 :] == 0).all()
        assert (row[1:end] > tiny_clip.END).all()
    assert (tokens[0, 1:3] != tokens[2, 1:3]).all()
    np.testing.assert_array_equal(tokenizer.mask(torch.from_numpy(tokens)).sum(dim=1), [4, 2, 5, 32])
    with pytest.raises(TypeError, match=r"Tokenizer.encode: text 1 must be a string, got int"):
        tokenizer.encode(["red", 3])
    with pytest.raises(TypeError, match=r"Tokenizer.encode: items must be a list of texts, got str"):
        tokenizer.encode("red")
    with pytest.raises(ValueError, match="Tokenizer: length must leave room for a token, got 2"):
        Tokenizer("{}", length=2, start=1, end=2)


def test_tokens_without_start_and_end(folder):
    whole = backbones.build(f"clip:{folder}", side="text").tokenizer
    bare = Tokenizer(whole.description, length=4, start=None, end=None, pad=7)
    tokens = bare.encode(["red heart", "sun moon face smile dog"])
    np.testing.assert_array_equal(tokens[0, 2:], [7, 7])
    assert bare.mask(torch.from_numpy(tokens)).tolist() == [[True, True, False, False], [True] * 4]


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_description_rebuilds_each_half(folder, side):
    torch.manual_seed(5)
    half = backbones.build(f"clip:{folder}", side=side).eval()
    before = torch.get_rng_state()
    again = backbones.from_config(json.loads(json.dumps(half.config())), half.tensors())
    assert torch.equal(torch.get_rng_state(), before)
    again.load_state_dict(half.state_dict())
    if side == "image":
        x = PictureRows(PICTURES, again).take(torch.arange(4))
    else:
        x = TokenRows(TEXTS, again).tokens
        assert again.tokenizer.config() == half.tokenizer.config()
    with torch.no_grad():
        assert torch.equal(again.eval()(x), half(x))
    with pytest.raises(ValueError, match=r"the stored model lacks its tokenizer|damaged"):
        backbones.from_config({"kind": "clip_text", "model": half.config()["model"], "tokenizer": {"length": 32}}, {})


@pytest.mark.parametrize("kind", ["Siglip", "ChineseCLIP", "AltCLIP"])
def test_relatives_of_clip(kind, tmp_path):
    """Whole model and halves agree; SigLIP has no projection and reads its padding, the others have a mask."""
    tiny_clip.save(tmp_path)
    side = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = side | {"vocab_size": 67, "max_position_embeddings": 20, "bos_token_id": 1, "eos_token_id": 2}
    projection = {} if kind == "Siglip" else {"projection_dim": 12}
    text |= {"projection_size": 16} if kind == "Siglip" else {"project_dim": 12} if kind == "AltCLIP" else {}
    vision = side | {"image_size": 32, "patch_size": 8}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision, **projection)
    whole = getattr(transformers, f"{kind}Model")(config).eval()
    whole.save_pretrained(tmp_path)
    image = backbones.build(f"clip:{tmp_path}").eval()
    words = backbones.build(f"clip:{tmp_path}", side="text").eval()
    tokens, pixels = TokenRows(TEXTS[:3], words).tokens, PictureRows(PICTURES, image).take(torch.arange(4))
    assert tokens.shape[1] == (20 if kind == "Siglip" else 18)
    assert words.shortened(tokens).shape[1] == (20 if kind == "Siglip" else 5)  # start, three words, end
    mask = None if kind == "Siglip" else words.tokenizer.mask(tokens).long()
    with torch.no_grad():
        want = whole.get_text_features(input_ids=tokens, attention_mask=mask).pooler_output
        torch.testing.assert_close(words(tokens), want)
        torch.testing.assert_close(words.short(words.shortened(tokens)), want)
        want = whole.get_image_features(pixel_values=image.scaled(pixels)).pooler_output
        torch.testing.assert_close(image(pixels), want)
        assert image(pixels).shape == (4, image.width)
        assert words.regions(tokens).shape == (3, *words.local_shape)
    for half, x in ((image, pixels), (words, tokens)):
        again = backbones.from_config(json.loads(json.dumps(half.config())), half.tensors())
        again.load_state_dict(half.state_dict())
        with torch.no_grad():
            assert torch.equal(again.eval()(x), half(x))


def test_transforms(folder, tmp_path):
    consistent, official = (
        backbones.build(f"clip:{folder}", transform=mode).transform for mode in ("consistent", "official")
    )
    assert consistent.train == consistent.test == official.train
    assert not consistent.train.squeeze
    assert consistent.train.bicubic
    assert official.test.squeeze
    for picture, same in ((np.tile(PICTURES[0], (1, 2, 1)), False), (PICTURES[0][:40, :40], True)):
        seen = [transform.test.base(picture) for transform in (consistent, official)]
        assert np.array_equal(*seen) == same  # a square picture is cut nowhere
        assert np.array_equal(consistent.train.base(picture), seen[0])
    stored = backbones.build(f"clip:{folder}", transform="official").config()
    assert backbones.from_config(json.loads(json.dumps(stored))).transform == official
    own = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3], "resample": 2}
    other = backbones.build(f"clip:{tiny_clip.save(tmp_path, preprocessing=own, image_size=16)}", weights="random")
    assert other.config()["mean"] == pytest.approx(own["image_mean"])
    assert other.config()["std"] == pytest.approx(own["image_std"])
    assert (other.transform.size, other.transform.test.bicubic) == (16, False)


def test_random_weights_follow_the_seed(folder):
    def first(seed):
        torch.manual_seed(seed)
        return next(backbones.build(f"clip:{folder}", weights="random").network.visual_projection.parameters())

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_errors_are_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"clip: no-such/model cannot be loaded: ") as error:
        backbones.build("clip:no-such/model")
    assert "\n" not in str(error.value)
    state = load_file(folder / "model.safetensors")
    state = {name: value for name, value in state.items() if "layers.1.mlp" not in name}
    cut = shutil.copytree(folder, tmp_path / "cut")
    save_file(state, cut / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"clip: .*cut lacks 8 of its model's weights, text_model.* among them"):
        backbones.build(f"clip:{cut}")
    (cut / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"clip: .*cut cannot be loaded: ") as error:
        backbones.build(f"clip:{cut}")
    assert "\n" not in str(error.value)
    transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"clip: .* is no model of pictures and texts, got bert"):
        backbones.build(f"clip:{tmp_path}", weights="random")
    with pytest.raises(ValueError, match=r"clip: tokens must be int64 \[m, 32\], got torch.int64 \(2, 9\)"):
        backbones.build(f"clip:{folder}", side="text")(torch.zeros(2, 9, dtype=torch.int64))


def test_frozen_attention_drops_nothing(folder):
    half = backbones.build(f"clip:{folder}", side="text").train()
    for module in half.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.5
    tokens = TokenRows(TEXTS, half).tokens
    assert not torch.equal(half(tokens), half(tokens))
    half.freeze()
    assert torch.equal(half(tokens), half(tokens))
