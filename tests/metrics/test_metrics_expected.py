"""Tie-expected metrics against every order of tied items, in exact rationals."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from metrics_truth import PATTERNS, average_precision, codes_of, expected_ap, orders

from fasthash import metrics
from fasthash.metrics._buckets import harmonic_gap, place_sums
from fasthash.metrics._expected import mean_over_hit_queries, precision_per_hit

EXACT = {"rel": 1e-12, "abs": 1e-12}  # float64 sums of a few hundred terms against rationals


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_map_all_is_the_mean_over_all_orders(pattern):
    *sets, bits = codes_of(pattern)
    assert metrics.evaluate(*sets, bits=bits).value == pytest.approx(
        float(expected_ap(pattern, "map_all", None)), **EXACT
    )


@pytest.mark.parametrize("protocol", ["map_at_k", "map_at_k_minR", "map_first_k_relevant"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_cut_is_the_mean_over_all_orders(pattern, protocol):
    *sets, bits = codes_of(pattern)
    for k in range(1, len(sets[1]) + 2):  # every cut, and one beyond the database
        got = metrics.evaluate(*sets, bits=bits, protocol=protocol, k=k)
        assert got.value == pytest.approx(float(expected_ap(pattern, protocol, k)), **EXACT), k


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_hitonly_is_the_mean_over_all_orders_of_all_queries(k):
    # a hit is certain for the first query, impossible for the last one at small k, and open for the others
    patterns = [[(2, 2), (2, 1)], [(3, 1), (1, 0)], [(4, 1)], [(3, 0), (1, 1)]]
    values = []
    for together in product(*(orders(pattern) for pattern in patterns)):
        found = [average_precision(order, "map_at_k_hitonly", k) for order in together]
        found = [ap for ap in found if ap is not None]
        values.append(sum(found, Fraction(0)) / len(found) if found else Fraction(0))
    want = sum(values, Fraction(0)) / len(values)
    # four queries that see four databases: each one's histogram comes from its own codes
    expected, hit = np.zeros(4), np.zeros(4)
    for i, pattern in enumerate(patterns):
        *sets, bits = codes_of(pattern)
        seen = metrics.histograms(*sets, bits=bits)
        (expected[i],), (hit[i],) = precision_per_hit(seen, min(k, seen.nb))
        assert hit[i] == pytest.approx(np.mean([any(order[:k]) for order in orders(pattern)]), **EXACT)
    assert mean_over_hit_queries(expected, hit) == pytest.approx(float(want), **EXACT)


def test_hitonly_of_queries_without_any_hit_is_zero():
    *sets, bits = codes_of([(3, 0), (1, 1)])
    scores = metrics.evaluate(*sets, bits=bits, protocol="map_at_k_hitonly", k=2)
    assert scores.value == 0.0


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_hitonly_of_one_query_is_ap_given_a_hit(k):
    pattern = [(4, 1), (2, 1)]
    *sets, bits = codes_of(pattern)
    found = [average_precision(order, "map_at_k_hitonly", k) for order in orders(pattern)]
    # the mean over hit queries of a single query: its AP when there is a hit, 0 when there is none
    want = sum((ap or Fraction(0) for ap in found), Fraction(0)) / len(found)
    got = metrics.evaluate(*sets, bits=bits, protocol="map_at_k_hitonly", k=k)
    assert got.value == pytest.approx(float(want), **EXACT)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_precision_at_n(pattern):
    *sets, bits = codes_of(pattern)
    nb = len(sets[1])
    every = orders(pattern)
    want = [float(sum(Fraction(sum(order[:n]), n) for order in every) / len(every)) for n in range(1, nb + 1)]
    assert metrics.precision_at(*sets, range(1, nb + 1), bits=bits) == pytest.approx(want, **EXACT)
    assert metrics.precision_at(*sets, nb, bits=bits) == pytest.approx(want[-1], **EXACT)


def test_large_cut_bucket_against_rationals():
    """Two thousand tied items: the hypergeometric weights must keep every digit, as binomials of whole numbers do."""
    from math import comb

    n0, r0, n, r, k = 40, 7, 2000, 600, 740
    t = k - n0
    first = Fraction(0)  # expected precision sum of the first bucket, n0 items of which r0 are relevant
    for j in range(1, n0 + 1):
        first += Fraction(r0, n0) * (1 + Fraction((j - 1) * (r0 - 1), n0 - 1)) / j
    base = sum(Fraction(1, n0 + j) for j in range(1, t + 1))
    rising = sum(Fraction(j - 1, n0 + j) for j in range(1, t + 1))
    want = Fraction(0)
    for h in range(max(0, t - (n - r)), min(t, r) + 1):
        inside = Fraction(h, t) * ((r0 + 1) * base + Fraction(h - 1, t - 1) * rising)
        want += Fraction(comb(r, h) * comb(n - r, t - h), comb(n, t)) * (first + inside) / (r0 + h)
    *sets, bits = codes_of([(n0, r0), (n, r), (5, 2)])
    got = metrics.evaluate(*sets, bits=bits, protocol="map_at_k", k=k).value
    assert got == pytest.approx(float(want), rel=1e-13)


@pytest.mark.parametrize("start", [0, 1, 5, 31, 32, 33, 1000, 10**6, 4 * 10**9])
@pytest.mark.parametrize("length", [0, 1, 2, 31, 32, 500])
def test_harmonic_gap(start, length):
    want = float(sum(Fraction(1, start + j) for j in range(1, length + 1)))
    got = harmonic_gap(np.array([start]), np.array([start + length]))[0]
    assert got == pytest.approx(want, rel=4e-15, abs=0)


@pytest.mark.parametrize("n0", [10, 10**5, 10**9])
def test_small_bucket_far_down_the_ranking(n0):
    # three relevant items behind n0 others: 1/(n0+1) + 2/(n0+2) + 3/(n0+3), where the terms of the closed form cancel
    want = float(sum(Fraction(j, n0 + j) for j in (1, 2, 3)))
    one = np.array([3])
    got = place_sums(one, one, np.array([n0]), np.array([0]), one)[0]
    assert got == pytest.approx(want, rel=0, abs=2e-14)
