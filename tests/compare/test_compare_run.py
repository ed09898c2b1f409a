"""A comparison from plan to files: what is measured, used again, refused; a failing cell does not stop the others."""

import json

import numpy as np
import pytest
import torch
from cca_truth import cca_truth
from compare_cases import DATA, DJSRH, TOWERS

from fasthash import data, evaluation, metrics
from fasthash.baselines import RidgeLabels, rank_by_cosine
from fasthash.codes import pack
from fasthash.compare import _worker, run_compare
from fasthash.compare import run as run_module
from fasthash.compare.cells import Cell, cells_of, resolve_device
from fasthash.training import train

OPTIONS = {"pairs": 120, "image_width": 12, "text_width": 9}


@pytest.fixture(scope="module")
def small():
    return data.load("synthetic", **OPTIONS)


def cells(folder):
    return json.loads((folder / "compare.json").read_text())["cells"]


def test_a_cell_is_what_the_trainer_gives(make_plan, in_process, tmp_path, small):
    compared = run_compare(make_plan(), tmp_path, progress=False)
    run = train("djsrh", small, bits=8, seed=1, progress=False, epochs=2, text_hidden=[8], batch_size=32)
    (mine,) = [c for c in cells(tmp_path) if c["row"] == "djsrh" and c["seed"] == 1]
    scores = mine["result"]["scores"]
    assert scores["map_all"] == {"i2t": run.scores.i2t, "t2i": run.scores.t2i}
    assert scores["map_at_50"]["i2t"] == run.scores.scores["map_at_50"]["i2t"].value
    assert mine["result"]["seconds"] > 0
    assert mine["result"]["peak_bytes"] > 2**20
    assert mine["error"] is None
    assert not mine["result"]["collapsed"]
    assert len(in_process) == 4
    assert not compared.failures


def test_graded_measures_follow_the_tree(make_plan, in_process, tmp_path, small):
    run_compare(make_plan(rows=["random"]), tmp_path, progress=False)
    codes = evaluation.random_codes(small, 8, 0)
    (mine,) = [c for c in cells(tmp_path) if c["seed"] == 0]
    query, database = (
        [layer.ids[rows] for layer in small.tree.layers] for rows in (small.split.query, small.split.database)
    )
    for direction, found in mine["result"]["scores"]["ndcg"].items():
        assert found == metrics.ndcg(*codes.pair(direction), query, database, bits=8).value
    coarse = [labels[0] for labels in (query, database)]
    for direction, found in mine["result"]["scores"]["map_all_any"].items():
        assert found == metrics.evaluate(*codes.pair(direction), *coarse, bits=8).value


def test_peers(make_plan, in_process, tmp_path, small):
    run_compare(make_plan(rows=["cca[ridge=0.1]", "ridge"], bits=[4, 8]), tmp_path, progress=False)
    found = {(c["row"], c["bits"]): c["result"]["scores"]["map_all"] for c in cells(tmp_path)}
    assert set(found) == {("cca[ridge=0.1]", 4), ("cca[ridge=0.1]", 8), ("ridge", None)}, "no seed changes them"
    rows = small.split.train
    *weights, _ = cca_truth(small.image[rows], small.text[rows], 0.1, 8)
    sides = zip((small.image, small.text), weights, strict=True)
    codes = tuple(pack((x - x[rows].mean(0, np.float64)) @ w) for x, w in sides)
    query, database = small.split.query, small.split.database
    labels = small.labels[query], small.labels[database]
    for direction, (asks, answers) in {"i2t": codes, "t2i": codes[::-1]}.items():
        wanted = metrics.evaluate(asks[query], answers[database], *labels, bits=8).value
        assert found["cca[ridge=0.1]", 8][direction] == wanted
    image, text = (RidgeLabels().fit(x[rows], small.labels[rows])(x) for x in (small.image, small.text))
    real = rank_by_cosine(image[query], text[database], *labels)
    assert found["ridge", None]["i2t"] == real.map_all.mean()


def test_finished_cells_are_used_again(make_plan, in_process, tmp_path):
    first = run_compare(make_plan(), tmp_path, progress=False)
    before = cells(tmp_path)
    in_process.clear()
    again = run_compare(make_plan(), tmp_path, progress=False)
    assert in_process == []
    assert (first.reused, again.reused) == (0, 4)
    assert cells(tmp_path) == before
    more = run_compare(make_plan(seeds=3), tmp_path, progress=False)
    assert [cell.seed for cell in in_process] == [2, 2]
    assert more.reused == 4


