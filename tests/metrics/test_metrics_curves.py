"""Curves by radius and by rank, against sums over a sorted matrix."""

import numpy as np
import pytest
from metrics_truth import distances, random_sets, ranked, relevance

from fasthash import metrics

BITS = 18


@pytest.fixture
def sets():
    found = list(random_sets(np.random.default_rng(11), 14, 210, BITS, 6, ones=0.4))
    found[2][3] = False  # nothing is relevant to it
    return found


def test_by_radius_is_the_mean_over_queries(sets):
    by, relevant = distances(*sets[:2]), relevance(*sets[2:])
    got = metrics.precision_recall_by_radius(*sets, bits=BITS)
    np.testing.assert_array_equal(got.radius, np.arange(BITS + 1))
    for radius in range(BITS + 1):
        inside = by <= radius
        hits = (inside & relevant).sum(axis=1)
        assert got.precision[radius] == pytest.approx((hits / np.maximum(inside.sum(axis=1), 1)).mean(), abs=1e-13)
        assert got.recall[radius] == pytest.approx((hits / np.maximum(relevant.sum(axis=1), 1)).mean(), abs=1e-13)
        assert got.empty[radius] == (~inside.any(axis=1)).sum()
        one = metrics.lookup(*sets, bits=BITS, radius=radius)
        assert (one.precision, one.recall) == pytest.approx((got.precision[radius], got.recall[radius]), abs=1e-13)
        assert one.empty == got.empty[radius]


def test_empty_balls_count_as_zero():
    """Two queries; only the first has anything within radius 2, one relevant item of two."""
    database = np.array([[0b00000001], [0b00000010]], np.uint8)
    query = np.array([[0b00000000], [0b11111111]], np.uint8)
    sets = query, database, np.array([0, 0]), np.array([0, 1])
    got = metrics.lookup(*sets, bits=8)
    assert (got.precision, got.recall, got.empty) == (0.25, 0.5, 1)


@pytest.mark.parametrize("ties", ["stable", "optimistic", "pessimistic"])
def test_by_rank_is_the_mean_over_queries(sets, ties):
    relevant = relevance(*sets[2:])
    key = {"stable": None, "optimistic": ~relevant, "pessimistic": relevant}[ties]
    hits = ranked(*sets, key=key).cumsum(axis=1)
    total = np.maximum(relevant.sum(axis=1), 1)[:, None]
    numbers = list(range(1, 211))
    got = metrics.precision_recall_by_rank(*sets, numbers, bits=BITS, ties=ties)
    np.testing.assert_array_equal(got.n, numbers)
    np.testing.assert_allclose(got.precision, hits.mean(axis=0) / numbers, rtol=1e-12)
    np.testing.assert_allclose(got.recall, (hits / total).mean(axis=0), rtol=1e-12)
    assert got.ties == ties


def test_usual_ranks_span_the_database(sets):
    got = metrics.precision_recall_by_rank(*sets, bits=BITS)
    assert (got.n[0], got.n[-1]) == (1, 210)
    assert {1, 5, 10, 50, 100} <= set(got.n.tolist())
    assert (np.diff(got.n) > 0).all()
    assert 40 < len(got.n) < 80
    assert (np.diff(got.recall) >= -1e-15).all()
    assert got.recall[-1] == pytest.approx((relevance(*sets[2:]).any(axis=1)).mean())


def test_numbers_of_hits_in_any_order(sets):
    several = metrics.precision_at(*sets, [50, 1, 50, 7], bits=BITS)
    assert several[0] == several[2] == metrics.precision_at(*sets, 50, bits=BITS)
    assert several[1] == metrics.precision_at(*sets, 1, bits=BITS)
    recall = metrics.recall_at(*sets, (210, 3), bits=BITS)
    assert recall[0] == pytest.approx(relevance(*sets[2:]).any(axis=1).mean())
    assert isinstance(metrics.recall_at(*sets, 3, bits=BITS), float)


def test_area_of_a_perfect_ranking_is_one_and_of_none_is_zero():
    codes = np.array([[0], [255]], np.uint8)
    assert metrics.precision_recall(codes, codes, np.arange(2), np.arange(2), bits=8).area == pytest.approx(1.0)
    assert metrics.precision_recall(codes, codes, np.arange(2), np.array([5, 6]), bits=8).area == 0.0


@pytest.mark.parametrize("n", [0, -1, 2.5, True, [1, 211], [0]], ids=str)
@pytest.mark.parametrize("function", [metrics.recall_at, metrics.precision_recall_by_rank])
def test_bad_numbers_are_refused(sets, function, n):
    several = [n] if np.ndim(n) == 0 and function is metrics.precision_recall_by_rank else n
    with pytest.raises((ValueError, TypeError), match=f"^{function.__name__}: n must be"):
        function(*sets, several, bits=BITS)


def test_unknown_ties_are_refused(sets):
    with pytest.raises(ValueError, match="^precision_recall_by_rank: ties must be one of expected, stable, optimistic"):
        metrics.precision_recall_by_rank(*sets, bits=BITS, ties="best")
