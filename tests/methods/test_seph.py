"""SePH's divergence by brute force and finite differences, regressions against scikit-learn, codes of both kinds."""

import numpy as np
import pytest
import torch
from shallow_cases import fit, make_classes, make_labels, make_views, never_rises, projections
from sklearn.linear_model import LogisticRegression

import fasthash
from fasthash import data
from fasthash.methods import get, resolve_options
from fasthash.methods.shallow import _label_codes
from fasthash.methods.shallow._kernel_logistic import kmeans, logistic, rbf_around
from fasthash.methods.shallow._label_codes import LabelDivergence, descend
from fasthash.methods.shallow.seph import joint_odds

SMALL = {"anchors": 30}


def divergence(labels, h, alpha):
    """The paper's formula, pair by pair."""
    n = len(labels)
    p, q = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                p[i, j] = labels[i] @ labels[j] / np.linalg.norm(labels[i]) / np.linalg.norm(labels[j])
                q[i, j] = 1 / (1 + np.square(h[i] - h[j]).sum() / 4)
    p, q = p / p.sum(), q / q.sum()
    some = p > 0
    return (p[some] * np.log(p[some] / q[some])).sum() + alpha / h.size * np.square(np.abs(h) - 1).sum()


@pytest.fixture(params=[3, 512], ids=["blocks of 3", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(_label_codes, "ROWS", request.param)


def test_the_divergence_is_the_formula_and_its_gradient(blocks):
    labels, h = make_labels(11), np.random.default_rng(0).standard_normal((11, 5))
    objective = LabelDivergence(labels, 0.3)
    value, gradient = objective(h)
    assert value == pytest.approx(divergence(labels, h, 0.3), rel=1e-12)
    for at in np.ndindex(h.shape):
        step = np.zeros_like(h)
        step[at] = 1e-6
        slope = (objective(h + step)[0] - objective(h - step)[0]) / 2e-6
        assert gradient[at] == pytest.approx(slope, abs=1e-8)


def test_counts_stand_for_repeated_rows(blocks):
    labels = np.unique(make_labels(30), axis=0)
    counts = np.random.default_rng(1).integers(1, 5, len(labels))
    h = np.random.default_rng(0).standard_normal((len(labels), 5))
    value, gradient = LabelDivergence(labels, 0.3, counts.astype(float))(h)
    whole, each = LabelDivergence(np.repeat(labels, counts, axis=0), 0.3)(np.repeat(h, counts, axis=0))
    assert value == pytest.approx(whole, rel=1e-12)
    starts = np.cumsum(counts) - counts
    np.testing.assert_allclose(gradient, np.add.reduceat(each, starts, axis=0), atol=1e-14)


@pytest.mark.parametrize("codes_of", ["label sets", "pairs"])
@pytest.mark.parametrize("seed", range(3))
def test_the_objective_never_rises(codes_of, seed):
    solution = fit("seph", *make_views(60), 8, make_labels(60), seed=seed, codes_of=codes_of, iterations=40, **SMALL)
    assert len(solution.objective) > 5
    assert never_rises(solution.objective)
    assert solution.objective[-1] < 0.7 * solution.objective[0]


def test_pairs_with_the_same_labels_end_at_the_same_code():
    """So that one code for each set of labels loses nothing: the same minimum, pair by pair or set by set."""
    labels = np.repeat(np.eye(4), 8, axis=0)
    start = np.random.default_rng(0).standard_normal((32, 6))
    codes, values = descend(LabelDivergence(labels, 0.01), start, 600, lambda *told: None)
    spread = codes.reshape(4, 8, 6).std(axis=1).max()
    assert spread < 0.02 * np.abs(codes).mean()
    sets = LabelDivergence(np.eye(4), 0.01, np.full(4, 8.0))
    found = min(
        descend(sets, np.random.default_rng(s).standard_normal((4, 6)), 600, lambda *told: None)[1][-1]
        for s in range(5)
    )
    assert values[-1] == pytest.approx(found, rel=0.05)
    assert values[-1] > found - 1e-3 * found


def test_regressions_are_scikit_learns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 6))
    signs = np.where(x @ rng.standard_normal((6, 3)) + rng.standard_normal((80, 3)) > 0.5, 1.0, -1.0)
    w, b = logistic(torch.from_numpy(x), torch.from_numpy(signs), 0.3, 500, 1e-14)
    for k in range(3):
        peer = LogisticRegression(C=1 / 0.6, tol=1e-10, max_iter=1000).fit(x, signs[:, k])
        np.testing.assert_allclose(w[:, k], peer.coef_[0], atol=1e-5)
        assert float(b[k]) == pytest.approx(peer.intercept_[0], abs=1e-5)


def test_a_bit_with_one_sign_alone_stays_finite():
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)).double()
    w, b = logistic(x, torch.ones(40, 2).double(), 0.1, 300, 1e-7)
    assert torch.isfinite(w).all()
    assert torch.isfinite(b).all()
    assert ((x @ w + b) > 0).all()


