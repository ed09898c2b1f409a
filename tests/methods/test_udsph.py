"""UDSPH against its formulas in float64, who learns from what, where local parts come from, and its schedule."""

import numpy as np
import pytest
import torch

from fasthash.data import PairedDataset
from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import SparseRows
from fasthash.models.backbones import Backbone
from fasthash.ops import cross_attention_score
from fasthash.training import train

SMALL = {
    "width": 6, "image_hidden": (5,), "text_hidden": (7,), "label_hidden": (4,), "discriminator_hidden": (5, 3),
    "init_std": 0.6, "alpha": 0.9, "gamma": 1.1, "beta": 0.3, "eta": 0.2, "attention": 0.8, "adversary": 0.7,
    "local_width": 4, "regions": 3, "words": 4, "margin": 0.3,
}  # fmt: skip


@pytest.fixture
def bags(rows):
    """The rows with a bag of few words as text, one of them empty."""
    text = rows.text.features * (torch.arange(30).reshape(6, 5) % 3 == 0)
    text[2] = 0
    return TrainData(rows.image.features, text, rows.labels)


@pytest.fixture
def make(bags):
    def made(rows=bags, **options):
        torch.manual_seed(0)
        kind = get("udsph")
        method = kind(rows, 8, resolve_options(kind, "test", SMALL | options))
        method.begin_epoch(1)  # from here on there are unified codes
        return method

    return made


def softplus(x):
    return np.logaddexp(0, x)


def terms_of(method, batch, phase):
    got = method.loss(method.encode(batch, phase), batch.index, phase)
    return {name: float(term.detach()) for name, term in got.items()}


def network_terms(method, train, index, side, outputs):
    """The four weighted means of a network, in loops."""
    f, h, y = (outputs[f"{side}_{part}"].detach().double().numpy() for part in "fhy")
    feature_bank, code_bank = (banks["label"].codes.double().numpy() for banks in (method.features, method.codes))
    labels, unified = train.labels.numpy().astype(int), method.unified.double().numpy()
    m, n = len(index), len(labels)
    feature = code = quantization = label = 0.0
    for i, row in enumerate(index):
        for j in range(n):
            similar = float(labels[row] @ labels[j] > 0)
            feature += softplus(0.5 * f[i] @ feature_bank[j]) - similar * 0.5 * f[i] @ feature_bank[j]
            code += softplus(0.5 * h[i] @ code_bank[j]) - similar * 0.5 * h[i] @ code_bank[j]
        quantization += ((h[i] - unified[row]) ** 2).sum()
        label += ((y[i] - labels[row]) ** 2).sum()
    return {
        f"{side}_feature": 0.9 * feature / (m * n), f"{side}_code": 1.1 * code / (m * n),
        f"{side}_quantization": 0.3 * quantization / (m * 8), f"{side}_label": 0.2 * label / (m * labels.shape[1]),
    }  # fmt: skip


def attention(regions, words, is_word, similar, margin):
    """The hinge with the hardest negatives among dissimilar pairs, from scores made one pair at a time."""
    m = len(regions)
    score = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            there = is_word[j]
            pair = (regions[i : i + 1], words[j : j + 1][:, there])
            score[i, j] = float(cross_attention_score(*pair, direction="both")) if there.any() else 0.0
    total = 0.0
    for i in range(m):
        rows = [margin - score[i, i] + score[i, j] for j in range(m) if not similar[i, j]]
        columns = [margin - score[i, i] + score[j, i] for j in range(m) if not similar[i, j]]
        total += max([0.0, *rows]) + max([0.0, *columns])
    return total / m


def test_label_phase_is_the_objective(make, bags):
    method, batch = make(), bags.batch(torch.tensor([4, 0, 3]))
    outputs = method.encode(batch, "label")
    got = {name: float(term.detach()) for name, term in method.loss(outputs, batch.index, "label").items()}
    assert torch.equal(method.codes["label"].codes[[4, 0, 3]], outputs["label_h"].detach())
    assert got == pytest.approx(network_terms(method, bags, [4, 0, 3], "label", outputs), rel=2e-5)


@pytest.mark.parametrize("index", [[4, 0, 3, 2], [0, 1, 2, 3, 4, 5], [1]])
def test_joint_phase_is_the_objective(make, bags, index):
    method, batch = make(), bags.batch(torch.tensor(index))
    outputs = method.encode(batch, "joint")
    got = {name: float(term.detach()) for name, term in method.loss(outputs, batch.index, "joint").items()}
    want = network_terms(method, bags, index, "image", outputs) | network_terms(method, bags, index, "text", outputs)
    for side in ("image", "text"):
        with torch.no_grad():
            logits = method.judges[side](outputs[f"{side}_f"]).double().numpy()
        want[f"{side}_adversary"] = 0.7 * softplus(-logits).mean()
    labels = bags.labels[index].int()
    parts = [outputs[f"{side}_parts"].detach().double() for side in ("image", "text")]
    is_word = outputs["text_mask"] != 0
    want["attention"] = 0.8 * attention(*parts, is_word, (labels @ labels.T > 0).numpy(), 0.3)
    assert got == pytest.approx(want, rel=2e-5)


