"""The native search below its Python checks: memory it may not touch, interrupts, and the CUDA kernels on the CPU."""

import ctypes
import mmap
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fasthash import _native

ROOT = Path(__file__).parents[2]
NONE = 2147483647


def brute_force(queries, database, k, allow=None):
    full = np.bitwise_count(queries[:, None] ^ database[None]).sum(axis=2, dtype=np.int64)
    if allow is not None:
        full[:, ~allow] = NONE
    order = np.argsort(full, axis=1, kind="stable")[:, :k]
    gap = ((0, 0), (0, k - order.shape[1]))
    distances = np.pad(np.take_along_axis(full, order, axis=1), gap, constant_values=NONE)
    return distances, np.where(distances == NONE, -1, np.pad(order, gap))


def native_search(queries, database, isa, kernel="", threads=1, allow=None):
    """The native description of a search; the arrays must outlive it."""
    mask = 0 if allow is None else allow.ctypes.data
    shape = (queries.ctypes.data, len(queries), database.ctypes.data, len(database), database.shape[1])
    return _native.load().HammingSearch(*shape, mask, threads, isa, kernel)


def native_topk(queries, database, k, isa, **options):
    distances, ids = np.full((len(queries), k), -7, np.int32), np.full((len(queries), k), -7, np.int64)
    search = native_search(queries, database, isa, **options)
    _native.load().hamming_topk(search, k, distances.ctypes.data, ids.ctypes.data)
    return distances, ids


def native_range(queries, database, radius, isa, **options):
    hits = _native.load().hamming_range(native_search(queries, database, isa, **options), radius)
    lims = np.empty(len(queries) + 1, np.int64)
    hits.lims(lims.ctypes.data)
    distances, ids = np.empty(lims[-1], np.int32), np.empty(lims[-1], np.int64)
    hits.take(distances.ctypes.data, ids.ctypes.data)
    return lims, distances, ids


every_isa = pytest.mark.parametrize(
    "isa", [_native.ISAS.index(name) for name in _native.isa_names()], ids=_native.isa_names()
)
every_kernel = pytest.mark.parametrize("kernel", _native.load().hamming_kernels)


@pytest.fixture
def guarded():
    """An array whose last byte is followed, and whose first is preceded, by memory that must not be touched."""
    libc = ctypes.CDLL(None, use_errno=True)
    maps = []

    def place(values, at_end):
        page = mmap.PAGESIZE
        inner = -(-values.size // page) * page
        area = mmap.mmap(-1, inner + 2 * page)
        maps.append(area)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        for guard in (start, start + page + inner):
            assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
        offset = page + (inner - values.size if at_end else 0)
        array = np.frombuffer(area, np.uint8, values.size, offset).reshape(values.shape)
        array[:] = values
        return array

    yield place
    for area in maps:  # the arrays are gone by now or never used again; make the pages ordinary before they are freed
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        assert libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(len(area)), 3) == 0


@every_isa
@every_kernel
@pytest.mark.parametrize("nbytes", [1, 2, 3, 7, 8, 9, 16, 25, 32, 37, 64, 65, 128, 130, 512])
def test_nothing_outside_the_codes_is_read(isa, kernel, nbytes, guarded):
    rng = np.random.default_rng(nbytes)
    codes = rng.integers(0, 256, (1030, nbytes), dtype=np.uint8)
    queries = rng.integers(0, 256, (9, nbytes), dtype=np.uint8)
    for n in (1, 8, 511, 512, 1024, 1030):
        want = brute_force(queries, codes[:n], 5)
        for at_end in (False, True):
            database, few, many = (guarded(x, at_end) for x in (codes[:n], queries[:1], queries))
            for group in (few, many):
                distances, ids = native_topk(group, database, 5, isa, kernel=kernel)
                np.testing.assert_array_equal(distances, want[0][: len(group)])
                np.testing.assert_array_equal(ids, want[1][: len(group)])


