"""SSAH against its objective written out in float64, who learns from the adversary, and the rules of its schedule."""

import numpy as np
import pytest
import torch

from fasthash import losses
from fasthash.methods import TrainData, get, resolve_options
from fasthash.models.channel_norm import ChannelNorm

SMALL = {
    "width": 6, "image_hidden": (5,), "text_hidden": (7,), "label_hidden": (4,), "discriminator_hidden": (5, 3),
    "text_scales": (3, 2), "init_std": 0.6, "alpha": 0.9, "gamma": 1.1, "eta": 0.3, "beta": 0.2, "adversary": 0.7,
}  # fmt: skip
NETWORKS = ("label", "image", "text")


@pytest.fixture
def make(rows):
    def made(**options):
        torch.manual_seed(0)
        kind = get("ssah")
        method = kind(rows, 8, resolve_options(kind, "test", SMALL | options))
        method.begin_epoch(1)  # from here on there are unified codes
        return method

    return made


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def seen(method, batch, phase):
    """f, h and y of a network in float64, from its parameters."""
    tower, head = getattr(method, phase), method.heads[phase].labels
    x = method.hot[batch.index].float() if phase == "label" else getattr(batch, phase)
    with torch.no_grad():
        f = tower.trunk(x)
        normed = tower.norm(f).double().numpy()
    last = tower.layers[-1]
    weights = [p.detach().double().numpy() for p in (last.weight, last.bias, head.weight, head.bias)]
    h, y = np.tanh(normed @ weights[0].T + weights[1]), sigmoid(normed @ weights[2].T + weights[3])
    return f.double().numpy(), h, y


def objective(method, rows, batch, phase, reduction="sum"):
    """The paper's objective of one network, term by term in loops; banks after their rows are overwritten."""
    f, h, y = seen(method, batch, phase)
    feature_bank = method.features["label"].codes.double().numpy().copy()
    code_bank = method.codes["label"].codes.double().numpy().copy()
    index, labels = batch.index.tolist(), rows.labels.numpy().astype(int)
    if phase == "label":
        feature_bank[index], code_bank[index] = f, h
    unified = method.unified.double().numpy()
    terms = dict.fromkeys(("feature", "code", "quantization", "label"), 0.0)
    for i, row in enumerate(index):
        for j in range(len(labels)):
            similar = float(labels[row] @ labels[j] > 0)
            for name, own, bank in (("feature", f, feature_bank), ("code", h, code_bank)):
                theta = 0.5 * own[i] @ bank[j]
                terms[name] += softplus(theta) - similar * theta
        terms["quantization"] += ((unified[row] - h[i]) ** 2).sum()
        terms["label"] += ((labels[row] - y[i]) ** 2).sum()
    m, n = len(index), len(labels)
    sizes = {"feature": m * n, "code": m * n, "quantization": m * 8, "label": m * labels.shape[1]}
    weights = {"feature": 0.9, "code": 1.1, "quantization": 0.3, "label": 0.2}
    made = {name: weights[name] * value / (sizes[name] if reduction == "mean" else 1) for name, value in terms.items()}
    if phase != "label":
        with torch.no_grad():
            logits = method.judges[phase].double()(torch.from_numpy(f)).numpy()
        method.judges[phase].float()
        made["adversary"] = 0.7 * (softplus(-logits).sum() if reduction == "sum" else softplus(-logits).mean())
    return made


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("phase", NETWORKS)
def test_loss_equals_the_objective(make, rows, batch_of, phase, reduction):
    method, batch = make(reduction=reduction), batch_of(4, 0, 3)
    want = objective(method, rows, batch, phase, reduction)
    got = method.loss(method.encode(batch, phase), batch.index, phase)
    assert {name: float(term.detach()) for name, term in got.items()} == pytest.approx(want, rel=2e-5)


@pytest.mark.parametrize("phase", NETWORKS)
def test_official_loss_is_the_squared_form_against_the_networks_own_signs(make, rows, batch_of, phase):
    method, batch = make(compat="official", eta=None, beta=None), batch_of(1, 2, 5)
    f, h, y = seen(method, batch, phase)
    feature_bank = method.features["label"].codes.double().numpy().copy()
    code_bank = method.codes["label"].codes.double().numpy().copy()
    if phase == "label":
        feature_bank[[1, 2, 5]], code_bank[[1, 2, 5]] = f, h
    labels = rows.labels.numpy().astype(int)
    want = dict.fromkeys(("feature", "code", "quantization", "label"), 0.0)
    for i, row in enumerate((1, 2, 5)):
        for j in range(6):
            similar = 0.999 * float(labels[row] @ labels[j] > 0)
            for name, own, bank, weight in (("feature", f, feature_bank, 0.9), ("code", h, code_bank, 1.1)):
                theta = 0.5 * own[i] @ bank[j]
                want[name] += weight * 0.5 * (similar * theta - softplus(theta)) ** 2
        want["quantization"] += 0.5 * ((np.where(h[i] >= 0, 1, -1) - h[i]) ** 2).sum()
        want["label"] += 0.5 * ((labels[row] - y[i]) ** 2).sum()
    got = {k: float(v.detach()) for k, v in method.loss(method.encode(batch, phase), batch.index, phase).items()}
    assert (got.pop("adversary", None) is None) == (phase == "label")
    assert got == pytest.approx(want, rel=2e-5)