def test_another_option_is_another_folder(make_plan, in_process, tmp_path):
    run_compare(make_plan(rows=[DJSRH]), tmp_path, progress=False)
    in_process.clear()
    run_compare(make_plan(rows=[DJSRH.replace("epochs=2", "epochs=3")]), tmp_path, progress=False)
    assert len(in_process) == 2
    run_compare(make_plan(rows=[DJSRH], data=["synthetic[pairs=130]"]), tmp_path, progress=False)
    assert len(in_process) == 4
    assert len(list((tmp_path / "cells").iterdir())) == 6


def test_an_option_that_says_the_same_is_the_same_cell(make_plan, in_process, tmp_path):
    rows = [DJSRH, {"method": DJSRH.replace("]", ",mu=1.5]"), "name": "mu is 1.5 anyway"}]
    run_compare(make_plan(rows=rows), tmp_path, progress=False)
    assert len(in_process) == 2
    assert len(cells(tmp_path)) == 4, "both rows have it"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cell": 1, "result": {}}'])
def test_a_damaged_cell_is_run_again(make_plan, in_process, tmp_path, text):
    run_compare(make_plan(), tmp_path, progress=False)
    before = cells(tmp_path)
    place = tmp_path / before[0]["folder"] / "cell.json"
    place.write_text(text)
    in_process.clear()
    run_compare(make_plan(), tmp_path, progress=False)
    assert len(in_process) == 1
    assert cells(tmp_path)[0]["result"]["scores"] == before[0]["result"]["scores"]


def test_a_failing_cell_leaves_the_others(make_plan, in_process, tmp_path):
    wild = TOWERS.replace("]", ",lr_first=1e30]")
    rows = [{"method": wild, "name": "wild"}, "random"]
    said = []
    compared = run_compare(make_plan(rows=rows, bits=[8, 16]), tmp_path, progress=False, say=said.append)
    assert len(compared.failures) == 4
    name, why = compared.failures[0]
    assert name == "wild, 8 bits, seed 0, on synthetic"
    assert why.startswith("two_tower: the loss is not finite ")
    assert sum("failed: two_tower: the loss is not finite" in line for line in said) == 4
    page, table = (tmp_path / "index.html").read_text(), (tmp_path / "compare.md").read_text()
    assert "4 of 4 runs failed" in table
    assert "| random |" in table
    assert "wild, 8 bits, seed 0, on synthetic" in page
    record = json.loads((tmp_path / "compare.json").read_text())
    assert [c["state"] for c in record["cells"]] == ["failed"] * 4 + ["done"] * 4
    in_process.clear()
    run_compare(make_plan(rows=rows, bits=[8, 16]), tmp_path, progress=False)
    assert len(in_process) == 4, "what failed is tried again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ["djsrh[betta=1]"]}, "djsrh: unknown option 'betta'"),
        ({"rows": ["djsrh[beta=1.5]"]}, "djsrh: option beta"),
        ({"rows": ["cca[beta=1]"]}, "cca: unknown option 'beta'; known: anchors, scale, ridge"),
        ({"rows": ["cca[ridge=0]"]}, "cca: option ridge: Input should be greater than 0, got '0'"),
        ({"rows": ["cca"], "bits": [16]}, "cca: bits must be at most 9"),
        ({"rows": ["djsrh"], "data": ["synthetic[colour=red]"]}, "synthetic has the options"),
        ({"rows": ["djsrh"], "data": ["synthetic[kind=unlabelled]"]}, "compare: needs labels, synthetic has none"),
        ({"rows": ["hichnet"], "data": ["synthetic[kind=multilabel]"]}, "hichnet: needs a label tree"),
        (
            {
                "data": ["synthetic[kind=multilabel]"],
                "rows": ["random"],
                "targets": [{"data": "synthetic", "row": "random", "at_least": 0, "measure": "ndcg"}],
            },
            "target of 'random' on 'synthetic': measure ndcg needs a label tree, synthetic has none",
        ),
        ({"rows": [{"method": "djsrh", "data": []}]}, "no row of the plan runs on any of its data sets"),
    ],
)
def test_what_cannot_run_is_told_before_anything_is_trained(make_plan, in_process, tmp_path, change, message):
    with pytest.raises(ValueError) as error:
        run_compare(make_plan(**change), tmp_path / "out", progress=False)
    assert message in str(error.value)
    assert in_process == []
    assert not (tmp_path / "out").exists()


