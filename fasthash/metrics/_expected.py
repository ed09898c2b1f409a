"""Exact expectations over a random order of the items at equal distance, from histograms alone.

A bucket is the n items at one distance, r of them relevant; n0 items and r0 relevant ones are nearer. At place j of the
bucket the precision is (r0 + relevant ones among its first j) / (n0 + j).

Sources: McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores, ECIR 2008; He, Cakir, Bargal and Sclaroff, Hashing as Tie-Aware Learning to Rank, CVPR 2018. The cut inside a
bucket is worked out at `precision_per_hit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.metrics._histograms import Histograms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SMALL = 32  # below, harmonic numbers come from a table; above, the series is exact to the last bit
_HARMONIC = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, _SMALL + 1))])
_CHUNK = 1 << 18  # hit counts looked at together: 2 MiB an array


def harmonic_gap(start: Ints, end: Ints) -> Floats:
    """1/(start + 1) + ... + 1/end, each to a relative 1e-15 or so: what n0 times it loses would show in AP."""
    low, high = np.maximum(start, _SMALL), np.maximum(end, _SMALL)
    gap = np.log1p((high - low) / low) + (_harmonic_tail(high) - _harmonic_tail(low))
    return np.asarray(gap + (_HARMONIC[np.minimum(end, _SMALL)] - _HARMONIC[np.minimum(start, _SMALL)]))


def _harmonic_tail(x: Ints) -> Floats:
    """H_x - ln x - Euler's constant (Euler-Maclaurin), for x >= 32."""
    u = 1.0 / x
    v = u * u
    return np.asarray(u / 2 - v * (1 / 12 - v * (1 / 120 - v * (1 / 252 - v / 240))))


def place_sums(n: Ints, r: Ints, n0: Ints, r0: Ints, places: Ints) -> Floats:
    """Expected precision, summed over the relevant items among the first `places` of a bucket; all arrays [...].

    (r/n) sum_{j=1..places} [r0 + 1 + (j-1)(r-1)/(n-1)] / (n0 + j), with the sums written by harmonic numbers.
    """
    gap = harmonic_gap(n0, n0 + places)
    among_others = (r - 1) / np.maximum(n - 1, 1)
    return np.asarray(r / n * ((r0 + 1) * gap + among_others * (places - (n0 + 1) * gap)))


def precision_sums(histograms: Histograms, k: Ints) -> Floats:
    """float64 [nq]: expected sum of precision at the relevant items of ranks 1 to k[q] of query q."""
    sums = np.empty(histograms.nq)
    for rows, counts, relevant in histograms.chunks():
        n0, r0 = _before(counts), _before(relevant)
        query, distance = np.nonzero((relevant > 0) & (n0 < k[rows, None]))
        at = query, distance
        places = np.minimum(counts[at], k[rows][query] - n0[at])
        part = place_sums(counts[at], relevant[at], n0[at], r0[at], places)
        sums[rows] = np.bincount(query, part, minlength=len(counts))
    return sums


@dataclass(frozen=True)
class Cut:
    """The bucket in which rank k falls, one entry a query."""

    n: Ints
    r: Ints
    n0: Ints
    r0: Ints
    places: Ints  # of the bucket that lie within the cut, 1 to n


def cut_bucket(histograms: Histograms, k: int) -> Cut:
    """Where rank k falls, 1 <= k <= nb."""
    n, r, n0, r0 = (np.empty(histograms.nq, np.int64) for _ in range(4))
    for rows, counts, relevant in histograms.chunks():
        before, before_relevant = _before(counts), _before(relevant)
        distance = np.argmax(before + counts >= k, axis=1)
        at = np.arange(len(counts)), distance
        n[rows], r[rows], n0[rows], r0[rows] = counts[at], relevant[at], before[at], before_relevant[at]
    return Cut(n, r, n0, r0, k - n0)


