"""Choices of relevance on a label tree."""

import dataclasses

import numpy as np
import pytest

from fasthash import metrics
from fasthash.data import LabelTree, PairedDataset, load
from fasthash.evaluation import evaluate, random_codes, score


@pytest.fixture(scope="module")
def tree_data():
    return load("synthetic", pairs=120, image_width=6, text_width=5)


def codes_of_layer(data, k):
    """Codes that name the class of one layer, one bit a class: perfect for that layer's labels."""
    codes = random_codes(data, 32)
    ids = data.tree.layers[k].ids
    spelt = np.packbits(np.eye(32, dtype=bool)[ids], axis=1)
    query, database = spelt[data.split.query], spelt[data.split.database]
    return type(codes)(32, query, query, database, database)


@pytest.mark.parametrize(("k", "relevance"), [(0, "layer:1"), (1, "layer:2"), (1, "finest"), (0, "any")])
def test_codes_of_a_layer_are_perfect_for_its_labels_only(tree_data, k, relevance):
    codes = codes_of_layer(tree_data, k)
    got = score(codes, tree_data, relevance=relevance)
    assert (got.i2t, got.t2i, got.relevance) == (pytest.approx(1.0), pytest.approx(1.0), relevance)
    for other in {"layer:1", "layer:2"} - {relevance, {"finest": "layer:2", "any": "layer:1"}.get(relevance)}:
        assert score(codes, tree_data, relevance=other).i2t < 0.95


def test_default_is_the_finest_layer(tree_data):
    codes = random_codes(tree_data, 16)
    finest = score(codes, tree_data, ("map_all", "map_at_50"), relevance="layer:2")
    default = score(codes, tree_data, ("map_all", "map_at_50"))
    assert default.relevance == "finest"
    assert default.to_dict()["map"] == finest.to_dict()["map"]


def test_graded_is_ndcg_by_the_common_layers(tree_data):
    codes = random_codes(tree_data, 16)
    got = score(codes, tree_data, relevance="graded")
    query, database = tree_data.split.query, tree_data.split.database
    for direction in ("i2t", "t2i"):
        layers = [[layer.ids[rows] for layer in tree_data.tree.layers] for rows in (query, database)]
        want = metrics.ndcg(*codes.pair(direction), *layers, bits=16).value
        assert getattr(got, direction) == got.to_dict()["ndcg"][direction] == want
    assert got.to_dict()["map"] == {}
    assert score(codes_of_layer(tree_data, 1), tree_data, relevance="graded").i2t > got.i2t + 0.1


def test_without_a_tree_any_is_finest():
    data = load("synthetic", kind="multilabel", pairs=120)
    codes = random_codes(data, 16)
    assert score(codes, data, relevance="any").i2t == score(codes, data).i2t
    for relevance in ("graded", "layer:1"):
        with pytest.raises(ValueError, match="evaluate: needs a label tree of at least two layers, synthetic has no"):
            score(codes, data, relevance=relevance)


def test_any_counts_labels_of_every_layer_of_a_tree_with_one_root():
    """All rows share the root: everything is relevant."""
    tree = LabelTree.from_names(root=["r"] * 6, leaf=list("aabbcc"))
    data = PairedDataset.from_arrays(np.ones((6, 2)), np.ones((6, 2)), query=[0, 1], labels=list(range(3)) * 2)
    assert data.tree is None
    data = PairedDataset.from_arrays(
        np.ones((6, 2)),
        np.ones((6, 2)),
        query=[0, 2],
        labels=[0, 0, 1, 1, 2, 2],
        class_names=("a", "b", "c"),
        tree=tree,
    )
    codes = random_codes(data, 8)
    assert score(codes, data, relevance="any").i2t == pytest.approx(1.0)
    assert score(codes, data).i2t < 1.0


@pytest.mark.parametrize("relevance", ["layer:0", "layer:3", "layer:x", "coarse", ""])
def test_unknown_relevance(tree_data, relevance):
    with pytest.raises(
        ValueError, match="evaluate: relevance must be one of finest, any, layer:1, layer:2, graded, got"
    ):
        score(random_codes(tree_data, 8), tree_data, relevance=relevance)


