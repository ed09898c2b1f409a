"""Precision and hits within a cut from histograms alone, under the three rules for ties that need no order of items.

A bucket is the n items at one distance, r of them relevant; n0 items and r0 relevant ones are nearer. Whole buckets
stand in the order of distance; within a bucket the order is random ("expected"), or the relevant items are first
("optimistic") or last ("pessimistic").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fasthash.metrics._histograms import Floats, Histograms, Ints

_SMALL = 32  # below, harmonic numbers come from a table; above, the series is exact to the last bit
_HARMONIC = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, _SMALL + 1))])


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


def bucket_sums(ties: str, n: Ints, r: Ints, n0: Ints, r0: Ints, places: Ints) -> Floats:
    """Precision summed over the relevant items among the first `places` of a bucket, under a rule for ties."""
    if ties == "expected":
        return place_sums(n, r, n0, r0, places)
    kept = bucket_hits(ties, n, r, places)
    return hit_sums(ties, n, r, n0, r0, kept.astype(np.int64))


def hit_sums(ties: str, n: Ints, r: Ints, n0: Ints, r0: Ints, kept: Ints) -> Floats:
    """Precision summed over the first `kept` relevant items of a bucket: (r0 + j) / (start + j) for j = 1 .. kept."""
    start = n0 if ties == "optimistic" else n0 + n - r
    return np.asarray(kept - (start - r0) * harmonic_gap(start, start + kept))


def bucket_hits(ties: str, n: Ints, r: Ints, places: Ints) -> Floats:
    """Relevant items among the first `places` of a bucket, under a rule for ties."""
    if ties == "expected":
        return np.asarray(places * (r / np.maximum(n, 1)))
    if ties == "optimistic":
        return np.asarray(np.minimum(r, places), np.float64)
    return np.asarray(np.maximum(places - (n - r), 0), np.float64)


def precision_sums(histograms: Histograms, k: Ints, ties: str) -> Floats:
    """float64 [nq]: sum of precision at the relevant items of ranks 1 to k[q] of query q."""
    sums = np.empty(histograms.nq)
    for rows, counts, relevant in histograms.chunks():
        n0, r0 = before(counts), before(relevant)
        query, distance = np.nonzero((relevant > 0) & (n0 < k[rows, None]))
        at = query, distance
        places = np.minimum(counts[at], k[rows][query] - n0[at])
        part = bucket_sums(ties, counts[at], relevant[at], n0[at], r0[at], places)
        sums[rows] = np.bincount(query, part, minlength=len(counts))
    return sums


def extreme_first_sums(histograms: Histograms, m: Ints, ties: str) -> Floats:
    """float64 [nq]: precision summed over the first m[q] relevant items, those of a bucket all first or all last."""
    sums = np.empty(histograms.nq)
    for rows, counts, relevant in histograms.chunks():
        n0, r0 = before(counts), before(relevant)
        query, distance = np.nonzero((relevant > 0) & (r0 < m[rows, None]))
        at = query, distance
        kept = np.minimum(relevant[at], m[rows][query] - r0[at])
        part = hit_sums(ties, counts[at], relevant[at], n0[at], r0[at], kept)
        sums[rows] = np.bincount(query, part, minlength=len(counts))
    return sums


@dataclass(frozen=True)
class Cut:
    """The bucket in which a cut falls, one entry a query."""

    n: Ints
    r: Ints
    n0: Ints
    r0: Ints
    kept: Ints  # of the bucket: places 1 to n for a cut by rank, relevant items 0 to r for one by hits


def rank_cut(histograms: Histograms, k: int) -> Cut:
    """Where rank k falls, 1 <= k <= nb."""
    return _cut(histograms, np.full(histograms.nq, k), by_hits=False)


def hit_cut(histograms: Histograms, m: Ints) -> Cut:
    """Where relevant item m[q] falls, 0 <= m[q] <= R."""
    return _cut(histograms, m, by_hits=True)


def _cut(histograms: Histograms, cut: Ints, *, by_hits: bool) -> Cut:
    n, r, n0, r0 = (np.empty(histograms.nq, np.int64) for _ in range(4))
    for rows, counts, relevant in histograms.chunks():
        nearer, nearer_relevant = before(counts), before(relevant)
        up_to = nearer_relevant + relevant if by_hits else nearer + counts
        distance = np.argmax(up_to >= cut[rows, None], axis=1)
        at = np.arange(len(counts)), distance
        n[rows], r[rows], n0[rows], r0[rows] = counts[at], relevant[at], nearer[at], nearer_relevant[at]
    return Cut(n, r, n0, r0, cut - (r0 if by_hits else n0))


def hits_at(histograms: Histograms, ranks: Ints, ties: str) -> Floats:
    """float64 [nq, len(ranks)]: relevant items of ranks 1 to each of ranks, which are from 1 to nb."""
    hits = np.empty((histograms.nq, len(ranks)))
    for rows, counts, relevant in histograms.chunks():
        end, nearer_relevant = np.cumsum(counts, axis=1), before(relevant)
        apart = np.arange(len(counts))[:, None] * (histograms.nb + 1)  # all queries' ends in one ascending list
        bucket = np.searchsorted((end + apart).ravel(), (ranks + apart).ravel()).reshape(len(counts), -1)
        n, r = counts.ravel()[bucket], relevant.ravel()[bucket]
        places = ranks - (end.ravel()[bucket] - n)
        hits[rows] = nearer_relevant.ravel()[bucket] + bucket_hits(ties, n, r, places)
    return hits


def before(counts: Ints) -> Ints:
    """Exclusive running sums along the distances."""
    return np.asarray(np.cumsum(counts, axis=1) - counts)
