"""QuantizedModel: codes, reconstructions, exact search, its files, and what refuses it."""

import json

import numpy as np
import pytest
import torch

from fasthash.models import HashModel, QuantizedModel, TowerConfig
from fasthash.models.bounded_tower import BoundedTower, BoundedTowerConfig
from fasthash.models.codebook import CENTRES
from fasthash.retrieval import Retriever


@pytest.fixture
def model():
    torch.manual_seed(0)
    image, text = (BoundedTower(BoundedTowerConfig(width, (5,), 6)) for width in (7, 4))
    return QuantizedModel(image, text, 0.3 * torch.randn(3, CENTRES, 6), sweeps=2, info={"method": "cdq"}).eval()


def features(n, width, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def test_sizes_codes_and_vectors(model):
    x = features(11, 7)
    assert (model.bits, model.width) == (24, 6)
    codes, vectors = model.encode_image(x), model.relax_image(x)
    assert (codes.dtype, codes.shape) == (np.uint8, (11, 3))
    assert (vectors.dtype, vectors.shape) == (np.float32, (11, 6))
    assert np.abs(vectors).max() < 1
    with torch.no_grad():
        np.testing.assert_array_equal(vectors, model.image(torch.from_numpy(x)).numpy())
    assert np.array_equal(model.quantize(vectors), codes)
    book = model.codebook.numpy()
    want = np.stack([sum(book[m, k] for m, k in enumerate(row)) for row in codes])
    np.testing.assert_allclose(model.decode(codes), want, rtol=1e-5, atol=1e-6)
    near = ((vectors - want) ** 2).sum(axis=1)
    others = model.decode(np.random.default_rng(1).integers(0, 256, codes.shape).astype(np.uint8))
    assert near.mean() < 0.5 * ((vectors - others) ** 2).sum(axis=1).mean()


def test_vectors_are_bounded_once(model):
    """A head with two activations or none would not give tanh of its last layer."""
    layers = model.image.layers
    x = torch.from_numpy(features(3, 7))
    with torch.no_grad():
        want = torch.tanh(layers[2](layers[1](layers[0](x))))
        torch.testing.assert_close(model.image(x), want)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_search_is_the_sort_of_all_scores(model, k, monkeypatch):
    codes = model.encode_text(features(40, 4))
    codes[20:] = codes[:20]  # equal scores: the smaller id first
    queries = model.relax_image(features(9, 7, 1))
    scores = model.scores(queries, codes)
    np.testing.assert_allclose(scores, queries @ model.decode(codes).T, rtol=1e-4, atol=1e-5)
    want = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    for pairs in (1 << 24, 100):
        monkeypatch.setattr("fasthash.models.quantized_model.PAIRS", pairs)
        values, ids = model.search(queries, codes, k)
        assert np.array_equal(ids, want)
        np.testing.assert_allclose(values, np.take_along_axis(scores, want, axis=1), rtol=1e-5)  # products of blocks


def test_torch_in_torch_out(model):
    codes = model.encode_text(torch.from_numpy(features(5, 4)))
    queries = model.relax_image(torch.from_numpy(features(2, 7)))
    made = [codes, queries, model.scores(queries, codes), model.decode(codes), *model.search(queries, codes, 2)]
    assert all(isinstance(x, torch.Tensor) for x in made)


def test_files_give_the_same_model(model, tmp_path):
    model.save(tmp_path)
    again = HashModel.load(tmp_path)
    assert type(again) is QuantizedModel
    assert (again.bits, again.sweeps, again.info) == (24, 2, {"method": "cdq"})
    x = features(11, 7)
    assert np.array_equal(again.encode_image(x), model.encode_image(x))
    assert np.array_equal(again.relax_image(x), model.relax_image(x))
    assert isinstance(QuantizedModel.load(tmp_path).image.config, TowerConfig)


def test_damaged_and_foreign_files(model, tmp_path):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"kind": "other"}, {"kind": "quantized"}):
        (tmp_path / "config.json").write_text(json.dumps(config | {"model": change}))
        with pytest.raises(ValueError, match=r"HashModel\.load: .*config\.json describes no model"):
            HashModel.load(tmp_path)
    HashModel(model.image, model.text).save(tmp_path)
    with pytest.raises(ValueError, match=r"QuantizedModel\.load: .* holds a HashModel"):
        QuantizedModel.load(tmp_path)
    assert type(HashModel.load(tmp_path)) is HashModel


def test_hamming_tools_refuse_it_in_a_line(model):
    with pytest.raises(ValueError, match=r"^Retriever: needs codes for Hamming distances; those of cdq are ranked by"):
        Retriever.build(model, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.search(np.zeros((1, 6)), np.zeros((4, 3), np.uint8), 5), "search: k must be from 1 to 4, got 5"),
        (lambda m: m.scores(np.zeros((1, 5)), np.zeros((4, 3), np.uint8)), r"queries must be \[n, 6\].*got \(1, 5\)"),
        (lambda m: m.scores(np.zeros((1, 6)), np.zeros((4, 2), np.uint8)), r"codes must be uint8 \[n, 3\]"),
        (lambda m: m.decode(np.zeros((4, 3))), r"decode: codes must be uint8 \[n, 3\] with n >= 1, got torch.float64"),
        (lambda m: m.quantize(np.zeros((0, 6))), r"quantize: vectors must be \[n, 6\] with n >= 1, got \(0, 6\)"),
        (lambda m: QuantizedModel(m.image, m.text, torch.zeros(2, 256, 5)), r"codebook must be \[M, 256, 6\]"),
    ],
)
def test_bad_input(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
