"""csrc/cuda/hamming_topk*.cu on the CPU against brute force, every kernel forced by name."""

import numpy as np
import pytest
import torch

from fasthash import _native
from fasthash._hamming_cuda import topk_on_device
from fasthash.search import knn

KERNELS = ["count", "popcount", "mma", "wgmma"]
SCANS = KERNELS[1:]
NONE = 2147483647


def brute_force(queries, database, k, allow=None):
    full = np.stack([np.bitwise_count(query ^ database).sum(axis=1, dtype=np.int64) for query in queries])
    if allow is not None:
        full[:, ~allow] = NONE
    order = np.argsort(full, axis=1, kind="stable")[:, :k]
    gap = ((0, 0), (0, k - order.shape[1]))
    distances = np.pad(np.take_along_axis(full, order, axis=1), gap, constant_values=NONE)
    return distances, np.where(distances == NONE, -1, np.pad(order, gap))


def random_codes(rng, rows, nbytes, offset=0):
    """Codes at an address that is `offset` bytes beyond a multiple of 16."""
    raw = rng.integers(0, 256, rows * nbytes + 32, dtype=np.uint8)
    start = -raw.ctypes.data % 16 + offset
    return raw[start : start + rows * nbytes].reshape(rows, nbytes)


@pytest.fixture
def topk(cuda_module):
    """queries, database, k, kernel -> distances, ids, and whether a query was answered by counting."""

    def search(queries, database, k, kernel, allow=None, bits=None):
        (nq, nbytes), nb = queries.shape, len(database)
        scratch = cuda_module.hamming_topk_cuda_scratch(nq, nb, nbytes, k)
        memory = np.random.default_rng(0).integers(0, 256, scratch + 256 + 64, dtype=np.uint8)
        start = -memory.ctypes.data % 256
        untouched = memory[start + scratch :].copy()
        distances, ids = np.full((nq, k), -7, np.int32), np.full((nq, k), -7, np.int64)
        mask = None if allow is None else np.packbits(allow)
        cuda_module.hamming_topk_cuda(
            queries.ctypes.data, nq, database.ctypes.data, nb, nbytes, bits or 8 * nbytes,
            0 if mask is None else mask.ctypes.data, k, distances.ctypes.data, ids.ctypes.data,
            memory.ctypes.data + start, scratch, 0, kernel,
        )  # fmt: skip
        assert (memory[start + scratch :] == untouched).all()
        counted = memory[start + scratch - 256 :][:4].copy().view(np.int32)[0]
        assert counted in (0, 1)
        return distances, ids, bool(counted)

    return search


def assert_same(got, want):
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("nb", "nq", "nbytes", "k"),
    [
        (1, 1, 1, 1),
        (31, 2, 3, 40),  # more wanted than there are
        (100, 3, 8, 5),
        (513, 9, 4, 7),  # a tile and one code; four codes in 16 bytes
        (1030, 5, 8, 10),  # two codes in 16 bytes, an odd end
        (1025, 4, 12, 1025),  # everything, 32 bits at a time
        (700, 65, 16, 7),  # a second block of queries for mma
        (600, 130, 9, 3),  # and for wgmma; bytes at a time
        (1500, 2, 2, 100),  # many equal distances
        (600, 2, 24, 9),  # one and a half slices
        (600, 3, 64, 9),  # lanes share a code
        (260, 2, 512, 10),  # the longest code
    ],
)
def test_hits_of_brute_force(topk, kernel, nb, nq, nbytes, k):
    rng = np.random.default_rng(nb)
    database, queries = random_codes(rng, nb, nbytes), random_codes(rng, nq, nbytes)
    for allow in (None, rng.random(nb) < 0.3):
        got = topk(queries, database, k, kernel, allow)
        assert_same(got, brute_force(queries, database, k, allow))
        assert got[2] == (kernel == "count")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("nbytes", "offset"), [(4, 1), (8, 1), (8, 4), (16, 8), (16, 3), (32, 2), (13, 5)])
def test_codes_at_any_address(topk, kernel, nbytes, offset):
    rng = np.random.default_rng(offset)
    for queries_offset in (0, 1):
        database = random_codes(rng, 700, nbytes, offset if queries_offset else 0)
        queries = random_codes(rng, 3, nbytes, queries_offset)
        assert_same(topk(queries, database, 7, kernel), brute_force(queries, database, 7))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bits", [1, 13, 27, 31, 32, 60, 63, 100, 126, 250, 509])
