"""Rankings by real-valued scores: explicit orders of what is equal, and codes as the case where all is known."""

import itertools

import numpy as np
import pytest

from fasthash import metrics
from fasthash.metrics import Measure, evaluate_scores
from fasthash.metrics._real import equal_groups

SCORES = np.array([[0.5, -1.0, 0.5, 2.0, 0.5, -1.0], [1e-300, -1e-300, 0.0, -0.0, -5.0, 7.0]])
RELEVANT = np.array([[1, 0, 0, 0, 1, 1], [0, 1, 1, 0, 0, 0]], bool)
LABELS = RELEVANT.T.astype(np.uint8)  # of the items: class q is relevance to query q
QUERIES = np.eye(2, dtype=np.uint8)


def ap(hits, protocol, k):
    kept = hits if protocol == "map_all" else hits[:k]
    places = [place for place, hit in enumerate(kept, 1) if hit]
    divisor = {"map_all": sum(hits), "map_at_k_minR": min(k, sum(hits))}.get(protocol, len(places))
    return sum(i / place for i, place in enumerate(places, 1)) / max(1, divisor), bool(places)


def orders(scores, relevant, ties):
    """Relevance in every order that the rule for ties allows."""
    groups = [np.flatnonzero(scores == value) for value in sorted(set(scores.tolist()), reverse=True)]
    if ties == "stable":
        return [[bool(relevant[i]) for group in groups for i in group]]
    if ties in ("optimistic", "pessimistic"):
        return [[hit for g in groups for hit in sorted(map(bool, relevant[g]), reverse=ties == "optimistic")]]
    each = [list(itertools.permutations(map(bool, relevant[group]))) for group in groups]
    return [[hit for group in order for hit in group] for order in itertools.product(*each)]


@pytest.mark.parametrize("ties", ["expected", "stable", "optimistic", "pessimistic"])
@pytest.mark.parametrize("protocol", ["map_all", "map_at_k", "map_at_k_hitonly", "map_at_k_minR"])
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_average_precision_over_explicit_orders(protocol, ties, k):
    measure = Measure(protocol, ties, None if protocol == "map_all" else k)
    found = evaluate_scores(SCORES, QUERIES, LABELS, {"one": measure})["one"]
    cases = [[ap(order, protocol, k) for order in orders(*row, ties)] for row in zip(SCORES, RELEVANT, strict=True)]
    want = [np.mean([value for value, _ in case]) for case in cases]
    np.testing.assert_allclose(found.per_query, want, rtol=1e-12)
    if protocol == "map_at_k_hitonly":
        joint = [[(v, h) for v, h in pair if h] for pair in itertools.product(*cases)]
        value = np.mean([np.mean([v for v, _ in kept]) if kept else 0.0 for kept in joint])
    else:
        value = np.mean(want)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert (found.nq, found.nb, found.k, found.ties) == (2, 6, measure.cut, ties)


def test_groups_are_those_of_equal_scores():
    groups = equal_groups(SCORES, RELEVANT)
    assert groups.counts.tolist() == [[1, 3, 2, 0, 0], [1, 1, 2, 1, 1]]  # 0 and -0 are equal
    assert groups.relevant.tolist() == [[0, 2, 1, 0, 0], [0, 0, 1, 1, 0]]


def test_codes_are_the_special_case_of_small_integers():
    rng = np.random.default_rng(0)
    query, database = (rng.integers(0, 256, (n, 2), dtype=np.uint8) for n in (30, 200))
    labels = rng.random((30, 5)) < 0.3, rng.random((200, 5)) < 0.2
    labels[0][3] = False
    distance = np.unpackbits(query[:, None] ^ database, axis=2).sum(axis=2, dtype=np.int64)
    for name, ties in itertools.product(("map_all", "map_at_k", "map_at_k_hitonly"), ("expected", "stable")):
        for rule in ("zero", "skip"):
            want = metrics.evaluate(query, database, *labels, bits=16, protocol=name, ties=ties, no_relevant=rule)
            found = evaluate_scores(-distance, *labels, {"one": Measure(name, ties, None, rule)})["one"]
            assert found.value == pytest.approx(want.value, rel=1e-12)
            np.testing.assert_allclose(found.per_query, want.per_query, rtol=1e-12)
            assert np.array_equal(found.counted, want.counted)
            counts = (found.queries_without_relevant, found.unlabelled_queries, found.unlabelled_items)
            assert counts == (want.queries_without_relevant, want.unlabelled_queries, want.unlabelled_items)


@pytest.mark.parametrize("shift", [(1.0, 5.0), (1e-9, 0.0), (1e200, 0.0)])
def test_rankings_know_no_scale(shift):
    rng = np.random.default_rng(1)
    scores, ids = np.round(rng.standard_normal((8, 60)) * 4), (rng.integers(0, 3, 8), rng.integers(0, 3, 60))
    plain, moved = (evaluate_scores(s, *ids) for s in (scores, scores * shift[0] + shift[1]))
    assert {name: s.value for name, s in plain.items()} == {name: s.value for name, s in moved.items()}
    assert set(plain) == {"map_all", "map_at_k", "map_at_k_hitonly"}


def test_blocks_and_a_function_do_not_show(monkeypatch):
    rng = np.random.default_rng(2)
    scores, ids = rng.standard_normal((20, 50)).astype(np.float32), (rng.integers(0, 3, 20), rng.integers(0, 3, 50))
    whole = evaluate_scores(scores, *ids)["map_at_k"]
    monkeypatch.setattr("fasthash.metrics._real.BLOCK", 130)
    asked = []
    parts = evaluate_scores(lambda rows: asked.append(rows) or scores[rows], *ids)["map_at_k"]
    assert [rows.stop - rows.start for rows in asked] == [2] * 10
    np.testing.assert_allclose(parts.per_query, whole.per_query, rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 5)), (QUERIES, LABELS), r"scores must be \[2, 6\] like the labels, got \(2, 5\)"),
        (np.full((2, 6), np.nan), (QUERIES, LABELS), "scores must be finite, those of query 0 are not"),
        (SCORES, (QUERIES, np.zeros(6, int)), "must be of one form and width"),
        (SCORES[:0], (QUERIES[:0], LABELS), "must have at least one row, got 0 and 6"),
        (lambda rows: SCORES, (QUERIES[:1], LABELS), r"scores must make \[1, 6\]"),
    ],
)
def test_bad_input(scores, labels, message):
    with pytest.raises(ValueError, match=f"^evaluate_scores: .*{message}"):
        evaluate_scores(scores, *labels)
