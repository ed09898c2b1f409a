"""MITH: its five terms by hand in float64, its banks, its optimiser, and that it learns."""

import math

import numpy as np
import pytest
import torch
from tiny_backbone import SIZE

from fasthash import data
from fasthash.data import PairedDataset
from fasthash.evaluation import encode, random_codes, score
from fasthash.methods import TrainData, get, resolve_options
from fasthash.methods._bert_adam import BertAdam
from fasthash.models import HashModel
from fasthash.training import train

KIND = get("mith")
SMALL = {"space": 6, "token_space": 4, "heads": 2, "layers": 1, "blocks": 1, "top": 3, "batch_size": 4}
SIDES = ("image", "text")


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", SMALL | options))


def nll(h, bank, labels_a, labels_b, clamp=math.inf):
    total = 0.0
    for a, la in zip(h, labels_a, strict=True):
        for b, lb in zip(bank, labels_b, strict=True):
            theta = 0.5 * min(max(a @ b, -clamp), clamp)
            total += max(theta, 0) + math.log1p(math.exp(-abs(theta))) - (theta if la @ lb else 0.0)
    return total / (len(h) * len(bank))


def contrast(a, b, tau):
    s = np.array([[p @ q / math.sqrt((p @ p) * (q @ q)) / tau for q in b] for p in a])
    rows = np.log(np.exp(s).sum(1)) - s.diagonal()
    columns = np.log(np.exp(s).sum(0)) - s.diagonal()
    return (rows.mean() + columns.mean()) / 2


def by_hand(out, banks, labels, index, o):
    """The terms from a batch's outputs and the banks as they are with that batch in them."""
    of_batch = labels[index]
    whole, tokens = ({side: out[f"{side}_{kind}"] for side in SIDES} for kind in ("whole", "tokens"))
    clamp = o.clamp or math.inf
    within = sum(nll(tokens[side], banks[f"{side}_tokens"], of_batch, labels, clamp) for side in SIDES)
    across = nll(whole["text"], banks["image_whole"], of_batch, labels, clamp)
    across += nll(whole["image"], banks["text_whole"], of_batch, labels, clamp)
    mixed = sum(o.mixing * whole[side] + (1 - o.mixing) * tokens[side] for side in SIDES)
    b = np.where(mixed >= 0, 1.0, -1.0)
    quantization = sum((((whole[side] + tokens[side]) / 2 - b) ** 2).sum() for side in SIDES) / b.size
    info = contrast(out["image_f"], out["text_f"], o.temperature)
    info += o.concept_contrast * np.mean(
        [contrast(x, y, o.temperature) for x, y in zip(out["image_concepts"], out["text_concepts"], strict=True)]
    )
    apart = sum(((whole[side] - tokens[side]) ** 2).sum() for side in SIDES) / len(index)
    return {
        "within": o.within * within,
        "across": o.across * across,
        "quantization": o.quantization * quantization,
        "contrast": o.contrast * info,
        "distillation": o.distillation * (1 + o.distillation_back) * apart,
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"within": 2.0, "across": 3.0, "quantization": 0.5, "contrast": 7.0, "concept_contrast": 0.4},
        {"distillation": 3.0, "distillation_back": 0.6, "mixing": 0.5, "temperature": 0.3},
        {"clamp": 0.2},
    ],
    ids=str,
)
def test_loss_equals_the_formulas(rows, batch_of, options):
    method = build(rows, **options)
    batch = batch_of(0, 2, 3, 5)
    outputs = method.encode(batch, "joint")
    got = {name: float(term.detach()) for name, term in method.loss(outputs, batch.index, "joint").items()}
    out = {name: value.detach().double().numpy() for name, value in outputs.items()}
    banks = {name: bank.codes.double().numpy() for name, bank in method.banks.items()}
    want = by_hand(out, banks, rows.labels.numpy().astype(int), [0, 2, 3, 5], method.options)
    assert got == pytest.approx(want, rel=1e-4)


