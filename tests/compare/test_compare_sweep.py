"""A sweep: what it measures, on which queries, what it says, what it leaves."""

import csv
import io
import json
import re

import numpy as np
import pytest
from compare_cases import DATA, DJSRH

from fasthash import data
from fasthash.compare import Axis, run_sweep
from fasthash.compare.cells import load_data
from fasthash.compare.items import parse_item
from fasthash.compare.summary import Series
from fasthash.compare.sweep import settings_of
from fasthash.compare.sweep_output import page_of
from fasthash.compare.swept import Swept
from fasthash.training import train

BETA, ETA = Axis("beta", ("0", "0.5", "0.9")), Axis("eta", ("0.2", "0.4"))
OPTIONS = {"pairs": 120, "image_width": 12, "text_width": 9}


def sweep(tmp_path, axes=(BETA,), method=DJSRH, **parts):
    return run_sweep(method, DATA, axes, tmp_path, **({"bits": 8, "seeds": 2, "progress": False} | parts))


def test_settings_are_the_grid_or_each_option_alone():
    assert [one.values for one in settings_of([BETA, ETA], each=False)] == [
        (None, None), ("0", "0.2"), ("0", "0.4"), ("0.5", "0.2"), ("0.5", "0.4"), ("0.9", "0.2"), ("0.9", "0.4"),
    ]  # fmt: skip
    alone = settings_of([BETA, ETA], each=True)
    assert [one.label for one in alone] == ["preset", "beta=0", "beta=0.5", "beta=0.9", "eta=0.2", "eta=0.4"]
    with pytest.raises(ValueError, match="an option is swept twice, got beta, beta"):
        settings_of([BETA, BETA], each=False)
    with pytest.raises(ValueError, match="name at least one option"):
        settings_of([], each=False)
    wide = Axis("mu", tuple(map(str, range(1, 200))))
    with pytest.raises(ValueError, match="the grid has 118,803 settings, at most 10,000 can be; try --each"):
        settings_of([wide, Axis("eta", wide.values), BETA], each=False)


def test_queries_come_from_the_training_rows_alone(in_process, tmp_path):
    whole = data.load("synthetic", **OPTIONS)
    part = load_data(parse_item(DATA.replace("]", ",validation=0.2]"), "data"))
    assert set(part.split.query) <= set(whole.split.train)
    everything = np.concatenate([part.split.query, part.split.database, part.split.train])
    assert not set(everything) & set(whole.split.query), "the queries of the data set take no part"
    swept = sweep(tmp_path)
    (facts,) = swept.compared.data.values()
    assert facts.checksum == part.checksum() != whole.checksum()
    assert facts.queries == len(part.split.query)


def test_a_setting_is_what_the_trainer_gives(in_process, tmp_path):
    swept = sweep(tmp_path)
    part = data.load("synthetic", **OPTIONS).validation_split(0.2)
    run = train("djsrh", part, bits=8, seed=1, progress=False, epochs=2, text_hidden=[8], batch_size=32, beta=0.5)
    setting = next(one for one in swept.settings if one.label == "beta=0.5")
    assert swept.series(setting, "i2t").values[1] == run.scores.i2t
    assert swept.series(setting).values[1] == pytest.approx((run.scores.i2t + run.scores.t2i) / 2)


def test_a_setting_that_is_the_preset_is_measured_once(in_process, tmp_path):
    swept = sweep(tmp_path)
    assert len(in_process) == 3 * 2, "beta is 0.9 by the preset"
    assert [one.label for one in swept.settings] == ["beta=0.9", "beta=0", "beta=0.5"]
    assert swept.preset == ("0.9",)
    in_process.clear()
    again = sweep(tmp_path, [Axis("beta", ("0", "0.25", "0.5"))])
    assert [cell.options["beta"] for cell in in_process] == [0.25, 0.25], "a finer grid uses what is there"
    assert again.start.label == "preset"


