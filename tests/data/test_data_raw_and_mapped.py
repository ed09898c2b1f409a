"""Data sets without features of a side, with features in files, and with what was verified before."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fasthash.data import PairedDataset
from fasthash.features import BagOfWords, Picture


class Column:
    """A sequence that is no list: counts what is made of it."""

    def __init__(self, values):
        self.values, self.made = tuple(values), 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        self.made += 1
        return self.values[i]


@pytest.fixture
def raw(parts):
    pictures = [Picture(f"{c}.png") for c in parts["ids"]]
    return parts | {"image": None, "text": None, "pictures": pictures, "texts": [f"text {c}" for c in parts["ids"]]}


def test_raw_items_alone(raw):
    data = PairedDataset(**raw)
    assert len(data) == 12
    assert repr(data).startswith("PairedDataset('small': 12 pairs, image raw, text raw, 3 classes")
    assert data.subset([0, 5, 7]).texts == ("text a", "text f", "text h")
    assert data.validation_split(0.34).pictures is data.pictures
    info = json.loads(json.dumps(data.info()))
    assert (info["image_width"], info["text_width"], info["zero_text_rows"]) == (None, None, None)
    with pytest.raises(ValueError, match="^cca: needs text features, small has raw texts only: make them with `fast"):
        data.features("text", op="cca")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"pictures": None}, "image must be features, or pictures be given, got neither"),
        ({"texts": None}, "text must be features, or texts be given, got neither"),
        ({"labels": np.eye(3, dtype=np.uint8)}, "labels must have 12 rows like ids, got 3"),
        ({"texts": ["a"]}, "texts must be 12 like the rows of ids, got 1"),
        ({"text": np.zeros((11, 2), np.float32)}, "labels must have 11 rows like text, got 12"),
    ],
)
def test_raw_items_are_checked(raw, change, line):
    with pytest.raises(ValueError, match=f"^small: {line}$"):
        PairedDataset(**(raw | change))


def test_raw_items_have_a_checksum(raw, parts):
    first = PairedDataset(**raw).checksum()
    assert PairedDataset(**(raw | {"pictures": raw["pictures"][::-1]})).checksum() == first  # places do not count
    others = {"ids": tuple("zbcdefghijkl")}, {"texts": ["x", *raw["texts"][1:]]}, {"text": parts["text"]}
    assert len({first, *(PairedDataset(**(raw | other)).checksum() for other in others)}) == 4


def test_a_pair_without_a_picture(raw):
    data = PairedDataset(**(raw | {"pictures": [None, *raw["pictures"][1:]]}))
    assert data.image_paths is None
    with pytest.raises(ValueError, match=r"^small: row 0 \(id a\) has no picture$"):
        data.picture(0)


def test_features_in_files_are_the_same_data(parts, tmp_path):
    np.save(tmp_path / "image.npy", parts["image"])
    image = np.load(tmp_path / "image.npy", mmap_mode="r")
    data = PairedDataset(**(parts | {"image": image}))
    assert data.image is image
    assert data.checksum() == PairedDataset(**parts).checksum()
    arrays = PairedDataset.from_arrays(image, parts["text"], query=[0])
    assert isinstance(arrays.image, np.memmap)
    assert type(data.subset([0, 4, 5]).image) is np.ndarray


def test_what_was_verified_is_not_checked_again(parts):
    image = parts["image"].copy()
    ids = Column(parts["ids"])
    data = PairedDataset.checked(**(parts | {"image": image, "ids": ids}), digests={"image": "ab" * 32})
    assert ids.made == 0
    image[3, 1] = np.nan  # nobody looks at these very arrays any more ...
    again = replace(data, name="again").validation_split(0.5)
    assert again.image is image
    with pytest.raises(ValueError, match="small: image must be finite, got nan in row 3"):
        replace(data, image=image.copy())  # ... but at any others
    with pytest.raises(ValueError, match="small: ids must be distinct, got 'a' more than once"):
        replace(data, ids=("a", *"abcdefghijk"))


def test_a_known_digest_stands_for_the_features(parts):
    plain, one = PairedDataset(**parts), PairedDataset.checked(**parts, digests={"image": "ab" * 32})
    same = PairedDataset.checked(**(parts | {"image": parts["image"] + 1}), digests={"image": "ab" * 32})
    other = PairedDataset.checked(**parts, digests={"image": "cd" * 32})
    text = PairedDataset.checked(**(parts | {"text": parts["text"] + 1}), digests={"image": "ab" * 32})
    assert one.checksum() == same.checksum()  # nothing of the features was read
    assert len({plain.checksum(), one.checksum(), other.checksum(), text.checksum()}) == 4
    assert PairedDataset.checked(**parts).checksum() == plain.checksum()
    assert replace(one, image=parts["image"].copy()).checksum() == plain.checksum()


def test_an_extractor_without_features_is_kept(raw):
    words = BagOfWords.fit(raw["texts"])
    assert PairedDataset(**raw, text_extractor=words).text_extractor is words
