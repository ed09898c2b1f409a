"""The page of a data set: everything that is on it comes from the data, and a missing picture is told, not fatal."""

import json
import re

import numpy as np
import pytest

from fasthash.data import PairedDataset
from fasthash.data.tree import LabelTree
from fasthash.features import Picture
from fasthash.report.data_page import data_page, render_data_page, write_data_page
from fasthash.report.pictures import Pictures

image_module = pytest.importorskip("PIL.Image")
N = 60


def dataset(tmp_path, **changes):
    rng = np.random.default_rng(0)
    for i in range(N):
        image_module.fromarray(rng.integers(0, 255, (9, 7, 3), np.uint8)).save(tmp_path / f"{i}.png")
    pictures = tuple(Picture(tmp_path / f"{i}.png") for i in range(N))
    fields = {
        "query": np.arange(10), "labels": np.arange(N) % 4, "class_names": ["<ant>", "bee", "cat", "dog"],
        "ids": [f"id-{i}" for i in range(N)], "texts": tuple(f"text & number {i}" for i in range(N)),
        "pictures": pictures, "source": "made here", "name": "creatures",
    }  # fmt: skip
    return PairedDataset.from_arrays(rng.random((N, 3)), rng.random((N, 2)), **(fields | changes))


def test_page_shows_the_data(tmp_path):
    data = dataset(tmp_path)
    pictures = Pictures()
    page = data_page(data, data.info(), pictures, seed=3)
    assert len(page.pairs) == len(pictures.all()) == 48
    assert [(name, count) for name, count, _ in page.classes] == [("<ant>", 15), ("bee", 15), ("cat", 15), ("dog", 15)]
    for pair in page.pairs:
        row = int(pair.id.removeprefix("id-"))
        assert pair.text == f"text & number {row}"
        assert pair.label == data.class_names[row % 4]
        assert pair.part == ("query" if row < 10 else "training")
    html = render_data_page(page, pictures)
    assert html.count('<li class="card">') == 48
    assert "&lt;ant&gt;" in html
    assert "text &amp; number" in html
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    other = data_page(data, data.info(), Pictures(), seed=4)
    assert [pair.id for pair in other.pairs] != [pair.id for pair in page.pairs]


def test_pictures_that_are_gone_or_damaged_are_told(tmp_path):
    data = dataset(tmp_path)
    for i in range(0, N, 2):
        (tmp_path / f"{i}.png").unlink()
    for i in range(1, N, 4):
        (tmp_path / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    page = data_page(data, data.info(), Pictures())
    found = {int(pair.id.removeprefix("id-")): pair for pair in page.pairs}
    assert {i: pair.missing for i, pair in found.items()} == {
        i: "missing" if i % 2 == 0 else "not readable" if i % 4 == 1 else "" for i in found
    }


def test_sets_splits_and_problems_of_a_prepared_folder(tmp_path):
    info = dataset(tmp_path).info() | {
        "feature_sets": {"image": {"net": {"width": 3, "encoder": {"kind": "imagenet"}}}, "text": {}},
        "splits": {"own": {"query": 10, "database": 50, "train": 50, "notes": ["drawn here"]}},
        "skipped": [{"kind": "leak", "policy": "skip", "count": 1234, "ids": list("abcd")}],
    }
    path = tmp_path / "new" / "page.html"
    write_data_page(dataset(tmp_path), info, path, command="fasthash data info x")
    html = path.read_text(encoding="utf-8")
    for text in ("imagenet", "drawn here", "left out", "1,234", "a, b, c, ...", "fasthash data info x"):
        assert text in html


def test_without_pictures_texts_and_labels(tmp_path):
    tree = LabelTree.from_names(kind=["x", "y"] * 30, sort=["x1", "y1"] * 30)
    plain = dataset(tmp_path, pictures=None, texts=None, labels=None, class_names=None)
    page = data_page(plain, plain.info(), Pictures())
    assert page.pairs == []
    assert page.classes == []
    layered = dataset(tmp_path, labels=tree.layers[-1].one_hot, class_names=tree.layers[-1].classes, tree=tree)
    page = data_page(layered, layered.info(), Pictures())
    assert (page.layer, page.pairs[0].label) == ("sort", "x > x1" if int(page.pairs[0].id[3:]) % 2 == 0 else "y > y1")
    json.dumps(layered.info())