def test_files_agree_with_the_cells(in_process, tmp_path):
    swept = sweep(tmp_path, (BETA, ETA))
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {"sweep_beta_eta_i2t.png", "sweep_beta_eta_t2i.png"}
    assert names == {"cells", "index.html", "sweep.csv", "sweep.json", "sweep.md", "sweep.tex"} | pictures
    assert {path.name for path in swept.files} == names - {"cells"}
    record = json.loads((tmp_path / "sweep.json").read_text("utf-8"))
    lines = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text("utf-8"))))
    assert len(lines) == len(record["settings"]) == 6 * 3, "two directions and their mean; the preset is of the grid"
    for line in lines:
        found = []
        for cell in record["cells"]:
            if [str(cell["options"][key]) for key in ("beta", "eta")] in (
                [line["beta"], line["eta"]], [str(float(line["beta"])), line["eta"]],
            ):  # fmt: skip
                both = cell["result"]["scores"]["map_all"]
                found.append(both.get(line["direction"], (both["i2t"] + both["t2i"]) / 2))
        found = found[:2]  # the preset row is the same cell
        assert float(line["mean"]) == pytest.approx(np.mean(found))
        assert float(line["std"]) == pytest.approx(np.std(found, ddof=1))
    means = {(line["beta"], line["eta"]): float(line["mean"]) for line in lines if line["direction"] == "mean"}
    best = max(means, key=means.get)
    assert record["best"] == {"beta": best[0], "eta": best[1]}
    assert {(line["beta"], line["eta"]) for line in lines if line["best"] == "1"} == {best}
    assert record["preset"] == {"beta": "0.9", "eta": "0.4"}
    assert record["words"] in (tmp_path / "sweep.md").read_text("utf-8")
    assert record["provenance"]["data"][0]["split_checksum"]
    assert re.search(rf"beta={best[0]}, eta={best[1]} \((preset, )?best\)", (tmp_path / "sweep.md").read_text("utf-8"))
    assert r"\toprule" in (tmp_path / "sweep.tex").read_text("utf-8")


def test_figures_have_every_value(in_process, tmp_path):
    page = page_of(sweep(tmp_path, (BETA, ETA)))
    (grid,) = page.maps
    assert (grid.x, grid.y) == (("beta", ["0", "0.5", "0.9"]), ("eta", ["0.2", "0.4"]))
    assert grid.preset == ("0.9", "0.4")
    assert np.shape([[value.mean for value in row] for row in grid.points["i2t"]]) == (2, 3)
    rows = {row.values: row.points for row in page.rows}
    assert grid.points["t2i"][1][0].mean == rows["0", "0.4"]["t2i"].mean
    assert page.lines == []
    alone = page_of(sweep(tmp_path, (Axis("beta", ("0.5", "0.1")), ETA), each=True))
    assert alone.maps == []
    beta, eta = alone.lines
    assert beta.values == ["0.1", "0.5", "0.9"], "in order, and the preset among them"
    assert (beta.preset, beta.fixed) == ("0.9", "at eta=0.4")
    assert [value is None for value in beta.points["i2t"]] == [False] * 3
    assert eta.values == ["0.2", "0.4"]


def test_a_full_grid_of_many_options_is_drawn_through_its_best(in_process, tmp_path):
    values = {"beta": ("0", "0.9"), "eta": ("0.2", "0.4"), "mu": ("1", "1.5"), "affine": ("true", "false")}
    axes = [Axis(name, some) for name, some in values.items()]
    swept = sweep(tmp_path, axes, seeds=1)
    page = page_of(swept)
    assert len(page.rows) == 16
    assert [one.option for one in page.lines] == ["beta", "eta", "mu", "affine"]
    best = page.rows[0]
    for place, one in enumerate(page.lines):
        assert best.points["i2t"].mean == one.points["i2t"][one.values.index(best.values[place])].mean


def told(best, start, others=()):
    """What is said of settings with these values for each seed; the first one is the preset."""
    axis = Axis("beta", tuple(str(i) for i in range(2 + len(others))))
    settings = settings_of([axis], each=False)[1:]
    values = dict(zip([one.label for one in settings], [start, best, *others], strict=True))

    class Fixed(Swept):
        def series(self, setting, direction=None):
            return Series(dict(enumerate(values[setting.label]))) if values[setting.label] else None

    swept = Fixed("m", "d", (axis,), ("0",), settings, 8, "map_all", False, None, "")
    return swept.words()


