"""Training on features in a file, and the switch between raw pictures and cached features."""

from dataclasses import replace

import numpy as np
import pytest
import raw_data
from small_data import FAST, make

from fasthash import evaluation, methods
from fasthash._raw_inputs import Taken, model_inputs
from fasthash.data import PairedDataset
from fasthash.methods import _base
from fasthash.models import FeatureView, MappedRows, mapped
from fasthash.models.pictures import PictureRows
from fasthash.ops import JointTeacher
from fasthash.retrieval import Retriever
from fasthash.training import train

tiny_backbone = pytest.importorskip("tiny_backbone")  # registers the backbone "tiny"
BATCHED = [name for name in methods.names() if issubclass(methods.get(name), methods.Method)]
SHORT = {method: FAST.get(method, {}) | {"epochs": 2, "batch_size": 16} for method in BATCHED}
SMALL = {"image_hidden": (16,), "text_hidden": (16,)}


def in_files(data, folder):
    """The same data set with features in files."""
    held = {}
    for side in ("image", "text"):
        np.save(folder / f"{side}.npy", getattr(data, side))
        held[side] = np.load(folder / f"{side}.npy", mmap_mode="r")
    return replace(data, **held)


def fit(data, method="dcmh", **options):
    return train(method, data, bits=16, progress=False, **(SHORT[method] | options))


def assert_same(one, other):
    for (name, a), b in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert a.equal(b), name
    assert one.history[-1]["i2t"] == other.history[-1]["i2t"]
    for side in ("database_image", "database_text", "query_image", "query_text"):
        assert np.array_equal(getattr(one.scores.codes, side), getattr(other.scores.codes, side))


@pytest.fixture
def small_map(tmp_path):
    return in_files(make(), tmp_path)


@pytest.fixture
def from_files(monkeypatch):
    """Every map is read batch by batch; gives what was asked of it."""
    monkeypatch.setattr(mapped, "MAPPED_FROM", 0)
    taken, take = [], MappedRows.take

    def counted(self, index):
        assert index.device.type == "cpu"
        taken.append(len(index))
        return take(self, index)

    monkeypatch.setattr(MappedRows, "take", counted)
    return taken


@pytest.mark.parametrize("method", sorted(SHORT))
def test_the_file_gives_the_codes_of_the_array(method, small, small_map, from_files):
    known = methods.get(method).options_type.model_fields
    options = {} if method in FAST else {name: value for name, value in SMALL.items() if name in known}
    held = fit(small, method, **options)
    assert not from_files
    assert_same(fit(small_map, method, **options), held)
    assert from_files


def test_djsrh_beyond_a_kept_affinity(small, small_map, from_files, monkeypatch):
    """Features at length 1 of all rows in memory, those of the batch from files: the same numbers."""
    monkeypatch.setattr(JointTeacher, "keeps_affinity", staticmethod(lambda *_: False))
    held = fit(small, "djsrh")

    def read(self):
        raise AssertionError("all rows were read")

    monkeypatch.setattr(MappedRows, "features", property(read))
    for data in (small_map, replace(small_map, text=small.text)):
        assert_same(fit(data, "djsrh"), held)


def test_in_parts(small, small_map, from_files):
    assert_same(fit(small_map, "djsrh", accumulate=3), fit(small, "djsrh", accumulate=3))
    assert max(from_files) < 16


def test_small_files_are_handled_as_arrays(small, small_map, monkeypatch):
    def never(self, index):
        raise AssertionError("read from the file")

    monkeypatch.setattr(MappedRows, "take", never)
    assert_same(fit(small_map), fit(small))


def test_evaluation_and_index_copy_no_features(small, small_map, tmp_path):
    model = fit(small).model
    given = model_inputs(model, small_map, "image", small_map.split.database)
    assert isinstance(given, FeatureView)
    assert np.shares_memory(given.features, small_map.image)
    assert np.array_equal(given[:], small.image[small.split.database])
    for one, other in zip(
        vars(evaluation.encode(model, small_map)).values(), vars(evaluation.encode(model, small)).values(), strict=True
    ):
        assert np.array_equal(one, other)
    retriever = Retriever.build(model, small_map)
    assert np.array_equal(retriever.images.codes, model.encode_image(small.image))


