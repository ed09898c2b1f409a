"""MITH's network: shares of tokens by loops, one row at a time, and what a file rebuilds."""

import math

import numpy as np
import pytest
import tiny_backbone
import tiny_clip
import torch
from torch import nn

from fasthash.models import HashModel, backbones
from fasthash.models.concept_tower import ROWS, ConceptTower, ConceptTowerConfig
from fasthash.models.concepts import Attention, Concepts, positions, token_weights


def config(**changes):
    return ConceptTowerConfig(**{"width": 6, "bits": 5, "space": 8, "token_space": 4, "heads": 2, "top": 3} | changes)


def weights_by_hand(concepts, top, mask=None):
    n, tokens, count = concepts.shape
    out = np.zeros((n, count, tokens))
    for i in range(n):
        held = np.zeros((tokens, count), bool)
        for t in range(tokens):
            best = sorted(range(count), key=lambda c: -concepts[i, t, c])[:top]
            for c in best:
                held[t, c] = concepts[i, t, c] > 0 and (mask is None or mask[i, t])
        for c in range(count):
            total = sum(math.exp(concepts[i, t, c]) for t in range(tokens) if held[t, c])
            for t in range(tokens):
                out[i, c, t] = math.exp(concepts[i, t, c]) / total if held[t, c] else 0.0
    return out


@pytest.mark.parametrize("top", [1, 3, 9])
@pytest.mark.parametrize("masked", [False, True])
def test_token_weights_equal_the_loops(top, masked):
    rng = np.random.default_rng(top)
    concepts = np.tanh(rng.standard_normal((3, 4, 6)))
    mask = rng.random((3, 4)) < 0.6 if masked else None
    got = token_weights(torch.from_numpy(concepts), top, None if mask is None else torch.from_numpy(mask))
    np.testing.assert_allclose(got, weights_by_hand(concepts, top, mask), rtol=1e-6)
    sums = got.sum(dim=2)
    assert bool(((sums - 1).abs().lt(1e-6) | (sums == 0)).all())


def test_a_concept_without_a_token_is_zero_and_not_nan():
    weights = token_weights(-torch.rand(2, 3, 5), 8)
    assert torch.equal(weights, torch.zeros(2, 5, 3))
    nothing = token_weights(torch.rand(2, 3, 5), 8, torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(2, 5, 3))
    tower = ConceptTower(config())
    with torch.no_grad():
        tower.shared.scores.weight.zero_()  # no concept is held by anything
    x = torch.randn(4, 6)
    views = tower.views(x)
    assert torch.isfinite(views.h_tokens).all()
    torch.testing.assert_close(views.h_tokens, views.h_tokens[:1].expand(4, 5))  # nothing of x is in them
    views.h_tokens.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in tower.parameters())