def test_a_failed_seed_leaves_a_target_open(make_plan, tmp_path, monkeypatch):
    def run_cells(cells, folder, report, **rest):
        for cell in cells:
            wrong = cell.method == "djsrh" and cell.seed == 1
            task = {"cell": cell.to_dict(), "folder": str(folder)}
            report(cell, {"state": "failed", "error": "no luck"} if wrong else _worker._answer(task, {}))
        return True

    monkeypatch.setattr(run_module, "run_cells", run_cells)
    targets = [{"data": "synthetic", "row": "djsrh", "at_least": 0.01}]
    compared = run_compare(make_plan(seeds=3, targets=targets), tmp_path, progress=False)
    assert [(one.met, one.seeds) for one in compared.outcomes] == [(None, "2 of 3 seeds, 1 failed")] * 2
    table = (tmp_path / "compare.md").read_text()
    assert table.count("| **not judged, 1 seed failed** | 2 of 3 seeds, 1 failed |") == 2
    assert ("targets met", "0 of 2") in compared.shown.facts


def test_what_was_measured_earlier_is_told_as_it_was_measured(make_plan, in_process, tmp_path):
    first = run_compare(make_plan(), tmp_path, progress=False)
    threads = {c["result"]["threads"] for c in cells(tmp_path)}
    assert threads == {torch.get_num_threads()}
    assert {c["result"]["device"] for c in cells(tmp_path)} == {"cpu"}
    for path in (tmp_path / "cells").glob("*/cell.json"):  # as with three threads
        value = json.loads(path.read_text())
        assert "device" not in value["cell"]
        value["result"]["threads"] = 3
        path.write_text(json.dumps(value))
    again = run_compare(make_plan(), tmp_path, threads=2, jobs=5, progress=False)
    assert (again.reused, len(in_process)) == (4, 4)
    assert again.shown.provenance["measured"] == "with 3 threads on cpu"
    assert "- measured: with 3 threads on cpu\n" in (tmp_path / "compare.md").read_text()
    assert first.shown.provenance["measured"].endswith("on cpu")
    for path in (tmp_path / "cells").glob("*random*/cell.json"):  # as an earlier version wrote them
        value = json.loads(path.read_text())
        del value["result"]["threads"], value["result"]["device"]
        path.write_text(json.dumps(value))
    mixed = run_compare(make_plan(), tmp_path, progress=False)
    assert mixed.reused == 4
    said = "2 runs with 3 threads on cpu; 2 runs threads and device not recorded"
    assert mixed.shown.provenance["measured"] == said
    assert said in (tmp_path / "index.html").read_text()


def test_every_result_file_says_how_it_was_made(make_plan, in_process, tmp_path, small):
    run_compare(make_plan(rows=[DJSRH, "ridge"], seeds=1), tmp_path, progress=False, command="fasthash compare x")
    record = json.loads((tmp_path / "compare.json").read_text())
    whole = record["provenance"]
    checksums = {"data_checksum": small.checksum(), "split_checksum": small.split_checksum()}
    assert whole["data"] == [{"data": DATA} | checksums]
    assert (whole["command"], whole["seeds"]) == ("fasthash compare x", [0])
    assert whole["versions"]["torch"] == torch.__version__
    for cell in record["cells"]:
        found = cell["provenance"]
        assert found == json.loads((tmp_path / cell["folder"] / "cell.json").read_text())["provenance"]
        assert checksums.items() <= found.items()
        wanted = {key: cell[key] for key in ("method", "options", "bits", "seed")}
        assert wanted.items() <= found.items()
        assert (found["threads"], found["device"]) == (torch.get_num_threads(), "cpu")
        assert found["seconds"] == cell["result"]["seconds"]
        assert found["started"].endswith("+00:00")


