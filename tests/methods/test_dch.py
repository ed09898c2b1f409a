"""DCH's bit-wise descent against all codes, its regressions, and an objective that never rises."""

import itertools

import numpy as np
import pytest
from shallow_cases import fit, make_classes, make_labels, make_views, never_rises, projections, weights

import fasthash
from fasthash import codes, data
from fasthash.methods.shallow.dch import descend


def objective_by_hand(image, text, labels, solution, lam=1.0, mu=(1e-3, 1e-3), delta=0.01):
    """Of codes and feature maps of a solution; W is the ridge solution that belongs to the codes."""
    b = solution.learned
    w = np.linalg.inv(b.T @ b + lam * np.eye(b.shape[1])) @ b.T @ labels
    total = np.square(labels - b @ w).sum() + lam * np.square(w).sum()
    for rows, u, mu_v in zip((image, text), weights(solution), mu, strict=True):
        x = rows - rows.mean(0)
        total += mu_v * (np.square(b - x @ u).sum() + delta * np.square(u).sum())
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"mu_image": 2.0, "mu_text": 0.5}, {"anchors": 30}], ids=str)
def test_the_objective_never_rises(seed, options):
    views = make_views(80, 7, 90, seed=seed)
    solution = fit("dch", *views, 12, make_labels(seed=seed), seed=seed, iterations=10, **options)
    assert never_rises(solution.objective)
    assert 2 <= len(solution.objective) <= 10


@pytest.mark.parametrize("widths", [(7, 5), (60, 5)], ids=str)
def test_the_objective_is_the_formula(widths):
    image, text = make_views(40, *widths)
    labels = make_labels(40)
    values = {"lam": 0.7, "delta": 0.3}
    solution = fit("dch", image, text, 6, labels, mu_image=0.4, mu_text=0.2, **values)
    wanted = objective_by_hand(image, text, labels, solution, mu=(0.4, 0.2), **values)
    assert solution.objective[-1] == pytest.approx(wanted, rel=1e-9)
    for rows, u in zip((image, text), weights(solution), strict=True):
        x = rows - rows.mean(0)
        wanted = np.linalg.inv(x.T @ x + 0.3 * np.eye(x.shape[1])) @ x.T @ solution.learned
        np.testing.assert_allclose(u, wanted, atol=1e-9)


def value_of(b, toward, gram):
    return float(np.einsum("kn,kl,ln->", b, gram, b) - 2 * np.vdot(b, toward))


def test_each_sweep_lowers_what_it_is_for_and_the_end_is_a_local_minimum():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 3))
    gram, toward = root @ root.T, 2 * rng.standard_normal((5, 20))
    b = np.where(rng.random((5, 20)) < 0.5, -1.0, 1.0)
    values = [value_of(b, toward, gram)]
    while descend(b, toward, gram, 1):
        values.append(value_of(b, toward, gram))
    assert len(values) > 2
    assert (np.diff(values) < 0).all()
    for k, i in itertools.product(range(5), range(20)):
        other = b.copy()
        other[k, i] *= -1
        assert value_of(other, toward, gram) >= values[-1]


def test_a_start_from_every_code_finds_the_best():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((4, 4))
    gram, toward = root @ root.T, rng.standard_normal((4, 1))
    every = np.array(list(itertools.product((-1.0, 1.0), repeat=4))).T
    best = min(value_of(every[:, [i]], toward, gram) for i in range(16))
    ends = every.copy()
    descend(ends, np.repeat(toward, 16, axis=1), gram, 50)
    assert min(value_of(ends[:, [i]], toward, gram) for i in range(16)) == pytest.approx(best)


def test_a_bit_at_zero_is_plus_one():
    b = np.array([[-1.0]])
    descend(b, np.zeros((1, 1)), np.ones((1, 1)), 1)
    assert b == 1


def test_bits_are_not_signs_of_a_ridge_solution():
    """What a public collection has instead of the descent; each bit given the others is another code, and a better."""
    image, text = make_views()
    labels = make_labels()
    b = fit("dch", image, text, 12, labels, mu_image=0.0, mu_text=0.0).learned
    w = np.linalg.solve(b.T @ b + np.eye(12), b.T @ labels)
    relaxed = np.where(labels @ w.T @ np.linalg.inv(w @ w.T + 1e-6 * np.eye(12)) >= 0, 1.0, -1.0)
    errors = [np.square(labels - codes @ w).sum() for codes in (b, relaxed)]
    assert errors[0] < errors[1]


def test_features_have_a_say():
    """Without their terms the codes do not depend on them."""
    labels = make_labels()
    learned = {}
    for mu in (0.0, 0.5):
        for seed in (1, 2):
            views = make_views(seed=seed)
            learned[mu, seed] = fit("dch", *views, 8, labels, mu_image=mu, mu_text=mu).learned
    assert np.array_equal(learned[0.0, 1], learned[0.0, 2])
    assert not np.array_equal(learned[0.5, 1], learned[0.5, 2])


@pytest.mark.parametrize("options", [{}, {"anchors": 60}, {"scale": "rows"}], ids=str)
def test_codes_tell_classes_apart(options):
    image, text, labels = make_classes()
    solution = fit("dch", image, text, 16, labels, **options)
    h, g = (np.where(x >= 0, 1, -1) for x in projections(solution, image, text))
    same = labels @ labels.T > 0
    assert (h @ g.T)[same].mean() > (h @ g.T)[~same].mean() + 6, "of 16 bits; random codes: 0"
    assert np.array_equal(np.abs(solution.learned), np.ones((240, 16)))


def test_learned_codes_belong_to_the_training_pairs():
    pairs = data.load("synthetic", pairs=120, image_width=12, text_width=10)
    run = fasthash.train("dch", pairs, bits=8, progress=False)
    rows = pairs.split.train
    direct = fit("dch", pairs.image[rows], pairs.text[rows], 8, pairs.labels[rows].astype(np.float64))
    assert np.array_equal(run.learned.packed, codes.pack(direct.learned))
