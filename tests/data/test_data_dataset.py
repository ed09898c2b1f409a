"""What a data set can do: subset, validation split, checksum, info, arrays of one's own."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fasthash.data import PairedDataset, Split
from fasthash.data.splits import Split as SplitClass
from fasthash.features import Picture


def by_id(data, field):
    return dict(zip(data.ids, getattr(data, field).tolist(), strict=True))


def test_subset_carries_everything(parts):
    parts |= {"texts": tuple(f"text {c}" for c in parts["ids"]), "pictures": tuple(Picture(c) for c in parts["ids"])}
    data = PairedDataset(**parts)
    rows = [11, 0, 4, 5, 2]
    some = data.subset(rows, name="some")
    assert some.ids == ("l", "a", "e", "f", "c")
    assert some.texts == tuple(f"text {c}" for c in some.ids)
    assert tuple(p.path for p in some.pictures) == some.ids
    for field in ("image", "text", "labels"):
        assert by_id(some, field).items() <= by_id(data, field).items()
    assert some.tree.ids.tolist() == data.tree.ids[rows].tolist()
    names = [[some.ids[i] for i in getattr(some.split, part)] for part in ("query", "database", "train")]
    assert names == [["a", "c"], ["e", "f", "l"], ["e", "f", "l"]]
    assert data.subset(np.isin(np.arange(12), rows)).ids == ("a", "c", "e", "f", "l")


def test_local_features_go_with_their_pairs(parts):
    rng = np.random.default_rng(1)
    local = {
        "image_local": rng.standard_normal((12, 4, 3)).astype(np.float32),
        "text_local": rng.standard_normal((12, 2, 6)).astype(np.float32),
    }
    data = PairedDataset(**parts, **local)
    some = data.subset([11, 0, 4])
    for field, values in local.items():
        assert np.array_equal(getattr(some, field), values[[11, 0, 4]])
        assert replace(data, **{field: None}).checksum() != data.checksum()
        with pytest.raises(ValueError, match=rf"small: {field} must be float32 \[12, parts, width\], got float32 \(12"):
            PairedDataset(**parts, **{field: values[:, 0]})
        with pytest.raises(ValueError, match=f"small: {field} must have 12 rows like image, got 11"):
            PairedDataset(**parts, **{field: values[:11]})
        with pytest.raises(ValueError, match=f"small: {field} must be finite, got nan in row 3"):
            PairedDataset(**parts, **{field: np.where(np.arange(12)[:, None, None] == 3, np.float32("nan"), values)})
    assert PairedDataset(**parts).image_local is None


@pytest.mark.parametrize("rows", [[0, 0, 5], [12, 3], [-1, 4], [0.5], [True] * 11], ids=str)
def test_subset_refuses(small, rows):
    with pytest.raises(ValueError, match=r"^small: rows"):
        small.subset(rows)


def test_subset_without_training_rows_is_refused(small):
    with pytest.raises(ValueError, match=r"split.database must have at least one row"):
        small.subset([0, 1])


def test_validation_split_never_touches_the_queries(small):
    val = small.validation_split(0.34, seed=3)
    assert val.name == "small-validation"
    assert np.isin(val.split.query, small.split.train).all()
    both = np.concatenate([val.split.query, val.split.train])
    assert sorted(both) == small.split.train.tolist()
    assert val.split.database.tolist() == val.split.train.tolist()
    assert sorted(small.labels[val.split.query].argmax(1)) == [0, 1, 2]  # one of the three of each class
    assert val.image is small.image  # nothing is copied
    again, other = small.validation_split(0.34, seed=3), small.validation_split(0.34, seed=4)
    assert again.split.query.tolist() == val.split.query.tolist()
    assert other.split.query.tolist() != val.split.query.tolist()


def test_validation_split_does_not_depend_on_the_order(small):
    order = np.random.default_rng(1).permutation(12)
    shuffled = small.subset(order)
    drawn = {small.ids[i] for i in small.validation_split(0.34).split.query}
    assert {shuffled.ids[i] for i in shuffled.validation_split(0.34).split.query} == drawn


def test_validation_split_keeps_a_wider_database(parts):
    parts |= {"split": Split(np.arange(3), np.arange(3, 12), np.arange(3, 9))}
    data = PairedDataset(**parts)
    val = data.validation_split(0.5)
    assert set(val.split.database) == set(range(3, 12)) - set(val.split.query)
    assert set(val.split.train) == set(range(3, 9)) - set(val.split.query)


def test_validation_split_without_labels(parts):
    data = PairedDataset(**(parts | {"labels": None, "class_names": (), "tree": None}))
    assert len(data.validation_split(1 / 3).split.query) == 3
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="fraction must be between 0 and 1"):
            data.validation_split(fraction)


def test_checksum_follows_the_data(small):
    first = small.checksum()
    assert len(first) == 16
    assert replace(small, name="other", notes=("a",)).checksum() == first
    copy = small.image.copy(order="F")  # another memory layout of the same numbers
    assert replace(small, image=copy).checksum() == first
    copy[0, 0] += 1
    assert replace(small, image=copy).checksum() != first
    flipped = small.labels[:, ::-1].copy()
    assert replace(small, labels=flipped, tree=None).checksum() != first
    split = small.split
    fewer = SplitClass(split.query, split.database, split.train[1:])
    assert replace(small, split=fewer).checksum() != first
    assert replace(small, tree=None).checksum() != first
    coarse, *finer = small.tree.layers
    other = replace(coarse, ids=coarse.ids[::-1].copy())
    assert replace(small, tree=replace(small.tree, layers=(other, *finer))).checksum() != first


def test_info_counts(small):
    info = small.info()
    assert json.loads(json.dumps(info)) == info
    assert (info["pairs"], info["queries"], info["database"], info["train"]) == (12, 3, 9, 9)
    assert info["class_counts"] == {"k0": 4, "k1": 4, "k2": 4}
    assert info["layers"] == {"group": 2, "kind": 3}
    assert info["relevant_share"] == pytest.approx(1 / 3, abs=1e-4)
    assert info["labels_per_pair"] == 1
    assert info["image_features"] is None


def test_repr_is_short(small):
    expected = "PairedDataset('small': 12 pairs, image 5, text 4, 3 classes, 3 queries, 9 in the database)"
    assert repr(small) == expected


def test_from_arrays(parts):
    image, text = parts["image"].astype(np.float64), parts["text"]
    ids = np.arange(12) % 3
    data = PairedDataset.from_arrays(image, text, labels=ids, query=[0, 1, 2])
    np.testing.assert_array_equal(data.labels, parts["labels"])
    assert data.split.database.tolist() == list(range(3, 12)) == data.split.train.tolist()
    mask = np.arange(12) < 3
    same = PairedDataset.from_arrays(image, text, labels=parts["labels"].astype(bool), query=mask, train=[5, 6])
    assert same.split.query.tolist() == [0, 1, 2]
    assert same.split.train.tolist() == [5, 6]
    np.testing.assert_array_equal(same.labels, data.labels)
    assert PairedDataset.from_arrays(image, text, query=mask).labels is None
    four = PairedDataset.from_arrays(image, text, labels=ids, class_names=list("abcd"), query=mask)
    assert four.labels.shape == (12, 4)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"labels": np.full((12, 2), 0.5)}, "labels must be multi-hot 0/1"),
        ({"labels": -np.ones(12, int)}, "labels must be multi-hot 0/1"),
        ({"query": [0, 12]}, "query must be distinct row numbers from 0 to 11"),
        ({"query": [1, 1]}, "query must be distinct row numbers"),
        ({"query": np.ones(11, bool)}, r"query as booleans must be \[12\]"),
        ({"query": [0.5]}, "query must be row numbers or booleans"),
        ({"database": np.arange(12)}, "split.query and split.database must have no row in common"),
    ],
)
def test_from_arrays_refuses(parts, change, line):
    with pytest.raises(ValueError, match=f"^arrays: {line}"):
        PairedDataset.from_arrays(parts["image"], parts["text"], **({"query": [0]} | change))


def test_picture_paths(parts, tmp_path):
    data = PairedDataset(**parts)
    assert data.image_paths is None
    with pytest.raises(ValueError, match="small: needs pictures, this data set has image features only"):
        data.picture(0)
    plain = replace(data, pictures=tuple(Picture(tmp_path / f"{c}.png") for c in data.ids))
    assert plain.image_paths == tuple(tmp_path / f"{c}.png" for c in data.ids)
    zipped = replace(data, pictures=tuple(Picture(tmp_path / "a.zip", c) for c in data.ids))
    assert zipped.image_paths is None
