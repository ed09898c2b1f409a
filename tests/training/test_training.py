"""The trainer: it learns, repeats itself, resumes to the same bits, and refuses what it cannot do in one line."""

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch
from small_data import FAST, LONGER, make

import fasthash
from fasthash import _loop, training
from fasthash.evaluation import random_codes, score
from fasthash.training import train


def codes_of(run, data):
    return run.model.encode_image(data.image), run.model.encode_text(data.text)


@pytest.mark.parametrize("method", sorted(FAST))
def test_learns_more_than_chance(small, method):
    """Five data sets and seeds gave .89 and more; random codes give about .37."""
    run = train(method, small, bits=16, progress=False, **(FAST[method] | LONGER[method]))
    floor = score(random_codes(small, 16), small)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3


@pytest.mark.parametrize("method", sorted(FAST))
def test_same_seed_same_codes_other_seed_other_codes(small, method):
    first, again, other = (
        codes_of(train(method, small, bits=24, seed=seed, progress=False, **FAST[method]), small) for seed in (5, 5, 6)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_leaves_the_callers_random_state_alone(small):
    before = torch.get_rng_state()
    train("djsrh", small, bits=8, progress=False, **FAST["djsrh"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", sorted(FAST))
@pytest.mark.parametrize("stop_after", [1, 7, 12])
def test_resume_equals_uninterrupted(small, method, stop_after, tmp_path, monkeypatch):
    whole = train(method, small, bits=16, out=tmp_path / "whole", progress=False, **FAST[method])
    step, steps = _loop.Stepper.step, []

    def stopping_step(self, phase, index):
        terms = step(self, phase, index)
        steps.append(1)
        if len(steps) == stop_after:
            signal_self()
        return terms

    def signal_self():
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_loop.Stepper, "step", stopping_step)
    with pytest.raises(KeyboardInterrupt, match="checkpoint in .*go on with resume"):
        train(method, small, bits=16, out=tmp_path / "parts", progress=False, **FAST[method])
    monkeypatch.setattr(_loop.Stepper, "step", step)
    assert (tmp_path / "parts" / "checkpoint.ckpt").exists()
    resumed = train(method, small, bits=16, out=tmp_path / "parts", resume=True, progress=False, **FAST[method])
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    strip = [{k: v for k, v in entry.items() if k != "seconds"} for entry in whole.history]
    assert [{k: v for k, v in entry.items() if k != "seconds"} for entry in resumed.history] == strip
    assert not (tmp_path / "parts" / "checkpoint.ckpt").exists()


def test_run_folder_holds_what_a_user_needs(small, tmp_path):
    run = train("dcmh", small, bits=16, out=tmp_path / "run", eval_every=2, progress=False, **FAST["dcmh"])
    names = {path.name for path in (tmp_path / "run").iterdir()}
    known = {"run.json", "history.csv", "scores.json", "config.json", "model.safetensors", "tensorboard"}
    assert names == known | {"learned.npz"}, "dcmh has unified codes"
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["map"]["map_all"]["i2t"] == run.scores.i2t
    with (tmp_path / "run" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [bool(row["i2t"]) for row in rows] == [False, True, False, True, True]
    loaded = fasthash.HashModel.load(tmp_path / "run")
    assert np.array_equal(loaded.encode_image(small.image), run.model.encode_image(small.image))
    assert loaded.info["options"]["epochs"] == 5


def test_a_finished_run_is_returned_not_trained_again(small, tmp_path, monkeypatch):
    run = train("dcmh", small, bits=16, out=tmp_path, progress=False, **FAST["dcmh"])
    monkeypatch.setattr(_loop.Loop, "run", lambda *_: pytest.fail("trained again"))
    again = train("dcmh", small, bits=16, out=tmp_path, resume=True, progress=False, **FAST["dcmh"])
    assert again.scores.i2t == run.scores.i2t
    assert again.history == run.history


def test_a_folder_with_a_run_is_not_overwritten(small, tmp_path):
    train("djsrh", small, bits=8, out=tmp_path, progress=False, **FAST["djsrh"])
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="already holds a run; resume it"):
        train("djsrh", small, bits=8, out=tmp_path, progress=False, **FAST["djsrh"])
    with pytest.raises(ValueError, match="cannot resume .*: bits was 8, now 16"):
        train("djsrh", small, bits=16, out=tmp_path, resume=True, progress=False, **FAST["djsrh"])
    with pytest.raises(ValueError, match="cannot resume .*data_checksum was"):
        train("djsrh", make(seed=1), bits=8, out=tmp_path, resume=True, progress=False, **FAST["djsrh"])
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_is_named(small, tmp_path, monkeypatch):
    train("djsrh", small, bits=8, out=tmp_path, progress=False, **FAST["djsrh"])
    (tmp_path / "scores.json").unlink()
    (tmp_path / "checkpoint.ckpt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.ckpt cannot be read .*delete it to start over"):
        train("djsrh", small, bits=8, out=tmp_path, resume=True, progress=False, **FAST["djsrh"])


def test_unsupervised_training_needs_no_labels():
    run = train("djsrh", make(labelled=False), bits=8, progress=False, **FAST["djsrh"])
    assert run.scores is None
    assert "i2t" not in run.history[-1]


def test_a_loss_that_is_not_finite_is_told(small):
    with pytest.raises(
        FloatingPointError, match=r"dcmh: the loss is not finite by epoch 1, phase \w+, step \d+ \(nll .*\); try a"
    ):
        train("dcmh", small, bits=8, progress=False, epochs=3, batch_size=8, lr_first=1e30, text_hidden=(4,))


def test_diverging_under_a_clipped_norm_is_told_alike(small):
    with pytest.raises(FloatingPointError, match=r"udsph: the loss is not finite by epoch 1, phase \w+"):
        train("udsph", small, bits=8, progress=False, **(FAST["udsph"] | {"lr": 1e30}))


def test_every_parameter_moves(small):
    run = train("dcmh", small, bits=8, progress=False, **(FAST["dcmh"] | {"epochs": 1}))
    torch.manual_seed(0)
    start = _loop.Loop(
        _loop.Fabric(accelerator="cpu", devices=1), fasthash.methods.get("dcmh"), small, 8, 0, run.options, 1, None
    )
    for name, value in run.model.named_parameters():
        assert not torch.equal(value, start.method.get_parameter(name)), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "dcmhh"}, "unknown method 'dcmhh'"),
        ({"bits": 0}, "train: bits must be a whole number from 1 to 4096, got 0"),
        ({"seed": -1}, "train: seed must be a whole number from 0"),
        ({"eval_every": 0}, "train: eval_every must be a whole number from 1 to 2147483648, got 0"),
        ({"betta": 1}, "dcmh: unknown option 'betta'"),
        ({"text_hidden": (0,)}, "dcmh: option text_hidden.0: .*greater than or equal to 1, got 0"),
        ({"lr_first": float("inf")}, "dcmh: option lr_first: .*finite number, got inf"),
        ({"device": "tpu"}, "train: device must be one of auto, cpu, cuda, mps, got 'tpu'"),
        ({"precision": "16-mixed", "device": "cpu"}, "train: precision 16-mixed needs a CUDA device, got device cpu"),
        ({"precision": "8-true"}, "train: precision must be one of 32-true, bf16-mixed, 16-mixed, got '8-true'"),
    ],
)
def test_bad_arguments(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        train(arguments.pop("method", "dcmh"), small, progress=False, **arguments)


def test_unknown_data_set():
    with pytest.raises(ValueError, match="got 'emojis'"):
        train("dcmh", "emojis", progress=False)


def test_label_rows_of_zeros_are_refused(small):
    labels = small.labels.copy()
    labels[40] = 0
    broken = fasthash.data.PairedDataset.from_arrays(small.image, small.text, query=np.arange(18), labels=labels)
    with pytest.raises(
        ValueError, match="dcmh: needs a label on every pair, 1 of arrays have none, the first is row 40"
    ):
        train("dcmh", broken, progress=False)


def test_supervised_training_needs_labels():
    with pytest.raises(ValueError, match="dcmh: needs labels, small has none"):
        train("dcmh", make(labelled=False), progress=False)


@pytest.mark.parametrize("method", sorted(FAST))
def test_mixed_precision_trains(small, method):
    run = train(method, small, bits=8, precision="bf16-mixed", progress=False, **FAST[method])
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert run.scores is not None


def test_numpy_integers_are_numbers(small, tmp_path):
    run = train("djsrh", small, bits=np.int64(8), seed=np.int64(1), out=tmp_path / "r", progress=False, **FAST["djsrh"])
    assert json.loads((tmp_path / "r" / "run.json").read_text())["bits"] == 8
    assert run.model.bits == 8


def test_data_of_another_kind():
    with pytest.raises(TypeError, match="train: data must be a PairedDataset or the name of one, got int"):
        train("djsrh", 5, progress=False)


def test_a_request_that_reached_nothing_does_not_block_the_folder(small, tmp_path):
    bad = {"epochs": 3, "batch_size": 8, "lr_first": 1e30, "text_hidden": (4,)}
    with pytest.raises(FloatingPointError):
        train("dcmh", small, bits=8, out=tmp_path, progress=False, **bad)
    run = train("dcmh", small, bits=8, out=tmp_path, progress=False, **FAST["dcmh"])
    assert json.loads((tmp_path / "run.json").read_text())["options"]["epochs"] == FAST["dcmh"]["epochs"]
    assert run.folder == tmp_path


def test_a_refused_request_leaves_no_folder(small, tmp_path):
    with pytest.raises(ValueError, match="device must be one of"):
        train("dcmh", small, out=tmp_path / "new", device="tpu", progress=False)
    assert not (tmp_path / "new").exists()


def test_results_without_their_request_are_not_taken_for_an_answer(small, tmp_path):
    train("djsrh", small, bits=8, out=tmp_path, progress=False, **FAST["djsrh"])
    (tmp_path / "run.json").unlink()
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"holds files of a run but no run\.json"):
            train("dcmh", small, bits=16, out=tmp_path, resume=resume, progress=False, **FAST["dcmh"])


