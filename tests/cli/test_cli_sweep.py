"""fasthash sweep on the command line: words to axes, what it prints, exit codes."""

import json

import pytest

from fasthash.cli._run import run
from fasthash.cli.sweep import spread_words
from fasthash.compare import run as compare_run

DATA = "synthetic[pairs=120,image_width=12,text_width=9]"
METHOD = "djsrh[epochs=2,text_hidden=8,batch_size=32]"
ASK = ["sweep", METHOD, DATA, "--over", "beta", "0:0.9:0.45", "--bits", "8", "--seeds", "2"]


@pytest.fixture
def in_process(monkeypatch):
    """Cells run in this process instead of in workers."""
    from fasthash.compare import _worker

    def run_cells(cells, folder, report, **rest):
        for cell in cells:
            report(cell, _worker._answer({"cell": cell.to_dict(), "folder": str(folder)}, {}))
        return True

    monkeypatch.setattr(compare_run, "run_cells", run_cells)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("sweep m d --over beta 0:1:0.1", "sweep m d --over beta=0:1:0.1"),
        ("sweep m d --over beta 0:1:0.1 eta 1,2 --each", "sweep m d --over beta=0:1:0.1 --over eta=1,2 --each"),
        ("sweep m d --over beta=1,2 eta 3 --over mu -1:1:1", "sweep m d --over beta=1,2 --over eta=3 --over mu=-1:1:1"),
        ("sweep m d --bits 8 --seeds 0 3 --over a 1", "sweep m d --bits 8 --seeds 0 --seeds 3 --over a=1"),
        ("sweep --help", "sweep --help"),
    ],
)
def test_pairs_behind_over(words, wanted):
    assert spread_words(words.split()) == wanted.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over"], "sweep: --over needs an option and its values"),
        (["--over", "--each"], "sweep: --over needs an option and its values"),
        (["--over", "beta"], "sweep: --over beta lacks its values, such as 0:1:0.1 or 0.1,0.5"),
        (["--over", "beta", "eta=1"], "sweep: --over beta lacks its values"),
        (["--over", "beta", "0:1"], "sweep: beta must read a:b:step, a:b:xF or a,b,c, got '0:1'"),
        (["--over", "nope", "1"], "djsrh: unknown option 'nope'"),
        (["--over", "beta", "2"], "djsrh: option beta: Input should be less than or equal to 1"),
        (["--over", "beta", "1", "--seeds"], "sweep: --seeds needs at least one value"),
        (["--over", "beta", "1", "--validation", "1.5"], "sweep: validation must be a share between 0 and 1, got 1.5"),
        ([], "Missing option '--over'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, words, message, tmp_path):
    assert run(["sweep", METHOD, DATA, "--out", str(tmp_path / "out"), *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fasthash: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_names(capsys, tmp_path):
    assert run(["sweep", "nope", DATA, "--over", "beta", "1", "--out", str(tmp_path)]) == 2
    assert "unknown method 'nope'" in capsys.readouterr().err
    assert run(["sweep", METHOD, "nope", "--over", "beta", "1", "--out", str(tmp_path)]) == 2
    assert "data must be of" in capsys.readouterr().err


def test_table_words_and_files(in_process, capsys, tmp_path):
    assert run([*ASK, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "3 settings, 2 seeds each" not in printed, "0, 0.45 and 0.9, which is the preset"
    assert "4 settings, 2 seeds each" in printed
    assert "beta" in printed
    assert "(preset" in printed
    assert f"page: {tmp_path / 'index.html'}" in printed
    record = json.loads((tmp_path / "sweep.json").read_text("utf-8"))
    assert record["words"] in printed
    assert record["provenance"]["command"].startswith("fasthash sweep")


def test_json_is_one_value(in_process, capsys, tmp_path):
    run([*ASK, "--out", str(tmp_path)])
    capsys.readouterr()
    assert run([*ASK, "--out", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["reused"] == 6
    assert record["over"] == {"beta": ["0", "0.45", "0.9"]}
    assert {path.rsplit("/", 1)[1] for path in record["files"]} >= {"sweep.json", "sweep.csv", "sweep_beta.png"}


def test_failed_runs_end_with_exit_code_1(in_process, capsys, tmp_path):
    towers = "two_tower[epochs=2,text_hidden=8,image_hidden=8,batch_size=32]"
    words = ["sweep", towers, DATA, "--over", "lr_first", "0.01,1e30", "--bits", "8", "--seeds", "1"]
    assert run([*words, "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "the loss is not finite" in printed
    assert "1 of 1 runs failed" in (tmp_path / "sweep.md").read_text("utf-8")
    assert "failed: lr_first=1e30" in printed


def test_help_has_an_example(capsys):
    assert run(["sweep", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "fasthash sweep djsrh wiki" in printed
    assert "--over" in printed
