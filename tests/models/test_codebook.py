"""Composite codes against brute force: reconstruction, table scores, code search, and the best centres."""

import itertools

import numpy as np
import pytest
import torch

from fasthash.models import codebook as books
from fasthash.models.codebook import CENTRES, assign, fit_centres, reconstruct, start_by_slices, table_scores


@pytest.fixture
def book():
    return torch.randn(3, CENTRES, 5, generator=torch.Generator().manual_seed(0))


def random_codes(n, m, seed=1):
    return torch.randint(CENTRES, (n, m), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def far(vectors, book, codes):
    return (vectors - reconstruct(book, codes)).square().sum(dim=1)


def test_reconstruction_and_scores_equal_sums_of_centres(book):
    codes, queries = random_codes(20, 3), torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    want = torch.stack([sum(book[m, int(row[m])] for m in range(3)) for row in codes])
    torch.testing.assert_close(reconstruct(book, codes), want)
    torch.testing.assert_close(table_scores(book, queries, codes), queries @ want.T)


def test_equal_codes_have_equal_scores_to_the_last_bit(book):
    codes = random_codes(7, 3)[torch.arange(700) % 7]
    scores = table_scores(book, torch.randn(9, 5), codes)
    assert torch.equal(scores, scores[:, :7].repeat(1, 100))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_the_first_sweep_takes_the_best_for_what_is_left(book, order):
    vectors = torch.randn(30, 5, generator=torch.Generator().manual_seed(3)) * 2
    codes = assign(book, vectors, order)
    for x, code in zip(vectors.double(), codes.tolist(), strict=True):
        left = x.clone()
        for m in order:
            best = int((left - book[m].double()).square().sum(dim=1).argmin())
            assert code[m] == best
            left -= book[m, best].double()


def test_later_sweeps_never_take_the_reconstruction_away(book):
    vectors = torch.randn(200, 5, generator=torch.Generator().manual_seed(4)) * 2
    reached = [far(vectors, book, assign(book, vectors, [1, 2, 0], sweeps)) for sweeps in (1, 2, 3, 8)]
    for before, after in itertools.pairwise(reached):
        assert bool((after <= before + 1e-5).all())
    assert float(reached[-1].mean()) < float(reached[0].mean())


def test_blocks_do_not_show(book, monkeypatch):
    vectors, codes = torch.randn(50, 5), random_codes(50, 3)
    whole = assign(book, vectors, [0, 1, 2], 2), fit_centres(vectors, codes, 1e-3)
    monkeypatch.setattr(books, "BLOCK", 7)
    assert torch.equal(assign(book, vectors, [0, 1, 2], 2), whole[0])
    torch.testing.assert_close(fit_centres(vectors, codes, 1e-3), whole[1])


@pytest.mark.parametrize("ridge", [1e-3, 10.0])
def test_centres_solve_the_ridge_regression(ridge):
    rng = np.random.default_rng(5)
    vectors, codes = rng.standard_normal((300, 4)), random_codes(300, 2)
    h = np.zeros((300, 2 * CENTRES))
    for i, row in enumerate(codes.tolist()):
        for m, k in enumerate(row):
            h[i, CENTRES * m + k] = 1
    want = np.linalg.solve(h.T @ h + ridge * np.eye(2 * CENTRES), h.T @ vectors)
    got = fit_centres(torch.from_numpy(vectors), codes, ridge)
    np.testing.assert_allclose(got.flatten(0, 1).numpy(), want, atol=1e-8)
    unused = torch.from_numpy(h.sum(axis=0) == 0)
    assert unused.any()
    assert not got.flatten(0, 1)[unused].any()


def test_new_centres_never_take_the_reconstruction_away():
    for seed in range(5):
        vectors = torch.randn(400, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        book = start_by_slices(vectors, 2, torch.Generator().manual_seed(seed), iterations=2)
        codes = assign(book, vectors, [0, 1])
        better = fit_centres(vectors, codes, 1e-9)
        assert float(far(vectors, better, codes).sum()) <= float(far(vectors, book, codes).sum()) + 1e-6


def test_start_is_k_means_of_each_slice():
    centres = torch.arange(CENTRES, dtype=torch.float32)[:, None] * torch.tensor([1.0, -1.0, 3.0, 2.0, 7.0])
    vectors = centres.repeat(3, 1) + 1e-3 * torch.randn(3 * CENTRES, 5, generator=torch.Generator().manual_seed(6))
    book = start_by_slices(vectors, 2, torch.Generator().manual_seed(7))
    assert not book[0, :, 3:].any()  # slices of 3 and 2
    assert not book[1, :, :3].any()
    spread = far(vectors, book, assign(book, vectors, [0, 1])).mean() / vectors.var(dim=0).sum()
    assert float(spread) < 1e-3
    again = start_by_slices(vectors, 2, torch.Generator().manual_seed(7))
    assert torch.equal(book, again)


def test_fewer_vectors_than_centres_are_reconstructed_exactly():
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(8))
    book = start_by_slices(vectors, 2, torch.Generator().manual_seed(9))
    torch.testing.assert_close(reconstruct(book, assign(book, vectors, [0, 1])), vectors)
