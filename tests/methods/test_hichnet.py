"""HiCHNet against its objective written out in float64, its variants, and the rules of its schedule."""

import math

import numpy as np
import pytest
import torch

from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import HashModel

WEIGHTS = (0.3, 0.1, 0.7)  # of three layers
COARSE, MIDDLE, FINE = (0, 0, 0, 1, 1, 0, 1), (0, 1, 0, 2, 2, 1, 2), (0, 2, 1, 3, 4, 2, 3)


def hot(ids):
    return torch.eye(max(ids) + 1, dtype=torch.uint8)[list(ids)]


@pytest.fixture
def tree_rows():
    rng = np.random.default_rng(5)
    image, text = (torch.from_numpy(rng.standard_normal((7, p)).astype(np.float32)) for p in (6, 5))
    return TrainData(image, text, hot(FINE), (hot(COARSE), hot(MIDDLE), hot(FINE)))


def without_middle(rows):
    return TrainData(rows.image, rows.text, rows.labels, (rows.layers[0], rows.layers[2]))


def make(rows, bits=7, **options):
    torch.manual_seed(0)
    kind = get("hichnet")
    given = {"text_hidden": (4,), "gamma": 0.7, "eta": 0.3, "lam": 0.4, "init_std": 0.5} | options
    return kind(rows, bits, resolve_options(kind, "test", given))


def parts_of(method, rows, side):
    """(features, tower, own bank, other bank) of a side's step."""
    own, other = (method.image_bank, method.text_bank) if side == "image" else (method.text_bank, method.image_bank)
    return getattr(rows, side).features, getattr(method, side), own, other


def codes_of(method, rows, side):
    """float64 relaxed codes of all rows: one tanh on every head."""
    features, tower, *_ = parts_of(method, rows, side)
    with torch.no_grad():
        return np.tanh(tower(features).double().numpy())


def objective(h, own, other, unified, index, layers, classifiers):
    """Terms of the paper for a batch of one modality against the other's whole bank; layers: (weight, columns, ids)."""
    nll = classification = 0.0
    for (weight, columns, ids), (w, b) in zip(layers, classifiers, strict=True):
        for row in index:
            for j in range(len(other)):
                phi = 0.5 * sum(h[row, c] * other[j, c] for c in columns)
                nll -= weight * ((ids[row] == ids[j]) * phi - math.log(1 + math.exp(phi)))
            logits = w @ h[row, columns] + b
            classification -= weight * (logits[ids[row]] - math.log(sum(math.exp(x) for x in logits)))
    bank = own.copy()
    bank[index] = h[index]
    quantization = sum((unified[i, c] - h[i, c]) ** 2 for i in index for c in range(h.shape[1]))
    balance = sum(sum(bank[i, c] for i in range(len(bank))) ** 2 for c in range(h.shape[1]))
    scale = 2 / (len(bank) * len(index))
    return {
        "nll": 0.4 * scale * nll,
        "quantization": 0.4 * 0.7 * scale * quantization,
        "balance": 0.4 * 0.3 * scale * balance,
        "classification": 0.6 * scale * classification,
    }


def classifiers_of(method, side):
    return [
        (net.weight.detach().double().numpy(), net.bias.detach().double().numpy())
        for net in getattr(method, f"{side}_classifiers")
    ]


@pytest.mark.parametrize("side", ["image", "text"])
@pytest.mark.parametrize("index", [[4, 0, 3], [2]], ids=["batch", "one"])
def test_every_term_equals_the_objective(tree_rows, side, index):
    method = make(tree_rows, layer_weights=WEIGHTS)
    _, _, own, other = parts_of(method, tree_rows, side)
    layers = list(zip(WEIGHTS, ([0, 1], [2, 3], [4, 5, 6]), (COARSE, MIDDLE, FINE), strict=True))
    banks = [x.double().numpy().copy() for x in (own.codes, other.codes, method.unified)]
    h = codes_of(method, tree_rows, side)
    want = objective(h, *banks, index, layers, classifiers_of(method, side))
    batch = tree_rows.batch(torch.tensor(index))
    got = method.loss(method.encode(batch, side), batch.index, side)
    assert {name: float(term.detach()) for name, term in got.items()} == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("side", ["image", "text"])
def test_flat_is_one_layer_of_the_finest_labels(tree_rows, side):
    method = make(tree_rows, flat=True, layer_weights=WEIGHTS)
    _, _, own, other = parts_of(method, tree_rows, side)
    banks = [x.double().numpy().copy() for x in (own.codes, other.codes, method.unified)]
    h, index = codes_of(method, tree_rows, side), [5, 1]
    want = objective(h, *banks, index, [(1.0, list(range(7)), FINE)], classifiers_of(method, side))
    batch = tree_rows.batch(torch.tensor(index))
    got = method.loss(method.encode(batch, side), batch.index, side)
    assert {name: float(term.detach()) for name, term in got.items()} == pytest.approx(want, rel=1e-5)
    assert [net.out_features for net in getattr(method, f"{side}_classifiers")] == [5]


