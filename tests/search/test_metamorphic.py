"""Searches that must agree with one another, whatever is searched: no second implementation is needed to tell.

Each goes by an instruction set and a kernel that follow from its queries, so that most of what is compared is also the
work of two kernels.
"""

from functools import partial

import hamming_truth as truth
import numpy as np
from fuzz import any_way, budget
from hypothesis import given
from hypothesis import strategies as st

from fasthash import search
from fasthash.search import BinaryIndex, merge_topk

NONE = truth.NONE


@st.composite
def sets(draw):
    """(queries, database, bits, k): random codes, clusters, all alike, and codes made to be hard."""
    bits = draw(st.integers(1, 140) | st.sampled_from([8, 32, 64, 128, 256, 512, 777]))
    nq, nb = draw(st.integers(1, 12) | st.just(70)), draw(st.integers(1, 90) | st.sampled_from([512, 513, 1200]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "clustered", "alike", "two", "descending", "one bit", "ends"]))
    database = make(kind, nb, bits, rng)
    near = database[rng.integers(0, nb, nq)]
    queries = draw(st.sampled_from([near, near ^ make("one bit", nq, bits, rng), make("random", nq, bits, rng)]))
    return queries, database, bits, draw(st.integers(1, 40) | st.sampled_from([1, nb, nb + 5]))


