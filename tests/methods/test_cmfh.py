"""CMFH's steps against their normal equations, an objective that never rises, and what scaling saves from collapse."""

import numpy as np
import pytest
import torch
from shallow_cases import fit, make_classes, make_views, never_rises, projections, weights

import fasthash
from fasthash import codes, data
from fasthash.methods import Pairs, get, resolve_options

SEEDS = range(4)


def objective_by_hand(image, text, y, solution, weight=0.5, mu=100.0, gamma=0.01):
    """With the maps of a solution; U is the ridge solution that belongs to Y."""
    total = gamma * np.square(y).sum()
    for rows, w, a in zip((image, text), weights(solution), (weight, 1 - weight), strict=True):
        x = rows - rows.mean(0)
        u = np.linalg.inv(y.T @ y + gamma * np.eye(y.shape[1])) @ y.T @ x
        total += a * (np.square(x - y @ u).sum() + mu * np.square(y - x @ w).sum())
        total += a * gamma * (np.square(u).sum() + np.square(w).sum())
    return total


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("widths", [(7, 5), (90, 5), (90, 110)], ids=str)
def test_the_objective_never_rises(seed, widths):
    solution = fit("cmfh", *make_views(80, *widths, seed=seed), 6, seed=seed)
    assert len(solution.objective) == 25
    assert never_rises(solution.objective)


@pytest.mark.parametrize("options", [{}, {"mu": 3.0, "gamma": 0.4, "image_weight": 0.3}], ids=str)
@pytest.mark.parametrize("widths", [(7, 5), (60, 5)], ids=str)
def test_the_objective_is_the_formula(options, widths):
    image, text = make_views(40, *widths)
    solution = fit("cmfh", image, text, 4, iterations=3, **options)
    values = {"weight": options.get("image_weight", 0.5), **{k: v for k, v in options.items() if k != "image_weight"}}
    wanted = objective_by_hand(image, text, solution.learned, solution, **values)
    assert solution.objective[-1] == pytest.approx(wanted, rel=1e-9)


def test_maps_solve_their_own_least_squares():
    """With the ridge gamma / mu; 1 / mu in the place of mu leaves a gradient, and so does gamma mu."""
    image, text = make_views()
    y_fit = fit("cmfh", image, text, 4, mu=5.0, gamma=2.0, iterations=4)
    y = y_fit.learned
    for rows, w in zip((image, text), weights(y_fit), strict=True):
        x = rows - rows.mean(0)
        np.testing.assert_allclose(5.0 * x.T @ (x @ w - y) + 2.0 * w, 0, atol=1e-8)
        slip = np.linalg.solve(x.T @ x + 2.0 * 5.0 * np.eye(x.shape[1]), x.T @ y)
        assert np.abs(slip - w).max() > 1e-3 * np.abs(w).max()


def test_factors_are_stationary_in_the_end():
    image, text = make_views()
    solution = fit("cmfh", image, text, 3, mu=2.0, gamma=0.5, iterations=3000)
    y = torch.from_numpy(solution.learned).requires_grad_()
    value = 0.5 * y.square().sum()
    for rows, w in zip((image, text), weights(solution), strict=True):
        x, w = torch.from_numpy(rows - rows.mean(0)), torch.from_numpy(w)
        u = torch.linalg.solve(y.T @ y + 0.5 * torch.eye(3), y.T @ x)
        value = value + 0.5 * ((x - y @ u).square().sum() + 2.0 * (y - x @ w).square().sum() + 0.5 * u.square().sum())
    (gradient,) = torch.autograd.grad(value, y)
    assert gradient.abs().max() < 1e-5 * value.detach()


@pytest.mark.parametrize("options", [{}, {"scale": "rows"}, {"anchors": 40}], ids=str)
def test_codes_find_classes(options):
    image, text, labels = make_classes(noise=0.5)
    solution = fit("cmfh", image, text, 16, **options)
    h, g = (np.where(x >= 0, 1, -1) for x in projections(solution, image, text))
    same = labels @ labels.T > 0
    assert (h @ g.T)[same].mean() > (h @ g.T)[~same].mean() + 4, "of 16 bits; random codes: 0"
    learned = np.where(solution.learned >= 0, 1, -1)
    assert ((h == learned).mean(), (g == learned).mean()) > (0.8, 0.8)


def test_scaling_saves_small_features_from_collapse():
    """Features of 1e-3 shrink the factors; at unit variance their size does not matter."""
    image, text = make_views()
    plain, tiny = (fit("cmfh", image * s, text * s, 4, gamma=10.0).learned for s in (1.0, 1e-3))
    assert np.abs(tiny).max() < 1e-3 * np.abs(plain).max()
    same, again = (fit("cmfh", image * s, text * s, 4, gamma=10.0, scale="variance").learned for s in (1.0, 1e-3))
    np.testing.assert_allclose(again, same, atol=1e-8 * np.abs(same).max())


def test_the_seed_is_the_start():
    views = make_views()
    first, again, other = (fit("cmfh", *views, 4, seed=seed, iterations=2).learned for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_iteration_is_told():
    told = []
    method = get("cmfh")(resolve_options(get("cmfh"), "", {"iterations": 3}))
    found = method.fit(Pairs.of(*make_views()), 4, 0, lambda *what: told.append(what))
    assert told == [(done, 3, value) for done, value in enumerate(found.objective, 1)]


def test_learned_codes_are_signs_of_the_factors():
    pairs = data.load("synthetic", pairs=120, image_width=12, text_width=10)
    run = fasthash.train("cmfh", pairs, bits=8, progress=False)
    rows = pairs.split.train
    direct = fit("cmfh", pairs.image[rows], pairs.text[rows], 8)
    assert np.array_equal(run.learned.packed, codes.pack(direct.learned))
