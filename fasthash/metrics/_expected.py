"""Exact expectations over a random order of the items at equal distance, from histograms alone.

A bucket is the n items at one distance, r of them relevant; n0 items and r0 relevant ones are nearer. At place j of the
bucket the precision is (r0 + relevant ones among its first j) / (n0 + j).

Sources: McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores, ECIR 2008; He, Cakir, Bargal and Sclaroff, Hashing as Tie-Aware Learning to Rank, CVPR 2018. Sums over whole
buckets are in `_buckets`; where a cut decides by how much is divided, or falls among the hits, it is worked out here.
"""

from __future__ import annotations

import numpy as np

from fasthash import _native
from fasthash._arguments import thread_count
from fasthash.metrics._buckets import Floats, harmonic_gap, hit_cut, precision_sums, rank_cut
from fasthash.metrics._histograms import Histograms, Ints


def precision_per_hit(histograms: Histograms, k: int, threads: int | None = None) -> tuple[Floats, Floats]:
    """Average precision within rank k, divided by the relevant items found there; 0 without any.

    The buckets before the cut contribute their expected sum. Of the bucket cut, the number h of relevant items in the
    t places left is hypergeometric, and given h all orders of the places are equally likely, so that their precisions
    add up to (h/t) sum_{j=1..t} [r0 + 1 + (j-1)(h-1)/(t-1)] / (n0 + j) in expectation.

    Returns:
        (expected, hit): float64 [nq], and the probability that any of the k items is relevant.
    """
    cut = rank_cut(histograms, k)
    before = precision_sums(histograms, cut.n0, "expected")
    gap = harmonic_gap(cut.n0, cut.n0 + cut.kept)
    expected, hit = np.empty(histograms.nq), np.empty(histograms.nq)
    given = cut.n, cut.r, cut.n0, cut.r0, cut.kept, before, gap
    at = [_native.address(array) for array in given], [_native.address(array) for array in (expected, hit)]
    _native.load().expected_rank_cut(*at[0], len(expected), thread_count(threads, "precision_per_hit"), *at[1])
    return expected, hit


def first_sums(histograms: Histograms, m: Ints, threads: int | None = None) -> Floats:
    """float64 [nq]: expected precision, summed over the first m[q] relevant items, 0 to all of them.

    The buckets that are kept whole contribute their expected sum. Of the one that is cut, the place p of the last item
    kept, the s-th, is negative hypergeometric, and given p the s - 1 before it lie in random order among p - 1 places.
    """
    cut = hit_cut(histograms, m)
    end = np.where(cut.kept == cut.r, cut.n0 + cut.n, cut.n0)  # of what is summed up whole
    sums = precision_sums(histograms, end, "expected")
    whole = (cut.kept == cut.r) | (cut.kept == 0)
    if whole.all():
        return sums
    n, r, n0, r0, s = (array[~whole] for array in (cut.n, cut.r, cut.n0, cut.r0, cut.kept))
    place = np.clip(((s - 1.0) * n / (r - 1)).astype(np.int64) + 1, s, n - r + s)  # the likeliest p
    gap = harmonic_gap(n0, n0 + place - 1)
    part = np.empty(len(n))
    given = [_native.address(array) for array in (n, r, n0, r0, s, place, gap)]
    _native.load().expected_hit_cut(*given, len(n), thread_count(threads, "first_sums"), _native.address(part))
    sums[~whole] += part
    return sums


def mean_over_hit_queries(expected: Floats, hit: Floats) -> float:
    """Expected mean of AP over those queries that found anything; 0 when none did.

    How many they are is itself random: with p_q = hit[q], `many[m]` is the probability that m of the uncertain queries
    found something, `weighted[m]` the expected sum of AP over them times that event, both built up query by query:
    O(u^2) time for u uncertain queries.
    """
    certain = hit == 1.0
    uncertain = (hit > 0.0) & ~certain
    many = np.zeros(int(uncertain.sum()) + 1)
    weighted = np.zeros_like(many)
    many[0] = 1.0
    for value, p in zip(expected[uncertain], hit[uncertain], strict=True):
        weighted = (1.0 - p) * weighted + _one_more(p * weighted + value * many)
        many = (1.0 - p) * many + _one_more(p * many)
    found = int(certain.sum()) + np.arange(len(many))
    total = weighted + expected[certain].sum() * many
    return float((total / np.maximum(found, 1)).sum())


def _one_more(by_number: Floats) -> Floats:
    return np.concatenate([[0.0], by_number[:-1]])
