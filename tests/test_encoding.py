"""Features of a file to codes: part by part, of any float type, with names that are made when they are asked for."""

import numpy as np
import pytest
import torch

from fasthash import encoding
from fasthash.models import HashModel, Tower, TowerConfig


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    HashModel(Tower(TowerConfig(4, (), 12)), Tower(TowerConfig(4, (), 12))).save(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_large_file_is_read_where_it_lies(run, tmp_path, dtype, monkeypatch):
    features = np.random.default_rng(0).standard_normal((20, 4)).astype(dtype)
    np.save(tmp_path / "x.npy", features)
    whole = encoding.encode_inputs(run, features=tmp_path / "x.npy", out=tmp_path / "whole.npy")
    monkeypatch.setattr(encoding, "_MAPPED", 0)
    monkeypatch.setattr("fasthash.models.hash_model.BATCH", 8)
    assert isinstance(encoding.read_features(tmp_path / "x.npy"), np.memmap)
    mapped = encoding.encode_inputs(run, features=tmp_path / "x.npy", out=tmp_path / "mapped.npy")
    assert np.array_equal(np.load(tmp_path / "mapped.npy"), np.load(tmp_path / "whole.npy"))
    assert np.array_equal(mapped.codes, HashModel.load(run).encode_image(features.astype(np.float32)))
    assert len(mapped) == len(whole) == 20


def test_names_are_those_of_the_rows(run, tmp_path):
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    coded = encoding.encode_inputs(run, features=tmp_path / "x.npy", side="text")
    names = [f"{tmp_path / 'x.npy'}[{i}]" for i in range(4)]
    assert [name for name, _ in coded] == names
    assert coded[-1][0] == names[3]
    assert [name for name, _ in coded[1:3]] == names[1:3]
    assert np.array_equal(coded[2][1], coded.codes[2])
    with pytest.raises(IndexError):
        coded[4]


def test_values_beyond_float32_in_a_later_part(tmp_path, monkeypatch):
    values = np.zeros((10, 2))
    values[9, 1] = -1e39
    values[0, 0] = np.inf  # told by the model, with its row
    np.save(tmp_path / "x.npy", values)
    monkeypatch.setattr(encoding, "_ROWS", 4)
    with pytest.raises(ValueError, match="x.npy has values beyond float32, the largest 1e"):
        encoding.read_features(tmp_path / "x.npy")
