import copy
import pickle

import hamming_truth as truth
import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fasthash.search import BinaryIndex, knn


def make(n=50, bits=20, ids=None, seed=0):
    rng = np.random.default_rng(seed)
    codes = truth.random_codes(rng, n, bits)
    index = BinaryIndex(bits)
    index.add(codes, ids)
    return index, codes


def by_id(queries, codes, ids, k, allow=None):
    """Brute force with ids of one's own: by (distance, id)."""
    order = np.argsort(ids)
    distances, rows = truth.topk(queries, codes[order], k, None if allow is None else allow[order])
    return distances, np.where(rows < 0, -1, ids[order][rows])


def test_default_ids_are_rows():
    index, codes = make()
    assert (len(index), index.bits, index.ids.dtype) == (50, 20, np.int64)
    np.testing.assert_array_equal(index.ids, np.arange(50))
    np.testing.assert_array_equal(index.codes, codes)
    truth.assert_same(index.search(codes[:5], 7), knn(codes[:5], codes, 7, bits=20))
    assert repr(index) == "BinaryIndex(bits=20, codes=50)"


def test_ids_continue_after_the_largest():
    index, codes = make(3, ids=np.array([5, 2, 9]))
    index.add(codes[:2])
    np.testing.assert_array_equal(index.ids, [2, 5, 9, 10, 11])