def test_concepts_are_residual_perceptrons_and_one_tanh():
    module, x = Concepts(4, 3, blocks=2).double(), torch.randn(5, 4, dtype=torch.float64)
    want = x
    for norm, up, _, _, down in module.blocks:
        centred = (want - want.mean(1, keepdim=True)) / (want.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        hidden = (centred * norm.weight + norm.bias) @ up.weight.T + up.bias
        gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        want = want + gelu @ down.weight.T + down.bias
    f, h = module(x)
    torch.testing.assert_close(f, want)
    torch.testing.assert_close(h, torch.tanh(want @ module.scores.weight.T))


def test_attention_is_that_of_torch():
    """The same weights in torch's own layer."""
    mine = Attention(8, 2).eval()

    def quick(x):
        return x * torch.sigmoid(1.702 * x)

    other = nn.TransformerEncoderLayer(8, 2, 32, 0.0, quick, batch_first=True, norm_first=True).eval()
    names = {
        "first": "norm1", "second": "norm2", "qkv": "self_attn.in_proj_", "out": "self_attn.out_proj", "up": "linear1",
        "down": "linear2",
    }  # fmt: skip
    state = {}
    for name, value in mine.state_dict().items():
        layer, kind = name.split(".")
        state[f"{names[layer]}{kind}" if layer == "qkv" else f"{names[layer]}.{kind}"] = value
    other.load_state_dict(state)
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(mine(x), other(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [6, 5])
def test_positions(width):
    got = positions(7, width)
    for place in range(7):
        for i in range(width):
            angle = place / 10000 ** (2 * (i // 2) / width)
            want = (math.cos(angle) if i % 2 else math.sin(angle)) / math.sqrt(width)
            assert float(got[place, i]) == pytest.approx(want, abs=1e-6)


def test_each_bit_has_weights_of_its_own_and_one_tanh():
    tower = ConceptTower(config())
    x = torch.randn(3, 6)
    views = tower.views(x)
    assert float(views.h_whole.detach().abs().max()) < 1
    assert float(views.h_tokens.detach().abs().max()) < 1
    for k in range(5):
        want = torch.tanh(views.concepts[:, k] @ tower.weight[k] + tower.bias[k])
        torch.testing.assert_close(views.h_tokens[:, k], want)
    torch.testing.assert_close(tower(x), views.h_whole + views.h_tokens)


def test_one_row_keeps_its_axis_and_rows_do_not_see_each_other():
    tower = ConceptTower(config(bits=1, normalize=True)).eval()
    x = torch.randn(ROWS + 3, 6)
    with torch.no_grad():
        assert tower(x[:1]).shape == (1, 1)
        whole = tower(x)  # in two parts
        torch.testing.assert_close(whole, torch.cat([tower(row[None]) for row in x]), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(whole, tower._code(x), rtol=1e-5, atol=1e-6)


def test_scores_of_tokens_are_told_and_not_trained(tmp_path):
    """Only the code of the whole trains the concept module."""
    tower = ConceptTower(config())
    tower.views(torch.randn(4, 6)).h_tokens.sum().backward()
    assert all(p.grad is None for p in tower.shared.parameters())
    assert tower.stem.weight.grad.abs().sum() > 0


def test_centre_and_scale():
    tower = ConceptTower(config(stem=False, space=6, normalize=True))
    mean, x = torch.randn(6), torch.randn(3, 6)
    tower.fit_mean(mean)
    want = nn.functional.normalize(x - mean) * 6**0.5
    torch.testing.assert_close(tower._whole(x), want)
    still = ConceptTower(config(centre=False))
    still.fit_mean(mean)
    assert torch.equal(still.mean, torch.zeros(6))


@pytest.mark.parametrize(
    "changes", [{}, {"stem": False, "space": 6, "token_space": 6, "token_stem": False}, {"blocks": 0, "layers": 1}]
)
def test_a_shared_module_is_saved_in_both_and_loads_as_two(tmp_path, changes):
    image = ConceptTower(config(**changes))
    text = ConceptTower(config(**changes), shared=image.shared)
    assert text.shared is image.shared
    image.fit_mean(torch.randn(6))
    model = HashModel(image, text).eval()
    model.save(tmp_path)
    loaded = HashModel.load(tmp_path)
    x = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)
    for side in ("image", "text"):
        assert np.array_equal(getattr(model, f"relax_{side}")(x), getattr(loaded, f"relax_{side}")(x))
    assert loaded.text.config == model.text.config
    assert len(loaded.state_dict()) == len(model.state_dict())


def test_parts_of_pictures_and_words_of_texts(tmp_path):
    clip = backbones.build(f"clip:{tiny_clip.save(tmp_path / 'clip')}", side="text")
    picture = tiny_backbone.Tiny(dropout=0.0)
    text = ConceptTower(config(width=clip.width, stem=False, space=clip.width), clip).eval()
    image = ConceptTower(config(width=picture.width, space=clip.width), picture, text.shared).eval()
    tokens = torch.from_numpy(clip.tokenizer.encode(["red heart", "blue car green tree"]))
    with torch.no_grad():
        features, parts = clip.both(tokens)
        mask = clip.tokenizer.mask(tokens)
        held = text.shared(text.local(parts))[1]
        weights = token_weights(held, 3, mask)
        assert float(weights[~mask[:, None].expand_as(weights)].abs().max()) == 0
        z = weights @ text.narrow(text.local(parts)) + text.positions
        for layer in text.layers:
            z = layer(z)
        want = torch.tanh((z * text.weight).sum(2) + text.bias) + text.shared(features - text.mean)[1]
        torch.testing.assert_close(text(tokens), want)
        assert image(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape == (2, 5)
    HashModel(image, text).save(tmp_path / "model")
    loaded = HashModel.load(tmp_path / "model")
    assert np.array_equal(loaded.encode_text(["red heart"]), HashModel(image, text).encode_text(["red heart"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": False}, "space must be the width 6 without a stem, got 8"),
        ({"token_stem": False}, "token_space must be the space 8 without a stem of its own, got 4"),
        ({"heads": 3}, "token_space must be a multiple of the 3 heads, got 4"),
    ],
)
def test_widths_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=f"^ConceptTower: {message}$"):
        ConceptTower(config(**changes))
    with pytest.raises(ValueError, match="^ConceptTower: width must be the backbone's, got 6$"):
        ConceptTower(config(), tiny_backbone.Tiny())
