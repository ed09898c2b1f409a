"""The rules for ties against every order of the tied items: relevant ones first, last, and the mean over all orders."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_truth import PATTERNS, average_precision, codes_of, orders, random_sets

from fasthash import _native, metrics

EXACT = {"rel": 1e-12, "abs": 1e-12}
# With these a relevant item that moves up never lowers AP. Where AP is divided by the hits found, it can: see below.
MONOTONE = ["map_all", "map_at_k_minR", "map_first_k_relevant"]
PROTOCOLS = [*MONOTONE, "map_at_k"]
RULES = {"optimistic": max, "pessimistic": min}

buckets = st.integers(0, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
patterns = st.lists(buckets, min_size=1, max_size=4).filter(lambda p: 1 <= sum(n for n, _ in p) <= 12)


def extreme_order(pattern, ties):
    first = (
        (lambda n, r: (1,) * r + (0,) * (n - r)) if ties == "optimistic" else (lambda n, r: (0,) * (n - r) + (1,) * r)
    )
    return sum((first(n, r) for n, r in pattern), ())


def got(pattern, protocol, ties, k):
    *sets, bits = codes_of(pattern)
    cut = None if protocol == "map_all" else k
    return metrics.evaluate(*sets, bits=bits, protocol=protocol, ties=ties, k=cut).value


@pytest.mark.parametrize("ties", RULES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_extremes_are_the_order_that_they_name(pattern, protocol, ties):
    order = extreme_order(pattern, ties)
    for k in range(1, len(order) + 2):
        want = average_precision(order, protocol, None if protocol == "map_all" else k)
        assert got(pattern, protocol, ties, k) == pytest.approx(float(want), **EXACT), k


@given(patterns, st.sampled_from(MONOTONE), st.integers(1, 13))
@settings(max_examples=150, deadline=None)
def test_optimistic_is_the_best_order_and_pessimistic_the_worst(pattern, protocol, k):
    cut = None if protocol == "map_all" else k
    values = [average_precision(order, protocol, cut) for order in orders(pattern)]
    for ties, extreme in RULES.items():
        assert got(pattern, protocol, ties, k) == pytest.approx(float(extreme(values)), **EXACT)
    mean = sum(values, Fraction(0)) / len(values)
    assert got(pattern, protocol, "expected", k) == pytest.approx(float(mean), **EXACT)


@given(patterns, st.integers(1, 13))
@settings(max_examples=100, deadline=None)
def test_precision_and_recall_at_n_over_every_order(pattern, n):
    *sets, bits = codes_of(pattern)
    n = min(n, len(sets[1]))
    hits = [sum(order[:n]) for order in orders(pattern)]
    total = max(sum(r for _, r in pattern), 1)
    want = {"optimistic": max(hits), "pessimistic": min(hits), "expected": sum(hits) / len(hits)}
    for ties, number in want.items():
        assert metrics.precision_at(*sets, n, bits=bits, ties=ties) == pytest.approx(number / n, **EXACT)
        assert metrics.recall_at(*sets, n, bits=bits, ties=ties) == pytest.approx(number / total, **EXACT)


def test_one_more_hit_can_lower_ap_divided_by_the_hits():
    """[+, -, then one of two]: at k = 3 a third hit makes (1 + 2/3) / 2 of 1."""
    pattern = [(1, 1), (1, 0), (2, 1)]
    assert got(pattern, "map_at_k", "optimistic", 3) == pytest.approx(5 / 6)
    assert got(pattern, "map_at_k", "pessimistic", 3) == pytest.approx(1.0)
    assert got(pattern, "map_at_k", "expected", 3) == pytest.approx((5 / 6 + 1) / 2)


@st.composite
def evaluations(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits, nq, nb = draw(st.integers(1, 70)), draw(st.integers(1, 6)), draw(st.integers(1, 300))
    ones, labelled = draw(st.sampled_from([0.0, 0.3, 0.5])), draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    return random_sets(rng, nq, nb, bits, draw(st.integers(1, 70)), ones=ones, labelled=labelled), bits


@given(evaluations(), st.integers(1, 320))
@settings(deadline=None)
def test_every_rule_lies_between_pessimistic_and_optimistic(case, k):
    sets, bits = case
    for protocol in MONOTONE:
        cut = None if protocol == "map_all" else k
        per_query = {
            ties: metrics.average_precision(*sets, bits=bits, protocol=protocol, ties=ties, k=cut)
            for ties in metrics.TIES
        }
        for ties in ("expected", "stable"):
            assert (per_query["pessimistic"] <= per_query[ties] + 1e-12).all(), (protocol, ties)
            assert (per_query[ties] <= per_query["optimistic"] + 1e-12).all(), (protocol, ties)


@given(evaluations())
@settings(deadline=None)
def test_protocols_meet_where_they_must(case):
    """A cut at the end of the database, or beyond the relevant items, is none."""
    sets, bits = case
    nb = len(sets[1])
    for ties in metrics.TIES:
        whole = metrics.average_precision(*sets, bits=bits, ties=ties)
        for protocol in ("map_at_k", "map_at_k_minR", "map_first_k_relevant"):
            cut = metrics.average_precision(*sets, bits=bits, protocol=protocol, ties=ties, k=nb)
            np.testing.assert_allclose(cut, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("n0", "r0", "n", "r", "s"),
    [(0, 0, 60, 2, 1), (5, 3, 300, 40, 1), (5, 0, 300, 40, 2), (40, 7, 400, 250, 249), (0, 0, 500, 90, 33)],
)
def test_first_relevant_of_a_large_bucket_against_rationals(n0, r0, n, r, s):
    """The place of each of the first s relevant items, by binomials of whole numbers."""
    bucket = Fraction(0)
    for i in range(1, s + 1):
        for place in range(i, n - r + i + 1):
            ways = comb(place - 1, i - 1) * comb(n - place, r - i)
            bucket += Fraction(ways, comb(n, r)) * Fraction(r0 + i, n0 + place)
    first = Fraction(0)
    for j in range(1, n0 + 1):
        first += Fraction(r0, n0) * (1 + Fraction((j - 1) * max(r0 - 1, 0), max(n0 - 1, 1))) / j
    want = float((first + bucket) / (r0 + s))
    assert got([(n0, r0), (n, r), (3, 2)], "map_first_k_relevant", "expected", r0 + s) == pytest.approx(want, rel=1e-13)


def test_first_relevant_of_a_huge_bucket_is_the_limit_of_many_items():
    """n items in random order, a share x of them relevant: i / pos_i tends to x as i grows."""
    *sets, bits = codes_of([(20_000, 5_000)])
    value = metrics.evaluate(*sets, bits=bits, protocol="map_first_k_relevant", k=4_000).value
    assert value == pytest.approx(0.25, abs=2e-3)
    assert value > metrics.evaluate(*sets, bits=bits).value


@pytest.mark.parametrize("bits", [1, 8, 64, 130])
@pytest.mark.parametrize("isa", _native.isa_names())
def test_many_stable_cuts_equal_one_at_a_time(bits, isa):
    sets = random_sets(np.random.default_rng(bits), 37, 1300, bits, classes=9, ones=0.4)
    cuts = [1, 2, 3, 50, 511, 512, 1299, 1300]
    with _native.use_isa(isa):
        at = metrics.precision_at(*sets, cuts, bits=bits, ties="stable", threads=2)
        for cut, value in zip(cuts, at, strict=True):
            assert value == pytest.approx(metrics.precision_at(*sets, cut, bits=bits, ties="stable"), abs=1e-15)
        measures = {f"{p}{k}": metrics.Measure(p, "stable", k) for p in PROTOCOLS[1:] for k in (1, 50, 512)}
        found = metrics.summary(*sets, bits=bits, measures=measures, threads=3).scores
        for name, measure in measures.items():
            alone = metrics.average_precision(*sets, bits=bits, protocol=measure.protocol, ties="stable", k=measure.k)
            np.testing.assert_allclose(found[name].per_query, alone, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("ties", metrics.TIES)
def test_queries_without_relevant_items(ties):
    sets = list(random_sets(np.random.default_rng(5), 9, 120, 10, 4))
    sets[2][:, 0], sets[3][:, 0] = True, True  # all have relevant items ..
    sets[2][[1, 4, 5]] = False  # .. but these
    left = [sets[0][[0, 2, 3, 6, 7, 8]], sets[1], sets[2][[0, 2, 3, 6, 7, 8]], sets[3]]
    for protocol in metrics.protocols():
        zero, skip = (
            metrics.evaluate(*sets, bits=10, protocol=protocol.name, ties=ties, no_relevant=rule)
            for rule in metrics.NO_RELEVANT
        )
        alone = metrics.evaluate(*left, bits=10, protocol=protocol.name, ties=ties)
        assert zero.queries_without_relevant == skip.queries_without_relevant == 3
        assert skip.value == pytest.approx(alone.value, abs=1e-14)
        assert (skip.pr.retrieved == alone.pr.retrieved).all()
        assert skip.lookup(3) == alone.lookup(3)
        assert skip.counted.sum() == 6
        np.testing.assert_array_equal(skip.per_query, zero.per_query)
        if protocol.name != "map_at_k_hitonly":
            assert zero.value == pytest.approx(alone.value * 6 / 9, abs=1e-14)
            assert zero.counted.all()
    for function, options in (
        (metrics.precision_at, {"n": [1, 7, 120], "ties": ties}),
        (metrics.recall_at, {"n": 7, "ties": ties}),
    ):
        np.testing.assert_allclose(
            function(*sets, bits=10, no_relevant="skip", **options), function(*left, bits=10, **options), rtol=1e-12
        )
    assert metrics.lookup(*sets, bits=10, radius=3, no_relevant="skip") == metrics.lookup(*left, bits=10, radius=3)
    assert metrics.ndcg(*sets, bits=10, no_relevant="skip").value == pytest.approx(metrics.ndcg(*left, bits=10).value)
    assert "3 queries without a relevant item are left out" in str(metrics.evaluate(*sets, bits=10, no_relevant="skip"))


def test_nothing_to_average_is_zero():
    query, database, _, _ = random_sets(np.random.default_rng(0), 3, 20, 8, 1)
    sets = query, database, np.zeros(3, int), np.ones(20, int)
    for protocol in metrics.protocols():
        assert metrics.evaluate(*sets, bits=8, protocol=protocol.name, no_relevant="skip").value == 0.0
    found = metrics.summary(*sets, bits=8, no_relevant="skip", graded=True)
    assert found.ndcg.value == found.lookup.precision == found.pr.area == 0.0
    assert not found.by_rank["expected"].precision.any()
    assert not found.by_radius.recall.any()


@pytest.mark.parametrize("function", [metrics.evaluate, metrics.lookup, metrics.ndcg, metrics.precision_recall])
def test_unknown_treatment_is_refused(function):
    sets = random_sets(np.random.default_rng(0), 3, 20, 8, 2)
    message = f"^{function.__name__}: no_relevant must be one of zero, skip, got 'drop'$"
    with pytest.raises(ValueError, match=message):
        function(*sets, bits=8, no_relevant="drop")
