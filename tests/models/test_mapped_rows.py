"""Features in a file: the same rows, means and codes as of an array, without a copy of them."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch

from fasthash.features import BagOfWords
from fasthash.models import FeatureRows, FeatureView, HashModel, MappedRows, Tower, TowerConfig, mapped
from fasthash.models.teacher import FixedFeatures

N, WIDTH = 60, 5


def written(array, path):
    """The same numbers as a read-only memory map."""
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.fixture
def features(tmp_path):
    array = np.random.default_rng(0).standard_normal((N, WIDTH)).astype(np.float32)
    return array, written(array, tmp_path / "features.npy")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of read-only arrays: nobody may write to the file
        yield


@pytest.mark.parametrize("split", [None, np.array([7, 3, 59, 0, 22, 41])], ids=["all", "split"])
def test_rows_are_those_of_the_array(features, split):
    array, in_file = features
    rows, dense = MappedRows(in_file, split), FeatureRows(torch.from_numpy(array if split is None else array[split]))
    assert (len(rows), rows.width) == (len(dense), WIDTH)
    assert torch.equal(rows.features, dense.features)
    index = torch.tensor([5, 0, 3, 3])
    for announced in (False, True):
        if announced:
            rows.announce(index)
        for _ in range(2):  # a step may ask twice
            assert torch.equal(rows.take(index), dense.take(index))
    assert torch.equal(rows.take(index[1:3]), dense.take(index[1:3]))  # a part of what was announced
    with pytest.raises(IndexError):
        FeatureView(in_file, split).take(np.array([N]))


def test_few_batches_are_kept(features):
    rows = MappedRows(features[1])
    batches = torch.arange(N).split(4)
    for batch in batches:
        rows.announce(batch)
    assert len(rows._made) == mapped.KEPT
    assert torch.equal(rows.take(batches[0]), torch.from_numpy(features[0][:4]))


def test_mean_is_that_of_the_array_to_the_bit(tmp_path):
    array = np.random.default_rng(1).random((2 * 8192 + 77, 3), np.float32)  # more than two parts of a sum
    in_file, dense = written(array, tmp_path / "x.npy"), FeatureRows(torch.from_numpy(array))
    assert torch.equal(MappedRows(in_file).mean(), dense.mean())
    torch.testing.assert_close(dense.mean().double(), torch.from_numpy(array).double().mean(dim=0), rtol=1e-6, atol=0)
    few = np.arange(5000)[::-1].copy()
    assert torch.equal(MappedRows(in_file, few).mean(), torch.from_numpy(array[few]).mean(dim=0))


def test_a_teacher_reads_nothing_until_it_is_asked(features, monkeypatch):
    def read(self):
        raise AssertionError("all rows were read")

    monkeypatch.setattr(MappedRows, "features", property(read))
    fixed = FixedFeatures(MappedRows(features[1]))
    assert fixed.mapped
    batch = torch.ones(2, WIDTH)
    assert fixed.of(batch) is batch


def test_small_maps_are_taken_into_memory(features, monkeypatch):
    array, in_file = features
    rows = np.arange(10)
    assert not mapped.is_mapped(in_file, rows)
    monkeypatch.setattr(mapped, "MAPPED_FROM", 10 * WIDTH * 4 - 1)
    assert mapped.is_mapped(in_file, rows)
    assert not mapped.is_mapped(in_file, rows[:9])
    assert not mapped.is_mapped(array, rows)


@pytest.fixture
def model():
    torch.manual_seed(3)
    words = BagOfWords.fit(["red heart", "blue heart", "red car"])
    return HashModel(
        Tower(TowerConfig(WIDTH, (), 20)), Tower(TowerConfig(words.width, (), 20)), text_extractor=words
    )  # fmt: skip


def test_codes_are_those_of_the_array(features, model, monkeypatch):
    array, in_file = features
    monkeypatch.setattr("fasthash.models.hash_model.BATCH", 16)
    rows = np.random.default_rng(2).permutation(N)[:37]
    whole = model.encode_image(array)
    assert np.array_equal(model.encode_image(in_file), whole)
    assert np.array_equal(model.encode_image(FeatureView(in_file)), whole)
    assert np.array_equal(model.encode_image(FeatureView(in_file, rows)), whole[rows])
    for dtype in (np.float64, np.float16):
        narrow = array.astype(dtype).astype(np.float32)
        assert np.array_equal(model.encode_image(array.astype(dtype)), model.encode_image(narrow))
    bad = array.copy()
    bad[40, 2] = np.inf
    with pytest.raises(ValueError, match="^encode_image: features of row 40 are not finite$"):
        model.encode_image(bad)
    with pytest.raises(ValueError, match=r"features must be \[n, 5\] as in training, got \(37, 4\)"):
        model.encode_image(FeatureView(array[:, :4], rows))
    with pytest.raises(ValueError, match="nothing to encode, got 0 rows"):
        model.encode_image(FeatureView(array, rows[:0]))


def test_raw_items_are_asked_for_part_by_part(model, monkeypatch):
    monkeypatch.setattr("fasthash.models.hash_model.BATCH", 4)
    texts, longest = ["red heart", "blue car", "a red car"] * 4, []
    encode = BagOfWords.encode

    def counted(self, items):
        longest.append(len(items))
        return encode(self, items)

    whole = model.encode_text(model.text_extractor.encode(texts))
    monkeypatch.setattr(BagOfWords, "encode", counted)
    assert np.array_equal(model.encode_text(tuple(texts)), whole)
    assert np.array_equal(model.encode_text(iter(texts)), whole)
    assert longest == [4] * 6


def test_encoding_takes_no_memory_for_the_features(tmp_path):
    width, n = 512, 32768
    shape = (n, width)
    in_file = np.memmap(tmp_path / "zeros", np.float32, "w+", shape=shape)  # 64 MiB, none of which is written
    model = HashModel(Tower(TowerConfig(width, (), 8)), Tower(TowerConfig(width, (), 8)))
    tracemalloc.start()
    try:
        model.encode_image(FeatureView(in_file, np.arange(n)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < in_file.nbytes / 3  # a part of 4,096 rows is an eighth; one is encoded while the next is read


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_reach_the_device(features):
    array, in_file = features
    rows = MappedRows(in_file, device="cuda")
    for announced in (False, True):
        for index in torch.randperm(N).split(7):
            if announced:
                rows.announce(index)
            assert torch.equal(rows.take(index).cpu(), torch.from_numpy(array)[index])
    assert rows.features.device.type == "cuda"
