"""DGCPN: its affinity and its three steps by hand, what is kept of the graph, and that it learns."""

import math

import numpy as np
import pytest
import torch
from tiny_backbone import SIZE

from fasthash import data
from fasthash.data import PairedDataset
from fasthash.evaluation import encode, random_codes, score
from fasthash.losses import GraphCoherence
from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import HashModel, MappedRows, SparseRows, neighbour_graph
from fasthash.models.neighbour_graph import NeighbourGraph
from fasthash.training import train

KIND = get("dgcpn")


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    small = {"image_hidden": (3,), "text_hidden": (4,), "batch_size": 4}
    return KIND(rows, bits, resolve_options(KIND, "test", small | options))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def affinity_by_hand(image, text, a1, a2, keep, scale, affine=True):
    """The released code's n x n matrix, with the row itself left out in place of a row's largest entry."""
    s = (1 - a1) * unit(image) @ unit(image).T + a1 * unit(text) @ unit(text).T
    p = s.copy()
    for i, row in enumerate(s):
        p[i, np.argsort(row)[: len(s) - keep]] = 0  # those that are farthest
        p[i, i] = 0
    p /= p.sum(axis=1, keepdims=True)
    out = (1 - a2) * s + a2 * scale * p @ p.T
    return 2 * out - 1 if affine else out


@pytest.mark.parametrize(
    ("options", "keep", "scale"),
    [
        ({}, 3, 6.0),  # four tenths of 6 pairs, and twice that
        ({"neighbours": 4, "scale": 5.0, "text_share": 0.4, "second_order": 0.6}, 4, 5.0),
        ({"neighbours": 100}, 6, 12.0),
        ({"second_order": 0.0, "affine": False}, 3, 6.0),
    ],
    ids=str,
)
def test_affinity_is_that_of_the_dense_graph(rows, options, keep, scale):
    method = build(rows, **options)
    o, index = method.options, [0, 2, 3, 5]
    image, text = (x.features.double().numpy() for x in (rows.image, rows.text))
    want = affinity_by_hand(image, text, o.text_share, o.second_order, keep, scale, o.affine)
    got = method.affinity(*method.teacher.of({}, torch.tensor(index)), torch.tensor(index))
    np.testing.assert_allclose(got, want[np.ix_(index, index)], rtol=1e-5, atol=1e-6)


def test_published_sizes(monkeypatch):
    """Of 5,000 pairs, and what becomes of them for more and fewer."""
    asked = []
    monkeypatch.setattr(NeighbourGraph, "build", lambda similarity, n, k: asked.append((n, k)))
    for n in (5000, 20000, 100):
        x = torch.rand(n, 2)
        method = build(TrainData(x, x))
        assert method.scale == 2 * (asked[-1][1] + 1)
    assert asked == [(5000, 1999), (20000, 1999), (100, 39)]
    o = method.options
    assert (o.text_share, o.second_order, o.pair_target, o.coherence, o.consistency) == (0.01, 0.3, 1.5, 1, 1)


@pytest.mark.parametrize("phase", ["joint", "image", "text"])
@pytest.mark.parametrize("relaxation", ["constant", "root"])
def test_each_step_has_its_codes(rows, batch_of, phase, relaxation):
    method = build(rows, relaxation=relaxation, pair_target=1.2, coherence=2.0)
    method.begin_epoch(3)
    batch = batch_of(0, 2, 3, 5)
    outputs = method.encode(batch, phase)
    slope = 2 if relaxation == "root" else 1
    codes = {side: torch.tanh(slope * outputs[side].detach().double()) for side in ("image", "text")}
    for side in codes:
        if phase not in ("joint", side):
            codes[side] = torch.where(codes[side] >= 0, 1.0, -1.0).double()
    s = method.affinity(*method.teacher.of(outputs, batch.index), batch.index).double()
    want = GraphCoherence(target=1.2, coherence=2.0)(codes["image"], codes["text"], s)._asdict()
    got = method.loss(outputs, batch.index, phase)
    assert {k: float(v.detach()) for k, v in got.items()} == pytest.approx({k: float(v) for k, v in want.items()})
    method(batch, phase).backward()
    moved = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert moved == ({"image", "text"} if phase == "joint" else {phase})


def test_a_batch_takes_three_steps(rows):
    method = build(rows)
    (last,) = method.phases(0)
    steps = [last.before.before, last.before, last]
    assert [(step.name, step.optimizers) for step in steps] == [
        ("joint", ("image", "text")), ("image", ("image",)), ("text", ("text",)),
    ]  # fmt: skip
    assert steps[0].before is None
    (joint,) = build(rows, half_binary=False).phases(0)
    assert (joint.name, joint.before, joint.drop_last) == ("joint", None, False)


