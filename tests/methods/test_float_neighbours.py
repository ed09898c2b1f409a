"""float_neighbours against its loss written out in float64, its schedule, and what its codes keep of a float search."""

import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from cca_truth import cca_truth

import fasthash
from fasthash import search
from fasthash._stepper import Stepper
from fasthash.baselines import RandomRotation
from fasthash.cli._run import run as command_line
from fasthash.data import PairedDataset
from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import MappedRows

KIND = get("float_neighbours")
SMALL = {"image_hidden": (6,), "text_hidden": (4,), "batch_size": 6}


def build(rows, bits=8, **options):
    torch.manual_seed(0)
    return KIND(rows, bits, resolve_options(KIND, "test", SMALL | options))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def divergence(teacher, student, t, s):
    """Of rows without their diagonal, entry by entry."""
    m, total = len(teacher), 0.0
    for i in range(m):
        others = [j for j in range(m) if j != i]
        p = [math.exp(teacher[i, j] / t) for j in others]
        q = [math.exp(student[i, j] / s) for j in others]
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    return total / m


@pytest.mark.parametrize("options", [{}, {"across": 0.3, "within": 2.0}, {"within": 0.0}, {"across": 0.0}], ids=str)
def test_loss_equals_the_formula(rows, options):
    method = build(rows, **options)
    index = torch.tensor([0, 2, 3, 5])
    batch = rows.batch(index)
    with torch.no_grad():
        codes = {side: np.where(h.numpy() >= 0, 1.0, -1.0) for side, h in method.encode(batch, "joint").items()}
    image, text = (x.features.double().numpy() for x in (rows.image, rows.text))
    *weights, correlations = cca_truth(image, text, 1.0, 5)
    spaces = zip((image, text), weights, strict=True)
    joint = [unit((x - x.mean(0)) @ w * correlations)[index] for x, w in spaces]
    o, temperature, wanted = method.options, method.temperatures, 0.0
    if o.across:
        teacher, student = joint[0] @ joint[1].T, codes["image"] @ codes["text"].T / 8
        both = divergence(teacher, student, temperature["across"], 0.1)
        wanted += o.across * (both + divergence(teacher.T, student.T, temperature["across"], 0.1)) / 2
    for side, x in (("image", image), ("text", text)) if o.within else ():
        teacher, student = unit(x)[index] @ unit(x)[index].T, codes[side] @ codes[side].T / 8
        wanted += o.within / 2 * divergence(teacher, student, temperature[side], 0.1)
    assert float(method(batch, "joint").detach()) == pytest.approx(wanted, rel=1e-4)


def test_shared_space_compares_the_features_themselves(rows):
    image = rows.image.features
    data = TrainData(image, image.flip(0))
    method = build(data, space="shared", within=0.0)
    index = torch.arange(6)
    teacher = method._teacher({"image": image, "text": image.flip(0)})["across"]
    np.testing.assert_allclose(teacher, unit(image.numpy()) @ unit(image.numpy()).T[:, ::-1], atol=1e-6)
    assert torch.isfinite(method(data.batch(index), "joint"))


def test_one_step_moves_every_group(rows):
    method = build(rows)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    method(rows.batch(torch.arange(6)), "joint").backward()
    method.optimizers()["towers"].step()
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())
    assert set(method.log_temperature) == {"across", "image", "text"}
    assert set(build(rows, across=0).log_temperature) == {"image", "text"}


def test_rows_of_a_file_are_those_of_memory(rows):
    mapped = TrainData(*(MappedRows(x.features.numpy()) for x in (rows.image, rows.text)))
    index = torch.tensor([0, 1, 3, 4])
    values = []
    for data in (rows, mapped):
        method = build(data)
        values.append((float(method(data.batch(index), "joint").detach()), *method.temperatures.values()))
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_rates_rise_and_fall(rows):
    method = build(rows, epochs=10, lr=1.0)
    rates = [method.learning_rates(epoch)["towers"] for epoch in range(10)]
    assert rates[0] == pytest.approx(0.25 * (1 + math.cos(0.05 * math.pi)) / 2)
    assert np.argmax(rates) in (1, 2)
    assert rates[-1] < 0.01
    assert build(rows, warmup=0, lr=1.0, epochs=10).learning_rates(0)["towers"] > 0.99


