"""Brute force in NumPy: what every search must return, to the bit."""

import numpy as np

NONE = 2147483647


def random_codes(rng, n, bits):
    """uint8 [n, ceil(bits / 8)] with zero padding bits, a few rows alike."""
    codes = np.packbits(rng.random((n, bits)) < 0.5, axis=1)
    if n > 3:
        codes[rng.integers(0, n, n // 4)] = codes[rng.integers(0, n, n // 4)]
    return codes


def codes(bits=64, nq=3, nb=1000, seed=0):
    """Random queries and database."""
    rng = np.random.default_rng(seed)
    return random_codes(rng, nq, bits), random_codes(rng, nb, bits)


def distances(queries, database):
    """int64 [nq, nb]."""
    return np.stack([np.bitwise_count(query ^ database).sum(axis=1, dtype=np.int64) for query in queries])


def topk(queries, database, k, allow=None):
    full = distances(queries, database)
    if allow is not None:
        full[:, ~allow] = NONE
    order = np.argsort(full, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(full, order, axis=1)
    gap = ((0, 0), (0, k - order.shape[1]))
    best = np.pad(best, gap, constant_values=NONE)
    ids = np.where(best == NONE, -1, np.pad(order, gap))
    return best.astype(np.int32), ids


def within(queries, database, radius, allow=None):
    lims, all_distances, all_ids = [0], [], []
    for row in distances(queries, database):
        ids = np.flatnonzero((row <= radius) & (True if allow is None else allow))
        ids = ids[np.argsort(row[ids], kind="stable")]
        lims.append(lims[-1] + len(ids))
        all_distances.append(row[ids])
        all_ids.append(ids)
    return np.array(lims), np.concatenate(all_distances).astype(np.int32), np.concatenate(all_ids)


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