def test_signs_of_zero_are_plus_one(rows):
    method = build(rows)
    outputs = {side: torch.zeros(3, 8, requires_grad=True) for side in ("image", "text")}
    outputs["image"] = torch.ones(3, 8, requires_grad=True)
    got = method.loss(outputs, torch.tensor([0, 1, 2]), "image")["pairs"]  # all cosines are 1
    assert float(got.detach()) == pytest.approx((1 - 1.5) ** 2)


@pytest.mark.parametrize("kind", ["sparse", "mapped"])
def test_other_rows_have_the_loss_of_dense_ones(rows, kind):
    text = rows.text.features * (torch.arange(5) % 2)
    image = rows.image.features
    dense = TrainData(image, text)
    other = {
        "sparse": lambda: TrainData(image, SparseRows(text)),
        "mapped": lambda: TrainData(MappedRows(image.numpy()), MappedRows(text.numpy())),
    }[kind]()
    index = torch.tensor([0, 1, 4])
    values = [float(build(given)(given.batch(index), "joint").detach()) for given in (dense, other)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_sparse_rows_are_made_dense_once(rows, monkeypatch):
    """Not for every block of the graph: to ask them where they lie is to make all of them."""
    dense, made = SparseRows.features.fget, []
    monkeypatch.setattr(SparseRows, "features", property(lambda self: made.append(1) or dense(self)))
    monkeypatch.setattr(neighbour_graph, "ROWS", 2)
    monkeypatch.setattr(neighbour_graph, "COLUMNS", 3)
    build(TrainData(rows.image.features, SparseRows(rows.text.features)))
    assert len(made) <= 2


def test_both_networks_move(rows, batch_of):
    method = build(rows)
    optimizers, before = method.optimizers(), {name: p.clone() for name, p in method.named_parameters()}
    for optimizer in optimizers.values():
        (group,) = optimizer.param_groups
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.005, 0.9, 5e-4)
    method(batch_of(0, 1, 2, 3), "joint").backward()
    for optimizer in optimizers.values():
        optimizer.step()
    assert not [name for name, p in method.named_parameters() if torch.equal(p, before[name])]
    assert {name.split(".")[0] for name in method.state_dict()} == {"image", "text"}


@pytest.fixture(scope="module")
def pairs():
    return data.load("synthetic", kind="multilabel", pairs=400)


FAST = {
    "text_hidden": (64,), "image_hidden": (64,), "centre": True, "normalize": True, "lr_image": 0.05, "lr_text": 0.05,
    "progress": False,
}  # fmt: skip


def test_learns_without_labels_and_is_saved(pairs, tmp_path):
    run = train("dgcpn", pairs, bits=32, epochs=4, out=tmp_path, **FAST)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.15
    assert run.scores.t2i > floor.t2i + 0.15
    assert {"term_text_pairs", "term_text_reconstruction", "term_text_consistency"} <= set(run.history[-1])
    codes, again = run.scores.codes, encode(HashModel.load(tmp_path), pairs)
    assert np.array_equal(codes.query_image, again.query_image)
    assert np.array_equal(codes.database_text, again.database_text)


def test_parts_of_a_batch_make_the_steps_of_the_whole(pairs):
    whole = train("dgcpn", pairs, bits=8, epochs=1, **FAST)
    parts = train("dgcpn", pairs, bits=8, epochs=1, accumulate=2, **FAST)
    assert parts.history[-1]["loss_text"] == pytest.approx(whole.history[-1]["loss_text"], rel=1e-4)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_raw_pictures():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(12)]
    text = rng.random((12, 5), dtype=np.float32)
    raw = PairedDataset.from_arrays(None, text, pictures=pictures, query=np.arange(4), name="raw")
    options = {"image_backbone": "tiny", "image_hidden": (), "text_hidden": (), "epochs": 2, "batch_size": 4}
    first, second = (train("dgcpn", raw, bits=8, progress=False, **options) for _ in range(2))
    codes = [run.model.encode_image(pictures) for run in (first, second)]
    assert np.array_equal(*codes)
    assert math.isfinite(first.history[-1]["loss_text"])


def test_too_few_pairs():
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match="^dgcpn: needs 3 training pairs or more, got 2$"):
        build(TrainData(x, x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_share": 1.5}, "dgcpn: option text_share: .*less than or equal to 1, got 1.5"),
        ({"neighbours": 1}, "dgcpn: option neighbours: .*greater than or equal to 2, got 1"),
        ({"scale": 0}, "dgcpn: option scale: .*greater than 0, got 0"),
        ({"half_binary": "maybe"}, "dgcpn: option half_binary: .*got 'maybe'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
