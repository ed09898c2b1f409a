"""The trainer on texts that are mostly zeros: the same model as on dense rows, and runs that resume bit for bit."""

import numpy as np
import pytest
import torch
from small_data import FAST, make_bags

import fasthash
from fasthash import _loop
from fasthash.methods import _networks
from fasthash.models import SparseRows, WordLinear
from fasthash.training import train

PLAIN = {"optimizer": "sgd", "lr_first": 0.5, "lr_last": 0.1, "weight_decay": 0.05, "dropout": 0.0}
METHODS = {
    "dcmh": FAST["dcmh"] | PLAIN,
    "hichnet": FAST["hichnet"] | PLAIN,
    "dcmh, adamw": FAST["dcmh"],
    "djsrh": FAST["djsrh"],
    "udsph": FAST["udsph"],
    "ssah": FAST["ssah"],
}


@pytest.fixture
def bags(monkeypatch):
    """Texts of three words out of 90."""
    monkeypatch.setattr(_networks, "WORTH_ENTRIES", 0)
    return make_bags()


def run(name, data, **more):
    return train(name.split(",")[0], data, bits=16, progress=False, device="cpu", **METHODS[name] | more)


@pytest.mark.parametrize("name", METHODS)
def test_model_is_that_of_dense_rows(bags, name, monkeypatch):
    towers = []
    real = _networks.tower

    def kept(rows, *args, **config):
        towers.append((rows, real(rows, *args, **config)))
        return towers[-1][1]

    for module in ("_alternating", "_relaxed_pair", "_label_guided"):
        monkeypatch.setattr(f"fasthash.methods.{module}.tower", kept)
    by_entries = run(name, bags, epochs=2)
    assert any(isinstance(rows, SparseRows) for rows, _ in towers)
    monkeypatch.setattr(_networks, "WORTH_ENTRIES", 10**9)
    dense = run(name, bags, epochs=2)
    assert not any(isinstance(layer, WordLinear) for layer in by_entries.model.modules())
    # in two epochs rounding has not grown; both start from the same weights and see the same batches
    for got, want in zip(by_entries.model.state_dict().values(), dense.model.state_dict().values(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_resume_equals_uninterrupted(bags, name, tmp_path, monkeypatch):
    whole = run(name, bags, out=tmp_path / "whole")
    step, count = _loop.Stepper.step, []

    def stopping_step(self, phase, index):
        count.append(1)
        if len(count) == 8:
            raise RuntimeError("stop")
        return step(self, phase, index)

    monkeypatch.setattr(_loop.Stepper, "step", stopping_step)
    monkeypatch.setattr(_loop, "CHECKPOINT_SECONDS", 0.0)  # after each step
    with pytest.raises(RuntimeError, match="stop"):
        run(name, bags, out=tmp_path / "parts")
    monkeypatch.setattr(_loop.Stepper, "step", step)
    monkeypatch.setattr(_loop, "CHECKPOINT_SECONDS", 60.0)
    resumed = run(name, bags, out=tmp_path / "parts", resume=True)
    for got, want in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(got, want)
    again = run(name, bags)  # in memory: checkpoints and evaluations change nothing
    for got, want in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(got, want)


def test_evaluations_do_not_change_the_model(bags):
    often, never = (run("dcmh", bags, eval_every=every) for every in (1, 1000))
    for got, want in zip(often.model.state_dict().values(), never.model.state_dict().values(), strict=True):
        assert torch.equal(got, want)


def test_a_loaded_model_has_the_same_codes(bags, tmp_path):
    made = run("dcmh", bags, out=tmp_path)
    loaded = fasthash.HashModel.load(tmp_path)
    assert np.array_equal(loaded.encode_text(bags.text), made.model.encode_text(bags.text))


def test_parts_of_a_batch_take_entries_too(bags):
    """Gradient accumulation: the rows' first layer sees several sparse batches a step."""
    whole, parts = (run("dcmh", bags, epochs=2, accumulate=count) for count in (1, 3))
    for got, want in zip(parts.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