def test_kmeans_lowers_the_squares_and_keeps_every_centre():
    x = make_classes(noise=0.1)[0]

    def squares(centres):
        return np.square(x[:, None] - centres[None]).sum(axis=2).min(axis=1).sum()

    values = [squares(kmeans(x, 6, rounds, np.random.default_rng(0))) for rounds in (0, 1, 3, 30)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[0]
    assert np.array_equal(kmeans(x[:5], 6, 3, np.random.default_rng(0)), x[:5])
    equal = kmeans(np.ones((9, 2)), 3, 5, np.random.default_rng(0))  # two centres lose all rows
    assert np.array_equal(equal, np.ones((3, 2)))


def test_rbf_features_are_centred_at_the_mean_squared_distance():
    x = make_views()[0]
    features = rbf_around(x, x[:9])
    squares = np.square(x[:, None] - x[None, :9]).sum(axis=2)
    made = np.exp(-squares / (2 * squares.mean()))
    np.testing.assert_allclose(features(torch.from_numpy(x)).numpy(), made - made.mean(axis=0), atol=1e-12)


def test_relaxed_codes_are_log_odds_and_follow_the_learned_ones():
    image, text, labels = make_classes(noise=0.5)
    solution = fit("seph", image, text, 16, labels, **SMALL)
    learned = np.where(solution.learned >= 0, 1, -1)
    for h in projections(solution, image, text):
        assert ((h >= 0) == (learned > 0)).mean() > 0.97
    h, g = (np.where(x >= 0, 1, -1) for x in projections(solution, image, text))
    same = labels @ labels.T > 0
    assert (h @ g.T)[same].mean() > (h @ g.T)[~same].mean() + 8, "of 16 bits; random codes: 0"


@pytest.mark.parametrize("codes_of", ["label sets", "pairs"])
def test_pairs_outside_the_sample_get_codes_from_both_regressions(codes_of):
    image, text, labels = make_classes(n=120, noise=0.3, classes=6)
    solution = fit("seph", image, text, 8, labels, sample=4, codes_of=codes_of, **SMALL)
    assert solution.learned.shape == (120, 8)
    values, counts = np.unique(solution.learned, axis=0, return_counts=True)
    drawn = values[counts > 1] if codes_of == "label sets" else None
    if drawn is not None:
        assert len(drawn) == 4
        outside = ~(solution.learned[:, None] == drawn[None]).all(axis=2).any(axis=1)
        assert labels[outside].any(axis=0).sum() == 2
        assert np.array_equal(outside, labels[:, labels[outside].any(axis=0)].any(axis=1)), "all of two classes"
        signs = np.where(solution.learned[~outside] >= 0, 1.0, -1.0)
        share = (signs > 0).mean(axis=0)
        h, g = projections(solution, image[outside], text[outside])
        edge = 1 / (2 * len(signs))
        share = np.clip(share, edge, 1 - edge)
        np.testing.assert_allclose(solution.learned[outside], h + g - np.log(share / (1 - share)), atol=1e-9)


def test_joint_odds_are_bayes():
    image, text, labels = make_classes(n=60)
    solution = fit("seph", image, text, 4, labels, **SMALL)
    views = [solution.image, solution.text]
    signs = np.where(np.random.default_rng(0).random((50, 4)) < 0.8, 1.0, -1.0)
    centred = image - image.mean(0), text - text.mean(0)
    odds = joint_odds(views, centred, signs)
    prior = (signs > 0).mean(axis=0)
    up, down = prior.copy(), 1 - prior
    for h in projections(solution, image, text):
        p = 1 / (1 + np.exp(-h))
        up, down = up * p / prior, down * (1 - p) / (1 - prior)
    np.testing.assert_allclose(odds, np.log(up / down), atol=1e-8)


def test_random_anchors_are_training_rows():
    image, text, labels = make_classes(n=60)
    solution = fit("seph", image, text, 4, labels, anchors=10, anchors_by="random")
    anchors = solution.image.maps[0].anchors.numpy() + image.mean(0)
    assert all(np.abs(image - anchor).max(axis=1).min() < 1e-12 for anchor in anchors)


def test_it_trains_by_name():
    pairs = data.load("synthetic", pairs=120, image_width=12, text_width=10)
    runs = [fasthash.train("seph", pairs, bits=16, seed=seed, progress=False, anchors=60) for seed in (0, 0, 1)]
    assert np.array_equal(runs[0].learned.packed, runs[1].learned.packed)
    assert not np.array_equal(runs[0].learned.packed, runs[2].learned.packed)
    assert min(runs[0].scores.i2t, runs[0].scores.t2i) > 0.2, "five seeds: 0.31 and more; random codes: below 0.1"


def test_bad_input():
    with pytest.raises(ValueError, match="seph: labels must be shared by at least one pair"):
        fit("seph", *make_views(5), 4, np.eye(5))
    with pytest.raises(ValueError, match="seph: option codes_of: .*'label sets' or 'pairs'"):
        resolve_options(get("seph"), "", {"codes_of": "nothing"})
