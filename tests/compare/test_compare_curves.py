"""What is kept of a cell for the page: made from the codes that were scored, and found again from the stored model."""

import json

import numpy as np
import pytest
from compare_cases import DJSRH

from fasthash import data, evaluation, metrics
from fasthash.codes import unpack
from fasthash.compare import curves, run_compare
from fasthash.report.content import DIRECTIONS

KINDS = ("hierarchical", "multilabel")


@pytest.fixture(scope="module", params=KINDS)
def small(request):
    return data.load("synthetic", pairs=120, image_width=12, text_width=9, kind=request.param)


def brute(codes, small, direction):
    """(distances [nq, nb], relevant [nq, nb]) without the library's counting."""
    query, database = (unpack(part, codes.bits).astype(int) for part in codes.pair(direction))
    distances = (codes.bits - query @ database.T) // 2
    labels = small.labels[small.split.query].astype(int), small.labels[small.split.database].astype(int)
    return distances, labels[0] @ labels[1].T > 0


@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_curves_are_those_of_the_codes(small, direction):
    codes = evaluation.random_codes(small, 10, 3)
    found = json.loads(json.dumps(curves.curves_of(evaluation.score(codes, small), small)))["directions"][direction]
    distances, relevant = brute(codes, small, direction)
    for radius in range(11):
        near = distances <= radius
        assert found["by_radius"]["retrieved"][radius] == near.sum()
        assert found["by_radius"]["recall"][radius] == pytest.approx((near & relevant).sum() / relevant.sum())
        assert found["distances"]["relevant"][radius] == ((distances == radius) & relevant).sum()
        assert found["distances"]["irrelevant"][radius] == ((distances == radius) & ~relevant).sum()
    ranks = found["by_rank"]["n"]
    assert (ranks[0], ranks[-1]) == (1, len(small.split.database))
    assert np.all(np.diff(ranks) > 0)
    labels = small.labels[small.split.query], small.labels[small.split.database]
    expected = metrics.precision_at(*codes.pair(direction), *labels, ranks, bits=10)
    assert found["by_rank"]["precision"] == pytest.approx(expected)
    assert found["by_rank"]["recall"][-1] == pytest.approx(relevant.any(axis=1).mean())


def test_recall_by_rank_is_the_mean_over_orders_of_equal_distances(small):
    codes = evaluation.random_codes(small, 4, 0)
    found = curves.curves_of(evaluation.score(codes, small), small)["directions"]["i2t"]["by_rank"]
    distances, relevant = brute(codes, small, "i2t")
    rng = np.random.default_rng(0)
    place = 20
    n, rounds = found["n"][place], []
    for _ in range(400):
        order = np.lexsort((rng.random(distances.shape), distances), axis=1)[:, :n]
        hits = np.take_along_axis(relevant, order, axis=1).sum(axis=1)
        rounds.append((hits / np.maximum(relevant.sum(axis=1), 1)).mean())
    spread = np.std(rounds) / np.sqrt(len(rounds))
    assert found["recall"][place] == pytest.approx(np.mean(rounds), abs=5 * spread)


def test_categories_are_means_over_their_queries(small):
    codes = evaluation.random_codes(small, 8, 0)
    found = curves.curves_of(evaluation.score(codes, small), small)["directions"]["t2i"]["categories"]
    scores = evaluation.score(codes, small).scores["map_all"]["t2i"].per_query
    query = small.split.query
    layers = [(layer.name, layer.classes, layer.one_hot) for layer in small.tree.layers] if small.tree else []
    for layer, names, labels in layers or [("", small.class_names, small.labels)]:
        wanted = {name: scores[labels[query, i] > 0] for i, name in enumerate(names) if labels[query, i].any()}
        own = [one for one in found if one["layer"] == layer]
        assert [one["name"] for one in own] == list(wanted)
        assert [one["map"] for one in own] == pytest.approx([part.mean() for part in wanted.values()])
        assert [one["queries"] for one in own] == [len(part) for part in wanted.values()]


def test_a_cell_keeps_codes_curves_and_history(make_plan, in_process, tmp_path):
    compared = run_compare(make_plan(rows=[DJSRH, "random", "ridge"], seeds=2), tmp_path, progress=False)
    models = {(one.row, one.bits): one for one in compared.shown.models}
    assert set(models) == {(DJSRH, 8), ("random", 8)}, "real values have no code"
    for cell in json.loads((tmp_path / "compare.json").read_text())["cells"]:
        kept = curves.read(tmp_path / cell["folder"])
        if cell["method"] == "ridge":
            assert kept is None
            continue
        own = {d: kept["directions"][d]["map_all"] for d in DIRECTIONS}
        assert own == cell["result"]["scores"]["map_all"]
        codes = curves.read_codes(tmp_path / cell["folder"], 8)
        assert codes.query_image.shape == (kept["queries"], 1)
        for direction in DIRECTIONS:
            precisions = curves.read_precisions(tmp_path / cell["folder"], direction)
            assert precisions.shape == (kept["queries"],)
            assert precisions.mean() == own[direction]
        if cell["seed"] == 0:
            assert models[cell["row"], 8].curves == kept
        if cell["method"] == "djsrh":
            history = kept["history"]
            assert history["epochs"] == [1, 2]
            assert len(history["loss"]) == 2
            assert (history["map_epochs"], history["i2t"]) == ([2], [own["i2t"]])
        else:
            assert kept["history"] is None


@pytest.mark.parametrize("damage", ["missing", "damaged", "codes"])
def test_a_cell_of_an_earlier_version_gets_its_curves_from_its_model(make_plan, in_process, tmp_path, damage):
    run_compare(make_plan(), tmp_path, progress=False)
    before = {path: path.read_bytes() for path in (tmp_path / "cells").glob("*/*.json")}
    for path in (tmp_path / "cells").glob("*/curves.json"):
        if damage == "missing":
            path.unlink()
        elif damage == "damaged":
            path.write_text("{")
        else:
            path.with_name("codes.npz").unlink()
    in_process.clear()
    said = []
    compared = run_compare(make_plan(), tmp_path, progress=False, say=said.append)
    assert in_process == [], "nothing is trained again"
    assert "curves of 2 finished cells from their stored models" in said
    assert {(one.row, one.seed) for one in compared.shown.models} == {("djsrh", 0), ("random", 0)}
    after = {path: path.read_bytes() for path in (tmp_path / "cells").glob("*/*.json") if "-s0-" in str(path)}
    assert after == {path: before[path] for path in after}, "the same to the byte, and cell.json untouched"


def test_a_cell_without_its_model_is_told_and_the_table_stands(make_plan, in_process, tmp_path):
    run_compare(make_plan(seeds=1), tmp_path, progress=False)
    for name in ("curves.json", "model.safetensors"):
        (path,) = (tmp_path / "cells").glob(f"*djsrh*/{name}")
        path.unlink()
    said = []
    compared = run_compare(make_plan(seeds=1), tmp_path, progress=False, say=said.append)
    assert [one.row for one in compared.shown.models] == ["random"]
    assert any(line.startswith("no curves of synthetic-djsrh-8-s0-") for line in said)
    assert "| djsrh |" in (tmp_path / "compare.md").read_text()