def make(kind, n, bits, rng):
    if kind == "random":
        ones = rng.random((n, bits)) < 0.5
    elif kind == "clustered":
        centres = rng.random((max(1, n // 20), bits)) < 0.5
        ones = centres[rng.integers(0, len(centres), n)] ^ (rng.random((n, bits)) < 0.05)
    elif kind == "alike":
        ones = np.repeat(rng.random((1, bits)) < 0.5, n, axis=0)
    elif kind == "two":  # a code and its complement: half of all distances is 0, the other half all bits
        ones = (rng.random((1, bits)) < 0.5) ^ (rng.random((n, 1)) < 0.5)
    elif kind == "descending":  # the nearest comes last: a threshold falls with every code
        ones = np.arange(bits) < np.linspace(bits, 0, n)[:, None]
    elif kind == "one bit":
        ones = np.arange(bits) == rng.integers(0, bits, (n, 1))
    else:  # all difference in the first byte, or in the last one
        ones = np.zeros((n, bits), bool)
        ones[:, : min(8, bits)] = rng.random((n, min(8, bits))) < 0.5
        ones[n // 2 :] = ones[n // 2 :, ::-1]
    return np.packbits(ones, axis=1)


def mask_of(bits, seed):
    return np.packbits(np.random.default_rng(seed).random((1, bits)) < 0.5, axis=1)


knn, range_search = partial(any_way, search.knn), partial(any_way, search.range_search)
same = truth.assert_same


@budget(80)
@given(drawn=sets(), seed=st.integers(0, 99))
def test_a_mask_over_everything_changes_nothing(drawn, seed):
    queries, database, bits, k = drawn
    mask = mask_of(bits, seed)
    same(knn(queries ^ mask, database ^ mask, k, bits=bits), knn(queries, database, k, bits=bits))
    radius = bits // 3
    same(range_search(queries ^ mask, database ^ mask, radius, bits=bits),
         range_search(queries, database, radius, bits=bits))  # fmt: skip


@budget(80)
@given(drawn=sets(), seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(drawn, seed):
    """Rows and their ids in another order, through an index; and bits in another order."""
    queries, database, bits, k = drawn
    rng = np.random.default_rng(seed)
    ids, order = rng.permutation(5 * len(database))[: len(database)], rng.permutation(len(database))
    first, second = BinaryIndex(bits), BinaryIndex(bits)
    first.add(database, ids)
    for part in np.array_split(order, min(3, len(order))):
        second.add(database[part], ids[part])
    same(any_way(first.search, queries, k), second.search(queries, k))
    columns = rng.permutation(bits)
    shuffled = [np.packbits(np.unpackbits(x, axis=1, count=bits)[:, columns], axis=1) for x in (queries, database)]
    shuffled = [np.ascontiguousarray(x) for x in shuffled]
    same(knn(*shuffled, k, bits=bits), knn(queries, database, k, bits=bits))


@budget(80)
@given(drawn=sets(), data=st.data())
def test_shards_merge_to_the_whole(drawn, data):
    queries, database, bits, k = drawn
    cuts = sorted(data.draw(st.sets(st.integers(1, len(database) - 1), max_size=4))) if len(database) > 1 else []
    parts, start = [], 0
    for shard in np.split(database, cuts):
        distances, rows = knn(queries, shard, k, bits=bits)
        parts.append((distances, np.where(rows < 0, -1, rows + start)))
        start += len(shard)
    whole = knn(queries, database, k, bits=bits)
    same(merge_topk(data.draw(st.permutations(parts)), k), whole)
    same(merge_topk([merge_topk(parts[:1], k), *parts[1:]], k), whole)


@budget(80)
@given(drawn=sets(), data=st.data())
def test_batches_and_copies_of_queries(drawn, data):
    queries, database, bits, k = drawn
    distances, ids = knn(queries, database, k, bits=bits)
    rows = data.draw(st.lists(st.integers(0, len(queries) - 1), min_size=1, max_size=80))
    same(knn(queries[rows], database, k, bits=bits, threads=2), (distances[rows], ids[rows]))
    lims, near, found = range_search(queries[rows], database, bits // 3, bits=bits, threads=2)
    for at, row in enumerate(rows):
        one = range_search(queries[row : row + 1], database, bits // 3, bits=bits, threads=1)
        same((near[lims[at] : lims[at + 1]], found[lims[at] : lims[at + 1]]), one[1:])


@budget(80)
@given(drawn=sets(), k=st.integers(1, 30))
def test_a_larger_k_begins_with_a_smaller_one(drawn, k):
    queries, database, bits, larger = drawn
    larger = max(larger, k)
    distances, ids = knn(queries, database, larger, bits=bits)
    same(knn(queries, database, k, bits=bits), (distances[:, :k], ids[:, :k]))


@budget(80)
@given(drawn=sets())
def test_a_range_is_the_beginning_of_everything(drawn):
    """Within the k-th distance lie the k nearest and those that are as far as the last."""
    queries, database, bits, _ = drawn
    every, rows = knn(queries, database, len(database), bits=bits)
    for radius in {0, int(np.median(every)), int(every.max()), bits}:
        lims, distances, ids = range_search(queries, database, radius, bits=bits)
        np.testing.assert_array_equal(np.diff(lims), (every <= radius).sum(axis=1))
        same((distances, ids), (every[every <= radius], rows[every <= radius]))
    assert range_search(queries, database, bits, bits=bits)[0][-1] == every.size


@budget(80)
@given(drawn=sets(), share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]), seed=st.integers(0, 99))
def test_a_filter_is_a_search_of_what_it_keeps(drawn, share, seed):
    queries, database, bits, k = drawn
    allow = np.random.default_rng(seed).random(len(database)) < share
    kept = np.flatnonzero(allow)
    for mask in (allow, np.packbits(allow)):
        distances, ids = knn(queries, database, k, bits=bits, allow=mask)
        found = range_search(queries, database, bits // 2, bits=bits, allow=mask)
        if len(kept) == 0:
            assert (distances == NONE).all()
            assert (ids == -1).all()
            assert found[0][-1] == 0
            continue
        want = knn(queries, database[kept], k, bits=bits)
        same((distances, ids), (want[0], np.where(want[1] < 0, -1, kept[want[1]])))
        want = range_search(queries, database[kept], bits // 2, bits=bits)
        same(found, (want[0], want[1], kept[want[2]]))


@budget(80)
@given(drawn=sets(), seed=st.integers(0, 99))
def test_two_filters_merge_to_none(drawn, seed):
    queries, database, bits, k = drawn
    allow = np.random.default_rng(seed).random(len(database)) < 0.5
    parts = [knn(queries, database, k, bits=bits, allow=mask) for mask in (allow, ~allow)]
    same(merge_topk(parts, k), knn(queries, database, k, bits=bits))


@budget(80)
@given(drawn=sets(), seed=st.integers(0, 99))
def test_adding_and_removing_leaves_nothing(drawn, seed):
    """Neither in the results, nor in a file, nor when codes are changed and changed back."""
    queries, database, bits, k = drawn
    rng = np.random.default_rng(seed)
    ids = np.arange(len(database)) * 3
    index = BinaryIndex(bits)
    index.add(database, ids)
    before = index.search(queries, k), index.range_search(queries, bits // 3)
    extra = rng.permutation(3 * len(database) + 30)
    extra = extra[(extra % 3 > 0) | (extra >= 3 * len(database))][:20]
    index.add(np.repeat(queries[:1], len(extra), axis=0), extra)
    assert index.search(queries[:1], 1)[0] == 0
    index.remove(extra)
    some = rng.permutation(ids)[: 1 + len(ids) // 2]
    index.update(some, np.repeat(queries[:1], len(some), axis=0))
    index.update(some, database[some // 3])
    same(any_way(index.search, queries, k), before[0])
    same(any_way(index.range_search, queries, bits // 3), before[1])
    np.testing.assert_array_equal(index.codes, database)


@budget(80)
@given(drawn=sets(), more=st.integers(1, 70))
def test_bits_that_are_the_same_everywhere_do_not_count(drawn, more):
    """Zero padding is such bits; so are whole bytes behind, and in front of, the code."""
    queries, database, bits, k = drawn
    want = knn(queries, database, k, bits=bits)
    same(knn(queries, database, k), want)  # the padding bits taken as bits
    wider = [np.unpackbits(x, axis=1, count=bits) for x in (queries, database)]
    for constant in (0, 1):
        behind = [np.packbits(np.pad(x, ((0, 0), (0, more)), constant_values=constant), axis=1) for x in wider]
        same(knn(*behind, k, bits=bits + more), want)
        front = [np.packbits(np.pad(x, ((0, 0), (more, 0)), constant_values=constant), axis=1) for x in wider]
        same(knn(*front, k, bits=bits + more), want)


@budget(80)
@given(drawn=sets())
def test_distances_are_a_metric(drawn):
    """A code is at distance 0 from itself, turning the search round turns the distances round, and a complement is as
    far as all bits less the distance."""
    queries, database, bits, _ = drawn
    database = database[:60]
    table = full(queries, database, bits)
    np.testing.assert_array_equal(full(database, queries, bits), table.T)
    assert (np.diag(full(queries, queries, bits)) == 0).all()
    ones = np.packbits(np.ones((1, bits), bool), axis=1)
    np.testing.assert_array_equal(full(queries ^ ones, database, bits), bits - table)


def full(queries, database, bits):
    """All distances, by row of the database, from a search for all of them."""
    distances, ids = knn(queries, database, len(database), bits=bits)
    table = np.empty_like(distances)
    np.put_along_axis(table, ids, distances, axis=1)
    return table