@pytest.mark.parametrize("missing", ["model.safetensors", "history.csv", "config.json", "scores.json"])
def test_a_run_with_a_part_missing_is_trained_again(small, tmp_path, missing):
    first = train("djsrh", small, bits=8, out=tmp_path, progress=False, **FAST["djsrh"])
    (tmp_path / missing).unlink()
    again = train("djsrh", small, bits=8, out=tmp_path, resume=True, progress=False, **FAST["djsrh"])
    assert (tmp_path / missing).exists()
    assert again.scores.i2t == first.scores.i2t


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "[]", r"run\.json is damaged: expected an object, got list"),
        ("run.json", "{", r"run\.json is damaged"),
        ("history.csv", "epoch,seconds\nx,y\n", r"history\.csv is damaged"),
    ],
)
def test_damaged_run_files_are_named(small, tmp_path, name, text, message):
    train("djsrh", small, bits=8, out=tmp_path, progress=False, **FAST["djsrh"])
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        train("djsrh", small, bits=8, out=tmp_path, resume=True, progress=False, **FAST["djsrh"])


def test_out_must_not_be_a_file(small, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="train: out must be a folder, got the file"):
        train("djsrh", small, bits=8, out=tmp_path / "file", progress=False, **FAST["djsrh"])


def test_a_stop_during_the_last_scores_ends_after_them(small, tmp_path, monkeypatch):
    evaluate = _loop.evaluation.evaluate

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*args)

    monkeypatch.setattr(_loop.evaluation, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train("djsrh", small, bits=8, out=tmp_path, eval_every=100, progress=False, **FAST["djsrh"])
    monkeypatch.setattr(_loop.evaluation, "evaluate", evaluate)
    run = train("djsrh", small, bits=8, out=tmp_path, eval_every=100, resume=True, progress=False, **FAST["djsrh"])
    whole = train("djsrh", small, bits=8, progress=False, **FAST["djsrh"])
    assert run.scores.i2t == whole.scores.i2t


def test_a_validation_split_uses_the_presets_of_its_set(monkeypatch):
    seen = {}
    data = fasthash.data.load("synthetic", pairs=120).validation_split(0.2)
    monkeypatch.setattr(training.methods, "resolve_options", lambda kind, name, given: seen.update(name=name) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train("djsrh", data, progress=False)
    assert seen["name"] == "synthetic"
