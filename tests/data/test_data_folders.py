"""The sets that are read from FASTHASH_DATA, against their own files read another way."""

import csv
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fasthash.features import BagOfWords, tokenize


def root(name):
    return Path(os.environ["FASTHASH_DATA"], name)


def check_bag_is_fitted_on_training_rows(data):
    assert isinstance(data.text_extractor, BagOfWords)
    train = {word for i in data.split.train for word in tokenize(data.texts[i])}
    assert set(data.text_extractor.words) <= train
    np.testing.assert_array_equal(data.text_extractor.encode(data.texts[:5]), data.text[:5])


def check_picture(data, i, member):
    with zipfile.ZipFile(root(data.name) / "images.zip") as archive:
        assert data.pictures[i].read() == archive.read(member)
    assert data.picture(i).mode == "RGB"
    assert data.image_paths is None


def test_wiki(load_here):
    data = load_here("wiki")
    with np.load(root("wiki") / "wiki_sift128_lda10.npz") as arrays:
        np.testing.assert_array_equal(data.image[data.split.train], arrays["image_train"].astype(np.float32))
        np.testing.assert_array_equal(data.text[data.split.query], arrays["text_test"].astype(np.float32))
        np.testing.assert_array_equal(data.labels[data.split.query].argmax(1), arrays["label_test"])
    assert (len(data.split.query), len(data.split.database)) == (693, 2173)
    counts = data.labels[data.split.train].sum(axis=0)
    assert dict(zip(data.class_names, counts.tolist(), strict=True))["warfare"] == 347
    data.require(labels=True, op="test")
    with pytest.raises(ValueError, match="needs raw texts"):
        data.require(texts=True, op="test")


def test_fashion_products(load_here):
    data = load_here("fashion_products")
    with open(root("fashion_products") / "products.csv", encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file) if row["bench"] == "1"}
    assert set(data.ids) == set(rows)
    assert str(data.tree) == "masterCategory (3) > subCategory (14) > articleType (30)"
    for layer in data.tree.layers:
        assert [layer.classes[i] for i in layer.ids] == [rows[name][layer.name] for name in data.ids]
    assert {data.ids[i] for i in data.split.query} == {name for name, row in rows.items() if row["split"] == "query"}
    groups = [{rows[data.ids[i]]["dupgroup"] for i in part} for part in (data.split.query, data.split.database)]
    assert not groups[0] & groups[1]  # no picture on both sides
    with np.load(root("fashion_products") / "features_efflite0.npz") as arrays:
        at = {name: i for i, name in enumerate(arrays["names"].tolist())}
        features = arrays["features"]
    for i in (0, 4000, 9078):
        np.testing.assert_array_equal(data.image[i], features[at[f"images/{data.ids[i]}.jpg"]].astype(np.float32))
        assert data.texts[i] == rows[data.ids[i]]["productDisplayName"]
    check_bag_is_fitted_on_training_rows(data)
    check_picture(data, 17, f"images/{data.ids[17]}.jpg")


def test_fashion_layers(load_here):
    data = load_here("fashion_products", layers="subCategory,articleType")
    assert str(data.tree) == "subCategory (14) > articleType (30)"
    coarse = load_here("fashion_products", layers=["masterCategory", "subCategory"])
    assert len(coarse.class_names) == 14
    for wrong in ("articleType,subCategory", "colour", "", "subCategory,subCategory"):
        with pytest.raises(ValueError, match="layers must be some of masterCategory, subCategory, articleType in this"):
            load_here("fashion_products", layers=wrong)


def test_movie_posters(load_here):
    data = load_here("movie_posters")
    assert (len(data), len(data.split.query), len(data.split.database)) == (2833, 499, 2334)
    assert data.notes[0] == "3 films with none of the 18 genres left out"
    assert data.labels.any(axis=1).all()
    lines = (root("movie_posters") / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = {item["id"]: item for item in map(json.loads, lines)}
    for i in (0, 1000, 2832):
        item = items[data.ids[i]]
        genres = {name for name, has in zip(data.class_names, data.labels[i], strict=True) if has}
        assert genres == set(item["genres"]) & set(data.class_names)
        assert data.texts[i] == item["overview"]
    split = {data.ids[i]: "query" for i in data.split.query} | {data.ids[i]: "database" for i in data.split.database}
    assert all(items[name]["split"] == part for name, part in split.items())
    assert data.info()["relevant_share"] == pytest.approx(0.548, abs=0.005)
    check_bag_is_fitted_on_training_rows(data)
    check_picture(data, 5, f"images/{data.ids[5]}.jpg")


def test_coco_mini(load_here):
    data = load_here("coco_mini")
    assert (len(data), len(data.split.query), len(data.class_names)) == (159, 79, 80)
    content = json.loads((root("coco_mini") / "coco_mini.json").read_text(encoding="utf-8"))
    names = {row["id"]: row["name"] for row in content["categories"]}
    for i, photo in enumerate(content["images"]):
        found = {name for name, has in zip(data.class_names, data.labels[i], strict=True) if has}
        assert found == {names[label] for label in photo["category_ids"]}
        assert data.texts[i].startswith(photo["captions"][0])
    check_bag_is_fitted_on_training_rows(data)
    check_picture(data, 3, f"images/{data.ids[3]}")


def test_uci_mfeat_2view(load_here):
    data = load_here("uci_mfeat_2view")
    assert (data.image.shape, data.text.shape) == ((2000, 76), (2000, 64))
    assert (len(data.split.query), len(data.split.train)) == (500, 1500)
    assert data.labels.sum(axis=0).tolist() == [200] * 10


@pytest.mark.parametrize("name", ["fashion_products", "movie_posters", "coco_mini"])
def test_texts_as_vectors(name, load_here):
    pytest.importorskip("tokenizers")
    data = load_here(name, text="vectors")
    assert data.text.shape == (len(data), 256)


@pytest.mark.parametrize("name", ["fashion_products", "movie_posters", "coco_mini"])
def test_new_pictures_meet_the_ready_made_features(name, load_here):
    data = load_here(name)
    if data.image_extractor is None:
        pytest.skip("the image network is not installed")
    got = data.image_extractor.encode([data.pictures[i] for i in (1, 50)])
    want = data.image[[1, 50]]
    cosine = (got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    assert (cosine > 0.9999).all()  # the stored ones are float16