def test_the_state_holds_no_teacher(rows):
    assert {name.split(".")[0] for name in build(rows).state_dict()} == {"image", "text", "log_temperature"}


def clusters(seed, n=700):
    """Pairs about 40 centres in 5 latent directions, in noise: 100 queries, the rest is trained on and searched."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((40, 5))[np.arange(n) % 40] + 0.5 * rng.standard_normal((n, 5))
    sides = [latent @ rng.standard_normal((5, p)) + rng.standard_normal((n, p)) for p in (48, 32)]
    return PairedDataset.from_arrays(*sides, query=np.arange(100), name="clusters")


def recall(float_vectors, codes, bits):
    near = np.argsort(-(float_vectors[:100] @ float_vectors[100:].T), axis=1)[:, :10]
    _, found = search.knn(codes[:100], codes[100:], 10, bits=bits)
    return (near[:, :, None] == found[:, None, :]).any(axis=2).mean()


def test_keeps_more_neighbours_than_random_rotations():
    """Without labels, at 16 bits. Over 3 seeds of data and training .11 to .21 more on each side."""
    data = clusters(0)
    options = {"epochs": 10, "batch_size": 100, "image_hidden": (64,), "text_hidden": (64,), "lr": 0.01}
    run = fasthash.train("float_neighbours", data, bits=16, progress=False, **options)
    assert run.scores is None
    for side, encode in (("image", run.model.encode_image), ("text", run.model.encode_text)):
        features = getattr(data, side)
        kept = recall(unit(features), encode(features), 16)
        assert kept > recall(unit(features), RandomRotation().fit(features[100:], 16).encode(features), 16) + 0.05


def test_relaxed_codes_are_those_before_the_sign():
    data = clusters(0)
    run = fasthash.train("float_neighbours", data, bits=16, progress=False, epochs=1, **SMALL | {"batch_size": 64})
    h = run.model.relax_image(data.image)
    assert h.shape == (700, 16)
    assert np.array_equal(fasthash.codes.pack(h), run.model.encode_image(data.image))
    assert torch.equal(
        run.model.relax_text(torch.from_numpy(data.text)), torch.from_numpy(run.model.relax_text(data.text))
    )


def test_resume_equals_uninterrupted(tmp_path, monkeypatch):
    options = {"bits": 16, "progress": False, "epochs": 3, "dropout": 0.2} | SMALL | {"batch_size": 100}
    data, step, steps = clusters(0), Stepper.step, []
    whole = fasthash.train("float_neighbours", data, **options)

    def stopping_step(self, phase, index):
        steps.append(1)
        if len(steps) == 8:  # within the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, phase, index)

    monkeypatch.setattr(Stepper, "step", stopping_step)
    with pytest.raises(KeyboardInterrupt):
        fasthash.train("float_neighbours", data, out=tmp_path, **options)
    assert len(steps) == 8
    resumed = fasthash.train("float_neighbours", data, out=tmp_path, resume=True, **options)
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_command_line_on_pairs_without_labels(tmp_path, capsys):
    arguments = ["train", "float_neighbours", "synthetic", "--data-set", "kind=unlabelled", "--bits", "16", "--json"]
    arguments += ["--set", "epochs=1", "--set", "image_hidden=8", "--out", str(tmp_path / "run")]
    assert command_line(arguments) == 0
    assert json.loads(capsys.readouterr().out)["scores"] is None
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"across": 0, "within": 0}, "float_neighbours: across and within must not both be 0"),
        ({"batch_size": 2}, "float_neighbours: option batch_size: .*greater than or equal to 3, got 2"),
        ({"perplexity": 1}, "float_neighbours: option perplexity: .*greater than 1, got 1"),
        ({"space": "clip"}, "float_neighbours: option space: .*'cca' or 'shared', got 'clip'"),
        ({"space": "shared"}, "space=shared needs features of one width, got 7 of images and 5 of texts"),
    ],
)
def test_bad_options(rows, options, message):
    with pytest.raises(ValueError, match=message):
        build(rows, **options)
