"""fasthash compare on the command line: words to a plan, what it prints, exit codes."""

import importlib
import json
import shlex

import numpy as np
import pytest
from rich.console import Console

from fasthash import data
from fasthash.cli import _app
from fasthash.cli import compare as cli
from fasthash.cli._run import run
from fasthash.cli.compare import spread_words
from fasthash.compare import run as compare_run
from fasthash.report.comparison import Grid, GridRow, Value

DATA = "synthetic[pairs=120,image_width=12,text_width=9]"


@pytest.fixture
def in_process(monkeypatch):
    """Cells run in this process instead of in workers."""
    from fasthash.compare import _worker

    def run_cells(cells, folder, report, **rest):
        for cell in cells:
            report(cell, _worker._answer({"cell": cell.to_dict(), "folder": str(folder)}, {}))
        return True

    monkeypatch.setattr(compare_run, "run_cells", run_cells)


def test_several_values_behind_one_option():
    words = ["compare", "dcmh", "cca", "--data", "wiki", "emoji", "--bits", "16", "32", "--json", "--out", "x"]
    assert spread_words(words) == [
        "compare", "dcmh", "cca", "--data", "wiki", "--data", "emoji", "--bits", "16", "--bits", "32", "--json",
        "--out", "x",
    ]  # fmt: skip
    assert spread_words(["compare", "--bits=16", "dcmh"]) == ["compare", "--bits=16", "dcmh"]
    assert spread_words(["--bits=16", "32", "dcmh", "--seeds", "-1"]) == [
        "--bits=16", "--bits", "32", "dcmh", "--seeds", "-1",
    ]  # fmt: skip


NAMES = ["hichnet", "two towers, pairwise likelihood", "method_of_an_unbroken_name", "cca"]


def rendered(bits, width):
    """The tables of a grid with every cell filled, as a console of ``width`` letters shows them."""
    values = {(b, d): Value(0.0907, 0.0011, b == bits[0]) for b in bits for d in ("i2t", "t2i")}
    rows = [GridRow(name, values, note="1 of 3 runs failed" if name == "cca" else "") for name in NAMES]
    console = Console(width=width, soft_wrap=True, highlight=False, record=True)
    with console.capture() as capture:
        for table in cli._tables(Grid("mAP", bits, rows), "wiki", width):
            console.print(table)
    return capture.get()