def test_the_published_weights(rows):
    o = resolve_options(KIND, "test", {})
    assert (o.within, o.across, o.quantization, o.contrast, o.concept_contrast) == (1, 10, 8, 50, 0.01)
    assert (o.distillation, o.distillation_back, o.temperature, o.mixing) == (1, 0.1, 0.07, 0.99)
    assert (o.top, o.blocks, o.layers, o.epochs, o.batch_size) == (8, 2, 2, 30, 128)


def test_banks_have_storage_of_their_own(rows, batch_of):
    """A public port makes all four of one tensor."""
    method = build(rows)
    banks = {name: bank.codes for name, bank in method.banks.items()}
    assert set(banks) == {"image_whole", "text_whole", "image_tokens", "text_tokens"}
    assert len({codes.data_ptr() for codes in banks.values()}) == 4
    first = [codes.clone() for codes in banks.values()]
    assert all(not torch.equal(a, b) for i, a in enumerate(first) for b in first[:i])
    batch = batch_of(1, 4)
    outputs = method.encode(batch, "joint")
    method.loss(outputs, batch.index, "joint")
    for before, (name, codes) in zip(first, banks.items(), strict=True):
        assert torch.equal(codes[[1, 4]], outputs[name].detach())
        assert torch.equal(codes[[0, 2, 3, 5]], before[[0, 2, 3, 5]])


def test_the_two_codes_teach_each_other_at_their_weights(rows, batch_of):
    method = build(rows)
    batch = batch_of(0, 1, 2)
    leaves = {name: x.detach().requires_grad_() for name, x in method.encode(batch, "joint").items()}
    method.loss(leaves, batch.index, "joint")["distillation"].backward()
    for side in SIDES:
        miss = (leaves[f"{side}_whole"] - leaves[f"{side}_tokens"]).detach()
        torch.testing.assert_close(leaves[f"{side}_tokens"].grad, -2 * miss / 3)
        torch.testing.assert_close(leaves[f"{side}_whole"].grad, 0.1 * 2 * miss / 3)


def test_binary_codes_of_a_batch_take_no_gradient_and_have_no_zeros(rows, batch_of):
    method = build(rows, bits=4)
    zeros = {name: torch.zeros(2, 4).requires_grad_() for name in method.banks}
    method._quantization(zeros).backward()
    assert all(torch.equal(x.grad, torch.full((2, 4), -1 / 8)) for x in zeros.values())  # towards +1


def test_one_concept_module_for_both_sides(rows):
    method = build(rows)
    assert method.image.shared is method.text.shared
    (group,) = method.optimizers()["networks"].param_groups
    ids = [id(p) for p in group["params"]]
    assert len(ids) == len(set(ids)) == len(list(method.parameters()))


def test_every_parameter_moves_in_the_second_step(rows, batch_of):
    """The schedule is 0 in the first step."""
    method = build(rows, layers=2)
    (optimizer,), before = method.optimizers().values(), {name: p.clone() for name, p in method.named_parameters()}
    for _ in range(2):
        method.zero_grad()
        method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
        optimizer.step()
    assert {name for name, p in method.named_parameters() if torch.equal(p, before[name])} == set()


def test_the_optimiser_is_that_of_the_released_code(rows):
    (optimizer,) = build(rows, epochs=7).optimizers().values()
    assert isinstance(optimizer, BertAdam)
    (group,) = optimizer.param_groups
    got = {key: value for key, value in group.items() if key != "params"}
    settings = {"lr": 1e-3, "total_steps": 14, "warmup": 0.05, "betas": (0.9, 0.98), "eps": 1e-6}
    assert got == settings | {"weight_decay": 0.01, "max_norm": 1.0}
    (phase,) = KIND.phases(build(rows), 0)
    assert (phase.optimizers, phase.sampler, phase.drop_last) == (("networks",), "shuffle", False)


@pytest.mark.parametrize("bits", [1, 8])
def test_a_batch_of_one(rows, batch_of, bits):
    method = build(rows, bits=bits)
    outputs = method.encode(batch_of(3), "joint")
    assert outputs["image_tokens"].shape == outputs["text_whole"].shape == (1, bits)
    method(batch_of(3), "joint").backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in method.parameters())