def test_a_model_is_scored_by_any_relevance(tree_data):
    from fasthash.models import HashModel, Tower, TowerConfig

    model = HashModel(Tower(TowerConfig(6, (), 8)), Tower(TowerConfig(5, (), 8)))
    assert evaluate(model, tree_data, relevance="graded").graded["i2t"].nq == len(tree_data.split.query)


def test_database_without_the_training_items(tree_data):
    split = type(tree_data.split)(tree_data.split.query, tree_data.split.database, tree_data.split.database[::3])
    tree_data = dataclasses.replace(tree_data, split=split)
    codes = random_codes(tree_data, 16)
    kept = ~np.isin(split.database, split.train)
    assert 0 < kept.sum() < len(kept)
    got = score(codes, tree_data, ("map_all", "map_at_50_stable"), database="without_train")
    labels = tree_data.labels[split.query], tree_data.labels[split.database][kept]
    for direction in ("i2t", "t2i"):
        query, database = codes.pair(direction)
        want = metrics.evaluate(query, database[kept], *labels, bits=16)
        assert got.scores["map_all"][direction].value == getattr(got, direction) == want.value
        stable = metrics.evaluate(query, database[kept], *labels, bits=16, protocol="map_at_k", ties="stable")
        assert got.scores["map_at_50_stable"][direction].value == pytest.approx(stable.value, abs=1e-14)
    assert (got.database, got.to_dict()["searched"], got.to_dict()["database"]) == (
        "without_train", "without_train", kept.sum(),
    )  # fmt: skip
    assert score(codes, tree_data).to_dict()["searched"] == "all"
    graded = score(codes, tree_data, relevance="graded", database="without_train")
    assert graded.graded["i2t"].nb == kept.sum()


def test_database_of_training_items_alone_is_refused():
    data = PairedDataset.from_arrays(np.ones((6, 2)), np.ones((6, 2)), query=[0, 1], labels=list(range(3)) * 2)
    assert set(data.split.database) <= set(data.split.train)
    with pytest.raises(ValueError, match="evaluate: database 'without_train' is empty, all of .* is trained on"):
        score(random_codes(data, 8), data, database="without_train")
    with pytest.raises(ValueError, match="evaluate: database must be one of all, without_train, learned, got 'test'"):
        score(random_codes(data, 8), data, database="test")


def test_measures_of_papers_and_queries_without_relevant_items(tree_data):
    codes = random_codes(tree_data, 16)
    papers = {name: paper.measure for name, paper in metrics.papers().items()}
    got = score(codes, tree_data, papers)
    assert set(got.scores) == set(got.to_dict()["map"]) == set(papers)
    assert got.scores["djsrh"]["t2i"].k == 50
    labels = [tree_data.tree.layers[1].ids[rows].copy() for rows in (tree_data.split.query, tree_data.split.database)]
    lonely = np.flatnonzero(labels[1] != labels[0][0])  # a database in which nothing is relevant to the first query
    split = type(tree_data.split)(tree_data.split.query, tree_data.split.database[lonely], tree_data.split.train)
    data = dataclasses.replace(tree_data, split=split)
    codes = random_codes(data, 16)
    zero, skip = (score(codes, data, ("map_all",), no_relevant=rule) for rule in ("zero", "skip"))
    assert skip.scores["map_all"]["i2t"].no_relevant == "skip"
    ratio = skip.scores["map_all"]["i2t"].counted.mean()
    assert ratio < 1
    assert zero.i2t == pytest.approx(skip.i2t * ratio)


def test_one_pass_gives_the_curves(tree_data):
    codes = random_codes(tree_data, 16)
    got = score(codes, tree_data, ("map_all", "map_all_stable", "map_at_50"))
    labels = [tree_data.labels[rows] for rows in (tree_data.split.query, tree_data.split.database)]
    for direction, found in got.summaries.items():
        want = metrics.precision_recall_by_rank(*codes.pair(direction), *labels, bits=16)
        np.testing.assert_array_equal(found.by_rank["expected"].precision, want.precision)
        assert found.scores["map_all"] is got.scores["map_all"][direction]
