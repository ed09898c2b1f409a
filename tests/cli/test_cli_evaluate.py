"""fasthash evaluate on runs and on files of codes, and fasthash published: what they print and how they refuse."""

import json

import numpy as np
import pytest
import scipy.io

from fasthash import data, evaluation, metrics
from fasthash.cli._run import run
from fasthash.models import HashModel

FAST = ["--set", "epochs=2", "--set", "batch_size=64", "--set", "text_hidden=16"]
ROLES = ("query", "database", "query_labels", "database_labels")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the synthetic data, made through the command line."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert run(["train", "djsrh", "synthetic", "--bits", "16", "--out", str(folder), "--json", *FAST]) == 0
    return folder


@pytest.fixture
def files(tmp_path, monkeypatch):
    """q.npy and so on in the working folder, as their options; real values against packed codes."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 32))
    ids, items = rng.integers(0, 4, 20), rng.integers(0, 4, 90)
    np.save(tmp_path / "query.npy", centres[ids] + rng.standard_normal((20, 32)))
    np.save(tmp_path / "database.npy", np.packbits(centres[items] + rng.standard_normal((90, 32)) >= 0, axis=1))
    np.save(tmp_path / "query_labels.npy", ids)
    np.save(tmp_path / "database_labels.npy", items)
    monkeypatch.chdir(tmp_path)
    return [word for role in ROLES for word in (f"--{role.replace('_', '-')}", f"{role}.npy")]


def test_files_of_codes(files, tmp_path, capsys):
    assert run(["evaluate", *files]) == 0
    shown = capsys.readouterr().out
    query, items = np.load("query.npy"), np.load("database.npy")
    ids, classes = np.load("query_labels.npy"), np.load("database_labels.npy")
    value = metrics.evaluate(np.packbits(query >= 0, axis=1), items, ids, classes, bits=32).value
    for words in (
        "32 bits, 20 queries, 90 items", f"{value:.4f}", "map_at_k, k = 50", "stable", "nDCG by common labels",
        "precision within radius 2", "area under precision-recall", "a relevant pair is the closer one with",
        "query: 20 codes of 32 bits: 20 distinct", "correlation of bits",
        "float64, real values, of which sign(x) is taken, 0 as +1", "uint8, packed, eight bits", "class ids",
    ):  # fmt: skip
        assert words in shown
    assert "COLLAPSED" not in shown
    assert run(["evaluate", *files, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["map"]["map_all"] == {"one": value}
    assert record["files"]["database"]["file"] == "database.npy"
    assert record["provenance"]["versions"]["fasthash"]
    assert record["provenance"]["seconds"] >= 0


def test_a_npy_by_itself_is_the_queries(files, capsys):
    assert run(["evaluate", *files, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(["evaluate", "query.npy", *files[2:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["map"], again["source"]) == (first["map"], "query.npy")


def test_every_option_of_measuring(files, capsys):
    arguments = ["--protocol", "papers", "--protocol", "map_at_k", "-k", "10", "--ties", "optimistic", "--radius", "5",
                 "--no-relevant", "skip", "--interval", "0.9"]  # fmt: skip
    assert run(["evaluate", *files, *arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["map"]) == [*metrics.papers(), "map_at_10_optimistic"]
    found = record["directions"]["one"]
    assert found["lookup"]["radius"] == 5
    assert found["no_relevant"] == "skip"
    assert found["map"]["djsrh"]["low"] < found["map"]["djsrh"]["value"] < found["map"]["djsrh"]["high"]
    assert run(["evaluate", *files, *arguments]) == 0
    shown = capsys.readouterr().out
    assert f"[{found['map']['djsrh']['low']:.4f}, {found['map']['djsrh']['high']:.4f}]" in shown
    assert "djsrh: map_at_k" in shown


def test_queries_without_a_relevant_item_are_told(files, capsys):
    ids = np.load("query_labels.npy")
    ids[:3] = 9
    np.save("query_labels.npy", ids)
    assert run(["evaluate", *files]) == 0
    assert "3 queries have no relevant item and count as 0" in capsys.readouterr().out
    assert run(["evaluate", *files, "--no-relevant", "skip"]) == 0
    assert "3 queries have no relevant item and are left out\n" in capsys.readouterr().out
    assert run(["evaluate", *files, "--no-relevant", "skip", "--protocol", "djsrh"]) == 0
    assert "and are left out; in djsrh they count as 0\n" in capsys.readouterr().out


def test_a_measure_without_an_interval_is_told(files, capsys):
    words = ["evaluate", *files, "--protocol", "map_at_k_hitonly", "--protocol", "map_all", "--ties", "expected"]
    rng = np.random.default_rng(0)
    for name, n in (("query", 20), ("database", 90)):
        np.save(f"{name}.npy", rng.random((n, 3)) < 0.5)
    assert run([*words, "-k", "2", "--interval", "0.9"]) == 0
    shown = capsys.readouterr().out
    assert "no interval for map_at_2_hitonly: which queries its mean is over is left open, or none is" in shown
    assert run([*words, "-k", "2"]) == 0
    assert "no interval" not in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_the_seed_of_a_report_is_checked(seed, trained, tmp_path, capsys):
    assert run(["report", str(trained), "--seed", seed, "--out", str(tmp_path / "page.html")]) == 2
    printed = capsys.readouterr().err
    assert "--seed" in printed
    assert printed.count("\n") == 1


def test_a_collapse_is_shouted(files, capsys):
    np.save("database.npy", np.zeros((90, 4), np.uint8) + np.uint8(7))
    assert run(["evaluate", *files]) == 0
    shown = capsys.readouterr().out
    assert "COLLAPSED: database: 32 of 32 bits are dead" in shown
    assert "hardly more than chance" in shown


def test_a_mat_file_of_both_directions(tmp_path, capsys):
    rng = np.random.default_rng(0)
    hot = np.eye(3)[rng.integers(0, 3, 50)]
    signs = {name: np.where(rng.random((n, 16)) < 0.5, 1.0, -1.0)
             for name, n in (("q_img", 10), ("q_txt", 10), ("r_img", 40), ("r_txt", 40))}  # fmt: skip
    scipy.io.savemat(tmp_path / "codes.mat", signs | {"q_l": hot[:10], "r_l": hot[10:]})
    assert run(["evaluate", str(tmp_path / "codes.mat")]) == 0
    shown = capsys.readouterr().out
    assert "image → text" in shown
    assert "text → image: relevant pairs at distance" in shown
    assert "multi-hot of 3 classes" in shown


def test_codes_of_a_whole_data_set(trained, tmp_path, capsys):
    """The model's own codes as files score as the run does."""
    model = HashModel.load(trained)
    known = data.load("synthetic")
    for side, encode in (("image", model.encode_image), ("text", model.encode_text)):
        np.save(tmp_path / f"{side}.npy", encode(getattr(known, side)))
    sides = ["--image", str(tmp_path / "image.npy"), "--text", str(tmp_path / "text.npy"), "--data", "synthetic"]
    assert run(["evaluate", *sides, "--json"]) == 0
    of_files = json.loads(capsys.readouterr().out)
    assert run(["evaluate", str(trained), "--json"]) == 0
    of_run = json.loads(capsys.readouterr().out)
    assert of_files["directions"] == of_run["directions"]
    assert of_files["data"] == of_run["data"]
    assert of_run["map"] == json.loads((trained / "scores.json").read_text())["map"]
    assert run(["evaluate", *sides, "--relevance", "layer:1", "--without-train", "--json"]) == 2
    assert "all of the database of synthetic is trained on" in capsys.readouterr().err
    assert run(["evaluate", str(trained), "--relevance", "layer:1", "--protocol", "map_all", "--json"]) == 0
    coarse = evaluation.evaluate(model, known, ("map_all",), relevance="layer:1")
    assert json.loads(capsys.readouterr().out)["map"]["map_all"]["i2t"] == coarse.scores["map_all"]["i2t"].value