def test_flat_similarity_any_is_a_common_label_of_any_layer(tree_rows):
    method = make(tree_rows, flat=True, flat_similarity="any")
    h, bank = codes_of(method, tree_rows, "image"), method.text_bank.codes.double().numpy()
    want = 0.0
    for row in (0, 3, 6):
        for j in range(7):
            phi = 0.5 * h[row] @ bank[j]
            want += math.log(1 + math.exp(phi)) - any(ids[row] == ids[j] for ids in (COARSE, MIDDLE, FINE)) * phi
    batch = tree_rows.batch(torch.tensor([0, 3, 6]))
    nll = method.loss(method.encode(batch, "image"), batch.index, "image")["nll"]
    assert float(nll.detach()) == pytest.approx(0.4 * 2 / (7 * 3) * want, rel=1e-5)


@pytest.mark.parametrize("side", ["image", "text"])
def test_gradient_of_a_code_is_the_papers(tree_rows, side):
    method = make(without_middle(tree_rows), bits=6, lam=0.5)
    _, _, own, other = parts_of(method, tree_rows, side)
    index, batch = [1, 5], tree_rows.batch(torch.tensor([1, 5]))
    h = method.encode(batch, side)["h"].detach().requires_grad_()
    sum(method.loss({"h": h}, batch.index, side).values()).backward()
    want = 2 * 0.7 * (h.detach() - method.unified[index]) + 2 * 0.3 * own.codes.sum(dim=0)
    for weight, ids, columns, net in zip(
        (0.2, 0.8), (COARSE, FINE), (slice(0, 3), slice(3, 6)), getattr(method, f"{side}_classifiers"), strict=True
    ):
        ids, part = torch.tensor(ids), h.detach()[:, columns]
        sim = (ids[index, None] == ids).float()
        want[:, columns] += (
            weight * 0.5 * (torch.sigmoid(0.5 * part @ other.codes[:, columns].T) - sim) @ other.codes[:, columns]
        )
        miss = torch.softmax(net(part), dim=1) - nn_one_hot(ids[index], net.out_features)
        want[:, columns] += weight * (miss @ net.weight).detach()
    torch.testing.assert_close(h.grad, want / (7 * 2), rtol=1e-4, atol=1e-6)


def nn_one_hot(ids, classes):
    return torch.nn.functional.one_hot(ids, classes).float()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("side", "still"), [("image", "text"), ("text", "image")])
def test_a_step_moves_all_of_its_own_side_and_nothing_else(tree_rows, side, still, flat):
    method = make(tree_rows, flat=flat)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    method(tree_rows.batch(torch.arange(7)), side).backward()
    optimizers = method.optimizers()
    taken = [p for o in optimizers.values() for group in o.param_groups for p in group["params"]]
    assert {id(p) for p in taken} == {id(p) for p in method.parameters()}
    assert len(taken) == len(before)
    optimizers[side].step()
    for name, p in method.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith(still), name


def test_lam_takes_terms_away(tree_rows):
    batch = tree_rows.batch(torch.tensor([0, 1, 4]))
    for lam, gone in ((1.0, {"classification"}), (0.0, {"nll", "quantization", "balance"})):
        method = make(tree_rows, lam=lam)
        terms = method.loss(method.encode(batch, "image"), batch.index, "image")
        assert {name for name, term in terms.items() if float(term.detach()) == 0} == gone


def test_banks_take_the_forward_values_and_do_not_alias(tree_rows):
    method = make(tree_rows)
    text_before, image_before = method.text_bank.codes.clone(), method.image_bank.codes.clone()
    batch = tree_rows.batch(torch.tensor([2, 4]))
    with torch.no_grad():
        h = method.encode(batch, "image")["h"]
        assert h.abs().max() < 1
        method(batch, "image")
    assert torch.equal(method.image_bank.codes[[2, 4]], h)
    others = [0, 1, 3, 5, 6]
    assert torch.equal(method.image_bank.codes[others], image_before[others])
    assert torch.equal(method.text_bank.codes, text_before)
    banks = [method.image_bank.codes, method.text_bank.codes, method.unified]
    assert len({x.data_ptr() for x in banks}) == 3


def test_unified_code_is_the_sign_of_the_sum_and_has_no_zero(tree_rows):
    method = make(tree_rows)
    assert torch.equal(method.unified, torch.where(method.image_bank.codes + method.text_bank.codes >= 0, 1.0, -1.0))
    method.image_bank.codes.copy_(-method.text_bank.codes)
    method.text_bank.codes[0, 0] -= 0.5
    assert not torch.equal(method.unified, torch.ones(7, 7))
    method.end_epoch(0)
    want = torch.ones(7, 7)
    want[0, 0] = -1
    assert torch.equal(method.unified, want)