class Lazy(list):
    """What a prepared folder gives for pictures and texts: a sequence that is neither list nor tuple to most."""


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    return raw_data.make(tmp_path_factory.mktemp("signs"))


@pytest.fixture
def raw_only(signs):
    return replace(signs, image=None, pictures=Lazy(signs.pictures), texts=Lazy(signs.texts))


def test_raw_pictures_need_no_features(signs, raw_only, monkeypatch):
    """One option apart: the same run whether or not features lie beside the pictures."""
    raw = {"image_backbone": "tiny"}
    assert_same(fit(raw_only, **raw), fit(signs, **raw))
    assert fit(raw_only, **raw).model.takes("image") == "pictures"
    looks, init = [], PictureRows.__init__

    def counted(self, *given, **named):
        looks.append(named.get("train", True))
        init(self, *given, **named)

    monkeypatch.setattr(PictureRows, "__init__", counted)
    cached = fit(signs)  # and back: no picture is looked at
    assert not looks
    assert cached.model.takes("image") == "features"
    fit(raw_only, **raw)
    assert looks.count(True) == 1  # augmented in training alone


def test_missing_inputs_are_told(signs, raw_only):
    line = (
        "^dcmh: needs image features, signs has raw pictures only: make them with `fasthash embed`,"
        " or choose --set image_backbone=...$"
    )
    with pytest.raises(ValueError, match=line):
        fit(raw_only)
    without = replace(signs, text=None, text_extractor=None)
    with pytest.raises(ValueError, match="^dcmh: needs text features, signs has raw texts only: .*text_backbone=...$"):
        fit(without, image_backbone="tiny")
    model = fit(signs).model
    with pytest.raises(ValueError, match="^encode: needs image features, signs has raw pictures only: .*embed`$"):
        evaluation.encode(model, raw_only)


def test_a_pair_without_a_picture_is_told_before_training(raw_only):
    pictures = Lazy(raw_only.pictures)
    pictures[3] = pictures[9] = None
    line = (
        r"^dcmh: image_backbone tiny needs a picture of every pair, 2 of signs have none, the first is row 3 \(id 3\)$"
    )
    with pytest.raises(ValueError, match=line):
        fit(replace(raw_only, pictures=pictures), image_backbone="tiny")
    split = replace(raw_only.split, query=np.arange(3), train=np.arange(10, 40), database=np.arange(10, 40))
    fit(replace(raw_only, pictures=pictures, split=split), image_backbone="tiny")  # the two take no part


def test_an_extractor_is_a_way_from_raw_items(signs):
    """A model trained on features encodes a data set of raw texts, when it knows what made the features."""
    model = fit(signs).model
    without = replace(signs, text=None, text_extractor=None)
    assert np.array_equal(evaluation.encode(model, without).query_text, evaluation.encode(model, signs).query_text)


def test_taken_is_a_sequence():
    items = Taken("abcdefgh", np.array([7, 0, 3]))
    assert list(items) == ["h", "a", "d"]
    assert list(items[::2]) == ["h", "d"]
    assert (len(items), items[-1], "a" in items, "b" in items) == (3, "d", True, False)


def test_a_batch_is_asked_for_by_what_its_rows_can_read(small):
    """Rows on a device get the index there, rows that are made on the CPU get it there."""
    asked = {}

    class Told:
        width = 2

        def __init__(self, name):
            self.name = name

        def __len__(self):
            return 4

        def take(self, index):
            asked[self.name] = index
            return index

    made = Told("text")
    made.takes_host = True
    data = _base.TrainData(Told("image"), made)
    device, host = make().split.query[:2], make().split.train[:2]
    data.batch(device, host=host)
    assert asked["image"] is device
    assert asked["text"] is host
    data.batch(device)
    assert asked["text"] is device


def test_from_arrays_of_raw_items(signs):
    data = PairedDataset.from_arrays(
        None, signs.text, query=np.arange(8), labels=signs.labels, pictures=signs.pictures, name="signs"
    )
    assert (len(data), data.width("image"), data.width("text")) == (40, None, signs.text.shape[1])
