import copy
import math
import pickle
import signal
import threading

import hamming_truth as truth
import numpy as np
import pytest
import torch
from fuzz import budget
from hypothesis import given
from hypothesis import strategies as st

from fasthash import _multi_index, _native
from fasthash._multi_index import use_patience
from fasthash.search import BinaryIndex, MultiIndex, knn

WALK, SCAN = math.inf, 0.0  # patience: every query by the tables, or none
ISAS = _native.isa_names()


def make(codes, bits, tables=None, copies=None, ids=None):
    index = MultiIndex(bits, tables, copies)
    index.add(codes, ids)
    return index


def clustered(rng, n, bits, members=50):
    """Members of centres, with the first bits flipped less often than the last ones."""
    centres = rng.random((max(n // members, 1), bits)) < 0.5
    flips = rng.random((n, bits)) < np.linspace(0.02, 0.25, bits)
    return np.packbits(centres[rng.integers(0, len(centres), n)] ^ flips, axis=1)


def stats_of(index, queries, k=10, **options):
    tables = index._tables(index._rows, "test")
    arguments = {"bits": index.bits, "allow": None, "threads": 1, "op": "test", **options}
    return _multi_index.topk(queries, index.codes, tables, k, **arguments)[2]


@budget(120)
@given(st.data())
def test_against_brute_force(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    bits = data.draw(st.sampled_from([1, 3, 8, 13, 31, 64, 65, 77, 128, 130, 192, 256, 520]))
    n = data.draw(st.integers(1, 400))
    kind = data.draw(st.sampled_from([truth.random_codes, clustered]))
    codes = kind(rng, n, bits)
    index = make(codes, bits, data.draw(st.integers(1, 12) | st.none()), data.draw(st.booleans()))
    near = codes[rng.integers(0, n, 4)].copy()
    near[:, 0] ^= np.uint8(1 << 7)
    queries = np.concatenate([near, truth.random_codes(rng, 3, bits)])
    allow = rng.random(n) < data.draw(st.sampled_from([0.02, 0.5, 1.0])) if data.draw(st.booleans()) else None
    k, radius = data.draw(st.integers(1, n + 3)), data.draw(st.integers(0, bits + 1))
    patience, isa = data.draw(st.sampled_from([WALK, WALK, 1.0, 30.0, SCAN])), data.draw(st.sampled_from(ISAS))
    threads = data.draw(st.integers(1, 3))
    with use_patience(patience), _native.use_isa(isa):
        nearest = index.search(queries, k, allow, threads)
        near = index.range_search(queries, radius, allow, threads)
    truth.assert_same(nearest, truth.topk(queries, codes, k, allow))
    truth.assert_same(near, truth.within(queries, codes, radius, allow))


@pytest.mark.parametrize("tables", range(1, 65))
def test_every_number_of_tables(tables):
    rng = np.random.default_rng(tables)
    codes = clustered(rng, 700, 64)
    index = make(codes, 64, tables)
    queries = codes[:5] ^ np.packbits(rng.random((5, 64)) < 0.05, axis=1)
    with use_patience(WALK):
        truth.assert_same(index.search(queries, 9), truth.topk(queries, codes, 9))
        truth.assert_same(index.range_search(queries, 11), truth.within(queries, codes, 11))


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("bits", [7, 64, 100, 128, 200])
def test_all_alike(bits, copies):
    """Every code is in one bucket and at one distance: the smallest ids, whatever order the tables show them in."""
    codes = np.repeat(truth.random_codes(np.random.default_rng(0), 1, bits), 5000, axis=0)
    index = make(codes, bits, 3, copies)
    queries = np.concatenate([codes[:1], ~codes[:1] & np.packbits(np.ones(bits, bool))])
    with use_patience(WALK):
        for k in (1, 7, 3000, 5000, 6000):
            truth.assert_same(index.search(queries, k), truth.topk(queries, codes, k))


@pytest.mark.parametrize("distance", range(1, 25))
def test_ties_at_the_last_distance_covered(distance):
    """Codes at one distance, their differences spread over the substrings in every way: which table shows which is
    decided by the pigeonhole alone, and the smallest ids are among those found last."""
    rng = np.random.default_rng(distance)
    query = truth.random_codes(rng, 1, 64)
    flips = np.zeros((3000, 64), bool)
    for row in flips:
        row[rng.permutation(64)[:distance]] = True
    codes = query ^ np.packbits(flips, axis=1)
    for tables in (2, 3, 4, 7):
        index = make(codes, 64, tables)
        with use_patience(WALK):
            truth.assert_same(index.search(query, 10), truth.topk(query, codes, 10))
            assert index.range_search(query, distance - 1)[0][-1] == 0
            assert index.range_search(query, distance)[0][-1] == 3000


def test_the_differences_just_outside_of_what_is_covered():
    """One code for each way to spread 12 differences over 4 substrings of 16 bits, among far codes."""
    ways = [(a, b, c, 12 - a - b - c) for a in range(13) for b in range(13 - a) for c in range(13 - a - b)]
    rows = [[bit < part for part in way for bit in range(16)] for way in ways]
    codes = np.concatenate([np.packbits(rows, axis=1), np.full((500, 8), 255, np.uint8)])
    index, query = make(codes, 64, 4), np.zeros((1, 8), np.uint8)
    with use_patience(WALK):
        for k in (1, 100, len(ways), len(ways) + 1):
            truth.assert_same(index.search(query, k), truth.topk(query, codes, k))
        truth.assert_same(index.range_search(query, 12), truth.within(query, codes, 12))


def test_own_ids_and_changes():
    rng = np.random.default_rng(3)
    codes, ids = clustered(rng, 900, 64), rng.permutation(5000)[:900]
    index, flat = make(codes, 64, ids=ids), BinaryIndex(64)
    flat.add(codes, ids)
    allow = rng.random(900) < 0.4
    with use_patience(WALK):
        for change in (
            lambda i: i.add(codes[:50]),
            lambda i: i.add(codes[:1], np.setdiff1d(np.arange(5000), ids)[:1]),
            lambda i: i.remove(ids[:300]),
            lambda i: i.update(ids[300:310], codes[:10]),
        ):
            truth.assert_same(index.search(codes[:9], 20), flat.search(codes[:9], 20))
            change(index), change(flat)
            assert index.table_bytes == 0
            truth.assert_same(index.search(codes[:9], 20), flat.search(codes[:9], 20))
            truth.assert_same(index.range_search(codes[:9], 9), flat.range_search(codes[:9], 9))
            allow = rng.random(len(index)) < 0.4
            truth.assert_same(index.search(codes[:9], 20, allow), flat.search(codes[:9], 20, np.packbits(allow)))
    assert [i.tolist() for i in (index.ids, index.codes)] == [i.tolist() for i in (flat.ids, flat.codes)]


def test_clusters_are_found_by_the_tables_and_little_is_compared():
    rng = np.random.default_rng(0)
    codes = clustered(rng, 300_000, 64, 1000)
    index = make(codes, 64)
    for query in codes[:50]:
        stats = stats_of(index, query[None])
        assert (stats.by_tables, stats.by_scan) == (1, 0)
        assert stats.codes < 0.1 * len(codes)


def test_what_would_take_longer_than_the_scan_is_left_to_it():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (100_000, 16), np.uint8)
    index, queries = make(codes, 128), rng.integers(0, 256, (100, 16), np.uint8)
    stats = stats_of(index, queries)
    assert stats.by_scan == 100
    assert stats.codes < 20 * len(codes)  # after a few queries the others did not try
    truth.assert_same(index.search(queries[:20], 10), truth.topk(queries[:20], codes, 10))


def test_both_ways_in_one_search():
    """Near a cluster the tables answer, far from all of them the scan: each row of the results is in its place."""
    rng = np.random.default_rng(0)
    codes = clustered(rng, 60_000, 64, 1000)
    index, queries = make(codes, 64), np.concatenate([codes[:40], rng.integers(0, 256, (20, 8), np.uint8)])
    queries = queries[rng.permutation(60)]
    mixed = 0
    for patience in (0.3, 1, 2, 4, 8, 16):
        with use_patience(patience):
            stats = stats_of(index, queries)
            mixed += stats.by_scan > 0 and stats.by_tables > 0
            assert stats.by_scan + stats.by_tables == 60
            truth.assert_same(index.search(queries, 10, threads=2), knn(queries, codes, 10))
            truth.assert_same(index.range_search(queries, 12, threads=2), truth.within(queries, codes, 12))
    assert mixed


def test_a_filter_that_allows_next_to_nothing():
    rng = np.random.default_rng(0)
    codes, allow = clustered(rng, 20_000, 64), np.zeros(20_000, bool)
    index = make(codes, 64)
    for allowed in ([], [19_999], [0, 5, 77]):
        allow[:] = False
        allow[allowed] = True
        for patience in (WALK, 1.0):
            with use_patience(patience if allowed else 1.0):
                truth.assert_same(index.search(codes[:3], 5, allow), truth.topk(codes[:3], codes, 5, allow))


@pytest.mark.parametrize(
    ("bits", "copies"), [(64, None), (77, None), (128, None), (200, None), (200, True), (20, False)]
)
def test_memory(bits, copies):
    codes = truth.random_codes(np.random.default_rng(0), 3000, bits)
    index = make(codes, bits, 3, copies)
    assert index.table_bytes == 0
    index.build()
    _, widths = _multi_index.layout(bits, 3000, 3, bool(copies))
    a_code = 4 + 8 * math.ceil(bits / 64) if (bits <= 128 if copies is None else copies) else 4
    assert index.table_bytes == 3 * 3000 * a_code + sum(4 * (2**w + 1) for w in widths)
    assert max(widths) <= math.ceil(math.log2(3000))


@pytest.mark.parametrize("count", [1, 10, 10**3, 10**6, 10**9, 2**32 - 1])
@pytest.mark.parametrize("tables", [None, 1, 2, 7, 64])
@pytest.mark.parametrize("bits", [1, 2, 17, 64, 100, 4096])
def test_layout(bits, count, tables):
    for copies in (True, False):
        starts, widths = _multi_index.layout(bits, count, tables, copies)
        assert len(starts) == len(widths) == (min(tables, bits) if tables else len(starts))
        assert all(1 <= width <= 24 for width in widths)
        ends = [start + width for start, width in zip(starts, widths, strict=True)]
        assert all(end <= start for end, start in zip(ends, [*starts[1:], bits], strict=True))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("copies", [True, False])
def test_tables_hold_every_row_once_in_order(threads, copies):
    rng = np.random.default_rng(1)
    codes = clustered(rng, 300_000, 70)
    built = _multi_index.build(codes, 70, 4, copies, threads, None, "test")
    unpacked, begin = np.unpackbits(codes, axis=1), 0
    for t, (start, width) in enumerate(zip(built.starts, built.widths, strict=True)):
        values = unpacked[:, start : start + width].astype(np.int64) @ (1 << np.arange(width)[::-1])
        order = np.argsort(values, kind="stable")
        np.testing.assert_array_equal(built.rows[t], order)
        offsets = built.offsets[begin : begin + 2**width + 1]
        np.testing.assert_array_equal(offsets, np.searchsorted(values[order], np.arange(2**width + 1)))
        begin += len(offsets)
        if copies:
            padded = np.pad(codes, ((0, 0), (0, 7)))[:, :16]
            np.testing.assert_array_equal(built.codes[t].view(np.uint8), padded[order])


def test_progress():
    seen, index = [], make(truth.random_codes(np.random.default_rng(0), 100, 64), 64, 3)
    index.build(progress=lambda *step: seen.append(step))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    index.build(progress=lambda *step: seen.append(step))
    assert len(seen) == 4  # nothing was left to do


class StopError(Exception):
    pass


def test_an_interrupt_while_building_leaves_the_index_as_it_was():
    codes = truth.random_codes(np.random.default_rng(0), 200, 64)
    index = make(codes, 64, 4)

    def stop(done, total):
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        index.build(progress=stop)
    assert index.table_bytes == 0
    truth.assert_same(index.search(codes[:3], 5), truth.topk(codes[:3], codes, 5))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("what", ["search", "range_search", "build"])
def test_an_interrupt_ends_it(what, threads):
    def handler(number, frame):
        raise StopError

    # Minutes of work: the handler must run in the middle of it.
    codes = np.zeros((300_000, 8), np.uint8)
    queries = np.zeros((1_000_000, 8), np.uint8)
    index = make(codes, 64, 4)
    index.build()
    calls = {
        "search": lambda: index.search(queries, 10, threads=threads),
        "range_search": lambda: index.range_search(queries, 0, np.arange(300_000) == 7, threads=threads),
        "build": lambda: [_multi_index.build(codes, 64, 64, True, threads, None, "test") for _ in range(300)],
    }
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with use_patience(WALK), pytest.raises(StopError):
            calls[what]()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_searches_while_others_add():
    rng = np.random.default_rng(0)
    codes = clustered(rng, 4000, 64)
    index, errors = make(codes[:1000], 64), []

    def search():
        try:
            for _ in range(30):
                distances, ids = index.search(codes[:4], 3)
                assert (ids[:, 0] == np.arange(4)).all() or (distances[:, 0] == 0).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(1000, 4000, 300):
        index.add(codes[start : start + 300])
    for thread in threads:
        thread.join()
    assert errors == []
    truth.assert_same(index.search(codes[:4], 3), truth.topk(codes[:4], codes, 3))


def test_copies_of_an_index():
    codes = clustered(np.random.default_rng(0), 500, 64)
    index = make(codes, 64, 5, False)
    index.build()
    other = copy.copy(index)
    assert (type(other), other.table_bytes) == (MultiIndex, index.table_bytes)  # the same tables
    index.add(codes[:7])
    truth.assert_same(other.search(codes[:3], 9), truth.topk(codes[:3], codes, 9))
    for again in (pickle.loads(pickle.dumps(other)), copy.deepcopy(other)):
        truth.assert_same(again.search(codes[:3], 9), truth.topk(codes[:3], codes, 9))
        assert (type(again), again.table_bytes) == (MultiIndex, other.table_bytes)
        again.add(codes[:1])
    assert repr(index) == "MultiIndex(bits=64, codes=507)"


def test_tensors_and_borrowed_codes():
    codes = clustered(np.random.default_rng(0), 500, 64)
    index = MultiIndex.from_codes(torch.from_numpy(codes))
    distances, ids = index.search(torch.from_numpy(codes[:3]), 4)
    assert (distances.dtype, ids.dtype) == (torch.int32, torch.int64)
    truth.assert_same((distances.numpy(), ids.numpy()), truth.topk(codes[:3], codes, 4))
    with pytest.raises(RuntimeError, match=r"^MultiIndex.add: .*read-only"):
        index.add(codes)


ERRORS = {
    "tables 0": (lambda: MultiIndex(64, 0), "MultiIndex: tables must be a whole number from 1 to 64, got 0"),
    "tables 65": (lambda: MultiIndex(64, 65), "MultiIndex: tables .* got 65"),
    "tables half": (lambda: MultiIndex(64, 1.5), "MultiIndex: tables .* float"),
    "copies": (lambda: MultiIndex(64, copies=1), "MultiIndex: copies must be True, False or None, got int"),
    "bits": (lambda: MultiIndex(0), "MultiIndex: bits"),
    "empty": (lambda: MultiIndex(8).search(np.zeros((1, 1), np.uint8), 1), "MultiIndex.search: the index is empty"),
    "empty build": (lambda: MultiIndex(8).build(), "MultiIndex.build: the index is empty"),
    "k": (lambda: make(np.zeros((3, 1), np.uint8), 8).search(np.zeros((1, 1), np.uint8), 0), "MultiIndex.search: k"),
    "width": (lambda: make(np.zeros((3, 1), np.uint8), 8).search(np.zeros((1, 2), np.uint8), 1), "MultiIndex.search: "),
    "radius": (
        lambda: make(np.zeros((3, 1), np.uint8), 8).range_search(np.zeros((1, 1), np.uint8), -1),
        "MultiIndex.range_search: radius",
    ),
    "threads": (lambda: make(np.zeros((3, 1), np.uint8), 8).build(threads=0), "MultiIndex.build: threads"),
    "remove": (lambda: make(np.zeros((3, 1), np.uint8), 8).remove(np.array([9])), "MultiIndex.remove: id 9"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    call, match = ERRORS[case]
    with pytest.raises((ValueError, TypeError), match=f"^{match}") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_too_many_codes_are_refused():
    codes = np.lib.stride_tricks.as_strided(np.zeros((1, 1), np.uint8), (2**32, 1), (0, 1))
    with pytest.raises(ValueError, match="up to 4294967295 codes, got 4294967296"):
        _multi_index.build(codes, 8, None, True, 1, None, "MultiIndex.build")
