"""JDSH: its terms on a batch, the statistics of its affinities, its schedule, and that it learns."""

import math

import numpy as np
import pytest
import torch
from tiny_backbone import SIZE

from fasthash import data
from fasthash.data import PairedDataset
from fasthash.evaluation import encode, random_codes, score
from fasthash.losses import AffinityDistribution, JointDistribution
from fasthash.methods import TrainData, get, resolve_options
from fasthash.models import HashModel, MappedRows, SparseRows
from fasthash.training import train

KIND = get("jdsh")
GIVEN = {
    "location_left": -0.1, "scale_left": 0.05, "location_right": 0.0, "scale_right": 0.06, "lowest": -0.4,
    "highest": 0.7,
}  # fmt: skip


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", {"text_hidden": (4,), "batch_size": 4} | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 0.6, "beta": 0.1, "gamma": 0.2, "mu": 1.1, "intra": 0.5, "pair": 0.2},
        {"left_weight": 0.5, "right_weight": 0.1, "left_scales": 1.0, "right_scales": 3.0, "affine": False},
        {"relaxation": "constant"},
    ],
    ids=str,
)
def test_loss_is_that_of_the_published_values(rows, batch_of, options):
    method = build(rows, **GIVEN, **options)
    method.begin_epoch(8)
    batch = batch_of(0, 2, 3, 5)
    values = {
        "alpha": 0.4, "beta": 0.3, "gamma": 0.3, "mu": 1.4, "intra": 0.1, "pair": 1.0, "left_weight": 0.2,
        "right_weight": 0.2, "left_scales": 2.0, "right_scales": 4.0, "affine": True,
    }  # fmt: skip
    reference = JointDistribution(**values | {k: v for k, v in options.items() if k in values})
    reference.distribution = AffinityDistribution(**GIVEN)
    h = method.encode(batch, "joint")
    slope = 1 if "relaxation" in options else 3
    codes = (torch.tanh(slope * h[side].detach().double()) for side in ("image", "text"))
    want = reference(*codes, batch.image.double(), batch.text.double())
    got = method.loss(h, batch.index, "joint")
    assert {name: float(term.detach()) for name, term in got.items()} == pytest.approx(
        {name: float(term) for name, term in want._asdict().items()}, rel=1e-5
    )


def test_the_statistics_are_estimated_once_and_by_the_seed(rows):
    first, second = build(rows, seed=1), build(rows, seed=2)
    assert first.joint.distribution == second.joint.distribution
    assert build(rows, seed_sample=1).joint.distribution != first.joint.distribution
    given = build(rows, location_right=0.25, highest=3.0).joint.distribution
    assert (given.location_right, given.highest) == (0.25, 3.0)
    assert given.scale_left == first.joint.distribution.scale_left


def test_the_estimate_is_that_of_the_pairs_of_the_batches(rows):
    method = build(rows, batch_size=6)  # of all rows: the order of a batch changes no affinity
    s = method.joint.affinity(rows.image.features, rows.text.features).numpy()
    others = s[~np.eye(6, dtype=bool)]
    found = method.joint.distribution
    assert (found.lowest, found.highest) == pytest.approx((others.min(), others.max()), rel=1e-5)
    left = others[others <= found.location_left] - found.location_left
    # copies of the peak come to lie on either side of it, by rounding
    assert found.scale_left == pytest.approx(math.sqrt((left**2).mean()), rel=0.05)
    assert build(rows, **GIVEN).joint.distribution == AffinityDistribution(**GIVEN)


def test_estimating_leaves_the_random_state_alone(rows):
    build(rows, seed_sample=0)
    here = torch.rand(3)
    build(rows, **GIVEN)
    assert torch.equal(torch.rand(3), here)


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
    methods = [build(given) for given in (dense, other)]
    assert methods[1].joint.distribution == methods[0].joint.distribution
    assert set(methods[1].encode(other.batch(index), "joint")) == (
        {"image", "text", "f_image", "f_text"} if kind == "mapped" else {"image", "text"}
    )
    values = [float(m(given.batch(index), "joint").detach()) for m, given in zip(methods, (dense, other), strict=True)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_both_networks_move_in_one_step(rows, batch_of):
    method = build(rows)
    optimizers, before = method.optimizers(), {name: p.detach().clone() for name, p in method.named_parameters()}
    method(batch_of(0, 1, 2, 3), "joint").backward()
    for optimizer in optimizers.values():
        optimizer.step()
    assert before
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())
    assert {name.split(".")[0] for name in method.state_dict()} == {"image", "text"}


def test_optimisers_and_phases_are_those_of_the_published_code(rows):
    method = build(rows)
    for optimizer in method.optimizers().values():
        (group,) = optimizer.param_groups
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 5e-4)
    (phase,) = method.phases(0)
    assert (phase.optimizers, phase.sampler, phase.drop_last) == (("image", "text"), "shuffle", True)


@pytest.fixture(scope="module")
def pairs():
    return data.load("synthetic", kind="multilabel", pairs=400)


FAST = {"text_hidden": (64,), "image_hidden": (64,), "centre": True, "normalize": True, "epochs": 8, "progress": False}


def test_learns_without_labels_and_is_saved(pairs, tmp_path):
    run = train("jdsh", pairs, bits=32, out=tmp_path, **FAST)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.15
    assert run.scores.t2i > floor.t2i + 0.15
    assert {"term_joint_reconstruction", "term_joint_pairs"} <= set(run.history[-1])
    codes, again = run.scores.codes, encode(HashModel.load(tmp_path), pairs)
    assert np.array_equal(codes.query_image, again.query_image)
    assert np.array_equal(codes.database_text, again.database_text)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_raw_pictures(scale):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(12)]
    text = rng.random((12, 5), dtype=np.float32)
    raw = PairedDataset.from_arrays(None, text, pictures=pictures, query=np.arange(4), name="raw")
    options = {"image_backbone": "tiny:sure", "text_hidden": (), "epochs": 2, "batch_size": 4, "progress": False}
    run = train("jdsh", raw, bits=8, backbone_scale=scale, **options)
    before = train("jdsh", raw, bits=8, **options | {"epochs": 1, "lr_image": 1e-12, "momentum": 0.0})
    weights = [r.model.image.backbone.conv.weight for r in (run, before)]
    assert torch.equal(*weights) == (scale == 0.0)  # published: the hash layer alone
    assert run.model.encode_image(pictures[:3]).shape == (3, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "jdsh: option alpha: .*less than or equal to 1, got 1.5"),
        ({"scale_left": -1.0}, "jdsh: option scale_left: .*greater than or equal to 0, got -1.0"),
        ({"batch_size": 1}, "jdsh: option batch_size: .*greater than or equal to 2, got 1"),
        ({"relaxation": "linear"}, "jdsh: option relaxation: .*'root' or 'constant', got 'linear'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
