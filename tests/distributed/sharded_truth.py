"""What the tests of ``ShardedIndex`` share: codes, and answers compared with those of one ``BinaryIndex``."""

import numpy as np

from fasthash.search import BinaryIndex


def packed_codes(rng, count, bits):
    """Codes of few bits that differ, so that distances are equal often; padding bits are 0."""
    codes = rng.integers(0, 2, (count, bits), dtype=np.uint8)
    codes[:, bits // 2 :] &= rng.integers(0, 2, (count, 1), dtype=np.uint8)
    return np.packbits(codes, axis=1)


def one_index(bits, codes, ids=None):
    index = BinaryIndex(bits)
    index.add(codes, ids)
    return index


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert type(one) is type(other)
        assert one.dtype == other.dtype
        assert np.array_equal(np.asarray(one), np.asarray(other))


def assert_same_answers(index, truth, rng, ks=(1, 7), radii=(0, 3)):
    """Every kind of question gets the answer that ``truth`` gives."""
    queries = packed_codes(rng, 5, truth.bits)
    allow = rng.random(len(truth)) < 0.3
    assert len(index) == len(truth)
    assert np.array_equal(index.ids, truth.ids)
    for k in (*ks, len(truth) + 3):
        assert_same(index.search(queries, k), truth.search(queries, k))
    assert_same(index.search(queries, 4, allow=allow), truth.search(queries, 4, allow=allow))
    mask = np.packbits(allow)
    assert_same(index.search(queries, 4, allow=mask, threads=2), truth.search(queries, 4, allow=mask))
    for radius in (*radii, truth.bits):
        assert_same(index.range_search(queries, radius), truth.range_search(queries, radius))
    assert_same(index.range_search(queries, 5, allow=allow), truth.range_search(queries, 5, allow=allow))
