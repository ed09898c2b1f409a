"""Shallow methods through the trainer: the same run, files, errors and evaluation as of trained networks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fasthash import codes, evaluation, training
from fasthash.data import load
from fasthash.models import HashModel
from fasthash.models.learned import LearnedCodes
from fasthash.models.view import View


@pytest.fixture(scope="module")
def data():
    return load("synthetic", pairs=240, image_width=24, text_width=18, seed=2)


def test_a_run_has_what_every_run_has(data, tmp_path):
    run = training.train("cmfh", data, bits=12, out=tmp_path / "run", progress=False)
    assert run.method == "cmfh"
    assert isinstance(run.model.image, View)
    assert run.scores.i2t > 1.5 * evaluation.score(evaluation.random_codes(data, 12), data).i2t
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "run.json", "model.safetensors", "config.json", "history.csv", "scores.json", "learned.npz",
    }  # fmt: skip
    losses = [entry["loss_objective"] for entry in run.history]
    assert len(losses) == run.options.iterations
    record = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert record["map"]["map_all"]["i2t"] == pytest.approx(run.scores.i2t)
    assert record["provenance"]["method"] == "cmfh"
    again = HashModel.load(tmp_path / "run")
    assert (again.encode_image(data.image) == run.model.encode_image(data.image)).all()
    assert again.info["method"] == "cmfh"


def test_a_finished_run_is_taken_up_with_its_learned_codes(data, tmp_path):
    first = training.train("cmfh", data, bits=12, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="already holds a run"):
        training.train("cmfh", data, bits=12, out=tmp_path, progress=False)
    second = training.train("cmfh", data, bits=12, out=tmp_path, resume=True, progress=False)
    assert (second.learned.packed == first.learned.packed).all()
    assert second.scores.i2t == first.scores.i2t
    with pytest.raises(ValueError, match="bits was 12, now 8"):
        training.train("cmfh", data, bits=8, out=tmp_path, resume=True, progress=False)


def test_the_learned_database_takes_the_training_pairs_codes(data):
    run = training.train("cmfh", data, bits=12, progress=False)
    assert (run.learned.rows == data.split.train).all()
    scored = evaluation.evaluate(run.model, data, ("map_all",), database="learned", learned=run.learned)
    kept = evaluation.encode(run.model, data)
    database = data.split.database
    trained = np.isin(database, data.split.train)
    place = {row: i for i, row in enumerate(data.split.train)}
    for side in ("database_image", "database_text"):
        made, own = getattr(scored.codes, side), getattr(kept, side)
        for row, is_trained, code, plain in zip(database, trained, made, own, strict=True):
            assert (code == (run.learned.packed[place[row]] if is_trained else plain)).all()
    assert (scored.codes.query_image == kept.query_image).all()
    assert scored.to_dict()["searched"] == "learned"


def test_a_method_without_learned_codes_says_so(data):
    run = training.train("cca", data, bits=8, progress=False)
    assert run.learned is None
    with pytest.raises(ValueError, match="needs codes from training, and cca left none"):
        evaluation.evaluate(run.model, data, database="learned")


def test_the_unified_codes_of_dcmh_are_kept(data, tmp_path):
    options = {"epochs": 1, "text_hidden": (8,)}
    run = training.train("dcmh", data, bits=8, out=tmp_path, progress=False, **options)
    assert (LearnedCodes.load(tmp_path).packed == run.learned.packed).all()
    assert run.learned.packed.shape == (len(data.split.train), codes.packed_width(8))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"precision": "bf16-mixed"}, "cmfh: is fitted in float64 on the CPU, precision must be 32-true"),
        ({"accumulate": 2}, "accumulate must be 1, got 2"),
        ({"compile": True}, "compile must be False"),
        ({"device": "cuda"}, "device must be cpu, got 'cuda'"),
        ({"eval_every": 3}, "eval_every must be None, got 3"),
        ({"epochs": 3}, "cmfh: unknown option 'epochs'"),
        ({"mu": -1}, "cmfh: option mu"),
    ],
)
def test_what_a_fit_cannot_do_is_refused_in_a_line(data, tmp_path, asked, line):
    with pytest.raises(ValueError, match=line) as caught:
        training.train("cmfh", data, out=tmp_path / "run", progress=False, **asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_torchrun_is_refused(data, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="cca: is fitted by one process"):
        training.train("cca", data, bits=8, progress=False)


def test_an_interrupted_fit_leaves_nothing_but_its_request(data, tmp_path, monkeypatch):
    from fasthash.methods.shallow.cmfh import CMFH

    def stopped(self, pairs, bits, seed, report):
        report(1, 2, 1.0)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CMFH, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            training.train("cmfh", data, bits=8, out=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert training.train("cmfh", data, bits=8, out=tmp_path, resume=True, progress=False).scores is not None


@pytest.mark.parametrize("method", ["cca", "dch", "lssh"])
def test_features_in_files_give_the_same_codes(data, tmp_path, method):
    """A fit takes the training rows into memory, wherever they lie."""
    held = {}
    for side in ("image", "text"):
        np.save(tmp_path / f"{side}.npy", getattr(data, side))
        held[side] = np.load(tmp_path / f"{side}.npy", mmap_mode="r")
    one, other = (training.train(method, each, bits=8, progress=False) for each in (data, replace(data, **held)))
    for state, same in zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert state.equal(same)
