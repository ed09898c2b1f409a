"""DJSRH against its loss written out in float64, its options, and the rules of its schedule."""

import math

import numpy as np
import pytest
import torch

from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import SparseRows

KIND = get("djsrh")


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", {"text_hidden": (4,)} | options))


@pytest.fixture
def method(rows):
    return build(rows, beta=0.6, lambda1=0.2, lambda2=0.3)


def cosines(a, b):
    norm = [[math.sqrt(sum(v * v for v in row)) for row in x] for x in (a, b)]
    return np.array(
        [[float(p @ q) / (norm[0][i] * norm[1][j]) for j, q in enumerate(b)] for i, p in enumerate(a)], np.float64
    )


def objective(b_image, b_text, f_image, f_text, o, affine=True):
    """Equations 3, 5 and 8 with the released code's means, entry by entry."""
    m = len(b_image)
    s_image, s_text = cosines(f_image, f_image), cosines(f_text, f_text)
    if affine:
        s_image, s_text = 2 * s_image - 1, 2 * s_text - 1
    fused = o["beta"] * s_image + (1 - o["beta"]) * s_text
    target = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            second = sum(fused[i, k] * fused[k, j] for k in range(m)) / m
            target[i, j] = o["mu"] * ((1 - o["eta"]) * fused[i, j] + o["eta"] * second)
    cross = np.mean((target - cosines(b_image, b_text)) ** 2)
    own = [np.mean((target - cosines(b, b)) ** 2) for b in (b_image, b_text)]
    return o["cross_terms"] * cross + o["lambda1"] * own[0] + o["lambda2"] * own[1]


def relaxed(method, batch, alpha):
    with torch.no_grad():
        outputs = method.encode(batch, "joint")
    return [np.tanh(alpha * outputs[side].double().numpy()) for side in ("image", "text")]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"affine": False},
        {"beta": 1.0, "eta": 0.0, "mu": 1.0, "lambda1": 0.0, "lambda2": 0.0},  # the ablation's S_I alone
        {"beta": 0.0, "eta": 0.9},
        {"cross_terms": 2},
        {"reduction": "sum"},
        {"relaxation": "constant", "cross_terms": 2, "reduction": "sum"},
    ],
    ids=str,
)
def test_loss_equals_the_formulas(rows, batch_of, options):
    method = build(rows, **{"beta": 0.6, "lambda1": 0.2, "lambda2": 0.3} | options)
    batch = batch_of(0, 2, 3, 5)
    method.begin_epoch(8)
    codes = relaxed(method, batch, 1 if options.get("relaxation") == "constant" else 3)
    features = batch.image.double().numpy(), batch.text.double().numpy()
    want = objective(*codes, *features, method.options.model_dump(), method.options.affine)
    want *= 16 if options.get("reduction") == "sum" else 1
    assert float(method(batch, "joint").detach()) == pytest.approx(want, rel=1e-5)


def test_a_second_batch_has_the_rows_of_its_own(method, batch_of):
    method(batch_of(0, 2, 3, 5), "joint")
    batch = batch_of(4, 1)
    want = objective(*relaxed(method, batch, 1), batch.image.numpy(), batch.text.numpy(), method.options.model_dump())
    assert float(method(batch, "joint").detach()) == pytest.approx(want, rel=1e-5)


def test_all_parameters_get_a_gradient_and_the_features_none(method, batch_of):
    batch = batch_of(0, 1, 2, 3)
    outputs = method.encode(batch, "joint")
    assert set(outputs) == {"image", "text"}
    method(batch, "joint").backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert all(not x.requires_grad for x in (batch.image, batch.text))


def test_both_networks_move_in_one_step(method, batch_of):
    optimizers, before = method.optimizers(), {name: p.detach().clone() for name, p in method.named_parameters()}
    method(batch_of(0, 1, 2, 3), "joint").backward()
    optimizers["image"].step()
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("image.")}
    optimizers["text"].step()
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())


def test_optimisers_are_those_of_the_released_code(rows):
    for side, lr in (("image", 0.001), ("text", 0.01)):
        (group,) = build(rows).optimizers()[side].param_groups
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (lr, 0.9, 5e-4)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ("wiki", (0.3, 0.3, 0.3, 0.01, 0.01, 200)),
        ("mirflickr25k", (0.9, 0.1, 0.1, 0.001, 0.01, 80)),
        ("nus_wide", (0.6, 0.1, 0.1, 0.001, 0.01, 80)),
    ],
)
def test_presets_of_the_paper(data, values):
    o = resolve_options(KIND, data, {})
    assert (o.beta, o.lambda1, o.lambda2, o.lr_image, o.lr_text, o.epochs) == values
    assert (o.eta, o.mu, o.batch_size) == (0.4, 1.5, 32)


@pytest.mark.parametrize("epoch", [0, 3, 79])
def test_relaxation_hardens_as_the_root_of_the_epoch(method, rows, epoch):
    method.begin_epoch(epoch)
    assert method.sharpness == math.sqrt(epoch + 1)
    constant = build(rows, relaxation="constant")
    constant.begin_epoch(epoch)
    assert constant.sharpness == 1


def test_one_joint_phase_drops_the_partial_batch(method):
    (phase,) = method.phases(0)
    assert (phase.optimizers, phase.sampler, phase.drop_last) == (("image", "text"), "shuffle", True)


def test_takes_no_labels(rows):
    assert KIND.supervision == "none"
    build(TrainData(rows.image.features, rows.text.features, None), text_hidden=())


def test_sparse_texts_have_the_loss_of_dense_ones(rows, batch_of):
    index = torch.tensor([0, 1, 4])
    text = rows.text.features * (torch.arange(5) % 2)
    dense = TrainData(rows.image.features, text)
    sparse = TrainData(rows.image.features, SparseRows(text))
    values = [float(build(given)(given.batch(index), "joint").detach()) for given in (dense, sparse)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_the_state_holds_no_teacher(method, batch_of):
    method(batch_of(0, 1), "joint")
    assert {name.split(".")[0] for name in method.state_dict()} == {"image", "text"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cross_terms": 3}, "djsrh: option cross_terms: .*1 or 2, got 3"),
        ({"reduction": "max"}, "djsrh: option reduction: .*'mean' or 'sum', got 'max'"),
        ({"eta": -0.1}, "djsrh: option eta: .*greater than or equal to 0, got -0.1"),
        ({"batch_size": 1}, "djsrh: option batch_size: .*greater than or equal to 2, got 1"),
        ({"trains": "nothing"}, "djsrh: option trains: .*'backbone' or 'fully connected', got 'nothing'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