def precision_per_hit(histograms: Histograms, k: int) -> tuple[Floats, Floats]:
    """Average precision within rank k, divided by the relevant items found there; 0 without any.

    The buckets before the cut contribute their expected sum. Of the bucket cut, the number h of relevant items in the
    t places left is hypergeometric, and given h all orders of the places are equally likely, so that their precisions
    add up to (h/t) sum_{j=1..t} [r0 + 1 + (j-1)(h-1)/(t-1)] / (n0 + j) in expectation.

    Returns:
        (expected, hit): float64 [nq], and the probability that any of the k items is relevant.
    """
    cut = cut_bucket(histograms, k)
    gap = harmonic_gap(cut.n0, cut.n0 + cut.places)
    t = cut.places
    before = precision_sums(histograms, cut.n0)
    once = (cut.r0 + 1) * gap / t  # per hit
    twice = (t - (cut.n0 + 1) * gap) / np.maximum(t * (t - 1), 1)  # per ordered pair of hits
    expected, hit = np.empty(histograms.nq), np.empty(histograms.nq)
    for rows, h, chance in _hit_counts(cut):
        total = before[rows, None] + h * (once[rows, None] + (h - 1) * twice[rows, None])
        found = cut.r0[rows, None] + h
        expected[rows] = (chance * np.where(found > 0, total / np.maximum(found, 1), 0.0)).sum(axis=1)
        hit[rows] = 1.0 - (chance * (found == 0)).sum(axis=1)
    return expected, hit


def _hit_counts(cut: Cut) -> Any:
    """Yields (rows, h, chance): how many of the bucket's relevant items the cut keeps, and how likely that is.

    h, chance: [rows, width]; chance is 0 outside the possible values. The values looked at are those within
    sqrt(40 t) of the mean: the others' probability is below 2 exp(-80) (Hoeffding, for draws without replacement).
    """
    n, r, t = cut.n, cut.r, cut.places
    mean, reach = r / n * t, np.sqrt(40.0 * t)
    low = np.maximum(np.maximum(0, t - (n - r)), np.floor(mean - reach).astype(np.int64))
    high = np.minimum(np.minimum(r, t), np.ceil(mean + reach).astype(np.int64))
    width = int((high - low).max()) + 1
    step = max(1, _CHUNK // width)
    for start in range(0, len(n), step):
        rows = slice(start, start + step)
        h = low[rows, None] + np.arange(width)
        yield rows, h, _hypergeometric(n[rows, None], r[rows, None], t[rows, None], h, high[rows, None])


def _hypergeometric(n: Ints, r: Ints, t: Ints, h: Ints, high: Ints) -> Floats:
    """Probability of h relevant items among t drawn from n of which r are relevant, 0 above `high`; rows add up to 1.

    Multiplied up from the most likely value in both directions: no factorial, and no digit lost.
    """
    mode = np.clip(((t + 1.0) * (r + 1.0) // (n + 2.0)).astype(np.int64), h[:, :1], high)
    left, kept = h[:, :-1].astype(np.float64), h[:, 1:] <= high
    more = np.where(kept, (r - left) * (t - left), 1.0)
    ratio = more / np.where(kept, (left + 1) * (n - r - t + left + 1), 1.0)  # P(h_{i + 1}) / P(h_i)
    ones = np.ones((len(h), 1))
    upward = np.cumprod(np.hstack([ones, np.where(h[:, 1:] > mode, ratio, 1.0)]), axis=1)
    falling = np.where(h[:, :-1] < mode, 1.0 / ratio, 1.0)[:, ::-1]
    downward = np.cumprod(np.hstack([ones, falling]), axis=1)[:, ::-1]
    chance = np.where(h <= high, np.where(h >= mode, upward, downward), 0.0)
    return np.asarray(chance / chance.sum(axis=1, keepdims=True))


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


def precision_at(histograms: Histograms, n: int) -> Floats:
    """float64 [nq]: expected share of relevant items among the n nearest, 1 <= n <= nb."""
    cut = cut_bucket(histograms, n)
    return np.asarray((cut.r0 + cut.places * (cut.r / cut.n)) / n)


def _before(counts: Ints) -> Ints:
    """Exclusive running sums along the distances."""
    return np.asarray(np.cumsum(counts, axis=1) - counts)
