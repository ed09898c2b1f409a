"""Rankings by real values: average precision over explicit orders, equal scores in expectation."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fasthash import metrics
from fasthash.baselines import rank_by_cosine
from fasthash.codes import pack


def ap(relevant, k):
    hits = [place for place, one in enumerate(relevant[:k], 1) if one]
    return sum((n / place) for n, place in enumerate(hits, 1)) / max(1, len(hits))


def expected_ap(groups, k):
    """Mean over every order within the groups of relevances that have equal scores."""
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return np.mean([ap([one for group in order for one in group], k) for order in orders])


def unit(angle):
    return [np.cos(angle), np.sin(angle)]


@pytest.mark.parametrize("k", [1, 3, 4, 8])
def test_equal_scores_count_in_expectation(k):
    angles, relevant = [0.1, 0.5, 0.5, 0.5, 0.9, 1.2, 1.2, 1.5], [0, 1, 0, 1, 1, 0, 1, 0]
    database = np.array([unit(a) for a in angles]) * np.arange(1, 9)[:, None]  # the cosine knows no length
    labels = np.array([[r, 1 - r] for r in relevant])
    found = rank_by_cosine([unit(0.0)], database, [[1, 0]], labels, k=k)
    groups = [[0], [1, 0, 1], [1], [0, 1], [0]]
    assert found.map_all[0] == pytest.approx(expected_ap(groups, 8))
    assert found.map_at_k[0] == pytest.approx(expected_ap(groups, k))


def test_without_ties_it_is_scikit_learns():
    rng = np.random.default_rng(0)
    query, database = rng.standard_normal((40, 9)), rng.standard_normal((300, 9))
    labels_q, labels_d = (rng.random((n, 5)) < 0.3 for n in (40, 300))
    labels_q[:, 0] |= ~labels_q.any(axis=1)
    found = rank_by_cosine(query, database, labels_q, labels_d)
    cosine = (query @ database.T) / np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(database, axis=1))
    wanted = [average_precision_score((labels_d & row).any(axis=1), c) for row, c in zip(labels_q, cosine, strict=True)]
    np.testing.assert_allclose(found.map_all, wanted, rtol=1e-12)


def test_codes_rank_as_they_do_by_hamming_distance():
    rng = np.random.default_rng(1)
    codes_q, codes_d = (np.where(rng.random((n, 16)) < 0.5, -1.0, 1.0) for n in (30, 400))
    labels_q, labels_d = rng.integers(0, 4, 30), rng.integers(0, 4, 400)
    found = rank_by_cosine(codes_q, codes_d, np.eye(4)[labels_q], np.eye(4)[labels_d])
    for mine, protocol in ((found.map_all, "map_all"), (found.map_at_k, "map_at_k")):
        wanted = metrics.evaluate(pack(codes_q), pack(codes_d), labels_q, labels_d, bits=16, protocol=protocol)
        np.testing.assert_allclose(mine, wanted.per_query, rtol=1e-10)


def test_blocks_of_queries_do_not_show(monkeypatch):
    rng = np.random.default_rng(2)
    query, database = rng.standard_normal((20, 4)), rng.standard_normal((50, 4))
    labels = np.eye(3)[rng.integers(0, 3, 50)]
    whole = rank_by_cosine(query, database, labels[:20], labels)
    monkeypatch.setattr("fasthash.metrics._real.BLOCK", 120)
    parts = rank_by_cosine(query, database, labels[:20], labels)
    np.testing.assert_allclose(parts.map_all, whole.map_all, rtol=1e-12)


def test_a_vector_of_zeros_is_at_chance():
    labels = np.eye(2)[[0, 1, 0, 1]]
    found = rank_by_cosine(np.zeros((1, 3)), np.eye(4, 3), labels[:1], labels, k=4)
    assert found.map_all[0] == pytest.approx(expected_ap([[1, 0, 1, 0]], 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"k": 0}, "k must be from 1 to 5, got 0"), ({"k": 6}, "k must be from 1 to 5, got 6")],
)
def test_bad_cut(change, message):
    x = np.ones((5, 2))
    with pytest.raises(ValueError, match=message):
        rank_by_cosine(x, x, x, x, **change)


def test_shapes_must_fit():
    x = np.ones((5, 2))
    with pytest.raises(ValueError, match="must fit each other"):
        rank_by_cosine(x, np.ones((5, 3)), x, x, k=2)
