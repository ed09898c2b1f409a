"""Every check of a data set fires, in one line that names the set and the field."""

from dataclasses import replace

import numpy as np
import pytest

from fasthash.data import LabelTree, PairedDataset, Split
from fasthash.features import BagOfWords


def with_value(array, at, value):
    array = array.copy()
    array[at] = value
    return array


def split_with(**rows):
    return lambda p: {"split": replace(p["split"], **{k: np.array(v, np.int64) for k, v in rows.items()})}


CASES = {
    "float64": (lambda p: {"image": p["image"].astype(np.float64)}, r"image must be float32 \[n, width\], got float64"),
    "list": (lambda p: {"text": p["text"].tolist()}, r"text must be float32 \[n, width\], got list"),
    "one axis": (lambda p: {"text": p["text"][:, 0]}, r"text must be float32 .*, got float32 \(12,\)"),
    "no rows": (lambda p: {"image": p["image"][:0]}, "image must have at least one row"),
    "no columns": (lambda p: {"text": p["text"][:, :0]}, "text must have at least one row and one column"),
    "rows": (lambda p: {"text": p["text"][:11]}, "text must have 12 rows like image, got 11"),
    "nan": (lambda p: {"image": with_value(p["image"], (7, 2), np.nan)}, "image must be finite, got nan in row 7"),
    "inf": (lambda p: {"text": with_value(p["text"], (11, 0), -np.inf)}, "text must be finite, got -inf in row 11"),
    "labels dtype": (lambda p: {"labels": p["labels"].astype(int)}, "labels must be multi-hot uint8 .*, got int64"),
    "labels rows": (lambda p: {"labels": p["labels"][:5]}, "labels must have 12 rows like image, got 5"),
    "labels values": (
        lambda p: {"labels": with_value(p["labels"], (0, 0), 2), "tree": None},
        "labels must be 0 and 1, got 2",
    ),
    "class count": (lambda p: {"class_names": ("k0", "k1")}, "class_names must be 3 like the columns of labels, got 2"),
    "names without labels": (lambda p: {"labels": None}, "class_names must be empty without labels, got 3"),
    "tree without labels": (lambda p: {"labels": None, "class_names": ()}, "labels must be given with a tree"),
    "tree rows": (lambda p: {"tree": p["tree"].take(np.arange(5))}, "tree must have 12 items like labels, got 5"),
    "tree classes": (lambda p: {"class_names": ("k0", "k2", "k1")}, "class_names must be the classes of the finest"),
    "tree labels": (
        lambda p: {"labels": with_value(p["labels"], (4, slice(None)), [1, 1, 0])},
        "labels must be the finest layer kind of the tree, row 4 is not",
    ),
    "ids count": (lambda p: {"ids": p["ids"][:3]}, "ids must be 12 like the rows of image, got 3"),
    "ids twice": (lambda p: {"ids": (*p["ids"][:11], "c")}, "ids must be distinct, got 'c' more than once"),
    "texts count": (lambda p: {"texts": ("a",)}, "texts must be 12 like the rows of image, got 1"),
    "pictures count": (lambda p: {"pictures": ()}, "pictures must be 12 like the rows of image, got 0"),
    "query in database": (split_with(query=[0, 5]), "split.query and split.database must have no row in common, got 1"),
    "query in train": (
        split_with(query=[0, 5], database=[1, 2]),
        "split.query and split.train must have no row in common, got 1, first 5",
    ),
    "no training rows": (split_with(train=[]), "split.train must have at least one row, got none"),
    "no queries": (split_with(query=[]), "split.query must have at least one row, got none"),
    "out of range": (split_with(database=[3, 12]), "split.database must be row numbers from 0 to 11, got 3 to 12"),
    "negative": (split_with(train=[-1, 3]), "split.train must be row numbers from 0 to 11, got -1 to 3"),
    "twice": (split_with(train=[3, 3, 4]), "split.train must have each row once, got 1 twice"),
    "split dtype": (
        lambda p: {"split": Split(p["split"].query.astype(np.int32), p["split"].database, p["split"].train)},
        "split.query must be int64 row numbers, got int32",
    ),
    "extractor width": (
        lambda p: {"text_extractor": BagOfWords.fit(["a b"])},
        "text_extractor must be 4 wide like text, got 2",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fires(parts, case):
    change, line = CASES[case]
    with pytest.raises(ValueError, match=f"^small: {line}") as caught:
        PairedDataset(**(parts | change(parts)))
    assert "\n" not in str(caught.value)


def test_the_unchanged_one_passes(parts):
    assert len(PairedDataset(**parts)) == 12


def test_unlabelled_passes(parts):
    PairedDataset(**(parts | {"labels": None, "class_names": (), "tree": None}))


NEEDS = {
    "labels": (
        {"labels": None, "class_names": (), "tree": None},
        {"labels": True},
        "dcmh: needs labels, small has none",
    ),
    "tree": (
        {"tree": None},
        {"tree": True},
        "dcmh: needs a label tree of at least two layers, small has no label tree",
    ),
    "texts": ({}, {"texts": True}, "dcmh: needs raw texts, small has features only"),
}


@pytest.mark.parametrize("case", NEEDS)
def test_require(parts, case):
    change, needs, line = NEEDS[case]
    data = PairedDataset(**(parts | change))
    data.require(op="dcmh")
    with pytest.raises(ValueError) as caught:
        data.require(**needs, op="dcmh")
    assert str(caught.value) == line


def test_require_tree_of_one_layer(parts):
    tree = LabelTree(parts["tree"].layers[1:])
    with pytest.raises(ValueError, match="small has a single layer"):
        PairedDataset(**(parts | {"tree": tree})).require(tree=True, op="hichnet")


def test_require_a_label_on_every_pair(parts):
    labels = with_value(parts["labels"], ([1, 7, 9],), 0)
    data = PairedDataset(**(parts | {"labels": labels, "tree": None}))
    with pytest.raises(
        ValueError, match=r"^dcmh: needs a label on every pair, 3 of small have none, .* row 1 \(id b\)"
    ):
        data.require(labels=True, op="dcmh")
    with pytest.raises(ValueError, match=r"2 of small have none, the first is row 7 \(id h\)"):
        data.require(labels=True, op="dcmh", rows="train")
    some = replace(data, split=Split(np.array([0]), np.array([2, 3]), np.array([3])))
    some.require(labels=True, op="dcmh")  # the bare rows take no part
    with pytest.raises(ValueError, match="rows must be train or all, got 'query'"):
        data.require(op="dcmh", rows="query")