def test_words_are_those_of_the_bag(make, bags):
    method = make()
    outputs = method.encode(bags.batch(torch.arange(6)), "joint")
    assert outputs["text_mask"].sum(dim=1).tolist() == (bags.text.features != 0).sum(dim=1).clamp(max=4).tolist()
    for row in range(6):
        words = method.text_words[row][method.is_word[row]].tolist()
        assert set(words) <= set(bags.text.features[row].nonzero().flatten().tolist())
    table = method.local["text"].table.weight
    method.zero_grad()
    outputs["text_parts"][outputs["text_mask"] != 0].sum().backward()
    seen = set(method.text_words[method.is_word].tolist())
    assert {i for i, g in enumerate(table.grad) if g.abs().sum() > 0} == seen


def test_sparse_rows_have_the_same_words(make, bags):
    sparse = TrainData(bags.image.features, SparseRows(bags.text.features), bags.labels)
    one, other = make(), make(sparse)
    assert torch.equal(one.is_word, other.is_word)
    assert torch.equal(one.text_words[one.is_word], other.text_words[other.is_word])
    index = torch.tensor([5, 2, 0])
    got = [terms_of(each, train.batch(index), "joint") for each, train in ((one, bags), (other, sparse))]
    assert got[0] == pytest.approx(got[1], rel=1e-5)


def test_local_features_of_the_data_are_used(make, bags):
    torch.manual_seed(1)
    regions, words = torch.randn(6, 3, 2), torch.randn(6, 4, 3)
    words[1, 2:], words[4] = 0, 0
    train = TrainData(bags.image, bags.text, bags.labels, image_local=regions, text_local=words)
    method = make(train)
    outputs = method.encode(train.batch(torch.arange(6)), "joint")
    assert outputs["image_parts"].shape == (6, 3, 4)
    assert outputs["text_mask"].sum(dim=1).tolist() == [4, 2, 4, 4, 0, 4]
    net = method.local["image"]
    with torch.no_grad():
        want = net.parts(regions) + net.whole(outputs["image_f"])[:, None]
        torch.testing.assert_close(outputs["image_parts"], torch.nn.functional.normalize(want, dim=2))
    assert torch.isfinite(method(train.batch(torch.arange(6)), "joint"))


def test_local_features_of_a_data_set_reach_the_training(monkeypatch):
    rng = np.random.default_rng(0)
    parts = {"image_local": rng.standard_normal((20, 3, 2)), "text_local": rng.standard_normal((20, 4, 3))}
    data = PairedDataset.from_arrays(
        rng.standard_normal((20, 5)), rng.standard_normal((20, 6)), query=np.arange(4), labels=np.arange(20) % 3,
        **{name: values.astype(np.float32) for name, values in parts.items()},
    )  # fmt: skip
    seen = []
    build = get("udsph")._build_local
    monkeypatch.setattr(get("udsph"), "_build_local", lambda self, train: (seen.append(train), build(self, train))[1])
    train("udsph", data, bits=8, progress=False, epochs=1, **SMALL)
    for name, values in parts.items():
        np.testing.assert_array_equal(getattr(seen[0], name).numpy(), values[4:].astype(np.float32))


class Cells(Backbone):
    """A linear layer on each of a picture's 4 cells, and their mean."""

    kind, width, local_shape = "cells", 3, (4, 3)

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)

    def config(self):
        return {"kind": self.kind}

    def maps(self, x):
        return self.layer(x)

    def pool(self, maps):
        return maps.mean(dim=1)

    def split(self, maps):
        return maps


class CellRows:
    """Pictures of 4 cells of 2 numbers, for a backbone."""

    width = 3

    def __init__(self, pictures):
        self.pictures, self.backbone = pictures, Cells()

    def __len__(self):
        return len(self.pictures)

    def take(self, index):
        return self.pictures[index]

    def mean(self):
        return None


def test_regions_of_a_backbone_are_used_and_fine_tuned(make, bags):
    torch.manual_seed(2)
    train = TrainData(CellRows(torch.randn(6, 4, 2)), bags.text.features, bags.labels)
    method = make(train, local_context=False, margin=2.0)
    batch = train.batch(torch.arange(6))
    outputs = method.encode(batch, "joint")
    net = method.image.backbone
    torch.testing.assert_close(outputs["image_f"], method.image.trunk(batch.image))
    with torch.no_grad():
        want = torch.nn.functional.normalize(method.local["image"].parts(net.layer(batch.image)), dim=2)
    torch.testing.assert_close(outputs["image_parts"], want)
    method.loss(outputs, batch.index, "joint")["attention"].backward()
    assert net.layer.weight.grad.abs().sum() > 0
    scales = {g.get("lr_scale", 1.0): len(g["params"]) for g in method.optimizers()["joint"].param_groups}
    assert scales[0.1] == 2  # weight and bias of the backbone