def test_weights_that_are_not_given_follow_the_form(make):
    assert make(eta=None, beta=None).weights == {"feature": 0.9, "code": 1.1, "quantization": 1e-4, "label": 1e-4}
    official = make(compat="official", eta=None, beta=0.5)
    assert official.weights == {"feature": 0.9, "code": 1.1, "quantization": 1.0, "label": 0.5}


def adversary_alone(method, batch, phase):
    method.zero_grad(set_to_none=True)
    method.loss(method.encode(batch, phase), batch.index, phase)["adversary"].backward()
    moved = lambda module: any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())  # noqa: E731
    return moved(method.network(phase)), moved(method.judges)


@pytest.mark.parametrize("phase", ["image", "text"])
def test_the_adversary_reaches_the_network_and_not_the_discriminators(make, batch_of, phase):
    assert adversary_alone(make(), batch_of(0, 1, 2), phase) == (True, False)


@pytest.mark.parametrize("phase", ["image", "text"])
def test_officially_the_adversary_reaches_the_discriminator_alone(make, batch_of, phase):
    method = make(compat="official")
    assert adversary_alone(method, batch_of(0, 1, 2), phase) == (False, True)
    stepped = {id(p) for group in method.optimizers()[phase].param_groups for p in group["params"]}
    assert {id(p) for p in method.judges[phase].parameters()} <= stepped


def test_the_discriminator_loss_reaches_the_discriminators_alone(make, rows, batch_of):
    method, batch = make(), batch_of(0, 1, 2, 5)
    terms = method.loss(method.encode(batch, "discriminator"), batch.index, "discriminator")
    sum(terms.values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in method.judges.parameters())
    others = [p for name, p in method.named_parameters() if not name.startswith("judges")]
    assert others
    assert all(p.grad is None for p in others)
    real = method.features["label"].codes[batch.index].double()
    want = 0.0
    for side in ("image", "text"):
        judge = method.judges[side].double()
        fake = torch.from_numpy(seen(method, batch, side)[0])
        with torch.no_grad():
            want += softplus(-judge(real).numpy()).mean() / 4 + softplus(judge(fake).numpy()).mean() / 4
    assert sum(float(term.detach()) for term in terms.values()) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_every_parameter_moves_in_its_phase_and_no_other(make, batch_of, compat):
    method = make(compat=compat)
    optimizers = method.optimizers()
    stepped = set()
    for phase in ("label", "discriminator", "image", "text"):
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        before = {name: p.detach().clone() for name, p in method.named_parameters()}
        method(batch_of(0, 1, 2, 3, 4, 5), phase).backward()
        optimizers[phase].step()
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        own = {id(p) for group in optimizers[phase].param_groups for p in group["params"]}
        assert moved == {name for name, p in method.named_parameters() if id(p) in own}
        stepped |= moved
    assert stepped == {name for name, _ in method.named_parameters()}


def test_official_and_paper_agree_on_the_discriminators(make, batch_of):
    losses = [make(compat=compat)(batch_of(0, 1), "discriminator") for compat in ("paper", "official")]
    assert torch.equal(*losses)


@pytest.mark.parametrize("phase", NETWORKS)
def test_banks_take_the_forward_values_and_do_not_alias(make, batch_of, phase):
    method, batch = make(), batch_of(2, 4)
    before = {name: value.clone() for name, value in method.named_buffers()}
    outputs = method.encode(batch, phase)
    method.loss(outputs, batch.index, phase)
    assert torch.equal(method.codes[phase].codes[[2, 4]], outputs[f"{phase}_h"].detach())
    written = {f"codes.{phase}.codes", f"codes.{phase}.column_sum"}
    if phase == "label":
        assert torch.equal(method.features["label"].codes[[2, 4]], outputs["label_f"].detach())
        written |= {"features.label.codes", "features.label.column_sum"}
    assert {name for name, value in method.named_buffers() if not torch.equal(value, before[name])} == written
    banks = [bank.codes.data_ptr() for bank in (*method.codes.values(), *method.features.values())]
    assert len(set(banks)) == 4


def test_unified_code_is_the_sign_of_the_sum_and_has_no_zero(make):
    method = make()
    for bank in method.codes.values():
        bank.codes.zero_()
    method.end_epoch(0)
    assert torch.equal(method.unified, torch.ones(6, 8))
    method.codes["label"].codes[0, 0], method.codes["text"].codes[0, 0] = -2.0, 1.0
    method.end_epoch(0)
    assert method.unified[0, 0] == -1
    assert method.unified.sum() == 46


