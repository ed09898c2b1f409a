"""UDCMH: its graphs and binary factors against brute force in float64, and what its networks learn from them."""

import itertools

import numpy as np
import pytest
import torch

from fasthash import data
from fasthash.evaluation import evaluate, random_codes, score
from fasthash.methods import TrainData, _signed_graph, get, resolve_options
from fasthash.methods._binary_factors import BinaryFactors, FactorView, Links, improve_codes, view_weights
from fasthash.methods._signed_graph import CentredRows, SignedGraph
from fasthash.models import HashModel
from fasthash.training import train

KIND = get("udcmh")
SMALL = {"text_hidden": (4,), "neighbours": 2, "epochs": 6, "rounds": 3}


def build(rows, seed=0, bits=8, **options):
    torch.manual_seed(seed)
    return KIND(rows, bits, resolve_options(KIND, "test", SMALL | options))


def unit_rows(x):
    return CentredRows(len(x), lambda start, stop: x[start:stop])


def dense_graph(x, k):
    """A, entry by entry: nearest and farthest by cosine of the centred rows."""
    x = x - x.mean(axis=0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    n, w = len(x), np.zeros((len(x), len(x)))
    for i in range(n):
        order = sorted((j for j in range(n) if j != i), key=lambda j: -x[i] @ x[j])
        w[i, order[:k]], w[i, order[-k:]] = 1, -1
    return (w + w.T) / 2


def problem(seed, n=40, smooth=0.05, k=4):
    rng = np.random.default_rng(seed)
    x = [torch.from_numpy(rng.standard_normal((n, p)).astype(np.float32)) for p in (7, 5)]
    views = [FactorView(unit_rows(f), SignedGraph(unit_rows(f), k)) for f in x]
    codes = torch.from_numpy(np.where(rng.random((n, 6)) < 0.5, -1.0, 1.0))
    return BinaryFactors(views, gamma=2.0, smooth=smooth, ridge=0.5), x, codes


def objective(x, graphs, codes, bases, weights, smooth, ridge, gamma=2.0):
    total = 0.0
    for f, a, u, w in zip(x, graphs, bases, weights, strict=True):
        f = f.double().numpy() - f.double().numpy().mean(axis=0)
        f /= np.linalg.norm(f, axis=1, keepdims=True)
        laplacian = np.diag(np.abs(a).sum(axis=1)) - a
        fit = ((f - codes.numpy() @ u.numpy()) ** 2).sum() + ridge * (u.numpy() ** 2).sum()
        total += float(w) ** gamma * (fit + smooth * np.trace(codes.numpy().T @ laplacian @ codes.numpy()))
    return total


@pytest.mark.parametrize("blocks", [(2048, 1024), (7, 3), (5, 9)])
@pytest.mark.parametrize("k", [1, 4, 99])
def test_graph_is_that_of_brute_force(blocks, k, monkeypatch):
    monkeypatch.setattr(_signed_graph, "PART", blocks[0])
    monkeypatch.setattr(_signed_graph, "BLOCK", blocks[1])
    x = np.random.default_rng(0).standard_normal((23, 6)) + 3
    graph = SignedGraph(unit_rows(torch.from_numpy(x)), k)
    want = dense_graph(x, min(k, 11))
    assert np.array_equal(graph.matrix.to_dense().numpy(), want)
    np.testing.assert_allclose(graph.degrees().numpy(), np.abs(want).sum(axis=1))
    assert graph.matrix.values().numel() <= 4 * 23 * min(k, 11)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_rows_have_no_neighbours(n):
    assert not SignedGraph(unit_rows(torch.randn(n, 3)), 45).matrix.to_dense().any()


def test_rows_that_are_kept_are_read_once():
    x, reads = torch.randn(10, 3), []
    kept = CentredRows(10, lambda start, stop: reads.append(start) or x[start:stop], keep=True)
    for _ in range(3):
        torch.testing.assert_close(torch.cat([part for _, part in kept.parts()]).norm(dim=1), torch.ones(10))
    assert reads == [0]


@pytest.mark.parametrize("smooth", [1e-4, 0.05, 3.0])
def test_no_step_lets_the_objective_rise(smooth):
    for seed in range(8):
        factors, x, codes = problem(seed, smooth=smooth)
        weights, before = torch.tensor([0.5, 0.5], dtype=torch.float64), np.inf
        bases, _ = factors._bases(codes)
        graphs = [dense_graph(f.double().numpy(), 4) for f in x]
        for _ in range(4):
            for step in ("factors", "weights", "codes"):
                if step == "factors":
                    bases, errors = factors._bases(codes)
                elif step == "weights":
                    weights = view_weights(errors, 2.0)
                else:
                    found = factors.solve(codes, weights, iterations=1, sweeps=2)
                    assert found.objective[0] == pytest.approx(before, rel=1e-6)
                    codes = found.codes
                now = objective(x, graphs, codes, bases, weights, smooth, 0.5)
                assert now <= before + 1e-7 * abs(now), (seed, step)
                before = now
        assert set(codes.unique().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sweeps_climb_on_any_signed_graph(sign):
    """Where every link is negative, all entries of a bit at once would swing to and fro."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a = sign * np.abs(np.triu(rng.standard_normal((20, 20)) * (rng.random((20, 20)) < 0.5), 1))
        a = torch.from_numpy(a + a.T)
        target, u = torch.from_numpy(0.1 * rng.standard_normal((20, 5))), rng.standard_normal((5, 3))
        gram, links = torch.from_numpy(u @ u.T), Links(a.to_sparse())
        codes = torch.from_numpy(np.where(rng.random((20, 5)) < 0.5, -1.0, 1.0))
        values = []
        for _ in range(6):
            quadratic = ((codes @ gram) * codes).sum() - (codes * (a @ codes)).sum()
            values.append(float(quadratic - 2 * (codes * target).sum()))
            improve_codes(codes, target, gram, links, 1)
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(values)), (seed, values)
        assert values[-1] < values[0]


def test_the_plain_step_falls_where_the_guard_holds():
    """Two rows held apart, each following the other's old sign: from equal signs to equal signs."""
    a = torch.tensor([[0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[0.3], [0.1]], dtype=torch.float64)

    def value(codes):
        return float((codes * (a @ codes)).sum() + 2 * (codes * target).sum())

    codes = torch.ones(2, 1, dtype=torch.float64)
    plain = torch.where(target + a @ codes >= 0, 1.0, -1.0).double()
    assert value(plain) < value(codes)
    before = value(codes)
    improve_codes(codes, target, torch.zeros(1, 1, dtype=torch.float64), Links(a.to_sparse()), 3)
    assert value(codes) >= before


def test_a_bit_follows_the_formula_where_it_climbs():
    factors, x, codes = problem(3, smooth=0.01)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    bases, errors = factors._bases(codes)
    weights = view_weights(errors, 2.0)
    want = codes.clone()
    for k in range(codes.shape[1]):
        pull = torch.zeros(len(codes), dtype=torch.float64)
        for f, u, w in zip(x, bases, weights, strict=True):
            graph = torch.from_numpy(dense_graph(f.double().numpy(), 4))
            f = f.double() - f.mean(dim=0).double()
            f = f / f.norm(dim=1, keepdim=True)
            others = [j for j in range(codes.shape[1]) if j != k]
            fit = f @ u[k] - want[:, others] @ (u[others] @ u[k])
            pull += w**2 * (fit + 0.01 * graph @ want[:, k])
        want[:, k] = torch.where(pull >= 0, 1.0, -1.0)
    assert torch.equal(factors.solve(codes, weights, iterations=1, sweeps=1).codes, want)


def test_factors_and_weights_are_minima():
    factors, x, codes = problem(1)
    bases, errors = factors._bases(codes)
    for f, u in zip(x, bases, strict=True):
        f = f.double() - f.mean(dim=0).double()
        f = f / f.norm(dim=1, keepdim=True)
        gradient = codes.T @ (codes @ u - f) + 0.5 * u
        assert float(gradient.abs().max()) < 1e-5
    weights = view_weights(errors, 3.0)
    assert float(weights.sum()) == pytest.approx(1)
    best = float((weights**3 * errors).sum())
    for share in np.linspace(0.01, 0.99, 50):
        assert float((torch.tensor([share, 1 - share]) ** 3 * errors).sum()) >= best - 1e-12
    assert view_weights(torch.tensor([0.0, 1.0]).double(), 2.0).tolist() == pytest.approx([1.0, 0.0])


def test_loss_equals_the_formula_and_moves_everything(rows, batch_of):
    method = build(rows, image_hidden=(3,))
    method.begin_epoch(0)
    batch = batch_of(0, 2, 3, 5)
    with torch.no_grad():
        h = [getattr(method, side)(getattr(batch, side)).double().numpy() for side in ("image", "text")]
    target = method.unified[[0, 2, 3, 5]].double().numpy()
    want = sum(np.mean((np.tanh(x) - target) ** 2) for x in h)
    loss = method(batch, "joint")
    assert float(loss.detach()) == pytest.approx(want, rel=1e-5)
    before, (optimizer,) = {n: p.detach().clone() for n, p in method.named_parameters()}, method.optimizers().values()
    loss.backward()
    optimizer.step()
    assert {name for name, p in method.named_parameters() if torch.equal(p, before[name])} == set()


def test_codes_are_made_once_a_round(rows, monkeypatch):
    method, solved = build(rows), []
    monkeypatch.setattr(KIND, "_solve", lambda self, refreshed: solved.append((epoch, refreshed)))
    for epoch in (0, 0, 1, 2, 3, 3, 4, 5):  # begun again where a run is resumed
        method.begin_epoch(epoch)
    assert solved == [(0, False), (2, True), (4, True)]


@pytest.mark.parametrize("refresh", [True, False])
def test_refreshed_features_are_those_in_front_of_the_hash_layer(rows, refresh, monkeypatch):
    method, seen = build(rows, refresh=refresh), []
    monkeypatch.setattr(
        _signed_graph, "_neighbours", lambda r, k: seen.append(r.mean) or [torch.zeros(r.n, k, dtype=torch.int64)] * 2
    )
    for epoch in (0, 2):
        method.begin_epoch(epoch)
    image, text = rows.image.features, rows.text.features
    want = [image.mean(dim=0), text.mean(dim=0)]
    if refresh:  # without hidden layers, the features as the tower has scaled them
        want += [method.image.trunk(image).mean(dim=0), method.text.trunk(text).mean(dim=0)]
    assert len(seen) == len(want)
    for got, mean in zip(seen, want, strict=True):
        torch.testing.assert_close(got, mean.detach())


def test_more_rounds_than_epochs(rows):
    method = build(rows, epochs=2, rounds=5)
    for epoch in range(2):
        method.begin_epoch(epoch)
    assert int(method.solved) == 2


def test_takes_no_labels_and_gives_its_codes(rows):
    method = build(TrainData(rows.image.features, rows.text.features, None))
    method.begin_epoch(0)
    assert KIND.learns_codes
    assert torch.equal(method.learned_codes(), method.unified)
    assert set(method.unified.unique().tolist()) <= {-1.0, 1.0}
    assert float(method.weights.sum()) == pytest.approx(1)


def test_learns_without_labels_and_is_stored(tmp_path):
    pairs = data.load("synthetic", kind="multilabel", pairs=400)
    small = {"image_hidden": (64,), "text_hidden": (64,), "neighbours": 20, "centre": True, "normalize": True}
    run = train("udcmh", pairs, bits=32, epochs=8, rounds=2, batch_size=32, progress=False, **small)
    floor = score(random_codes(pairs, 32), pairs)
    assert run.scores.i2t > floor.i2t + 0.1
    assert run.scores.t2i > floor.t2i + 0.1
    learned = evaluate(run.model, pairs, ("map_all",), database="learned", learned=run.learned)
    assert learned.t2i > floor.t2i + 0.1
    run.model.save(tmp_path)
    again = HashModel.load(tmp_path)
    assert np.array_equal(again.encode_image(pairs.image), run.model.encode_image(pairs.image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.0}, "udcmh: option gamma: .*greater than 1, got 1.0"),
        ({"rounds": 0}, "udcmh: option rounds: .*greater than or equal to 1, got 0"),
        ({"ridge": 0.0}, "udcmh: option ridge: .*greater than 0, got 0.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(KIND, "test", options)
