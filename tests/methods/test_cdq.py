"""CDQ against its loss written out in float64, its codebook's rounds, and asymmetric evaluation."""

import math

import numpy as np
import pytest
import torch

from fasthash import data, metrics
from fasthash.compare.cells import measure
from fasthash.evaluation import QuantizedCodes, encode, evaluate, random_codes, score
from fasthash.methods import get, resolve_options
from fasthash.methods.cdq import CDQOptions
from fasthash.metrics import Measure
from fasthash.models import HashModel, QuantizedModel
from fasthash.models.codebook import reconstruct
from fasthash.training import train

KIND = get("cdq")
SMALL = {"width": 10, "text_hidden": (4,), "init_std": None, "dropout": 0.0}
FAST = {
    "epochs": 8, "batch_size": 32, "width": 32, "image_hidden": (64,), "text_hidden": (64,), "init_std": None,
    "centre": True, "normalize": True, "lr_image": 0.05, "lr_text": 0.05, "last_layer": 1.0,
}  # fmt: skip


def build(rows, seed=0, bits=16, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", SMALL | options))


def filled(method, rows):
    """With vectors of all rows, centres and codes, as after the first epoch."""
    batch = rows.batch(torch.arange(len(rows)))
    method.begin_epoch(0)
    method(batch, "joint")
    method.end_epoch(0)
    method.begin_epoch(1)
    return method


def by_hand(method, batch, labels, clip=math.inf):
    o = method.options
    with torch.no_grad():
        u, v = (x.double().numpy() for x in method.encode(batch, "joint").values())
    nll = 0.0
    for i in range(len(u)):
        for j in range(len(v)):
            theta = min(max(o.alpha * float(u[i] @ v[j]), -clip), clip)
            similar = float((labels[i] * labels[j]).sum() > 0)
            nll += (max(theta, 0) + math.log1p(math.exp(-abs(theta))) - similar * theta) / (len(u) * len(v))
    far, book = 0.0, method.codebook.double().numpy()
    for side, vectors in enumerate((u, v)):
        for x, code in zip(vectors, method.codes[side][batch.index].tolist(), strict=True):
            far += ((x - sum(book[m, k] for m, k in enumerate(code))) ** 2).sum() / len(u)
    return {"nll": nll, "quantization": method.quantization * far}


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3, "quantization": 0.7}, {"alpha": 40.0}], ids=str)
@pytest.mark.parametrize("likelihood", ["stable", "official"])
def test_loss_equals_the_formulas(rows, options, likelihood):
    method = filled(build(rows, likelihood=likelihood, **options), rows)
    batch = rows.batch(torch.tensor([0, 1, 2, 4, 5, 3]))
    want = by_hand(
        method, batch, rows.labels.numpy()[[0, 1, 2, 4, 5, 3]], 15.0 if likelihood == "official" else math.inf
    )
    terms = method.loss(method.encode(batch, "joint"), batch.index, "joint")
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(want, rel=1e-5, abs=1e-7)


def test_official_likelihood_has_no_gradient_beyond_the_cut(rows, batch_of):
    """The stable one has: what is dissimilar and far too close is drawn apart."""
    u = torch.full((4, 10), 0.9).requires_grad_()
    for likelihood, flat in (("stable", False), ("official", True)):
        method = build(rows, alpha=10.0, likelihood=likelihood)
        method.loss({"image": u, "text": u.detach().clone()}, torch.tensor([0, 1, 2, 3]), "joint")["nll"].backward()
        assert bool((u.grad == 0).all()) == flat
        u.grad = None


def test_quantisation_begins_with_the_second_epoch(rows, batch_of):
    method, batch = build(rows, quantization=0.5), batch_of(0, 1, 2, 3, 4, 5)
    method.begin_epoch(0)
    with torch.no_grad():
        assert float(method.loss(method.encode(batch, "joint"), batch.index, "joint")["quantization"]) == 0
    assert not method.codebook.any()
    method.end_epoch(0)
    method.begin_epoch(1)
    assert method.quantization == 0.5
    assert method.codebook.any()


def test_rounds_of_the_codebook(rows):
    method = filled(build(rows), rows)
    vectors = method.vectors.flatten(0, 1)
    start = method.codebook.clone()
    assert not start[0, :, 5:].any()  # centres of slices
    assert not start[1, :, :5].any()
    torch.testing.assert_close(reconstruct(start, method.codes.flatten(0, 1)), vectors)  # 12 vectors, 256 centres
    with torch.no_grad():
        method.vectors.add_(0.1 * torch.randn_like(method.vectors))
    codes = method.codes.clone()
    method.end_epoch(1)
    assert not torch.equal(method.codebook, start)
    after = (method.vectors.flatten(0, 1) - reconstruct(method.codebook, method.codes.flatten(0, 1))).square().sum()
    before = (method.vectors.flatten(0, 1) - reconstruct(start, codes.flatten(0, 1))).square().sum()
    assert float(after) < float(before)


def test_vectors_are_those_of_the_steps(rows, batch_of):
    method, batch = build(rows), batch_of(4, 1)
    outputs = method.encode(batch, "joint")
    method.loss(outputs, batch.index, "joint")
    for side, made in zip(method.vectors, outputs.values(), strict=True):
        assert torch.equal(side[[4, 1]], made.detach())
        assert not side[[0, 2, 3, 5]].any()
    assert max(float(x.detach().abs().max()) for x in outputs.values()) < 1