@pytest.mark.parametrize(("bits", "tables"), [([16, 32, 64], 2), ([8, 16, 32, 64], 4)])
def test_a_table_fits_80_columns_and_loses_nothing(bits, tables):
    text = rendered(bits, 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    lines = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    names = "".join(cells[1].strip() for cells in lines).replace(" ", "")
    for name in NAMES:
        assert names.count(name.replace(" ", "")) == tables
    assert any(cells[1].strip() == "hichnet" for cells in lines)
    assert text.count("0.091 ± 0.001") == len(NAMES) * len(bits) * 2
    assert text.count("wiki: mAP, image → text") == tables // 2
    assert text.count("wiki: mAP, text → image") == tables // 2


def test_a_wide_terminal_holds_all_lengths():
    assert rendered([8, 16, 32, 64, 128], 200).count("┏") == 2
    assert "0.091 ± 0.001" in rendered([16, 32], 30), "one length at a time"


def test_prints_tables_and_where_the_page_is(in_process, tmp_path, capsys):
    arguments = ["compare", "random", "cca", "ridge", "--data", DATA, "--bits", "4", "8", "--seeds", "2"]
    assert run([*arguments, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "synthetic: mAP over the whole database" in shown
    assert "text → image" in shown
    assert "8 bits" in shown
    assert "±" in shown
    assert "random, 8 bits, seed 1, on synthetic: i2t " in shown
    assert str(tmp_path / "index.html") in shown
    assert run([*arguments, "--out", str(tmp_path)]) == 0
    assert "7 of 7 cells are there already" in capsys.readouterr().out


def test_json(in_process, tmp_path, capsys):
    arguments = ["compare", "random", "--data", DATA, "--bits", "8", "--seeds", "3", "5", "--out", str(tmp_path)]
    assert run([*arguments, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["format"] == "fasthash.compare"
    assert [cell["seed"] for cell in value["cells"]] == [3, 5]
    assert value["plan"]["seeds"] == [3, 5]
    assert str(tmp_path / "compare.md") in value["files"]


def test_a_plan_with_targets(in_process, tmp_path, capsys):
    plan = tmp_path / "plan.json"
    targets = [
        {"data": "synthetic", "row": "cca", "over": "random"},
        {"data": "synthetic", "row": "cca", "at_least": 1},
    ]
    plan.write_text(
        json.dumps({"rows": ["cca", "random"], "data": [DATA], "bits": [8], "seeds": 2, "targets": targets})
    )
    assert run(["compare", "--plan", str(plan), "--out", str(tmp_path / "out"), "--page", str(tmp_path / "page")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "met by 0." in shown
    assert "missed by 0." in shown
    assert "missed by 0." in (tmp_path / "page" / "compare.md").read_text()


def test_a_failed_cell_is_exit_code_1(in_process, tmp_path, capsys):
    wild = "two_tower[epochs=2,text_hidden=8,image_hidden=8,batch_size=32,lr_first=1e30]"
    arguments = ["compare", wild, "random", "--data", DATA, "--bits", "8", "--seeds", "1", "--out", str(tmp_path)]
    assert run(arguments) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "the loss is not finite" in shown
    assert (tmp_path / "compare.md").exists(), "the others are told"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "compare: name at least one method, or a plan (--plan)"),
        (["compare", "dcmh"], "compare: name at least one data set (--data)"),
        (["compare", "dcmhh", "--data", DATA], "unknown method 'dcmhh'; known: "),
        (["compare", "dcmh[betta=1]", "--data", DATA], "dcmh: unknown option 'betta'"),
        (["compare", "dcmh[betta]", "--data", DATA], "expected option=value, got 'betta'"),
        (["compare", "dcmh", "--data", "nowhere"], "got 'nowhere'"),
        (["compare", "dcmh", "--data", "synthetic[kind=unlabelled]"], "compare: needs labels, synthetic has none"),
        (["compare", "hichnet", "--data", "synthetic[kind=multilabel]"], "hichnet: needs a label tree"),
        (["compare", "dcmh", "--data", DATA, "--bits", "0"], "bits.0: Input should be greater than or equal to 1"),
        (["compare", "dcmh", "--data", DATA, "--bits", "many"], "'--bits'"),
        (
            ["compare", "dcmh", "--data", DATA, "--seeds", "0"],
            "compare: seeds must be 1 or more, or a list of distinct seeds, got 0",
        ),
        (["compare", "dcmh", "--data", DATA, "--seeds", "-1"], "compare: seeds must be 1 or more"),
        (["compare", "dcmh", "--data", DATA, "--seeds", "101"], "compare: seeds must be at most 100, or a list"),
        (["compare", "dcmh", "--data", DATA, "--seeds", "2", "2"], "a list of distinct seeds, got 2, 2"),
        (["compare", "dcmh", "--data", DATA, "--bits"], "compare: --bits needs at least one value"),
        (["compare", "dcmh", "--bits", "--data", DATA], "compare: --bits needs at least one value"),
        (["compare", "dcmh", "--data", "--bits=16"], "compare: --data needs at least one value"),
        (["compare", "dcmh", "--data", DATA, "--device", "tpu"], "compare: device must be one of auto, cpu"),
        (["compare", "dcmh", "--data", DATA, "--jobs", "0"], "compare: jobs must be a whole number"),
        (["compare", "--plan", "nowhere.json"], "compare: no plan at nowhere.json"),
        (["compare", "dcmh", "--plan", "x.json"], "compare: --plan takes the place of METHOD"),
        (["compare", "--plan", "x.json", "--bits", "8"], "compare: --plan takes the place of --bits"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_help_has_an_example(capsys):
    assert run(["compare", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example: fasthash compare" in shown
    assert "[beta=0.5]" in shown


def test_the_example_of_the_help_can_run(monkeypatch):
    """Every row of it, checked on the real set; the image network is not needed for that."""
    if reason := data.names()["emoji"].reason:
        pytest.skip(reason)
    module = importlib.import_module("fasthash.data.emoji")
    monkeypatch.setattr(module, "cached_features", lambda name, net, rows, **rest: np.ones((len(rows), 1280), "f4"))
    (command,) = [one for one in _app.app.registered_commands if one.callback is cli.compare]
    words = shlex.split(command.epilog.removeprefix("Example: ").replace("\\[", "["))
    assert words[:2] == ["fasthash", "compare"]
    asked = []
    monkeypatch.setattr("fasthash.compare.run_compare", lambda plan, *a, **k: asked.append(plan) or exit(0))
    with pytest.raises(SystemExit):
        run(words[1:])
    cells = compare_run._prepare(asked[0]).cells
    assert {cell.method for _, _, cell in cells} == {"dcmh", "djsrh", "cca", "random"}
    assert {cell.bits for _, _, cell in cells} == {16, 32, 64}
