"""Rows whose training pairs are searched by the codes that training gave them: one run, two databases."""

import json

import numpy as np
import pytest
from compare_cases import DATA

from fasthash import evaluation
from fasthash.compare import Plan, curves, run_compare
from fasthash.compare.cells import load_data
from fasthash.compare.items import parse_item
from fasthash.models import HashModel
from fasthash.models.learned import LearnedCodes

ROWS = ["cmfh", {"method": "cmfh[database=learned]", "name": "cmfh, learned"}, "cca"]


@pytest.fixture
def compared(make_plan, in_process, tmp_path):
    return run_compare(make_plan(rows=ROWS, bits=[8], seeds=2), tmp_path, progress=False)


def test_one_run_serves_both_rows(compared, in_process):
    assert len(in_process) == 2 + 1, "two seeds of cmfh, and cca, which no seed changes"
    encoded, learned = ({c.folder for _, row, c in compared.cells if row == name} for name in ("cmfh", "cmfh, learned"))
    assert encoded == learned


def test_each_row_has_the_scores_of_its_database(compared):
    data = load_data(parse_item(DATA, "data"))
    for place in {compared.folder / cell.folder for _, row, cell in compared.cells if row == "cmfh"}:
        model, learned = HashModel.load(place), LearnedCodes.load(place)
        result = json.loads((place / "cell.json").read_text())["result"]
        for key, database in (("scores", "all"), ("learned_scores", "learned")):
            known = evaluation.evaluate(model, data, ("map_all", "map_at_50"), database=database, learned=learned)
            for measure, direction in (("map_all", "i2t"), ("map_at_50", "t2i")):
                assert result[key][measure][direction] == pytest.approx(known.scores[measure][direction].value)
        assert result["scores"] != result["learned_scores"]
    rows = {row: compared.results.series("synthetic", row, 8, "map_all", "i2t") for row in ("cmfh", "cmfh, learned")}
    assert rows["cmfh"].mean != rows["cmfh, learned"].mean


def test_the_queries_average_precisions_are_those_of_the_row(compared):
    for _, row, cell in compared.cells:
        if row == "cmfh, learned":
            kept = curves.read_precisions(compared.folder / cell.folder, "i2t", learned=True)
            result = json.loads((compared.folder / cell.folder / "cell.json").read_text())["result"]
            assert np.mean(kept) == pytest.approx(result["learned_scores"]["map_all"]["i2t"])
    best = {(one.direction, one.best) for one in compared.standings}
    wanted = set()
    for direction in ("i2t", "t2i"):
        means = {
            row: compared.results.series("synthetic", row, 8, "map_all", direction).mean
            for row in ("cmfh", "cmfh, learned", "cca")
        }
        wanted.add((direction, max(means, key=means.get)))
    assert best == wanted


def test_a_run_of_a_version_that_kept_no_learned_codes_is_made_again(compared, make_plan, in_process, tmp_path):
    for path in compared.folder.glob("*cmfh*/cell.json"):
        record = json.loads(path.read_text())
        del record["result"]["learned_scores"]
        path.write_text(json.dumps(record))
        (path.parent / "learned.npz").unlink()
    in_process.clear()
    again = run_compare(make_plan(rows=["cmfh", "cca"], bits=[8], seeds=2), tmp_path, progress=False)
    assert not in_process, "the encoded database is measured"
    again = run_compare(make_plan(rows=ROWS, bits=[8], seeds=2), tmp_path, progress=False)
    assert len(in_process) == 2
    assert again.reused == 1, "cca alone: what is measured again is not there yet"
    for row in ("cmfh", "cmfh, learned"):
        one, other = (each.results.series("synthetic", row, 8, "map_all", "t2i") for each in (again, compared))
        assert one.values == other.values


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("djsrh[database=learned]", "database=learned needs a method that learns codes, .*cmfh.*; got 'djsrh'"),
        ("random[database=learned]", "needs a method that learns codes"),
        ("cmfh[database=lerned]", "database must be encoded or learned, got 'lerned'"),
    ],
)
def test_a_database_that_cannot_be_is_refused_in_a_line(row, line):
    with pytest.raises(ValueError, match=line):
        Plan.make("plan", rows=[row], data=[DATA])