def test_a_run_in_words(trained, capsys):
    assert run(["evaluate", str(trained), "--relevance", "any"]) == 0
    assert "486 items, relevance any" in capsys.readouterr().out
    assert run(["evaluate", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "486 items\n" in shown
    assert "nDCG by layers" in shown
    assert "query image: 114 codes of 16 bits" in shown
    assert "relevant pairs at distance" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "evaluate: name a run, or files of codes (--query, --database, --query-labels, ...)"),
        (["evaluate", "missing.npz"], "evaluate: codes: no such file: missing.npz"),
        (["evaluate", "missing"], "no model at missing: config.json is missing"),
        (["evaluate", "query.npy"], "evaluate: query needs database"),
        (["evaluate", "FILES", "--bits", "33"], "must be 33 wide for 33 bits, got 32"),
        (["evaluate", "FILES", "--form", "hex"], "form must be one of packed, bits, signs, real, got 'hex'"),
        (["evaluate", "FILES", "--protocol", "mAP"], "protocol must be one of map_all"),
        (["evaluate", "FILES", "--ties", "lucky"], "ties must be one of expected, stable, optimistic, pessimistic"),
        (["evaluate", "FILES", "--protocol", "map_all", "-k", "5"], "none of which is asked for"),
        (["evaluate", "FILES", "--no-relevant", "drop"], "no_relevant must be one of zero, skip, got 'drop'"),
        (["evaluate", "FILES", "--interval", "2"], "level must be between 0 and 1, got 2.0"),
        (["evaluate", "FILES", "--relevance", "any"], "relevance and database are of a data set, none is named"),
        (["evaluate", "FILES", "--data-set", "pairs=3"], "--data-set needs --data"),
        (["evaluate", "FILES", "--data", "synthetic"], "query_labels are those of the data set synthetic"),
        (["evaluate", "RUN", "--bits", "16"], "--bits is for codes out of files, got the run"),
        (["evaluate", "RUN", "--query", "query.npy"], "--query is for codes out of files, got the run"),
        (["published", "show", "djsrh"], "published: name must be one of djsrh-table"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(files, trained, arguments, message, capsys):
    words = [w for a in arguments for w in (files if a == "FILES" else [str(trained)] if a == "RUN" else [a])]
    assert run(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("fasthash: ")
    assert shown.out == ""


def test_help(capsys):
    for command in (["evaluate"], ["published", "list"], ["published", "show"]):
        assert run([*command, "--help"]) == 0
        assert "Example: fasthash" in capsys.readouterr().out


def test_published_tables(capsys):
    assert run(["published", "list"]) == 0
    assert "djsrh-table" in capsys.readouterr().out
    assert run(["published", "list", "--json"]) == 0
    assert "ICCV 2019" in json.loads(capsys.readouterr().out)["djsrh-table"]["source"]
    assert run(["published", "show", "djsrh-table"]) == 0
    shown = capsys.readouterr().out
    for words in ("0.862", "ICCV 2019", "metric: map_at_k", "k: 50", "693 queries", "read in the authors' code"):
        assert words in shown
    assert run(["published", "show", "djsrh-table", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    ours = {(row["data"], row["direction"]): row["values"]["64"] for row in rows if row["method"] == "DJSRH"}
    assert (ours["mirflickr", "i2t"], ours["mirflickr", "t2i"]) == (0.862, 0.835)
