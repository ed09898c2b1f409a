"""The command line: what it prints, its exit codes, and one clear line for bad input."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fasthash.cli._run import run, spread

FAST = ["--set", "epochs=2", "--set", "batch_size=64", "--set", "text_hidden=16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the synthetic data, made through the command line, and its index."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert run(["train", "djsrh", "synthetic", "--bits", "16", "--out", str(folder), "--json", *FAST]) == 0
    assert run(["index", "build", str(folder), "--json"]) == 0
    return folder


def test_train_prints_json(tmp_path, capsys):
    assert run(["train", "dcmh", "synthetic", "--bits", "16", "--out", str(tmp_path / "r"), "--json", *FAST]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["method"] == "dcmh"
    assert 0 <= value["scores"]["map"]["map_all"]["i2t"] <= 1


def test_train_prints_a_table_and_what_to_do_next(tmp_path, capsys):
    assert run(["train", "djsrh", "synthetic", "--bits", "16", "--out", str(tmp_path / "r"), *FAST]) == 0
    shown = capsys.readouterr().out
    assert "image→text" in shown
    assert "trained in" in shown
    assert "fasthash search" not in shown, "features alone cannot be searched by words"


def test_encode_features(trained, tmp_path, capsys):
    width = json.loads((trained / "config.json").read_text())["image"]["width"]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((5, width)).astype(np.float32))
    arguments = ["encode", str(trained), "--features", str(tmp_path / "x.npy")]
    assert run([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["codes"]
    assert run([*arguments, "--out", str(tmp_path / "codes.npy")]) == 0
    packed = np.load(tmp_path / "codes.npy")
    assert packed.shape == (5, 2)
    assert [row.tobytes().hex() for row in packed] == printed


def test_doctor_and_methods(capsys):
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["backends"]["pairwise_nll"]["reference"] == "can run"
    assert "hamming_topk" in report["backends"]
    assert "scalar" in report["native module"]["CPU instruction sets"]
    assert run(["doctor"]) == 0
    capsys.readouterr()
    assert run(["methods", "--json"]) == 0
    assert {"djsrh", "dcmh"} <= set(json.loads(capsys.readouterr().out))


def test_data_list_and_info(capsys):
    assert run(["data", "list", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["synthetic"]["available"] is True
    assert run(["data", "list"]) == 0
    assert "synthetic" in capsys.readouterr().out
    assert run(["data", "info", "synthetic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert run(["data", "info", "synthetic"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "dcmhh", "synthetic"], "unknown method 'dcmhh'; known: cca, cca_itq"),
        (["train", "dcmh", "nowhere"], "got 'nowhere'"),
        (["train", "dcmh", "synthetic", "--set", "betta=1"], "unknown option 'betta'"),
        (["train", "dcmh", "synthetic", "--data-set", "colour=red"], "synthetic has the options"),
        (["train", "dcmh", "synthetic", "--data-set", "progress=3"], "got 'progress'"),
        (["train", "dcmh", "synthetic", "--data-set", "pairs=few"], "pairs must be a whole number"),
        (["train", "dcmh", "synthetic", "--set", "text_hidden=-5"], "option text_hidden"),
        (["train", "dcmh", "synthetic", "--device", "tpu"], "device must be one of auto, cpu, cuda, mps, got 'tpu'"),
        (["train", "dcmh", "synthetic", "--precision", "foo"], "precision must be one of"),
        (["train", "dcmh", "synthetic", "--bits", "8", "16"], "unexpected extra argument"),
        (["train", "dcmh", "synthetic", "--set", "epochs"], "--set: expected option=value, got 'epochs'"),
        (["train", "dcmh", "synthetic", "--set", "epochs=1", "--set", "epochs=2"], "option epochs is given twice"),
        (["train", "dcmh", "synthetic", "--bits", "0"], "bits must be a whole number from 1 to 4096, got 0"),
        (["train", "dcmh", "synthetic", "--bits", "many"], "'--bits'"),
        (["train", "dcmh"], "Missing argument"),
        (["train", "--colour"], "--colour"),
        (["nonsense"], "nonsense"),
        (["evaluate", "no/such/run"], "no model at no/such/run: config.json is missing"),
        (["index", "build", "no/such/run"], "config.json is missing"),
        (["search", "no/such/run", "red heart"], "config.json is missing"),
        (["data", "info", "nowhere"], "got 'nowhere'"),
        (["demo", "--bits", "0"], "bits must be a whole number from 1 to 4096, got 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("fasthash: ")
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "RUN", "two words"], "knows no way from raw texts"),
        (["search", "RUN", "missing.png"], "no such picture: missing.png"),
        (["encode", "RUN"], "nothing to encode"),
        (["encode", "RUN", "--features", "missing.npy"], "no such file: missing.npy"),
        (["encode", "RUN", "--picture", "missing.png"], "no such picture: missing.png"),
        (["encode", "RUN", "--text", "a", "--side", "left"], "side must be image or text, got 'left'"),
        (["encode", "RUN", "--text", "a", "--side", "text"], "got side text without features"),
        (["encode", "RUN", "--picture", "RUN"], "a picture must be a file, got the folder"),
        (["encode", "RUN", "--features", "RUN"], "is no readable .npy file"),
        (["train", "djsrh", "synthetic", "--bits", "16", "--out", "RUN", *FAST], "already holds a run"),
    ],
)
def test_bad_input_on_a_run(trained, arguments, message, capsys):
    assert run([str(trained) if a == "RUN" else a for a in arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_index_is_refused(trained, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    whole = (copy / "index" / "images.safetensors").read_bytes()
    (copy / "index" / "images.safetensors").write_bytes(whole[:-10])
    assert run(["search", str(copy), "x.png"]) == 2
    capsys.readouterr()
    (copy / "index" / "items.json").write_text("[]")
    assert run(["search", str(copy), "two words"]) == 2
    assert "items.json is damaged" in capsys.readouterr().err
    shutil.rmtree(copy / "index")
    assert run(["search", str(copy), "two words"]) == 2
    assert "build it with `fasthash index build`" in capsys.readouterr().err


def test_every_command_has_help_with_an_example(capsys):
    for command in (["demo"], ["train"], ["methods"], ["evaluate"], ["encode"], ["index", "build"], ["search"],
                    ["data", "list"], ["data", "info"], ["doctor"]):  # fmt: skip
        assert run([*command, "--help"]) == 0
        assert "Example: fasthash" in capsys.readouterr().out, command


def test_several_lengths_in_one_option():
    assert spread(["demo", "--bits", "16", "32", "--out", "x"], "--bits") == [
        "demo", "--bits", "16", "--bits", "32", "--out", "x",
    ]  # fmt: skip
    assert spread(["train", "dcmh", "5", "--bits", "64"], "--bits") == ["train", "dcmh", "5", "--bits", "64"]


def test_installed_entry_point():
    done = subprocess.run([sys.executable, "-m", "fasthash", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("fasthash ")
    done = subprocess.run([sys.executable, "-m", "fasthash", "train", "x", "y"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_data_options_are_numbers_where_they_read_as_numbers(tmp_path, capsys):
    arguments = ["train", "djsrh", "synthetic", "--bits", "8", "--out", str(tmp_path / "r"), "--json", *FAST]
    assert run([*arguments, "--data-set", "pairs=120", "--data-set", "noise=0.1"]) == 0
    capsys.readouterr()
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["info"]["data_options"] == {"pairs": 120, "noise": 0.1}
    assert run(["evaluate", str(tmp_path / "r"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["queries"] + scores["database"] == 120


def test_a_data_set_that_has_changed_is_refused_unless_named(trained, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    config = json.loads((copy / "config.json").read_text())
    config["info"]["data_checksum"] = "0" * 16
    (copy / "config.json").write_text(json.dumps(config))
    assert run(["evaluate", str(copy)]) == 2
    assert "is not what the model was trained on (checksum 0000000000000000" in capsys.readouterr().err
    assert run(["evaluate", str(copy), "--data", "synthetic"]) == 0


@pytest.mark.parametrize("arguments", [[], ["data"], ["index"]])
def test_a_group_without_a_command_shows_its_help(arguments, capsys):
    assert run(arguments) == 2
    assert "Usage" in capsys.readouterr().out


def test_features_beyond_float32_are_named(trained, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.full((2, 64), 1e300))
    assert run(["encode", str(trained), "--features", str(tmp_path / "x.npy")]) == 2
    assert "values beyond float32, the largest 1e+300" in capsys.readouterr().err


def test_settings_of_several_values_go_by_the_option(tmp_path, monkeypatch):
    from fasthash import methods

    kind = methods.get("dcgh")
    given = methods.options_from_text(
        kind, {"pair_weights": "0,0.5", "text_hidden": "", "clip_norm": "none", "lr": "1e-2"}
    )
    options = methods.resolve_options(kind, "test", given)
    assert (options.pair_weights, options.text_hidden, options.clip_norm, options.lr) == ((0.0, 0.5), (), None, 0.01)