def test_a_cell_of_an_earlier_version_is_valid_without_provenance(make_plan, in_process, tmp_path):
    run_compare(make_plan(), tmp_path, progress=False)
    for path in (tmp_path / "cells").glob("*/cell.json"):
        value = json.loads(path.read_text())
        del value["provenance"]
        path.write_text(json.dumps(value))
    in_process.clear()
    run_compare(make_plan(), tmp_path, progress=False)
    assert in_process == []
    assert {cell["provenance"] for cell in cells(tmp_path)} == {None}


def test_the_folder_of_a_cell_is_the_same_as_ever_on_the_cpu_alone():
    values = ("wiki", "df8e", "dcmh", {"epochs": 3}, 16, 0)
    cpu = Cell(*values)
    assert cpu.folder == "wiki-dcmh-16-s0-a0310bbc"
    assert "device" not in cpu.to_dict()
    assert Cell(*values, "cuda").folder not in (cpu.folder, Cell(*values, "mps").folder)
    assert Cell(**Cell(*values, "cuda").to_dict()) == Cell(*values, "cuda")
    assert Cell(**cpu.to_dict()) == cpu


def test_the_device_is_resolved_once_for_all(make_plan, in_process, small, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert [resolve_device(name) for name in ("cpu", "cuda")] == ["cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match="compare: device must be one of auto, cpu, cuda, mps, got 'tpu'"):
        run_compare(make_plan(), tmp_path / "out", device="tpu", progress=False)
    with pytest.raises(ValueError, match="compare: device cuda was asked for, but torch finds none"):
        run_compare(make_plan(), tmp_path / "out", device="cuda", progress=False)
    assert not (tmp_path / "out").exists()
    plan = make_plan(rows=[DJSRH, "random", "ridge"])
    (item,) = plan.data_items().values()
    found = {c.method: c.device for row in plan.rows for c in cells_of(plan, row, item, small, "0", "cuda")}
    assert found == {"djsrh": "cuda", "random": "cpu", "ridge": "cpu"}, "what is fitted at once is fitted on the CPU"


@pytest.mark.parametrize("change", [{"jobs": 0}, {"threads": 0}, {"jobs": 2.5}])
def test_bad_numbers_of_processes(make_plan, tmp_path, change):
    with pytest.raises((ValueError, TypeError), match="compare: (jobs|threads) must be a whole number"):
        run_compare(make_plan(), tmp_path / "out", progress=False, **change)


def test_out_must_be_a_folder(make_plan, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="must be a folder, got a file"):
        run_compare(make_plan(), tmp_path / "file", progress=False)


def test_the_page_folder_gets_table_and_pictures(make_plan, in_process, tmp_path):
    compared = run_compare(make_plan(), tmp_path / "out", page=tmp_path / "results" / "here", progress=False)
    names = {path.name for path in (tmp_path / "results" / "here").iterdir()}
    assert names == {"compare.md", "compare_synthetic.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cells", "compare.csv", "compare.json", "compare.md", "compare.tex", "compare_synthetic.png", "index.html",
    }  # fmt: skip
    assert all(path.exists() for path in compared.files)


def test_summary_and_table_agree_with_the_cells(make_plan, in_process, tmp_path):
    targets = [{"data": "synthetic", "row": "djsrh", "over": "random"}]
    run_compare(make_plan(seeds=3, targets=targets), tmp_path, progress=False)
    record = json.loads((tmp_path / "compare.json").read_text())
    values = [c["result"]["scores"]["map_all"]["t2i"] for c in record["cells"] if c["row"] == "djsrh"]
    key = {"data": "synthetic", "row": "djsrh", "bits": 8, "measure": "map_all", "direction": "t2i"}
    (line,) = [s for s in record["summary"] if key.items() <= s.items()]
    assert line["mean"] == pytest.approx(np.mean(values))
    assert line["std"] == pytest.approx(np.std(values, ddof=1))
    assert f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" in (tmp_path / "compare.md").read_text()
    floor = [c["result"]["scores"]["map_all"]["t2i"] for c in record["cells"] if c["row"] == "random"]
    (goal,) = [t for t in record["targets"] if "t2i" in t["what"]]
    assert goal["reached"] == pytest.approx(np.mean(np.subtract(values, floor)))
    assert record["plan"]["data"] == [DATA]
