"""Sparse codes: the conditions of a minimum, scikit-learn's coordinate descent, and rows that do not see each other."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.decomposition import sparse_encode

from fasthash.models import HashModel, Projection, SparseCodes, sparse_codes
from fasthash.models.view import UnitRows, View


def problem(n=40, width=12, atoms=30, seed=0):
    rng = np.random.default_rng(seed)
    rows, dictionary = rng.standard_normal((n, width)), rng.standard_normal((width, atoms))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    dictionary /= np.linalg.norm(dictionary, axis=0)
    return torch.from_numpy(rows), torch.from_numpy(dictionary)


def objective(rows, dictionary, penalty, codes):
    return (rows - codes @ dictionary.T).square().sum(dim=1) + penalty * codes.abs().sum(dim=1)


@pytest.mark.parametrize("penalty", [0.01, 0.2, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_conditions_of_the_minimum_hold(penalty, seed):
    rows, dictionary = problem(seed=seed)
    codes = sparse_codes(rows, dictionary, penalty)
    slope = 2 * (rows - codes @ dictionary.T) @ dictionary
    used = codes != 0
    torch.testing.assert_close(slope[used], penalty * codes[used].sign(), rtol=1e-7, atol=0)
    assert (slope[~used].abs() <= penalty * (1 + 1e-7)).all()
    assert 0 < used.double().mean() < 0.6


def test_it_is_scikit_learns_minimum():
    rows, dictionary = problem()
    found = sparse_codes(rows, dictionary, 0.2)
    peer = sparse_encode(rows.numpy(), dictionary.T.numpy(), algorithm="lasso_cd", alpha=0.1, max_iter=10000)
    np.testing.assert_allclose(found.numpy(), peer, atol=5e-3)  # theirs stops at a gap of 1e-4
    mine, theirs = (objective(rows, dictionary, 0.2, c) for c in (found, torch.from_numpy(peer)))
    assert (mine <= theirs + 1e-12).all()


def test_no_step_raises_any_rows_objective():
    rows, dictionary = problem()
    codes = torch.from_numpy(np.random.default_rng(1).standard_normal((40, 30)))
    given = codes.clone()
    values = [objective(rows, dictionary, 0.1, codes)]
    for _ in range(60):
        codes = sparse_codes(rows, dictionary, 0.1, codes, steps=1)
        values.append(objective(rows, dictionary, 0.1, codes))
    assert all((b <= a + 1e-9 * a).all() for a, b in itertools.pairwise(values))
    torch.testing.assert_close(values[-1], objective(rows, dictionary, 0.1, sparse_codes(rows, dictionary, 0.1)))
    sparse_codes(rows, dictionary, 0.1, given, steps=3)
    torch.testing.assert_close(given, torch.from_numpy(np.random.default_rng(1).standard_normal((40, 30))))


def test_rows_do_not_depend_on_those_beside_them():
    rows, dictionary = problem(n=1100, width=6, atoms=14)  # of several blocks
    together = sparse_codes(rows, dictionary, 0.1)
    for i in (0, 511, 512, 1099):
        torch.testing.assert_close(sparse_codes(rows[i : i + 1], dictionary, 0.1)[0], together[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("penalty", [0.3, 1e-3])
def test_equal_atoms_and_atoms_of_zeros_end(penalty):
    rows, dictionary = problem(width=5)
    dictionary[:, 15:] = dictionary[:, :15]
    dictionary[:, 3] = 0
    codes = sparse_codes(rows, dictionary, penalty)
    slope = 2 * (rows - codes @ dictionary.T) @ dictionary
    assert (slope.abs() <= penalty * (1 + 1e-5)).all()
    assert (codes[:, 3] == 0).all()


def test_a_row_that_no_atom_pulls_has_no_code():
    _, dictionary = problem()
    assert (sparse_codes(torch.zeros(2, 12).double(), dictionary, 0.1) == 0).all()
    assert sparse_codes(torch.zeros(0, 12).double(), dictionary, 0.1).shape == (0, 30)


def test_a_stored_view_gives_the_same_codes(tmp_path):
    dictionary = problem()[1]
    rng = np.random.default_rng(2)
    maps = [Projection(rng.standard_normal((20, 12))), UnitRows(), SparseCodes(dictionary, 0.15)]
    image = View(np.ones(20), rng.standard_normal((30, 9)), maps=maps)
    model = HashModel(image, View(np.zeros(4), rng.standard_normal((4, 9))))
    model.save(tmp_path)
    x = rng.standard_normal((50, 20)).astype(np.float32)
    assert np.array_equal(HashModel.load(tmp_path).relax_image(x), model.relax_image(x))
    inner = torch.nn.functional.normalize((torch.from_numpy(x).double() - 1) @ maps[0].weights)
    torch.testing.assert_close(image(torch.from_numpy(x)), sparse_codes(inner, dictionary, 0.15) @ image.weights)
