"""What must hold for any codes and labels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_truth import ap_of_ranked, distances, random_sets, ranked, relevance

from fasthash import metrics


@st.composite
def evaluations(draw):
    """(sets, bits): sizes, lengths and label densities of all kinds, duplicates included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits, nq, nb = draw(st.integers(1, 140)), draw(st.integers(1, 6)), draw(st.integers(1, 90))
    labelled = draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    sets = random_sets(
        rng, nq, nb, bits, draw(st.integers(1, 70)), ones=draw(st.sampled_from([0.0, 0.3, 0.5])), labelled=labelled
    )
    return sets, bits, rng


K = st.integers(1, 100)


@given(evaluations(), K)
@settings(deadline=None)
def test_order_of_the_database_leaves_expected_unchanged(case, k):
    (query, database, labels_q, labels_d), bits, rng = case
    order = rng.permutation(len(database))
    for name, cut in (("map_all", None), ("map_at_k", k), ("map_at_k_minR", k), ("map_at_k_hitonly", k)):
        before = metrics.evaluate(query, database, labels_q, labels_d, bits=bits, protocol=name, k=cut)
        after = metrics.evaluate(query, database[order], labels_q, labels_d[order], bits=bits, protocol=name, k=cut)
        np.testing.assert_array_equal(before.per_query, after.per_query)


@given(evaluations())
@settings(deadline=None)
def test_stable_and_expected_lie_between_the_worst_and_the_best_order(case):
    sets, bits, _ = case
    relevant = relevance(*sets[2:])
    best = ap_of_ranked(ranked(*sets, key=~relevant), "map_all")
    worst = ap_of_ranked(ranked(*sets, key=relevant), "map_all")
    for ties in ("stable", "expected"):
        got = metrics.evaluate(*sets, bits=bits, ties=ties).per_query
        assert (worst - 1e-12 <= got).all()
        assert (got <= best + 1e-12).all()


@given(evaluations(), K)
@settings(deadline=None)
def test_flipping_the_same_bits_everywhere_changes_nothing(case, k):
    (query, database, labels_q, labels_d), bits, rng = case
    mask = np.packbits(rng.random(bits) < 0.5)
    for ties in ("stable", "expected"):
        before = metrics.evaluate(query, database, labels_q, labels_d, bits=bits, protocol="map_at_k", k=k, ties=ties)
        after = metrics.evaluate(
            query ^ mask, database ^ mask, labels_q, labels_d, bits=bits, protocol="map_at_k", k=k, ties=ties
        )
        np.testing.assert_array_equal(before.per_query, after.per_query)
        np.testing.assert_array_equal(before.histograms.counts, after.histograms.counts)


@given(evaluations())
@settings(deadline=None)
def test_histograms_count_everything_once(case):
    (query, database, labels_q, labels_d), bits, _ = case
    got = metrics.histograms(query, database, labels_q, labels_d, bits=bits)
    by, relevant = distances(query, database), relevance(labels_q, labels_d)
    assert (got.counts.sum(axis=1) == len(database)).all()
    assert got.counts.shape == (len(query), bits + 1)
    for row, (d, r) in enumerate(zip(by, relevant, strict=True)):
        np.testing.assert_array_equal(got.counts[row], np.bincount(d, minlength=bits + 1))
        np.testing.assert_array_equal(got.relevant[row], np.bincount(d[r], minlength=bits + 1))


@given(evaluations())
@settings(max_examples=50, deadline=None)
def test_order_and_surplus_of_classes_do_not_matter(case):
    (query, database, labels_q, labels_d), bits, rng = case
    order = rng.permutation(labels_q.shape[1])
    wide_q = np.hstack([labels_q[:, order], np.zeros((len(query), 80), bool)])
    wide_d = np.hstack([labels_d[:, order], np.ones((len(database), 80), bool)])  # classes that no query has
    before = metrics.average_precision(query, database, labels_q, labels_d, bits=bits, ties="stable")
    after = metrics.average_precision(query, database, wide_q, wide_d, bits=bits, ties="stable")
    np.testing.assert_array_equal(before, after)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 40, 5000, 2**40]))
@settings(max_examples=50, deadline=None)
def test_class_ids_are_one_hot_labels(seed, largest):
    rng = np.random.default_rng(seed)
    query, database, _, _ = random_sets(rng, 5, 120, 11, 1)
    known = np.unique(rng.integers(0, largest, 30))
    ids_q, ids_d = rng.choice(known, 5), rng.choice(known[: len(known) // 2 + 1], 120)  # some ids no item has
    one_hot = ids_q[:, None] == known, ids_d[:, None] == known
    for ties in ("stable", "expected"):
        got = metrics.average_precision(query, database, ids_q, ids_d, bits=11, ties=ties)
        np.testing.assert_array_equal(got, metrics.average_precision(query, database, *one_hot, bits=11, ties=ties))


@given(evaluations(), K)
@settings(deadline=None)
def test_values_are_probabilities(case, k):
    sets, bits, _ = case
    for protocol in metrics.protocols():
        for ties in protocol.ties:
            cut = None if protocol.default_k is None else k
            got = metrics.evaluate(*sets, bits=bits, protocol=protocol.name, ties=ties, k=cut)
            assert -1e-12 <= got.value <= 1 + 1e-12
            assert (got.per_query >= -1e-12).all()
            assert (got.per_query <= 1 + 1e-12).all()
