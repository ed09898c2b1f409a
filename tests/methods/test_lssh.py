"""LSSH's steps against their own least squares, an objective that never rises, encoders against the formulas."""

import numpy as np
import pytest
import torch
from shallow_cases import fit, make_classes, make_views, never_rises, projections

import fasthash
from fasthash import data
from fasthash.methods import Pairs, get, resolve_options
from fasthash.methods.shallow.lssh import _Factors, bounded_columns, principal_directions
from fasthash.models import sparse_codes

SMALL = {"atoms": 20, "image_directions": 5, "iterations": 6}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"mu": 0.05, "rho": 0.5, "lam": 0.2}, {"steps": 1, "sweeps": 1}], ids=str)
def test_the_objective_never_rises(seed, options):
    solution = fit("lssh", *make_views(90, 9, 6, seed=seed), 8, seed=seed, **SMALL | {"iterations": 12} | options)
    assert len(solution.objective) == 12
    assert never_rises(solution.objective)


def test_no_single_step_raises_the_objective_either():
    image, text = make_views(60, 9, 6)
    options = resolve_options(get("lssh"), "", SMALL)
    factors = _Factors(unit(image - image.mean(0)), unit(text - text.mean(0)), 4, options, np.random.default_rng(0))
    factors.improve()
    before = factors.objective()
    o = options
    codes, a, b, r, y = factors.s, factors.a, factors.b, factors.r, factors.y
    by_hand = np.square(factors.x - codes @ b.T).sum() + o.rho * np.abs(codes).sum()
    by_hand += o.mu * np.square(factors.t - y @ a.T).sum() + o.lam * np.square(y - codes @ r.T).sum()
    assert before == pytest.approx(by_hand, rel=1e-12)
    assert all((np.linalg.norm(d, axis=0) <= 1 + 1e-12).all() for d in (a, b, r))
    factors.improve()
    assert factors.objective() <= before


def test_factors_of_pairs_are_where_their_gradient_is_zero():
    image, text = make_views(60, 9, 6)
    options = resolve_options(get("lssh"), "", SMALL | {"mu": 0.7, "lam": 0.3})
    factors = _Factors(unit(image), unit(text), 4, options, np.random.default_rng(0))
    a, r, s = factors.a.copy(), factors.r.copy(), factors.s.copy()
    factors.improve()
    gradient = 0.7 * (factors.y @ a.T - factors.t) @ a + 0.3 * (factors.y - s @ r.T)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_bounded_columns_are_the_constrained_minimum():
    """Kuhn and Tucker: a column is free inside the ball, and pushed straight outwards on its surface."""
    rng = np.random.default_rng(0)
    codes, targets = rng.standard_normal((50, 4)), rng.standard_normal((50, 6)) + 1
    targets[:, :3] *= 0.05
    d = bounded_columns(targets.T @ codes, codes.T @ codes, np.zeros((6, 4)), 500)
    slope = (targets - codes @ d.T).T @ codes
    lengths = np.linalg.norm(d, axis=0)
    for j, length in enumerate(lengths):
        push = slope[:, j] @ d[:, j] if length > 1 - 1e-9 else 0.0
        assert push >= -1e-9
        np.testing.assert_allclose(slope[:, j], push * d[:, j], atol=1e-8)
    assert (lengths <= 1 + 1e-12).all()


def test_encoders_are_the_formulas():
    image, text = make_views(90, 9, 6)
    solution = fit("lssh", image, text, 8, **SMALL)
    directions, dictionary = solution.image.maps[0].weights.numpy(), solution.image.maps[2].dictionary
    inner = unit((image - image.mean(0)) @ directions)
    codes = sparse_codes(torch.from_numpy(inner), dictionary, 0.2).numpy()
    h, g = projections(solution, image, text)
    np.testing.assert_allclose(h, codes @ solution.image.weights.numpy(), atol=1e-12)
    np.testing.assert_allclose(g, unit(text - text.mean(0)) @ solution.text.weights.numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [(80, 12), (20, 33)], ids=str)
def test_principal_directions_are_those_of_the_singular_value_decomposition(shape):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal(shape) * np.linspace(3, 1, shape[1])
    rows -= rows.mean(0)
    pairs = Pairs.of(rows, rows)
    found = principal_directions(pairs, 5)
    right = np.linalg.svd(rows)[2][:5].T
    np.testing.assert_allclose(np.abs(right.T @ found), np.eye(5), atol=1e-8)
    assert (found[np.abs(found).argmax(axis=0), np.arange(5)] > 0).all()
    assert principal_directions(Pairs.of(rows[:4], rows[:4]), 5).shape == (shape[1], 4)


def test_codes_find_classes_and_pairs_agree():
    image, text, labels = make_classes(noise=0.5)
    solution = fit("lssh", image, text, 16, atoms=60)
    h, g = (np.where(x >= 0, 1, -1) for x in projections(solution, image, text))
    same = labels @ labels.T > 0
    assert (h @ g.T)[same].mean() > (h @ g.T)[~same].mean() + 4, "of 16 bits; random codes: 0"
    learned = np.where(solution.learned >= 0, 1, -1)
    assert ((h == learned).mean(), (g == learned).mean()) > (0.75, 0.75)


def test_the_seed_is_the_start_and_every_iteration_is_told():
    views, told = make_views(60, 9, 6), []
    first, again, other = (fit("lssh", *views, 4, seed=seed, **SMALL).learned for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    method = get("lssh")(resolve_options(get("lssh"), "", SMALL))
    found = method.fit(Pairs.of(*views), 4, 0, lambda *what: told.append(what))
    assert told == [(done, 6, value) for done, value in enumerate(found.objective, 1)]


def test_it_trains_and_comes_back_from_its_folder(tmp_path):
    pairs = data.load("synthetic", pairs=120, image_width=12, text_width=10)
    run = fasthash.train("lssh", pairs, bits=8, out=tmp_path / "run", progress=False, **SMALL)
    again = fasthash.train("lssh", pairs, bits=8, out=tmp_path / "run", progress=False, resume=True, **SMALL)
    assert np.array_equal(run.model.encode_image(pairs.image), again.model.encode_image(pairs.image))
    assert np.array_equal(run.learned.packed, again.learned.packed)


@pytest.mark.parametrize(("options", "name"), [({"atoms": 0}, "atoms"), ({"rho": 0}, "rho"), ({"mu": -1}, "mu")])
def test_bad_options(options, name):
    with pytest.raises(ValueError, match=f"lssh: option {name}: "):
        resolve_options(get("lssh"), "", options)