def test_the_best_is_told_with_its_spread():
    said = told((0.5, 0.52, 0.54), (0.4, 0.42, 0.43))
    assert "Best of 2 settings: beta=1 with mAP over the whole database 0.520 ± 0.020" in said
    assert (
        "The preset has 0.417 ± 0.015; the best is ahead by 0.103 ± 0.006, seed by seed: more than the spread." in said
    )
    assert "None of the other settings lies within the spread of it." in said


def test_a_lead_within_the_spread_is_told_so():
    said = told((0.5, 0.3, 0.4), (0.3, 0.4, 0.4))
    assert "ahead by 0.033 ± 0.153, seed by seed: no more than the spread." in said
    assert "1 of the other settings lies within the spread of it." in said
    assert "2 of the other settings lie within" in told((0.5, 0.3, 0.4), (0.3, 0.4, 0.4), [(0.2, 0.4, 0.5)])


def test_the_preset_may_be_the_best_and_one_seed_says_nothing():
    assert told((0.1, 0.2), (0.3, 0.4)).startswith("The preset is the best of 2 settings: mAP")
    two = told((0.5, 0.52), (0.3, 0.31))
    assert "seed by seed: more than the spread. Two seeds say little about a spread." in two
    assert "ahead by 0.200 with one seed, which says nothing about the spread." in told((0.5,), (0.3,))
    assert told((), (0.3, 0.4)).startswith("The preset is the best")
    assert "The preset itself failed." in told((0.3, 0.4), ())
    assert told((), ()) == "Every run failed."
    assert "beta=1 with" in told((0.3, 0.4), (0.9,)), "a setting with failed seeds is not the best"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"axes": [Axis("betta", ("1",))]}, "djsrh: unknown option 'betta'"),
        ({"axes": [Axis("beta", ("0.5", "2"))]}, "djsrh: option beta"),
        ({"axes": [Axis("epochs", ("3",))]}, "option epochs is swept and set in"),
        ({"method": "nope"}, "unknown method 'nope'"),
        ({"measure": "map"}, "sweep: measure must be one of map_all"),
        ({"validation": 1.0}, "sweep: validation must be a share between 0 and 1, got 1.0"),
        ({"bits": 0}, "sweep: "),
        ({"seeds": [1, 1]}, "sweep: seeds must be 1 or more, or a list of distinct seeds"),
        ({"jobs": 0}, "sweep: jobs must be a whole number"),
        ({"device": "tpu"}, "sweep: device must be one of"),
    ],
)
def test_what_cannot_run_is_told_before_anything_is_trained(in_process, tmp_path, parts, message):
    with pytest.raises(ValueError) as error:
        sweep(tmp_path / "out", **parts)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert in_process == []
    assert not (tmp_path / "out").exists()


def test_graded_measures_need_a_tree(in_process, tmp_path):
    with pytest.raises(ValueError, match="sweep: measure ndcg needs a label tree"):
        run_sweep(DJSRH, DATA.replace("]", ",kind=multilabel]"), [BETA], tmp_path / "out", bits=8, measure="ndcg")
    swept = sweep(tmp_path / "tree", measure="ndcg", seeds=1)
    (cell,) = [c for _, row, c in swept.compared.cells if row == "beta=0"]
    result = swept.compared.answers[cell.folder]["result"]
    assert (
        swept.series(next(s for s in swept.settings if s.label == "beta=0"), "t2i").mean
        == result["scores"]["ndcg"]["t2i"]
    )


def test_a_validation_share_is_a_share():
    for wrong in ("some", "2", "0"):
        with pytest.raises(
            ValueError, match="(validation must be a share|fraction must be) between 0 and 1|between 0 and 1"
        ):
            load_data(parse_item(DATA.replace("]", f",validation={wrong}]"), "data"))


def test_collapsed_codes_are_told_beside_their_setting(in_process, tmp_path):
    swept = sweep(tmp_path)
    for run in swept.compared.results.runs(next(iter(swept.compared.data)), "beta=0.5"):
        run["collapsed"] = True
    for run in swept.compared.results.runs(next(iter(swept.compared.data)), "beta=0"):
        run["collapsed"] = False
    notes = {row.values: row.note for row in page_of(swept).rows}
    assert "codes collapsed in 2 of 2 runs" in notes["0.5",]
    assert "collapsed" not in notes["0",]