@pytest.mark.parametrize("bits", [4, 64, 130])
def test_ties_go_by_the_stored_id(bits):
    rng = np.random.default_rng(bits)
    codes, ids = truth.random_codes(rng, 600, bits), rng.permutation(10_000)[:600]
    index = BinaryIndex(bits)
    for rows in np.array_split(np.arange(600), 7):  # out of order within and between calls
        index.add(codes[rows], ids[rows])
    queries = codes[:9]
    truth.assert_same(index.search(queries, 25), by_id(queries, codes, ids, 25))
    allow = rng.random(600) < 0.3  # in the order of index.ids
    by_row = np.empty(600, bool)
    by_row[np.argsort(ids)] = allow
    truth.assert_same(index.search(queries, 300, allow=allow), by_id(queries, codes, ids, 300, by_row))
    lims, distances, found = index.range_search(queries, bits // 3)
    order = np.argsort(ids)
    want = truth.within(queries, codes[order], bits // 3)
    truth.assert_same((lims, distances, found), (want[0], want[1], ids[order][want[2]]))


def test_codes_and_ids_are_read_only_views():
    index, _ = make(ids=np.arange(50) * 3)
    assert np.shares_memory(index.codes, index.codes)
    assert np.shares_memory(index.ids, index.ids)
    with pytest.raises(ValueError, match="read-only"):
        index.codes[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        index.ids[0] = 1


def test_growth_is_amortised():
    index, codes = make(1)
    moved = 0
    for _ in range(500):
        before = index.codes.ctypes.data
        index.add(codes)
        moved += index.codes.ctypes.data != before
    assert len(index) == 501
    assert moved < 30


def test_takes_and_gives_torch():
    index, codes = make()
    index.add(torch.from_numpy(codes), torch.arange(100, 150))
    distances, ids = index.search(torch.from_numpy(codes[:2]), 3)
    assert (distances.dtype, ids.dtype) == (torch.int32, torch.int64)
    assert isinstance(index.range_search(torch.from_numpy(codes[:2]), 3)[2], torch.Tensor)


BAD_ADDS = {
    "width": (np.zeros((1, 2), np.uint8), None),
    "dtype": (np.zeros((1, 3), np.int8), None),
    "padding": (np.full((1, 3), 1, np.uint8), None),
    "empty": (np.zeros((0, 3), np.uint8), None),
    "too few ids": (np.zeros((2, 3), np.uint8), np.array([77])),
    "float ids": (np.zeros((1, 3), np.uint8), np.array([77.0])),
    "negative id": (np.zeros((1, 3), np.uint8), np.array([-1])),
    "id beyond int64": (np.zeros((1, 3), np.uint8), np.array([2**63], np.uint64)),
    "id twice": (np.zeros((2, 3), np.uint8), np.array([77, 77])),
    "id taken": (np.zeros((2, 3), np.uint8), np.array([77, 8])),
}


@pytest.mark.parametrize("ids", [None, np.arange(50) * 2])
@pytest.mark.parametrize("case", BAD_ADDS)
def test_a_bad_add_changes_nothing(case, ids):
    index, codes = make(ids=ids)
    with pytest.raises(ValueError, match=r"^BinaryIndex.add: ") as caught:
        index.add(*BAD_ADDS[case])
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(index.codes, codes)
    np.testing.assert_array_equal(index.ids, np.arange(50) if ids is None else ids)


BAD_UPDATES = {
    "width": (np.array([4]), np.zeros((1, 2), np.uint8), r"packed must be \[n, 3\]"),
    "padding": (np.array([4]), np.full((1, 3), 1, np.uint8), "non-zero padding bit"),
    "too few ids": (np.array([4]), np.zeros((2, 3), np.uint8), r"ids must be int64 \[2\] like packed"),
    "float ids": (np.array([4.0]), np.zeros((1, 3), np.uint8), "ids must be int64"),
    "negative id": (np.array([-4]), np.zeros((1, 3), np.uint8), "must not be negative"),
    "id twice": (np.array([4, 6, 4]), np.zeros((3, 3), np.uint8), "id 4 is twice in ids"),
    "unknown id": (np.array([4, 999, 6]), np.zeros((3, 3), np.uint8), "id 999 is not in the index"),
}


@pytest.mark.parametrize("ids", [None, np.arange(50) * 2])
@pytest.mark.parametrize("case", BAD_UPDATES)
def test_a_bad_update_changes_nothing(case, ids):
    index, codes = make(ids=ids)
    given, packed, match = BAD_UPDATES[case]
    with pytest.raises(ValueError, match=r"^BinaryIndex.update: .*" + match) as caught:
        index.update(given, packed)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(index.codes, codes)


def test_updating_nothing_changes_nothing():
    index, codes = make()
    index.update(np.zeros(0, np.int64), codes[:0])
    np.testing.assert_array_equal(index.codes, codes)
    with pytest.raises(ValueError, match="id 0 is not in the index"):
        BinaryIndex(20).update(np.array([0]), codes[:1])


@pytest.mark.parametrize("ids", [None, np.arange(50) * 3])
@pytest.mark.parametrize("size", [1, 7, 50, 51, 2**40])
def test_batches_are_views_of_everything(ids, size):
    index, codes = make(ids=ids)
    batches = list(index.batches(size))
    assert [len(b) for _, b in batches] == [min(size, 50 - start) for start in range(0, 50, size)]
    truth.assert_same((np.concatenate([i for i, _ in batches]), np.concatenate([c for _, c in batches])),
                      (index.ids, codes))  # fmt: skip
    assert all(np.shares_memory(c, index.codes) and not c.flags.writeable for _, c in batches)
    assert ids is None or all(np.shares_memory(i, index.ids) and not i.flags.writeable for i, _ in batches)


def test_batches_of_an_empty_index_and_of_no_size():
    assert list(BinaryIndex(20).batches()) == []
    with pytest.raises(ValueError, match=r"^BinaryIndex.batches: size must be a whole number of at least 1, got 0"):
        make()[0].batches(0)  # at the call, not at the first batch
    with pytest.raises(TypeError, match=r"^BinaryIndex.batches: size must be a whole number, got float"):
        make()[0].batches(1.5)


CHANGES = {
    "append": lambda index, code: index.add(code),
    "insert": lambda index, code: index.add(code, np.array([1])),
    "update": lambda index, code: index.update(np.array([0]), code),
    "remove": lambda index, code: index.remove(np.array([0])),
}


@pytest.mark.parametrize("first", CHANGES)
@pytest.mark.parametrize("second", CHANGES)
def test_what_was_seen_stays_as_it_was(first, second):
    """Views, batches and copies keep the rows of their moment, whatever is done to the index afterwards."""
    index, codes = make(5, ids=np.arange(5) * 2)
    index.add(codes[:1])
    assert len(index._rows.buffer) > len(index)  # room behind the rows, which a copy must not grow into as well
    before = index.codes.copy(), index.ids.copy()
    seen_codes, seen_ids, batches, kept = index.codes, index.ids, index.batches(3), copy.copy(index)
    other = ~codes[:1] & np.uint8(0xF0)
    CHANGES[first](index, other)
    kept.add(other ^ np.uint8(16))
    if first != second or first == "append":
        CHANGES[second](index, other) if (first, second) != ("remove", "update") else index.add(other)
    truth.assert_same((seen_codes, seen_ids), before)
    truth.assert_same([np.concatenate(parts) for parts in zip(*batches, strict=True)], before[::-1])
    truth.assert_same((kept.codes[:-1], kept.ids[:-1]), before)
    np.testing.assert_array_equal(kept.codes[-1:], other ^ np.uint8(16))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda index: pickle.loads(pickle.dumps(index))])
def test_copies_are_indexes_of_their_own(copied):
    index, codes = make(20, ids=np.arange(20) * 2)
    index.add(codes[:1])  # with room for more behind it
    again = copied(index)
    again.add(codes[5:7])
    index.add(codes[:3])
    assert (len(index), len(again), again.bits) == (24, 23, 20)
    np.testing.assert_array_equal(index.codes, np.concatenate([codes, codes[:1], codes[:3]]))
    np.testing.assert_array_equal(again.codes, np.concatenate([codes, codes[:1], codes[5:7]]))


def test_no_id_is_left_after_the_largest():
    index, codes = make(1, ids=np.array([2**63 - 1]))
    with pytest.raises(ValueError, match="no ids are left"):
        index.add(codes)


def test_removing_an_unknown_id_names_it_and_changes_nothing():
    index, _ = make(ids=np.arange(50) * 2)
    with pytest.raises(ValueError, match=r"BinaryIndex.remove: id 7 is not in the index"):
        index.remove(np.array([4, 7, 9]))
    assert len(index) == 50


def test_an_empty_index_says_so():
    index = BinaryIndex(20)
    assert (len(index), index.codes.shape, index.ids.shape) == (0, (0, 3), (0,))
    with pytest.raises(ValueError, match="the index is empty"):
        index.search(np.zeros((1, 3), np.uint8), 1)
    with pytest.raises(ValueError, match="the index is empty"):
        index.range_search(np.zeros((1, 3), np.uint8), 1)


@pytest.mark.parametrize("bits", [0, 4097, 8.0, True])
def test_bad_bits(bits):
    with pytest.raises(ValueError, match=r"^BinaryIndex: bits"):
        BinaryIndex(bits)


class AgainstADict(RuleBasedStateMachine):
    """Any sequence of add, update and remove against a dict of id: code."""

    def __init__(self):
        super().__init__()
        self.index, self.model, self.kept = BinaryIndex(12), {}, []
        self.rng = np.random.default_rng(0)

    @rule(ids=st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True))
    def add(self, ids):
        codes = truth.random_codes(self.rng, len(ids), 12)
        if taken := [i for i in sorted(ids) if i in self.model]:
            with pytest.raises(ValueError, match=f"id {taken[0]} is already in the index"):
                self.index.add(codes, np.array(ids))
        else:
            self.index.add(codes, np.array(ids))
            self.model.update(zip(ids, codes.tolist(), strict=True))

    @rule(n=st.integers(1, 5))
    def append(self, n):
        codes = truth.random_codes(self.rng, n, 12)
        start = max(self.model, default=-1) + 1
        self.index.add(codes)
        self.model.update(zip(range(start, start + n), codes.tolist(), strict=True))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model)), min_size=1, max_size=5))
        self.index.remove(np.array(ids))
        for i in ids:
            self.model.pop(i, None)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def update(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model)), min_size=1, max_size=5, unique=True))
        codes = truth.random_codes(self.rng, len(ids), 12)
        self.index.update(np.array(ids), codes)
        self.model.update(zip(ids, codes.tolist(), strict=True))

    @rule()
    def keep(self):
        self.kept.append((copy.copy(self.index), self.index.codes, self.index.ids, dict(self.model)))

    @invariant()
    def what_was_kept_has_not_changed(self):
        for index, codes, ids, model in self.kept:
            assert index.ids.tolist() == ids.tolist() == sorted(model)
            assert index.codes.tolist() == codes.tolist() == [model[i] for i in sorted(model)]

    @invariant()
    def same(self):
        assert self.index.ids.tolist() == sorted(self.model)
        assert self.index.codes.tolist() == [self.model[i] for i in sorted(self.model)]


AgainstADict.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestAgainstADict = AgainstADict.TestCase