def test_official_text_network_has_no_first_and_twice_the_second_tanh(tree_rows):
    rows = without_middle(tree_rows)
    paper, official = (make(rows, bits=6, compat=compat, init_std=2.0) for compat in ("paper", "official"))
    official.load_state_dict(paper.state_dict())
    batch = rows.batch(torch.arange(7))
    assert torch.equal(paper.encode(batch, "image")["h"], official.encode(batch, "image")["h"])
    layer = paper.text.layers[-1]
    with torch.no_grad():
        f = paper.text.trunk(batch.text)
        wf, got = f @ layer.weight.T, official.encode(batch, "text")["h"]
        torch.testing.assert_close(paper.encode(batch, "text")["h"], torch.tanh(wf + layer.bias))
        torch.testing.assert_close(got[:, :3], (wf + layer.bias)[:, :3])
        torch.testing.assert_close(got[:, 3:], torch.tanh(torch.tanh(wf) + layer.bias)[:, 3:])
        assert not torch.equal(got[:, 3:].sign(), (wf + layer.bias)[:, 3:].sign()), "the slip changes codes"


def test_official_codes_survive_the_model_file(tree_rows, tmp_path):
    rows = without_middle(tree_rows)
    method = make(rows, bits=6, compat="official", init_std=2.0).eval()
    HashModel(method.image, method.text).save(tmp_path)
    loaded = HashModel.load(tmp_path)
    features = rows.text.features
    with torch.no_grad():
        h = method.encode(rows.batch(torch.arange(7)), "text")["h"]
    want = np.packbits(h.numpy() >= 0, axis=1)
    assert np.array_equal(loaded.encode_text(features.numpy()), want)


@pytest.mark.parametrize(
    ("bits", "options", "widths"),
    [
        (9, {}, [3, 3, 3]),
        (16, {}, [5, 5, 6]),
        (64, {}, [21, 21, 22]),
        (5, {"length": "per_layer"}, [5, 5, 5]),
        (16, {"layer_shares": (1, 2, 6)}, [2, 3, 11]),
        (3, {"layer_shares": (100, 1, 1)}, [1, 1, 1]),
        (8, {"flat": True}, [8]),
    ],
)  # fmt: skip
def test_widths_of_the_layers(tree_rows, bits, options, widths):
    method = make(tree_rows, bits=bits, **options)
    assert method.layer_bits == widths
    assert method.bits == sum(widths) == method.image.config.bits == method.unified.shape[1]


@pytest.mark.parametrize(("layers", "want"), [((0, 1), [0.2, 0.8]), ((0, 1, 2), [0.1, 0.1, 0.8]), ((2,), [1.0])])
def test_default_confidences(tree_rows, layers, want):
    rows = TrainData(tree_rows.image, tree_rows.text, None, tuple(tree_rows.layers[k] for k in layers))
    assert make(rows).weights == pytest.approx(want)
    assert make(tree_rows, layer_weights=WEIGHTS).weights == list(WEIGHTS)


def test_schedule(tree_rows):
    method = make(tree_rows)
    rates = [method.learning_rates(epoch)["text"] for epoch in (0, 249, 250, 499)]
    assert rates == pytest.approx([0.1, 0.1 - 0.09999 * 249 / 499, 0.1 - 0.09999 * 250 / 499, 1e-5])
    phases = [(phase.name, phase.optimizers, phase.sampler) for phase in method.phases(3)]
    assert phases == [("image", ("image",), "random"), ("text", ("text",), "random")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_weights": (0.2, 0.8)}, r"hichnet: layer_weights must be 3, one for each layer, got \(0.2, 0.8\)"),
        ({"layer_shares": (1.0,)}, r"hichnet: layer_shares must be 3, one for each layer, got \(1.0,\)"),
        ({"compat": "official"}, "hichnet: compat official has two layers, the data has 3"),
        ({"compat": "official", "flat": True}, "^hichnet: flat has one head: [^{]*$"),
        ({"length": "per_layer", "flat": True}, "^hichnet: flat has one head: [^{]*$"),
        ({"bits": 2}, "hichnet: bits must be at least 3, one for each layer, got 2"),
        ({"lam": 1.1}, "hichnet: option lam: .* less than or equal to 1, got 1.1"),
        ({"layer_weights": (-1, 0, 1)}, "hichnet: option layer_weights.0: .* greater than or equal to 0, got -1"),
    ],
)  # fmt: skip
def test_errors(tree_rows, options, message):
    with pytest.raises(ValueError, match=message) as error:
        make(tree_rows, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("row", "got"), [((1, 1, 0), 2), ((0, 0, 0), 0)])
def test_a_layer_with_several_labels_is_refused(tree_rows, row, got):
    middle = tree_rows.layers[1].clone()
    middle[3] = torch.tensor(row, dtype=torch.uint8)
    rows = TrainData(tree_rows.image, tree_rows.text, None, (tree_rows.layers[0], middle, tree_rows.layers[2]))
    with pytest.raises(ValueError, match=f"hichnet: layer 2 must have one label for each pair, row 3 has {got}"):
        make(rows)
