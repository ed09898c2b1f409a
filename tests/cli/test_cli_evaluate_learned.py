"""fasthash evaluate on runs whose codes come from training, or are ranked by inner products."""

import json

import pytest

from fasthash import data, evaluation, training
from fasthash.cli._run import run as cli_run

DATA = "synthetic"


@pytest.fixture(scope="module")
def made():
    return data.load(DATA, pairs=160, image_width=12, text_width=9)


def told(capsys, *words):
    assert cli_run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_learned_database(made, tmp_path, capsys):
    run = training.train("cmfh", made, bits=8, out=tmp_path, progress=False)
    for flag, database in ((), "all"), (("--learned-database",), "learned"):
        found = told(capsys, "evaluate", str(tmp_path), *flag)
        known = evaluation.evaluate(run.model, made, ("map_all",), database=database, learned=run.learned)
        assert found["searched"] == database
        assert found["directions"]["t2i"]["map"]["map_all"]["value"] == pytest.approx(known.t2i)
    assert cli_run(["evaluate", str(tmp_path), "--learned-database"]) == 0
    assert "training pairs by learned codes" in capsys.readouterr().out
    assert cli_run(["evaluate", str(tmp_path), "--learned-database", "--without-train"]) == 2


def test_other_data_and_methods_without_learned_codes_are_refused(made, tmp_path, capsys):
    training.train("cmfh", made, bits=8, out=tmp_path / "a", progress=False)
    other = ["--data", DATA, "--data-set", "pairs=170", "--data-set", "image_width=12", "--data-set", "text_width=9"]
    assert cli_run(["evaluate", str(tmp_path / "a"), "--learned-database", *other]) == 2
    assert "--learned-database is about the data" in capsys.readouterr().err
    training.train("cvh", made, bits=8, out=tmp_path / "b", progress=False)
    assert cli_run(["evaluate", str(tmp_path / "b"), "--learned-database"]) == 2
    assert "cvh left none" in capsys.readouterr().err


def test_codes_of_a_codebook_are_ranked_by_inner_products(made, tmp_path, capsys):
    run = training.train("cdq", made, bits=8, out=tmp_path, progress=False, epochs=2, text_hidden=(8,))
    found = told(capsys, "evaluate", str(tmp_path), "--protocol", "map_all")
    values = {name: both["i2t"] for name, both in found["map"].items()}
    assert values["map_all"] == pytest.approx(run.scores.i2t)
    assert cli_run(["evaluate", str(tmp_path)]) == 0
    assert "inner products" in capsys.readouterr().out
    assert cli_run(["evaluate", str(tmp_path), "--radius", "3"]) == 2
    assert "of Hamming distances" in capsys.readouterr().err