@every_isa
@every_kernel
@pytest.mark.parametrize("nbytes", [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 31, 32, 40, 64, 67, 100, 128, 256, 511, 512])
def test_every_kernel_agrees_with_brute_force_at_every_shape(isa, kernel, nbytes):
    rng = np.random.default_rng(nbytes)
    for nb in (1, 63, 65, 511, 513, 1200):
        database = rng.integers(0, 256, (nb, nbytes), dtype=np.uint8)
        database[nb // 2 :] = database[rng.integers(0, max(nb // 2, 1), nb - nb // 2)]  # ties
        queries = np.concatenate([database[:2], rng.integers(0, 256, (3, nbytes), dtype=np.uint8)])
        for share in (1.0, 0.3, 0.0):
            allowed = rng.random(nb) < share
            mask = None if share == 1 else np.packbits(allowed)
            for k in (1, 7, nb + 3):
                got = native_topk(queries, database, k, isa, kernel=kernel, allow=mask)
                want = brute_force(queries, database, k, None if share == 1 else allowed)
                np.testing.assert_array_equal(got[0], want[0])
                np.testing.assert_array_equal(got[1], want[1])


@every_isa
@every_kernel
@pytest.mark.parametrize("nbytes", [1, 3, 4, 7, 8, 11, 16, 32, 37, 64])
def test_every_kernel_at_every_limit(isa, kernel, nbytes):
    """All radii, on codes at all distances from the queries: codes of j set bits, and their complements."""
    rng = np.random.default_rng(nbytes)
    bits = 8 * nbytes
    ones = np.arange(bits)[rng.permutation(bits)] < np.arange(bits + 1)[:, None]
    database = np.packbits(ones[rng.permutation(bits + 1)], axis=1)
    queries = np.concatenate([np.zeros((1, nbytes), np.uint8), np.full((1, nbytes), 255, np.uint8), database[:1]])
    full = np.bitwise_count(queries[:, None] ^ database[None]).sum(axis=2, dtype=np.int64)
    for radius in range(bits + 1):
        lims, distances, ids = native_range(queries, database, radius, isa, kernel=kernel)
        for q, row in enumerate(full):
            order = np.lexsort((np.arange(len(row)), row))
            want = order[row[order] <= radius]
            np.testing.assert_array_equal(ids[lims[q] : lims[q + 1]], want)
            np.testing.assert_array_equal(distances[lims[q] : lims[q + 1]], row[want])


@pytest.mark.parametrize("threads", [1, 2])
def test_many_queries_share_a_group_and_parts_share_their_limits(threads):
    rng = np.random.default_rng(threads)
    database = rng.integers(0, 256, (40_000, 8), dtype=np.uint8)
    queries = rng.integers(0, 256, (530, 8), dtype=np.uint8)  # more than one group
    want = brute_force(queries[[0, 255, 511, 512, 529]], database, 20)
    for kernel in _native.load().hamming_kernels:
        distances, ids = native_topk(queries, database, 20, _native.isa(), kernel=kernel, threads=threads)
        np.testing.assert_array_equal(distances[[0, 255, 511, 512, 529]], want[0])
        np.testing.assert_array_equal(ids[[0, 255, 511, 512, 529]], want[1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_guessed_limit_that_leaves_too_few_is_repaired(threads, filtered):
    """Guesses come from runs of 512 codes, one in 128: here they hold the only near codes, fewer than are wanted."""
    rng = np.random.default_rng(threads)
    queries = rng.integers(0, 256, (40, 8), dtype=np.uint8)
    database = rng.integers(0, 256, (200_000, 8), dtype=np.uint8)
    database[:150] = queries[0]  # a guess for 3000 looks at the 44th nearest of the sample: of this query, a copy of it
    allowed = rng.random(len(database)) < 0.99 if filtered else None
    mask = None if allowed is None else np.packbits(allowed)
    for k in (40, 3000):
        want = brute_force(queries[:3], database, k, allowed)
        got = native_topk(queries, database, k, _native.isa(), threads=threads, allow=mask)
        np.testing.assert_array_equal(got[0][:3], want[0])
        np.testing.assert_array_equal(got[1][:3], want[1])
        np.testing.assert_array_equal((got[1] >= 0).sum(axis=1), k)


def test_an_unknown_kernel_is_refused():
    codes = np.zeros((1, 8), np.uint8)
    with pytest.raises(ValueError, match="no such Hamming kernel: fastest"):
        native_topk(codes, codes, 1, 0, kernel="fastest")


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_of_a_signal_handler_ends_a_long_search(threads):
    class Stop(Exception):
        pass

    def handler(number, frame):
        raise Stop

    # Minutes of work: the handler must run in the middle of it, and the rest must be left undone.
    queries, database = np.zeros((100_000, 8), np.uint8), np.zeros((1_000_000, 8), np.uint8)
    distances, ids = np.full((len(queries), 1), -7, np.int32), np.full((len(queries), 1), -7, np.int64)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        search = native_search(queries, database, 0, threads=threads)
        with pytest.raises(Stop):
            _native.load().hamming_topk(search, 1, distances.ctypes.data, ids.ctypes.data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (distances == -7).any()


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """csrc/cuda/hamming_topk.cu compiled for the CPU: queries, database, k, allow -> distances, ids."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    here, library = ROOT / "tests" / "native" / "cuda_emulator", tmp_path_factory.mktemp("emulator") / "topk.so"
    flags = ["-std=c++17", "-O2", "-fno-strict-aliasing", "-shared", "-fPIC", f"-I{here}", f"-I{ROOT / 'csrc'}"]
    subprocess.run([compiler, *flags, str(here / "hamming_topk.cpp"), "-o", str(library)], check=True)
    functions = ctypes.CDLL(str(library))
    functions.hamming_topk.restype = ctypes.c_char_p
    functions.hamming_topk_scratch.restype = ctypes.c_int64
    size = ctypes.c_int64

    def topk(queries, database, k, allow=None, bits=None):
        (nq, nbytes), nb = queries.shape, len(database)
        scratch = functions.hamming_topk_scratch(size(nq), size(nb), size(nbytes), size(k))
        memory = np.random.default_rng(0).integers(0, 256, scratch + 64, dtype=np.uint8)
        untouched = memory[scratch:].copy()
        distances, ids = np.full((nq, k), -7, np.int32), np.full((nq, k), -7, np.int64)
        mask = None if allow is None else np.packbits(allow)
        pointers = [None if x is None else ctypes.c_void_p(x.ctypes.data) for x in (mask, distances, ids, memory)]
        error = functions.hamming_topk(
            ctypes.c_void_p(queries.ctypes.data), size(nq), ctypes.c_void_p(database.ctypes.data), size(nb),
            size(nbytes), ctypes.c_int(bits or 8 * nbytes), pointers[0], size(k), *pointers[1:], size(scratch),
        )  # fmt: skip
        assert error is None, error
        assert (memory[scratch:] == untouched).all()
        return distances, ids

    return topk


@pytest.mark.parametrize(
    ("nb", "nq", "nbytes", "k"),
    [
        (1, 1, 1, 1),
        (31, 2, 3, 40),  # more wanted than there are; bytes at a time
        (100, 3, 8, 5),
        (5000, 5, 8, 10),  # two chunks, a group of queries that is not full
        (4096, 1, 12, 4096),  # everything, 32 bits at a time
        (70_000, 2, 8, 3),  # a sample bounds the distances
        (20_000, 3, 2, 100),  # many equal distances
        (260, 2, 512, 10),  # the longest code
    ],
)
def test_cuda_kernels_on_the_cpu(emulated, nb, nq, nbytes, k):
    rng = np.random.default_rng(nb)
    database = rng.integers(0, 256, (nb, nbytes), dtype=np.uint8)
    queries = rng.integers(0, 256, (nq, nbytes), dtype=np.uint8)
    for allow in (None, rng.random(nb) < 0.3):
        got, want = emulated(queries, database, k, allow), brute_force(queries, database, k, allow)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


def test_cuda_kernels_take_unaligned_codes(emulated):
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, 8 * 600 + 1, dtype=np.uint8)
    database, queries = raw[1:].reshape(600, 8), rng.integers(0, 256, (2, 8), dtype=np.uint8)
    got, want = emulated(queries, database, 7), brute_force(queries, database, 7)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("bits", [1, 13, 31, 32, 60])
def test_cuda_kernels_ignore_padding_bits(emulated, bits):
    rng = np.random.default_rng(bits)
    raw = [rng.integers(0, 256, (n, (bits + 7) // 8), dtype=np.uint8) for n in (3, 900)]
    clean = [np.packbits(np.unpackbits(x, axis=1, count=bits), axis=1) for x in raw]
    got, want = emulated(*raw, 20, bits=bits), brute_force(*clean, 20)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])


def test_cuda_equal_codes_come_in_order_of_id(emulated):
    database = np.zeros((9000, 4), np.uint8)
    distances, ids = emulated(database[:1], database, 6000)
    assert (distances == 0).all()
    np.testing.assert_array_equal(ids[0], np.arange(6000))


@pytest.mark.skipif(not hasattr(_native.load(), "hamming_topk_cuda_scratch"), reason="built without CUDA")
def test_cuda_scratch_memory_is_bounded_and_sizes_are_checked():
    scratch = _native.load().hamming_topk_cuda_scratch
    for nq in (1, 100, 100_000):
        for nb in (1, 10**6, 10**10):
            for nbytes in (1, 8, 512):
                assert 0 < scratch(nq, nb, nbytes, 10) <= (64 + 40) << 20
    for bad in ((0, 1, 8, 1), (1, 0, 8, 1), (1, 1, 0, 1), (1, 1, 513, 1), (1, 1, 8, 0), (1, 1, 8, 2**31)):
        with pytest.raises(ValueError, match="hamming_topk_cuda: ") as caught:
            scratch(*bad)
        assert "\n" not in str(caught.value)
