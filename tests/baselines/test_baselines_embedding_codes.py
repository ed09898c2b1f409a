"""Rotations and ITQ against FAISS, closed forms, and what their objective promises."""

import faiss
import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from fasthash import search
from fasthash.baselines import ITQ, RandomRotation
from fasthash.codes import unpack


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((400, 24)) @ rng.standard_normal((24, 24)) + 0.5


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def principal(rows, bits):
    x = unit(rows)
    x = x - x.mean(axis=0)
    return x, np.linalg.svd(x, full_matrices=False)[2][:bits].T


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [1, 8, 24])
def test_the_objective_never_rises(rows, bits, seed):
    objective = np.array(ITQ(30, seed).fit(rows, bits).objective)
    assert len(objective) == 31
    assert (np.diff(objective) <= 1e-9).all()
    assert bits == 1 or objective[-1] < objective[0]


def test_objective_is_the_error_of_the_codes(rows):
    fitted = ITQ(10).fit(rows, 16)
    h = fitted.project(rows)
    assert fitted.objective[-1] == pytest.approx(np.square(np.where(h >= 0, 1, -1) - h).sum() / len(rows), rel=1e-12)


def test_directions_are_a_rotation_of_the_principal_ones(rows):
    fitted = ITQ().fit(rows, 8)
    x, directions = principal(rows, 8)
    np.testing.assert_allclose(fitted.weights.T @ fitted.weights, np.eye(8), atol=1e-10)
    np.testing.assert_allclose(
        fitted.weights @ fitted.weights.T, directions @ directions.T, atol=1e-8
    )  # the same subspace
    np.testing.assert_allclose(fitted.project(rows), x @ fitted.weights, atol=1e-12)


def test_the_end_is_the_best_rotation_to_its_own_signs(rows):
    fitted = ITQ(500).fit(rows, 8)
    x, directions = principal(rows, 8)
    rotation, _ = orthogonal_procrustes(x @ directions, np.where(fitted.project(rows) >= 0, 1.0, -1.0))
    np.testing.assert_allclose(directions @ rotation, fitted.weights, atol=1e-8)


def test_itq_is_no_worse_than_that_of_faiss(rows):
    """From eight starts each; FAISS ended 1.3 to 2.4 % above ours, and its steps raise the error at times."""
    bits = 12
    x, directions = principal(rows, bits)
    v = np.ascontiguousarray(x @ directions, np.float32)
    ends = []
    for seed in range(8):
        peer = faiss.ITQMatrix(bits)
        peer.seed, peer.max_iter = 100 + seed, 50
        peer.train(v)
        turned = peer.apply(v).astype(np.float64)
        ends.append(np.square(np.where(turned >= 0, 1, -1) - turned).sum() / len(v))
    ours = [ITQ(50, seed).fit(rows, bits).objective[-1] for seed in range(8)]
    assert np.mean(ours) <= np.mean(ends)


def test_codes_are_searched_like_those_of_faiss(rows):
    fitted = RandomRotation(3).fit(rows, 16)
    index = faiss.IndexLSH(16, 16, False, False)  # signs of what it is given
    h = np.ascontiguousarray(fitted.project(rows), np.float32)
    index.add(h[50:])
    wanted, _ = index.search(h[:50], 10)
    got, _ = search.knn(fitted.encode(rows[:50]), fitted.encode(rows[50:]), 10, bits=16)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.5])
@pytest.mark.parametrize("bits", [4000, 6])
def test_bits_differ_in_proportion_to_the_angle(angle, bits):
    """Charikar: in theta / pi of the bits; 4,000 of them, or 600 rotations to 6: five standard deviations are 4 %."""
    pair = np.zeros((2, 6))
    pair[0, 0], pair[1, :2] = 1, (np.cos(angle), np.sin(angle))
    both = np.concatenate([pair, -pair])  # whose mean is 0
    shares = []
    for seed in range(1 if bits > 6 else 600):
        a, b = unpack(RandomRotation(seed).fit(both, bits).encode(pair), bits)
        shares.append(np.mean(a != b))
    assert np.mean(shares) == pytest.approx(angle / np.pi, abs=0.04)


def test_rotations_are_orthonormal_up_to_the_width(rows):
    weights = RandomRotation().fit(rows, 24).weights
    np.testing.assert_allclose(weights.T @ weights, np.eye(24), atol=1e-12)
    assert RandomRotation().fit(rows, 60).bits == 60
    assert not np.allclose(weights, RandomRotation(1).fit(rows, 24).weights)


def test_several_kinds_in_one_space_are_fitted_together(rows):
    together, stacked = ITQ().fit([rows[:150], rows[150:]], 8), ITQ().fit(rows, 8)
    np.testing.assert_allclose(together.weights, stacked.weights, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ITQ().fit(x, 25), "itq: bits must be at most 24, the width of the embeddings, got 25"),
        (lambda x: ITQ(0), "itq: iterations must be a whole number from 1 to 10000, got 0"),
        (lambda x: RandomRotation(-1), "random rotation: seed must be a whole number from 0 to .*, got -1"),
        (lambda x: RandomRotation().fit(x[0], 8), r"embeddings must be \[n, width\] with n >= 1, got shape \(24,\)"),
        (lambda x: ITQ().fit(x * np.nan, 8), "itq: embeddings must be finite, row 0 is not"),
        (lambda x: ITQ().fit(x, 8).encode(x[:, :5]), r"embeddings must be \[n, 24\] .*got shape \(400, 5\)"),
    ],
)
def test_bad_input_is_one_line(rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(rows)