def test_rates_of_the_layers_and_their_halving(rows):
    method = build(rows, image_hidden=(6,))
    image, text = method.optimizers().values()
    assert [group.get("lr_scale", 1.0) for group in image.param_groups] == [1.0, 10.0]
    assert [len(group["params"]) for group in image.param_groups] == [2, 2]
    assert image.param_groups[1]["params"][0] is method.image.layers[-1].weight
    assert {group["momentum"] for o in (image, text) for group in o.param_groups} == {0.9}
    rates = [method.learning_rates(epoch) for epoch in (0, 14, 15, 30)]
    assert [r["image"] for r in rates] == pytest.approx([0.002, 0.002, 0.001, 0.0005])
    assert [r["text"] for r in rates] == pytest.approx([0.2, 0.2, 0.1, 0.05])
    (alone,) = build(rows).optimizers()["image"].param_groups  # feature mode of the defaults: the last layer
    assert alone["lr_scale"] == 10.0


def test_every_parameter_moves_in_one_step(rows, batch_of):
    method = filled(build(rows, image_hidden=(6,)), rows)
    before, optimizers = {n: p.detach().clone() for n, p in method.named_parameters()}, method.optimizers()
    method(batch_of(0, 1, 2, 3, 4, 5), "joint").backward()
    for optimizer in optimizers.values():
        optimizer.step()
    assert {name for name, p in method.named_parameters() if torch.equal(p, before[name])} == set()


@pytest.mark.parametrize(("bits", "width"), [(20, 10), (4, 10), (88, 10)])
def test_bits_that_are_no_bytes(rows, bits, width):
    with pytest.raises(ValueError, match=rf"^cdq: bits must be a multiple of 8, at most 8 \* width = 80, got {bits}$"):
        build(rows, bits=bits, width=width)


@pytest.fixture(scope="module")
def run():
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    return pairs, train("cdq", pairs, bits=24, progress=False, **FAST)


def test_learns_and_is_stored(run, tmp_path):
    pairs, run = run
    floor = score(random_codes(pairs, 24), pairs)
    assert run.scores.i2t > floor.i2t + 0.3
    assert run.scores.t2i > floor.t2i + 0.3
    assert run.model.bits == run.scores.codes.bits == 24
    run.model.save(tmp_path)
    again = HashModel.load(tmp_path)
    assert isinstance(again, QuantizedModel)
    assert evaluate(again, pairs).i2t == run.scores.i2t


def test_scores_are_of_float_queries_against_reconstructions(run):
    pairs, run = run
    query, database = pairs.split.query, pairs.split.database
    asks = run.model.relax_text(pairs.text[query])
    items = run.model.decode(run.model.encode_image(pairs.image[database]))
    measures = {"hit": Measure("map_at_k_hitonly", k=7), "map_all": Measure("map_all")}
    found = evaluate(run.model, pairs, measures)
    want = metrics.evaluate_scores(
        np.round(asks.astype(float) @ items.T.astype(float), 5), pairs.labels[query], pairs.labels[database], measures
    )
    for name in measures:
        assert found.scores[name]["t2i"].value == pytest.approx(want[name].value, abs=2e-4)
    assert found.to_dict()["map"]["hit"]["t2i"] == found.scores["hit"]["t2i"].value
    assert found.summaries == {}


def test_codes_carry_their_way_of_ranking(run):
    pairs, run = run
    codes = encode(run.model, pairs)
    assert isinstance(codes, QuantizedCodes)
    assert not codes.hamming
    assert score(codes, pairs).t2i == run.scores.t2i
    assert measure(codes, pairs)["map_all"] == {"i2t": run.scores.i2t, "t2i": run.scores.t2i}
    with pytest.raises(
        ValueError, match="needs codes for Hamming distances; those of cdq are ranked by inner products"
    ):
        codes.require_hamming("curves")


def test_without_the_trained_and_graded(run):
    _, run = run
    tree = data.load("synthetic", kind="hierarchical", pairs=200)
    wide = {side: run.model.quantize(np.zeros((200, 32), np.float32)) for side in ("image", "text")}
    sizes = len(tree.split.query), len(tree.split.database)
    vectors = {side: np.zeros((sizes[0], 32), np.float32) for side in wide}
    shown = [wide[side][:n] for n in sizes for side in ("image", "text")]
    codes = QuantizedCodes(24, *shown, run.model, vectors)
    with pytest.raises(ValueError, match=r"^evaluate: graded relevance: needs codes for Hamming distances"):
        score(codes, tree, relevance="graded")
    assert set(measure(codes, tree)) == {"map_all", "map_at_50", "map_all_any"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "clipped"}, "cdq: option likelihood: .*'stable' or 'official', got 'clipped'"),
        ({"ridge": 0}, "cdq: option ridge: .*greater than 0, got 0"),
        ({"momentum": 1.0}, "cdq: option momentum: .*less than 1, got 1.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)


def test_defaults_are_those_of_the_released_code():
    o = CDQOptions()
    assert (o.width, o.alpha, o.quantization, o.ridge, o.sweeps) == (128, 1.0, 0.003, 1e-3, 1)
    assert (o.epochs, o.batch_size, o.lr_image, o.lr_text, o.last_layer) == (30, 64, 0.002, 0.2, 10.0)
    assert (o.momentum, o.lr_halves, o.text_hidden, o.dropout) == (0.9, 15, (4096,), 0.5)
