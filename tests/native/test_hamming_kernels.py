"""The native search below its Python checks: memory it may not touch, and interrupts."""

import ctypes
import mmap
import signal

import numpy as np
import pytest

from fasthash import _native

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
    """Each code stands ten times in a row: a sample that has met some of them takes it for one of a thousand."""
    rng = np.random.default_rng(threads)
    database = np.repeat(rng.integers(0, 256, (4000, 8), dtype=np.uint8), 10, axis=0)
    queries = database[5::60].copy()
    allowed = rng.random(len(database)) < 0.99 if filtered else None
    mask = None if allowed is None else np.packbits(allowed)
    for k in (3, 20, 3000):
        want = brute_force(queries, database, k, allowed)
        got = native_topk(queries, database, k, _native.isa(), threads=threads, allow=mask)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("k", [1, 900, 8192])
def test_a_sample_without_allowed_codes_guesses_nothing(k):
    """Half of a database is allowed, and none of it at random."""
    rng = np.random.default_rng(k)
    database, queries = (rng.integers(0, 256, (n, 8), dtype=np.uint8) for n in (32768, 16))
    for allowed in (np.arange(32768) < 16384, np.arange(32768) % 2 == 1, np.arange(32768) // 128 % 2 == 0):
        want = brute_force(queries, database, k, allowed)
        got = native_topk(queries, database, k, _native.isa(), allow=np.packbits(allowed))
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


def test_an_unknown_kernel_is_refused():
    codes = np.zeros((1, 8), np.uint8)
    with pytest.raises(ValueError, match="no such Hamming kernel: fastest"):
        native_topk(codes, codes, 1, 0, kernel="fastest")


def interrupted_topk(queries, database, k, threads, seconds):
    """The distances that a search has written when the handler of an alarm raised, -7 where it has not come to."""

    class Stop(Exception):
        pass

    def handler(number, frame):
        raise Stop

    distances, ids = np.full((len(queries), k), -7, np.int32), np.full((len(queries), k), -7, np.int64)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        search = native_search(queries, database, 0, threads=threads)
        with pytest.raises(Stop):
            _native.load().hamming_topk(search, k, distances.ctypes.data, ids.ctypes.data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return distances


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_of_a_signal_handler_ends_a_long_search(threads):
    # Minutes of work: the handler must run in the middle of it, and the rest must be left undone.
    queries, database = np.zeros((100_000, 8), np.uint8), np.zeros((1_000_000, 8), np.uint8)
    assert (interrupted_topk(queries, database, 1, threads, 0.2) == -7).any()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_of_a_signal_handler_ends_a_search_of_many_hits(threads):
    # Few distances, but each of them is a hit.
    database = np.random.default_rng(threads).integers(0, 256, (100_000, 8), dtype=np.uint8)
    assert (interrupted_topk(database[:100], database, len(database), threads, 0.02) == -7).any()