def test_widths(rows):
    """7 and 5 features: of one width they need no layer before the concepts."""
    assert build(rows).image.config.stem
    default = KIND(rows, 8, resolve_options(KIND, "test", {}))
    assert (default.image.config.space, default.text.config.token_space, default.image.config.heads) == (512, 512, 8)
    same = TrainData(rows.image.features, rows.image.features.flip(0), rows.labels)
    made = KIND(same, 8, resolve_options(KIND, "test", {}))
    assert (made.image.config.space, made.image.config.stem, made.image.config.heads) == (7, False, 1)


@pytest.mark.parametrize(("width", "heads"), [(512, 8), (1280, 20), (138, 2), (200, 2), (197, 1)])
def test_heads_divide_the_width(width, heads):
    """One for each 64, or fewer where those do not divide it: 200 would leave a part of a head over."""
    given = TrainData(torch.rand(6, width), torch.rand(6, width), torch.eye(3, dtype=torch.uint8).repeat(2, 1))
    made = KIND(given, 4, resolve_options(KIND, "test", {"blocks": 0, "layers": 1}))
    assert made.image.config.heads == heads


@pytest.fixture(scope="module")
def pairs():
    return data.load("synthetic", kind="multilabel", pairs=300)


FAST = {
    "space": 32, "token_space": 16, "layers": 1, "blocks": 1, "batch_size": 32, "centre": True, "normalize": True,
    "lr": 1e-2, "contrast": 5.0, "progress": False,
}  # fmt: skip


def test_learns_and_is_saved(pairs, tmp_path):
    run = train("mith", pairs, bits=16, out=tmp_path, epochs=8, **FAST)
    floor = score(random_codes(pairs, 16), pairs)
    assert run.scores.i2t > floor.i2t + 0.25
    assert run.scores.t2i > floor.t2i + 0.25
    loaded = HashModel.load(tmp_path)
    codes, again = run.scores.codes, encode(loaded, pairs)
    assert np.array_equal(codes.query_text, again.query_text)
    assert np.array_equal(codes.database_image, again.database_image)


def test_a_resumed_run_is_the_uninterrupted_one(pairs, tmp_path, monkeypatch):
    """Banks are state: their first codes come from the random stream of the start."""
    whole = train("mith", pairs, bits=8, epochs=2, **FAST)
    end_epoch = KIND.end_epoch

    def interrupt(self, epoch):
        end_epoch(self, epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fasthash._loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr(KIND, "end_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train("mith", pairs, bits=8, epochs=2, out=tmp_path, **FAST)
    resumed = train("mith", pairs, bits=8, epochs=2, out=tmp_path, resume=True, **FAST)
    assert np.array_equal(whole.scores.codes.database_image, resumed.scores.codes.database_image)
    assert whole.history[-1]["loss_joint"] == resumed.history[-1]["loss_joint"]


def test_raw_pictures(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(12)]
    text, labels = rng.random((12, 5), dtype=np.float32), rng.integers(0, 3, 12)
    raw = PairedDataset.from_arrays(None, text, labels=labels, pictures=pictures, query=np.arange(4), name="raw")
    options = {"image_backbone": "tiny:sure", "epochs": 2, "progress": False, "out": tmp_path, "eval_every": 5}
    run = train("mith", raw, bits=8, **SMALL | options)
    made = run.model.relax_image(pictures[:3])
    np.testing.assert_allclose(HashModel.load(tmp_path).relax_image(pictures[:3]), made)
    assert run.model.image.local is not None
    assert np.isfinite(made).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "mith: option temperature: .*greater than 0, got 0"),
        ({"mixing": 1.5}, "mith: option mixing: .*less than or equal to 1, got 1.5"),
        ({"token_space": 10, "heads": 4}, "mith: token_space must be a multiple of the 4 heads, got 10"),
        ({"layers": 0}, "mith: option layers: .*greater than or equal to 1, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