def test_padding_bits_count_in_no_distance(topk, kernel, bits):
    rng = np.random.default_rng(bits)
    raw = [random_codes(rng, n, (bits + 7) // 8) for n in (3, 600)]
    clean = [np.packbits(np.unpackbits(x, axis=1, count=bits), axis=1) for x in raw]
    assert_same(topk(*raw, 20, kernel, bits=bits), brute_force(*clean, 20))


@pytest.mark.parametrize("kernel", SCANS)
@pytest.mark.parametrize(
    ("nb", "nq", "bits", "k"),
    [
        (66_000, 2, 64, 3),  # one scan below the bound of the sample
        (66_000, 5, 61, 3),
        (66_000, 1, 27, 3),
        (66_000, 3, 101, 20),
        (66_000, 2, 126, 3),
        (66_000, 2, 192, 3),
        (66_000, 1, 509, 3),
        (66_000, 130, 128, 3),
        (70_001, 1, 128, 100),
        (140_000, 1, 32, 300),  # more than a period of tiles
    ],
)
def test_survivors_of_a_bound_find_room(topk, kernel, nb, nq, bits, k):
    rng = np.random.default_rng(bits)
    raw = [random_codes(rng, n, (bits + 7) // 8) for n in (nq, nb)]
    raw[0] &= 15  # with bits that are zero in every query the distances of a wrong pairing of words differ
    clean = [x.copy() for x in raw]
    for codes in clean:
        codes[:, -1] &= 256 - (1 << (-bits % 8))
    for allow in (None, rng.random(nb) < 0.5):
        got = topk(*raw, k, kernel, allow, bits)
        assert not got[2]
        assert_same(got, brute_force(*clean, k, allow))


@pytest.mark.parametrize("kernel", SCANS)
def test_a_bound_that_is_tightened_between_scans(topk, kernel):
    rng = np.random.default_rng(3)
    database, queries = random_codes(rng, 200_000, 4), random_codes(rng, 1, 4)
    # The second scan takes tiles 200 to 255: what it finds comes before the last 300 of the first scan.
    for begin, end, copies in ((0, 102_400, 350), (102_400, 131_072, 50), (131_072, 200_000, 300)):
        database[begin + rng.permutation(end - begin)[:copies]] = queries[0]
    got = topk(queries, database, 600, kernel)
    assert not got[2]
    assert_same(got, brute_force(queries, database, 600))


@pytest.mark.parametrize("kernel", SCANS)
@pytest.mark.parametrize(("equal", "counted"), [(4096, False), (4097, True)])
def test_one_survivor_more_than_room(topk, kernel, equal, counted):
    rng = np.random.default_rng(equal)
    nb = 70_000
    database = np.full((nb, 8), 255, np.uint8)
    database[rng.permutation(nb)[:equal]] = 0
    queries = np.stack([database[0] * 0, database[0] | 255, database[0] * 0 + 15])  # few, most and all at one distance
    got = topk(queries[:1], database, 5, kernel)
    assert got[2] == counted
    assert_same(got, brute_force(queries[:1], database, 5))
    assert_same(topk(queries, database, 5, kernel), brute_force(queries, database, 5))


@pytest.mark.parametrize("kernel", SCANS)
def test_a_sample_of_far_codes_bounds_nothing(topk, kernel):
    database = np.random.default_rng(5).integers(0, 256, (70_000, 8), dtype=np.uint8)
    database[:32_768, :4] = 255
    database[32_768:, :4] = 0
    queries = np.zeros((2, 8), np.uint8)
    queries[1] = 255
    got = topk(queries, database, 9, kernel)
    assert got[2]
    assert_same(got, brute_force(queries, database, 9))


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_codes_come_in_order_of_id(topk, kernel):
    database = np.zeros((9000, 4), np.uint8)
    for k in (1, 6000):
        distances, ids, _ = topk(database[:1], database, k, kernel)
        assert (distances == 0).all()
        np.testing.assert_array_equal(ids[0], np.arange(k))


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_code_is_allowed_or_too_few(topk, kernel):
    rng = np.random.default_rng(8)
    database, queries = random_codes(rng, 70_000, 8), random_codes(rng, 2, 8)
    for wanted in ([], [69_999], [0, 511, 512, 40_000]):
        allow = np.isin(np.arange(70_000), wanted)
        assert_same(topk(queries, database, 6, kernel, allow), brute_force(queries, database, 6, allow))


@pytest.mark.parametrize("kernel", SCANS)
def test_the_largest_k_of_a_scan(topk, kernel):
    rng = np.random.default_rng(9)
    database, queries = random_codes(rng, 9000, 2), random_codes(rng, 1, 2)
    got = topk(queries, database, 8192, kernel)
    assert not got[2]
    assert_same(got, brute_force(queries, database, 8192))
    with pytest.raises(ValueError, match="^hamming_topk_cuda: k must be at most 8192 for the kernel .*, got 8193$"):
        topk(queries, database, 8193, kernel)
    assert_same(topk(queries, database, 8193, "count"), brute_force(queries, database, 8193))


def test_more_queries_than_a_batch(topk):
    rng = np.random.default_rng(10)
    database, queries = random_codes(rng, 40, 1), random_codes(rng, 1100, 1)
    for kernel in KERNELS:
        assert_same(topk(queries, database, 4, kernel), brute_force(queries, database, 4))


def test_more_queries_than_are_counted_at_a_time(topk):
    rng = np.random.default_rng(11)
    queries = random_codes(rng, 243, 512)  # the counters have room for 240 of them
    source = rng.integers(0, 243, 66_000)
    distances, ids, _ = topk(queries, queries[source], 4, "count")
    assert (distances == 0).all()
    np.testing.assert_array_equal(ids, [np.flatnonzero(source == q)[:4] for q in range(243)])


def test_which_kernel_is_taken(cuda_module):
    """On the emulated device, of compute capability 9.0."""
    choose, many = cuda_module.hamming_topk_cuda_kernel, 10**7
    assert [choose(nq, many, 8, 10) for nq in (1, 16, 17, 32, 33, 10_000)] == [
        "popcount", "popcount", "mma", "mma", "wgmma", "wgmma",
    ]  # fmt: skip
    assert choose(1000, many, 8, 8193) == "count"
    assert choose(1000, 20_000, 8, 10) == "count"
    assert choose(1, many, 512, 8192) == "popcount"


def test_a_kernel_that_does_not_exist(topk):
    codes = np.zeros((3, 8), np.uint8)
    with pytest.raises(ValueError, match="^hamming_topk_cuda: kernel must be .*, got tensor$"):
        topk(codes, codes, 1, "tensor")


def test_scratch_memory_is_bounded_and_sizes_are_checked(cuda_module):
    scratch = cuda_module.hamming_topk_cuda_scratch
    for nq in (1, 100, 100_000):
        for nb in (1, 5000, 8192, 10**6, 10**10):
            for nbytes in (1, 8, 512):
                for k in (1, 10, 1000, 8192, 8193, 10**6):
                    assert 0 < scratch(nq, nb, nbytes, k) <= (72 << 20) + 8 * 1024 * (8 * nbytes + 1)
    for bad in ((0, 1, 8, 1), (1, 0, 8, 1), (1, 1, 0, 1), (1, 1, 513, 1), (1, 1, 8, 0), (1, 1, 8, 2**31)):
        with pytest.raises(ValueError, match="hamming_topk_cuda: ") as caught:
            scratch(*bad)
        assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("nbytes", [1, 4, 8, 12, 13, 16, 24, 32, 64, 128, 512])
def test_kernels_on_a_gpu(kernel, nbytes):
    rng = np.random.default_rng(nbytes)
    database, queries = (rng.integers(0, 256, (n, nbytes), dtype=np.uint8) for n in (150_000, 140))
    database[140_000:] = queries[0]
    if kernel == "wgmma" and (torch.cuda.get_device_capability() != (9, 0) or "9.0a" not in _native.load().cuda_archs):
        pytest.skip("needs a device of 9.0 and a build for 9.0a")
    allow = rng.random(150_000) < 0.5
    mask = torch.from_numpy(np.packbits(allow)).cuda()
    for bits in (8 * nbytes, 8 * nbytes - 3):
        rows, base = torch.from_numpy(queries).cuda(), torch.from_numpy(database).cuda()
        unaligned = torch.empty(base.numel() + 1, dtype=torch.uint8, device="cuda")[1:].view(base.shape).copy_(base)
        clean = [np.packbits(np.unpackbits(x, axis=1, count=bits), axis=1) for x in (queries, database)]
        for nq, k, held, there, here in (
            (1, 10, base, None, None),
            (5, 300, base, mask, allow),
            (140, 10, base, mask, allow),
            (140, 10, unaligned, None, None),
        ):
            got = topk_on_device(rows[:nq], held, there, k, bits, kernel)
            want = knn(clean[0][:nq], clean[1], k, bits=bits, allow=here)
            assert_same([x.cpu().numpy() for x in got], want)
