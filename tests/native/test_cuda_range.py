"""csrc/cuda/hamming_range.cu on the CPU against brute force; what a device would do otherwise, the emulator refuses."""

import numpy as np
import pytest


def brute_force(queries, database, radius, allow=None):
    lims, distances, ids = [0], [], []
    for query in queries:
        row = np.bitwise_count(query ^ database).sum(axis=1, dtype=np.int64)
        near = np.flatnonzero((row <= radius) & (True if allow is None else allow))
        near = near[np.argsort(row[near], kind="stable")]
        lims.append(lims[-1] + len(near))
        distances.append(row[near])
        ids.append(near)
    return np.array(lims), np.concatenate(distances), np.concatenate(ids)


def search(native, queries, database, radius, allow=None, bits=None, budget=128 << 20):
    (nq, nbytes), nb = queries.shape, len(database)
    scratch = native.hamming_range_cuda_scratch(nq, nb, nbytes, radius, budget)
    memory = np.random.default_rng(0).integers(0, 256, scratch + 256 + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 256
    untouched = memory[start + scratch :].copy()
    mask = None if allow is None else np.packbits(allow)
    lims = np.full(nq + 1, -7)
    arguments = (
        queries.ctypes.data, nq, database.ctypes.data, nb, nbytes, bits or 8 * nbytes,
        0 if mask is None else mask.ctypes.data, radius, memory.ctypes.data + start, scratch, budget,
        0, lims.ctypes.data,
    )  # fmt: skip
    native.hamming_range_count_cuda(*arguments)
    hits = lims[-1]
    distances, ids = np.full(hits + 8, -7, np.int32), np.full(hits + 8, -7, np.int64)
    native.hamming_range_emit_cuda(*arguments, distances.ctypes.data, ids.ctypes.data)
    assert (memory[start + scratch :] == untouched).all()
    assert (distances[hits:] == -7).all()
    assert (ids[hits:] == -7).all()
    return lims, distances[:hits], ids[:hits]


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("nb", "nq", "nbytes", "radius"),
    [
        (1, 1, 1, 0),
        (31, 2, 3, 24),  # everything, bytes at a time
        (100, 3, 8, 28),
        (9000, 1, 8, 24),  # one query alone, several chunks
        (5000, 6, 8, 30),  # a group of queries that is not full
        (5000, 5, 12, 40),  # 32 bits at a time
        (4300, 4, 16, 60),  # 128 bits at a time
        (20_000, 3, 2, 3),  # many equal distances
        (300, 2, 512, 2040),  # the longest codes: few warps emit at a time
        (300, 1, 64, 10**9),  # a radius beyond every distance
        (600, 300, 1, 1),  # more queries than the lims are summed by at once
    ],
)
def test_hits_of_random_codes(cuda_module, nb, nq, nbytes, radius):
    rng = np.random.default_rng(nb)
    database = rng.integers(0, 256, (nb, nbytes), dtype=np.uint8)
    queries = rng.integers(0, 256, (nq, nbytes), dtype=np.uint8)
    for allow in (None, rng.random(nb) < 0.3):
        assert_same(
            search(cuda_module, queries, database, radius, allow), brute_force(queries, database, radius, allow)
        )


def test_equal_codes_come_in_order_of_id(cuda_module):
    database = np.zeros((9000, 4), np.uint8)
    lims, distances, ids = search(cuda_module, database[:2], database, 0)
    assert lims.tolist() == [0, 9000, 18000]
    assert not distances.any()
    np.testing.assert_array_equal(ids, np.tile(np.arange(9000), 2))


def test_no_hit_at_all(cuda_module):
    database = np.full((5000, 8), 255, np.uint8)
    lims, distances, ids = search(cuda_module, np.zeros((3, 8), np.uint8), database, 63)
    assert lims.tolist() == [0, 0, 0, 0]
    assert len(distances) == len(ids) == 0


@pytest.mark.parametrize("offset", [1, 4, 8])
def test_unaligned_codes(cuda_module, offset):
    rng = np.random.default_rng(offset)
    raw = rng.integers(0, 256, 16 * 700 + offset, dtype=np.uint8)
    database, queries = raw[offset:].reshape(700, 16), rng.integers(0, 256, (2, 16), dtype=np.uint8)
    assert_same(search(cuda_module, queries, database, 58), brute_force(queries, database, 58))


@pytest.mark.parametrize("bits", [1, 13, 31, 60, 127])
def test_padding_bits_count_in_no_distance(cuda_module, bits):
    rng = np.random.default_rng(bits)
    raw = [rng.integers(0, 256, (n, (bits + 7) // 8), dtype=np.uint8) for n in (3, 900)]
    clean = [np.packbits(np.unpackbits(x, axis=1, count=bits), axis=1) for x in raw]
    radius = bits * 45 // 100
    assert_same(search(cuda_module, *raw, radius, bits=bits), brute_force(*clean, radius))


@pytest.mark.parametrize("budget", [0, 20_000, 200_000])
def test_a_small_budget_cuts_the_queries_into_batches(cuda_module, budget):
    # 41 distances: one query and one chunk at a time, then a few of each, then all queries
    rng = np.random.default_rng(budget)
    database, queries = (rng.integers(0, 256, (n, 8), dtype=np.uint8) for n in (9000, 19))
    database[:, 4:], queries[:, 4:] = 0, 0
    queries[:8] = 255  # of the first batches: no hit at all; of the others: some in every chunk
    assert cuda_module.hamming_range_cuda_scratch(19, 9000, 8, 40, budget) <= budget + 2048
    assert_same(search(cuda_module, queries, database, 40, budget=budget), brute_force(queries, database, 40))


def test_scratch_is_bounded_and_sizes_are_checked(cuda_module):
    scratch = cuda_module.hamming_range_cuda_scratch
    for nq in (1, 100, 100_000, 10_000_000):
        for nb in (1, 10**6, 10**10):
            for nbytes in (1, 8, 512):
                for radius in (0, 2, 10**12):
                    assert 0 < scratch(nq, nb, nbytes, radius, 128 << 20) <= (129 << 20) + 5 * nq * max(nb >> 30, 1)
    many = 2**31 - 1
    assert scratch(many, 2**31, 1, 0, 1 << 20) >= 8 * many
    bad_sizes = ((0, 1, 8, 1), (1, 0, 8, 1), (1, 1, 0, 1), (1, 1, 513, 1), (1, 1, 8, -1), (2**31, 1, 8, 1))
    for bad in (*bad_sizes, (many, 2**33, 1, 0)):  # the last one: more blocks than a launch has
        with pytest.raises(ValueError, match="hamming_range_cuda: ") as caught:
            scratch(*bad, 1 << 20)
        assert "\n" not in str(caught.value)
