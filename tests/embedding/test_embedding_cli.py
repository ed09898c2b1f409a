"""fasthash embed: what it prints, and one line with exit code 2 for bad input."""

import json
import os
import signal

import pytest

from fasthash._progress import RowProgress
from fasthash.cli._run import run
from fasthash.data.prepared import Folder
from fasthash.embedding import run as runs


def test_prints_a_table_and_what_to_do_next(folder, clip, capsys):
    place = str(folder.path)
    assert run(["embed", place, "--image", f"clip:{clip}", "--text", "bow", "--text-set", "min_count=2"]) == 0
    shown = capsys.readouterr().out
    assert "image clip" in shown
    assert "text bow" in shown
    assert "--data-set image=clip --data-set text=bow" in " ".join(shown.split())
    assert Folder(place).record.text["bow"].encoder["words"] == Folder(place).record.text["bow"].width
    assert run(["embed", place, "--image", f"clip:{clip}"]) == 0  # there already
    assert "-" in capsys.readouterr().out


def test_prints_json(folder, capsys):
    assert run(["embed", str(folder.path), "--text", "bow", "--text-set", "norm=none", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["device"] == "cpu" or value["device"].startswith("cuda")
    made = value["sets"][0]
    assert (made["name"], made["rows"], made["computed"], made["encoder"]["norm"]) == ("bow", 12, 12, None)
    assert made["rows_per_second"] > 0


def test_bad_input_is_one_line(folder, tmp_path, capsys):
    place = str(folder.path)
    for argv, said in (
        ([place], "nothing to do: name an image or a text encoder"),
        ([place, "--image", "resnet"], "image must be one of imagenet"),
        ([place, "--image", f"clip:{tmp_path}/none"], "/none: no such folder"),
        ([place, "--text", "bow", "--text-set", "min_count"], "--text-set: expected option=value"),
        ([place, "--text", "bow", "--text-set", "min_count=99"], "no word occurs in at least 99"),
        ([place, "--text", "bow", "--image-set", "size=3"], "image_options is for an encoder of the image side"),
        ([place, "--text", "bow", "--damaged", "zeros"], "damaged is for an encoder of the image side"),
        ([place, "--image", "imagenet", "--captions", "first"], "captions is for an encoder of the text side"),
        ([place, "--text", "minilm", "--split", "nosuch"], "got 'nosuch'"),
        ([place, "--text", "bow", "--workers", "0"], "Invalid value for '--workers'"),
        ([f"{tmp_path}/none", "--text", "bow"], "no prepared data set at"),
        (["synthetic", "--text", "bow"], "say where to prepare it (--out)"),
        ([place, "--text", "bow", "--out", "x"], "--out is for known data sets"),
    ):
        assert run(["embed", *argv]) == 2, argv
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_interrupted_is_130_and_says_how_to_go_on(folder, clip, capsys, monkeypatch):
    class Stopped(RowProgress):
        def done(self, rows):
            if rows == 4:
                os.kill(os.getpid(), signal.SIGINT)

    argv = ["embed", str(folder.path), "--text", f"clip:{clip}", "--batch-size", "2", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "RowProgress", Stopped)
        assert run(argv) == 130
    assert "interrupted, 4 of 12 rows are done: the same command goes on" in capsys.readouterr().err
    assert run(argv) == 0
    assert json.loads(capsys.readouterr().out)["sets"][0]["computed"] == 8


def test_a_known_data_set_is_prepared_first(tmp_path, capsys):
    if not os.path.isdir(os.path.join(os.environ.get("FASTHASH_DATA", "none"), "coco_mini")):
        pytest.skip("coco_mini is not here")
    argv = ["embed", "coco_mini", "--text", "bow", "--out", str(tmp_path / "coco"), "--json"]
    assert run(argv) == 0
    assert json.loads(capsys.readouterr().out)["sets"][0]["rows"] == 159
    assert run(argv) == 0
    assert json.loads(capsys.readouterr().out)["sets"][0]["computed"] == 0
