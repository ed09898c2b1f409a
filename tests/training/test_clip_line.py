"""The methods on DCHMT's code base in the trainer: raw inputs, parts of a batch, interruption, saved models."""

import os
import signal

import numpy as np
import pytest
import raw_data
import small_data
import tiny_clip
import torch

from fasthash import _loop
from fasthash.models import HashModel
from fasthash.training import train

pytest.importorskip("tiny_backbone")  # registers the backbone "tiny"
METHODS = {
    "dchmt": {"head_width": 16, "head_init": "default"},
    "dsph": {"code_dropout": 0.0},
    "dnph": {"code_dropout": 0.0, "lr_proxies": 0.02},
    "twdh": {"head_width": 16, "long_bits": 32, "head_init": "default", "lr_transform": 0.05, "steps_transform": 20},
}
SHORT = {"epochs": 3, "batch_size": 16, "lr": 2e-2, "progress": False, "eval_every": 99}


@pytest.fixture(scope="module")
def small():
    return small_data.make()


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    return raw_data.make(tmp_path_factory.mktemp("signs"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    return f"clip:{tiny_clip.save(tmp_path_factory.mktemp('clip'))}"


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_raw_pictures_and_texts(signs, clip, method, tmp_path):
    raw = {"image_backbone": "tiny", "text_backbone": clip, "backbone_scale": 0.1}
    options = METHODS[method] | SHORT | raw | {"epochs": 2, "batch_size": 8}
    run = train(method, signs, bits=16, **options)
    frozen = train(method, signs, bits=16, **options | {"backbone_scale": 0.0, "epochs": 1})
    for side in ("image", "text"):
        trained, still = (dict(getattr(r.model, side).backbone.named_parameters()) for r in (run, frozen))
        assert any(not torch.equal(trained[name], still[name]) for name in trained)
    run.model.save(tmp_path)
    texts = list(signs.texts[:5])
    codes = run.model.encode_text(texts)
    assert codes.shape == (5, 2)
    assert np.array_equal(HashModel.load(tmp_path).encode_text(texts), codes)


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_a_batch_make_the_same_step(small, method):
    whole, parts = (train(method, small, bits=16, accumulate=n, **METHODS[method] | SHORT) for n in (1, 3))
    assert parts.history[-1]["loss_joint"] == pytest.approx(whole.history[-1]["loss_joint"], rel=1e-3)
    for a, b in zip(whole.model.state_dict().values(), parts.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_resumed_is_uninterrupted_and_saved_is_kept(small, method, tmp_path, monkeypatch):
    options = METHODS[method] | SHORT | {"dropout": 0.2, "image_hidden": (12,)}
    whole = train(method, small, bits=16, **options)
    step, steps = _loop.Stepper.step, []

    def stopping_step(self, phase, index):
        made = step(self, phase, index)
        steps.append(1)
        if len(steps) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return made

    monkeypatch.setattr(_loop.Stepper, "step", stopping_step)
    with pytest.raises(KeyboardInterrupt):
        train(method, small, bits=16, out=tmp_path, **options)
    monkeypatch.setattr(_loop.Stepper, "step", step)
    resumed = train(method, small, bits=16, out=tmp_path, resume=True, **options)
    assert same(whole.model, resumed.model)
    assert [entry["loss_joint"] for entry in whole.history] == [entry["loss_joint"] for entry in resumed.history]
    loaded = HashModel.load(tmp_path)
    for encode in ("encode_image", "encode_text"):
        rows = small.image if encode == "encode_image" else small.text
        assert np.array_equal(getattr(loaded, encode)(rows), getattr(whole.model, encode)(rows))
    assert len(np.unique(loaded.encode_image(small.image), axis=0)) > 2