def test_before_there_are_unified_codes_the_banks_signs_are_the_target(make, batch_of):
    method, batch = make(), batch_of(0, 5)
    method.begin_epoch(0)
    assert all(not method.codes[side].codes.any() for side in ("image", "text"))
    h = seen(method, batch, "image")[1]
    target = np.where(h + method.codes["label"].codes[[0, 5]].double().numpy() >= 0, 1, -1)
    terms = method.loss(method.encode(batch, "image"), batch.index, "image")
    assert float(terms["quantization"].detach()) == pytest.approx(0.3 * ((h - target) ** 2).sum(), rel=1e-5)


def test_passes_and_their_falling_rates(make):
    method = make(label_passes=(2, 1), discriminator_passes=(1,), image_passes=(1, 1, 1), text_passes=(), lr_label=0.1)
    made = method.phases(2)
    assert [phase.name for phase in made] == ["label"] * 3 + ["discriminator"] + ["image"] * 3
    assert [phase.lr for phase in made[:3]] == pytest.approx([0.1 * 0.1, 0.1 * 0.1, 0.1 * 10**-1.5])
    assert made[6].lr == pytest.approx(10**-4.5 * 10**-2)
    assert [phase.group for phase in made[:3]] == ["label 0", "label 0", "label 1"]
    assert all(phase.sampler == "random" and phase.optimizers == (phase.name,) for phase in made)


def test_default_schedule_is_the_codes(rows):
    kind = get("ssah")
    options = resolve_options(kind, "test", {})
    made = kind(rows, 8, options).phases(0)
    counts = {name: sum(phase.name == name for phase in made) for name in ("label", "discriminator", "image", "text")}
    assert counts == {"label": 15, "discriminator": 2, "image": 27, "text": 27}
    assert made[0].lr == pytest.approx(1e-2)
    assert made[-1].lr == pytest.approx(10**-4.5)


def test_networks_are_those_of_the_paper(rows):
    kind = get("ssah")
    wide = TrainData(torch.rand(6, 7), torch.rand(6, 60), rows.labels)
    method = kind(wide, 16, resolve_options(kind, "test", {}))
    shapes = lambda net: [tuple(p.shape) for p in net.parameters() if p.ndim == 2]  # noqa: E731
    assert shapes(method.image) == [(512, 7), (16, 512)]
    assert shapes(method.text) == [(4096, 6 * 60), (512, 4096), (16, 512)]
    assert shapes(method.label) == [(4096, 3), (512, 4096), (16, 512)]
    assert shapes(method.judges["image"]) == [(512, 512), (256, 512), (1, 256)]
    norms = [
        sum(isinstance(m, ChannelNorm) for m in net.modules()) for net in (method.image, method.text, method.label)
    ]
    assert norms == [0, 2, 1]
    outputs = method.encode(wide.batch(torch.tensor([0, 1])), "image")
    assert outputs["image_h"].abs().max() < 1
    assert outputs["image_y"].min() > 0


def test_without_a_label_network_image_and_text_follow_each_other(make, rows, batch_of):
    method, batch = make(label_net=False, adversary=0), batch_of(0, 4)
    assert [phase.name for phase in method.phases(0)] == ["image"] * 27 + ["text"] * 27
    assert not any(name.startswith(("label", "judges")) for name in method.state_dict())
    terms = method.loss(method.encode(batch, "image"), batch.index, "image")
    h = torch.from_numpy(seen(method, batch, "image")[1]).float()
    want = losses.PairwiseNLL()(h, method.codes["text"].codes, rows.labels[batch.index], rows.labels)
    assert float(terms["code"].detach()) == pytest.approx(1.1 * float(want), rel=1e-5)


def test_without_an_adversary_there_are_no_discriminators(make, batch_of):
    method = make(adversary=0)
    assert "discriminator" not in {phase.name for phase in method.phases(0)}
    assert "discriminator" not in method.optimizers()
    assert "adversary" not in method.loss(method.encode(batch_of(0), "image"), torch.tensor([0]), "image")


def test_a_weight_of_zero_leaves_the_term_out(make, batch_of):
    method = make(alpha=0, beta=0)
    terms = method.loss(method.encode(batch_of(0, 1), "image"), torch.tensor([0, 1]), "image")
    assert set(terms) == {"code", "quantization", "adversary"}


def test_a_batch_of_one(make, batch_of):
    for compat in ("paper", "official"):
        method = make(compat=compat)
        for phase in ("label", "discriminator", "image", "text"):
            assert torch.isfinite(method(batch_of(3), phase))


def test_an_adversary_needs_a_label_network(make):
    with pytest.raises(ValueError, match="ssah: option adversary must be 0 without label_net") as error:
        make(label_net=False)
    assert "\n" not in str(error.value)
