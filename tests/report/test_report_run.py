"""The page of a run: what it says is what the run's model does, and what cannot be shown is left out in words."""

import json

import numpy as np
import pytest

from fasthash import data as datasets
from fasthash import evaluation
from fasthash.cli._run import run as command
from fasthash.data import PairedDataset
from fasthash.features import Picture
from fasthash.metrics import average_precision
from fasthash.report import render_page
from fasthash.report.run_codes import categories
from fasthash.report.run_map import code_map
from fasthash.report.run_page import run_page
from fasthash.report.run_searches import searches
from fasthash.training import train

BITS = 16


@pytest.fixture(scope="module")
def run_folder(shown, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    train("dcmh", shown, bits=BITS, out=folder, epochs=2, eval_every=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def codes(run_folder, shown):
    from fasthash.models import HashModel

    return evaluation.encode(HashModel.load(run_folder), shown)


@pytest.fixture(scope="module")
def page(run_folder, shown):
    return run_page(run_folder, shown)


def test_scores_are_those_of_the_run(page, run_folder):
    kept = json.loads((run_folder / "scores.json").read_text())["map"]
    found = {measure.name: measure for measure in page.measures}
    assert found["mAP over the whole database"].i2t == pytest.approx(kept["map_all"]["i2t"])
    assert found["mAP of the first 50"].t2i == pytest.approx(kept["map_at_50"]["t2i"])
    assert found["nDCG"].i2t > 0
    assert all(measure.chance is not None for measure in page.measures)
    assert [len(h.epochs) for h in page.histories] == [2]
    assert page.histories[0].i2t[-1] == pytest.approx(kept["map_all"]["i2t"])


def test_curves_agree_with_the_codes(page, codes, shown):
    query, database = (shown.labels[rows].astype(bool) for rows in (shown.split.query, shown.split.database))
    relevant = (query[:, None] & database[None]).any(axis=2)
    bits = [np.unpackbits(side, axis=1).astype(int) for side in codes.pair("i2t")]
    distance = (bits[0][:, None] != bits[1][None]).sum(axis=2)
    apart = page.distances["i2t"]
    np.testing.assert_array_equal(apart.relevant, np.bincount(distance[relevant], minlength=BITS + 1))
    np.testing.assert_array_equal(apart.irrelevant, np.bincount(distance[~relevant], minlength=BITS + 1))
    last = page.recall_at["i2t"][0]
    assert last.ranks[-1] == len(database)
    assert last.values[-1] == pytest.approx(1)
    assert page.precision_at["i2t"][0].values[-1] == pytest.approx(relevant.mean())


def test_categories_are_means_over_their_queries(codes, shown):
    scored = evaluation.score(codes, shown)
    labels = shown.labels[shown.split.query], shown.labels[shown.split.database]
    ap = average_precision(*codes.pair("t2i"), *labels, bits=BITS)
    found = categories(scored, shown)
    assert [layer.layer for layer in found] == [layer.name for layer in shown.tree.layers]
    layer = shown.tree.layers[0]
    for row in found[0].rows:
        mine = layer.ids[shown.split.query] == layer.classes.index(row.name)
        assert (row.queries, row.t2i) == (mine.sum(), pytest.approx(ap[mine].mean()))


def test_searches_find_the_nearest(codes, shown):
    scored = evaluation.score(codes, shown)
    found, missing = searches(codes, shown, scored, "dcmh", 0)
    assert missing == []
    assert {query.group for query in found} == {"Drawn at random", "Best", "Worst"}
    bits = {side: np.unpackbits(getattr(codes, side), axis=1) for side in ("query_text", "database_image")}
    for query in [one for one in found if one.kind == "text" and one.scope != "One item of each category"]:
        (place,) = [
            k for k, row in enumerate(shown.split.query) if shown.texts[row].startswith(query.text.rstrip("… ")[:14])
        ]
        distance = np.sort((bits["query_text"][place] != bits["database_image"]).sum(axis=1))
        assert [hit.distance for hit in query.hits] == distance[: len(query.hits)].tolist()
    ap = scored.scores["map_all"]["i2t"].per_query
    best, worst = ([q for q in found if q.kind == "image" and q.group == group] for group in ("Best", "Worst"))
    assert best[0].note.startswith(f"Average precision {ap.max():.3f}")
    assert worst[0].note.startswith(f"Average precision {ap.min():.3f}")


def test_the_constrained_set_has_one_item_of_each_category(codes, shown):
    found, _ = searches(codes, shown, None, "dcmh", 0)
    for query in [one for one in found if one.scope == "One item of each category"]:
        labels = [hit.label for hit in query.hits]
        assert len(labels) == len(set(labels))
        rank = next((k for k, hit in enumerate(query.hits, 1) if hit.relevant), None)
        if rank:
            assert query.note.endswith(f"the first relevant one stands at rank {rank}.")
    assert {query.group for query in found} == {"Drawn at random"}


def test_pictures_and_texts_are_short(page):
    for query in page.queries:
        pictures = [query.picture, *(hit.picture for hit in query.hits)]
        assert all(picture is None or len(picture) < 40_000 for picture in pictures)
        assert all(len(hit.text) <= 170 for hit in query.hits)
    assert len(render_page(page).encode()) < 4_000_000


def test_the_map_is_the_same_for_the_same_seed(codes, shown):
    pytest.importorskip("sklearn")
    one, again = (code_map(codes, shown, "tsne", 3)[0] for _ in range(2))
    np.testing.assert_array_equal(one.x, again.x)
    shown_rows = min(140, len(shown.split.query)) + min(380, len(shown.split.database))
    assert len(one.x) == 2 * shown_rows
    assert one.queries.sum() == 2 * min(140, len(shown.split.query))


def test_codes_that_are_near_lie_near(codes, shown):
    pytest.importorskip("sklearn")
    made, _ = code_map(codes, shown, "tsne", 0)
    n = len(made.x) // 2
    rows = np.concatenate([codes.query_image, codes.database_image])[:n]
    bits = np.unpackbits(rows, axis=1).astype(int)
    far = (bits[:, None] != bits[None]).sum(axis=2)
    plane = np.hypot(made.x[:n, None] - made.x[None, :n], made.y[:n, None] - made.y[None, :n])
    above = np.triu_indices(n, 1)
    assert np.corrcoef(far[above], plane[above])[0, 1] > 0.4


def test_missing_layouts_are_told(codes, shown, monkeypatch):
    import sys

    assert code_map(codes, shown, "none", 0) == (None, "The codes were not laid out in the plane, as asked for.")
    with pytest.raises(ValueError, match="layout must be one of tsne, umap, none, got 'pca'"):
        code_map(codes, shown, "pca", 0)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(RuntimeError, match="need the package umap-learn: pip install umap-learn"):
        code_map(codes, shown, "umap", 0)
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    made, line = code_map(codes, shown, "tsne", 0)
    assert made is None
    assert "scikit-learn" in line


def test_data_without_pictures_texts_labels(tmp_path):
    features = datasets.load("synthetic", kind="unlabelled", pairs=80)
    folder = tmp_path / "run"
    train("djsrh", features, bits=BITS, out=folder, epochs=1, batch_size=16, progress=False)
    (folder / "history.csv").unlink()
    page = run_page(folder, features, layout="none")
    assert not page.measures
    assert not page.queries
    assert not page.histories
    words = " ".join(page.missing)
    for wanted in ("has no labels", "no history of training", "neither pictures nor texts", "not laid out"):
        assert wanted in words
    assert [codes.side for codes in page.codes] == ["Image codes", "Text codes"]
    assert "Searches" not in render_page(page).split("<main>")[0].split("</style>")[1]


def test_lost_pictures_leave_the_texts(codes, shown, tmp_path):
    fields = {name: getattr(shown, name) for name in shown.__dataclass_fields__}
    gone = PairedDataset(**{**fields, "pictures": tuple(Picture(tmp_path / "gone") for _ in range(len(shown)))})
    found, missing = searches(codes, gone, None, "dcmh", 0)
    assert missing == ["synthetic has no pictures here, so searches show texts alone."]
    assert found
    assert not any(hit.picture for query in found for hit in query.hits)


def test_the_command_writes_the_page(tmp_path, capsys):
    data = datasets.load("synthetic", pairs=120)
    train("dcmh", data, bits=BITS, out=tmp_path / "run", epochs=1, progress=False)
    assert command(["report", str(tmp_path / "run"), "--data", "synthetic", "--data-set", "pairs=120", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(tmp_path / "run" / "index.html")
    text = (tmp_path / "run" / "index.html").read_text("utf-8")
    assert len(text.encode()) == told["bytes"]
    assert f"<title>dcmh on synthetic, {BITS} bits</title>" in text
    assert command(["report", str(tmp_path / "run"), "--data", "synthetic", "--out", str(tmp_path)]) == 2
    assert "must be a file, got the folder" in capsys.readouterr().err
    assert command(["report", str(tmp_path / "none")]) == 2
