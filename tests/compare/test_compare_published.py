"""compare --published: which of our values go into a table, how they were measured, and where it all is written."""

import json

import pytest
from compare_cases import DATA, DJSRH

from fasthash.cli._run import run as run_command
from fasthash.compare import run_compare
from fasthash.compare.published import beside_published
from fasthash.published import load


@pytest.fixture
def compared(make_plan, in_process, tmp_path):
    """A tiny comparison of a method, random codes and a ridge regression on real values."""
    rows = [{"method": DJSRH, "name": "ours"}, "random", "ridge"]
    return run_compare(make_plan(rows=rows), tmp_path / "out", progress=False)


def renamed(name):
    """A published table that has the comparison's data set under another name."""
    table = load(name)
    data = [one.model_copy(update={"aliases": ("synthetic",)}) if not i else one for i, one in enumerate(table.data)]
    return table.model_copy(update={"data": tuple(data)})


@pytest.mark.parametrize(("name", "measure"), [("djsrh-table", "map_at_50"), ("ucch-table", "map_all")])
def test_the_measure_is_that_of_the_table(compared, name, measure):
    shown = beside_published(compared, renamed(name))
    lines = next(side.lines for side in shown.sides if side.direction == "t2i")
    series = compared.results.series("synthetic", "ours", 8, measure, "t2i")
    own = next(line for line in lines if line.method == "ours")
    assert own.values == {8: series.mean}
    assert own.spreads == {8: series.spread}
    assert lines[lines.index(own) - 1].method == "DJSRH", "under the published row of the same method"
    assert [line.method for line in lines if line.ours] == ["ours", "random"], "no real values"
    assert not any(warning.startswith("metric") for warning in shown.warnings)


def test_how_ours_were_measured_comes_from_the_data_and_the_plan(compared):
    warnings = "\n".join(beside_published(compared, renamed("djsrh-table")).warnings)
    facts = compared.data["synthetic"]
    for words in (
        "ties: theirs the order that an unstable sort leaves, ours in expectation",
        "runs behind a value: theirs not known, ours 2",
        "relevance: theirs a common label, ours a common label of the finest layer",
        f"synthetic: queries: theirs 693, ours {facts.queries}",
        f"synthetic: training pairs: theirs 2,173, ours {facts.train}",
        "ours 12 ready-made features",
        "theirs 10 LDA topics, ours 9 ready-made features",
        "ours the last; the queries play no part",
    ):
        assert words in warnings
    assert "training pairs in the database" not in warnings, "they are, in both"


def test_a_measure_that_no_cell_has_is_warned_of(compared):
    shown = beside_published(compared, renamed("twdh-table"))
    assert "metric: theirs map_first_k_relevant, k = 5,000, ours map_all" in shown.warnings


def test_on_the_command_line(in_process, tmp_path, capsys):
    words = ["compare", DJSRH, "--data", DATA, "--bits", "8", "--seeds", "1", "--out", str(tmp_path)]
    assert run_command([*words, "--published", "djsrh-table"]) == 0
    shown = capsys.readouterr().out
    assert "Not measured alike:" in shown
    assert "synthetic: data: theirs Wiki" in shown
    assert "(ours)" in shown
    text = (tmp_path / "djsrh-table.md").read_text()
    assert "Differences of protocol:" in text
    assert run_command([*words, "--published", "djsrh-table", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert str(tmp_path / "djsrh-table.md") in value["files"]
    assert value["published"]["published"]["name"] == "djsrh-table"


def test_a_misspelt_table_stops_before_anything_runs(in_process, tmp_path, capsys):
    words = ["compare", DJSRH, "--data", DATA, "--out", str(tmp_path / "new"), "--published", "djsrh"]
    assert run_command(words) == 2
    assert "published: name must be one of djsrh-table" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert in_process == []
