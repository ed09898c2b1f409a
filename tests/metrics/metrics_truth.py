"""The definitions written down plainly: rankings as lists, exact rationals, every order of tied items tried."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np

# Buckets as (items, relevant items), nearest first: single items, nothing relevant, everything relevant, gaps.
PATTERNS = [
    [(1, 1)],
    [(1, 0)],
    [(0, 0), (5, 2)],
    [(3, 0), (2, 1)],
    [(2, 2), (3, 3)],
    [(0, 0), (1, 1), (0, 0), (4, 2), (3, 1)],
    [(4, 1), (2, 0), (5, 3), (1, 1)],
    [(3, 0), (6, 2), (2, 2)],
    [(6, 5), (1, 0), (4, 1)],
    [(2, 0), (7, 1)],
]


def codes_of(pattern):
    """(query, database, query_labels, database_labels, bits) whose histogram is the pattern: d ones at distance d."""
    bits = max(len(pattern) - 1, 1)
    rows, relevant = [], []
    for distance, (items, hits) in enumerate(pattern):
        rows += [np.arange(bits) < distance] * items
        relevant += [1] * hits + [0] * (items - hits)
    database = np.packbits(np.array(rows, bool).reshape(-1, bits), axis=1)
    query = np.zeros((1, database.shape[1]), np.uint8)
    return query, database, np.array([1]), np.array(relevant), bits


def orders(pattern):
    """All equally likely relevance lists of the ranking, as tuples of 0 and 1."""
    buckets = [
        [tuple(int(i in chosen) for i in range(items)) for chosen in combinations(range(items), hits)]
        for items, hits in pattern
    ]
    return [sum(order, ()) for order in product(*buckets)]


def average_precision(relevance, protocol, k):
    """AP of one relevance list, a Fraction; None where the protocol leaves the query out."""
    if protocol == "map_first_k_relevant":
        ranks = [rank for rank, r in enumerate(relevance, start=1) if r][:k]
        return sum((Fraction(i, rank) for i, rank in enumerate(ranks, start=1)), Fraction(0)) / max(len(ranks), 1)
    cut = relevance if k is None else relevance[:k]
    hits, total = 0, Fraction(0)
    for rank, r in enumerate(cut, start=1):
        hits += r
        total += r * Fraction(hits, rank)
    if protocol == "map_at_k_hitonly" and hits == 0:
        return None
    denominator = {
        "map_all": sum(relevance),
        "map_at_k": hits,
        "map_at_k_hitonly": hits,
        "map_at_k_minR": min(k or 0, sum(relevance)),
    }[protocol]
    return total / denominator if denominator else Fraction(0)


def expected_ap(pattern, protocol, k):
    """Mean over every order; queries left out count 0 here."""
    values = [average_precision(order, protocol, k) or Fraction(0) for order in orders(pattern)]
    return sum(values, Fraction(0)) / len(values)


def random_sets(rng, nq, nb, bits, classes, ones=0.5, labelled=0.2):
    """Packed codes and multi-hot labels; database codes lean to `ones`, so that distances are uneven."""
    query = np.packbits(rng.random((nq, bits)) < 0.5, axis=1)
    database = np.packbits(rng.random((nb, bits)) < ones, axis=1)
    return query, database, rng.random((nq, classes)) < labelled, rng.random((nb, classes)) < labelled


def distances(query, database):
    return np.bitwise_count(query[:, None, :] ^ database[None, :, :]).sum(-1, dtype=np.int64)


def relevance(query_labels, database_labels):
    if query_labels.ndim == 1:
        return query_labels[:, None] == database_labels[None, :]
    return query_labels.astype(int) @ database_labels.astype(int).T > 0


def ranked(query, database, query_labels, database_labels, key=None):
    """bool [nq, nb] relevance in the order (distance, key, index); key: [nq, nb]."""
    found = relevance(query_labels, database_labels)
    by = distances(query, database)
    key = np.zeros_like(by) if key is None else key
    order = np.lexsort((np.broadcast_to(np.arange(by.shape[1]), by.shape), key, by), axis=1)
    return np.take_along_axis(found, order, axis=1)


def ap_of_ranked(ordered, protocol, k=None):
    """float64 [nq], NaN where the protocol leaves the query out."""
    n = ordered.shape[1]
    cut = n if k is None else min(k, n)
    hits = ordered.cumsum(axis=1)
    if protocol == "map_first_k_relevant":
        kept = ordered & (hits <= k)
        return (kept * hits / np.arange(1, n + 1)).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
    total = (ordered * hits / np.arange(1, n + 1))[:, :cut].sum(axis=1)
    found = hits[:, cut - 1]
    if protocol == "map_at_k_hitonly":
        return np.where(found > 0, total / np.maximum(found, 1), np.nan)
    denominator = found if protocol == "map_at_k" else np.minimum(hits[:, -1], n if protocol == "map_all" else k)
    return total / np.maximum(denominator, 1)