@pytest.mark.parametrize("context", [True, False])
def test_the_attention_reaches_what_hashes_through_the_context(make, bags, context):
    method = make(local_context=context, margin=2.0)
    batch = bags.batch(torch.arange(6))
    method.loss(method.encode(batch, "joint"), batch.index, "joint")["attention"].backward()
    reached = {side: any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(method, side).parameters())
               for side in ("image", "text")}  # fmt: skip
    assert reached == {"image": True, "text": context}  # slots are views of f in any case
    assert all(p.grad.abs().sum() > 0 for p in method.local.parameters())


@pytest.mark.parametrize("side", ["image", "text"])
def test_the_adversary_reaches_the_network_and_not_the_discriminators(make, bags, side):
    method, batch = make(), bags.batch(torch.arange(6))
    method.loss(method.encode(batch, "joint"), batch.index, "joint")[f"{side}_adversary"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(method, side).parameters())
    assert all(p.grad is None for p in method.judges.parameters())


def test_the_discriminator_loss_reaches_the_discriminators_alone(make, bags):
    method = make()
    method(bags.batch(torch.arange(4)), "discriminator").backward()
    assert all(p.grad.abs().sum() > 0 for p in method.judges.parameters())
    assert all(p.grad is None for name, p in method.named_parameters() if not name.startswith("judges"))


def test_every_parameter_moves_in_its_phase_and_no_other(make, bags):
    method = make(margin=2.0)
    optimizers = method.optimizers()
    stepped = set()
    for phase in ("label", "discriminator", "joint"):
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        before = {name: p.detach().clone() for name, p in method.named_parameters()}
        method(bags.batch(torch.arange(6)), phase).backward()
        optimizers[phase].step()
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        own = {id(p) for group in optimizers[phase].param_groups for p in group["params"]}
        assert moved == {name for name, p in method.named_parameters() if id(p) in own}
        stepped |= moved
    assert stepped == {name for name, _ in method.named_parameters()}


def test_banks_take_the_forward_values_and_do_not_alias(make, bags):
    method, batch = make(), bags.batch(torch.tensor([2, 4]))
    before = {name: value.clone() for name, value in method.named_buffers()}
    outputs = method.encode(batch, "joint")
    method.loss(outputs, batch.index, "joint")
    for side in ("image", "text"):
        assert torch.equal(method.codes[side].codes[[2, 4]], outputs[f"{side}_h"].detach())
    changed = {name for name, value in method.named_buffers() if not torch.equal(value, before[name])}
    assert changed == {f"codes.{side}.{part}" for side in ("image", "text") for part in ("codes", "column_sum")}
    banks = [bank.codes.data_ptr() for bank in (*method.codes.values(), *method.features.values())]
    assert len(set(banks)) == 4


def test_in_the_first_epoch_nothing_is_quantised(make, bags):
    method, batch = make(), bags.batch(torch.arange(3))
    assert terms_of(method, batch, "label")["label_quantization"] > 0
    method.begin_epoch(0)
    assert terms_of(method, batch, "label")["label_quantization"] == 0
    assert terms_of(method, batch, "joint")["image_quantization"] == 0


def test_schedule(make):
    method = make(lr_decay=0.5)
    first, later = method.phases(0), method.phases(1)
    assert [phase.name for phase in first] == ["label"] * 6 + ["joint"]
    assert [phase.lr for phase in first] == [1e-3] * 5 + [None] * 2
    assert [phase.name for phase in later] == ["label", "joint"]
    assert later[1].before is not None
    assert later[1].before.name == "discriminator"
    assert all(phase.clip_norm == 5.0 for phase in (*later, later[1].before))
    assert method.learning_rates(2) == pytest.approx({"joint": 2.5e-5, "label": 2.5e-5, "discriminator": 2.5e-5})
    assert method.optimizers()["discriminator"].param_groups[0]["betas"] == (0.5, 0.999)


def test_parts_can_be_left_out(make, bags):
    batch = bags.batch(torch.arange(6))
    bare = make(attention=0, adversary=0, label_net=False)
    assert [phase.name for phase in bare.phases(0)] == ["joint"]
    assert bare.phases(0)[0].before is None
    assert set(bare.optimizers()) == {"joint"}
    kept = {f"{side}_{name}" for side in ("image", "text") for name in ("feature", "code", "quantization", "label")}
    assert set(terms_of(bare, batch, "joint")) == kept
    assert not any(name.startswith(("local", "judges", "label")) for name in bare.state_dict())
    assert set(terms_of(make(attention=0), batch, "joint")) == kept | {"image_adversary", "text_adversary"}
    with pytest.raises(ValueError, match="udsph: option adversary must be 0 without label_net"):
        make(label_net=False)


def test_the_networks_are_the_same_with_and_without_attention(make):
    one, other = make(), make(attention=0)
    state = one.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_the_checkpoint_holds_no_words(make):
    assert not {"text_words", "is_word", "hot"} & set(make().state_dict())
