"""Answers of shards are those of one index, to the bit; so are errors."""

import numpy as np
import pytest
import torch
from sharded_truth import assert_same, assert_same_answers, one_index, packed_codes

from fasthash import metrics
from fasthash.distributed import ShardedIndex
from fasthash.search import BinaryIndex, write_shards

BITS = 20  # padding bits in every row


@pytest.fixture(scope="module")
def pair(ray_cluster):
    """An index of three shards and the one index that it must equal, both of ids with gaps."""
    rng = np.random.default_rng(1)
    codes, ids = packed_codes(rng, 700, BITS), rng.permutation(5000)[:700]
    index = ShardedIndex(BITS, shards=3)
    for part in np.array_split(np.arange(700), 4):
        index.add(codes[part], ids[part])
    yield index, one_index(BITS, codes, ids)
    index.close()


def test_every_question_is_answered_as_by_one_index(pair):
    assert_same_answers(*pair, np.random.default_rng(2))


def test_rows_are_those_of_one_index(pair):
    index, truth = pair
    assert len(index) == len(truth) == 700
    assert (index.bits, index.device, index.shards) == (BITS, "cpu", 3)
    assert repr(index) == "ShardedIndex(bits=20, codes=700, shards=3)"
    rows = list(index.batches(100))
    assert max(len(ids) for ids, _ in rows) <= 100
    assert np.array_equal(np.concatenate([ids for ids, _ in rows]), truth.ids)
    assert np.array_equal(np.concatenate([codes for _, codes in rows]), truth.codes)
    assert not index.ids.flags.writeable


def test_large_batches_travel_through_the_store(pair):
    index, truth = pair
    queries = packed_codes(np.random.default_rng(3), 30_000, BITS)  # beyond what goes into a call
    assert_same(index.search(queries, 2), truth.search(queries, 2))


def test_torch_in_torch_out(pair):
    index, truth = pair
    queries = torch.from_numpy(packed_codes(np.random.default_rng(4), 3, BITS))
    allow = torch.zeros(700, dtype=torch.bool)
    allow[::5] = True
    assert_same(index.search(queries, 9, allow=allow), truth.search(queries, 9, allow=allow))
    assert_same(index.range_search(queries, 4), truth.range_search(queries, 4))


def test_a_filter_that_allows_nothing(pair):
    index, truth = pair
    queries, allow = packed_codes(np.random.default_rng(5), 2, BITS), np.zeros(700, bool)
    assert_same(index.search(queries, 3, allow=allow), truth.search(queries, 3, allow=allow))
    assert_same(index.range_search(queries, 20, allow=allow), truth.range_search(queries, 20, allow=allow))


GOOD = np.zeros((2, 3), np.uint8)
BAD_CALLS = {
    "no array": lambda index: index.search([[1, 2, 3]], 3),
    "width": lambda index: index.search(GOOD[:, :2], 3),
    "no rows": lambda index: index.search(GOOD[:0], 3),
    "shape": lambda index: index.search(GOOD[0], 3),
    "dtype": lambda index: index.search(GOOD.astype(np.int64), 3),
    "padding": lambda index: index.search(GOOD + 1, 3),
    "k": lambda index: index.search(GOOD, 0),
    "k is no number": lambda index: index.search(GOOD, 1.5),
    "radius": lambda index: index.range_search(GOOD, -1),
    "mask dtype": lambda index: index.search(GOOD, 3, allow=np.zeros(700, int)),
    "mask shape": lambda index: index.range_search(GOOD, 3, allow=np.zeros(699, bool)),
    "threads": lambda index: index.search(GOOD, 3, threads=0),
    "batch size": lambda index: index.batches(0),
    "add nothing": lambda index: index.add(GOOD[:0]),
    "add width": lambda index: index.add(GOOD[:, :2]),
    "add padding": lambda index: index.add(GOOD + 1),
    "add taken": lambda index: index.add(GOOD, np.array([6000, index.ids[5]])),
    "add twice": lambda index: index.add(GOOD, np.array([6000, 6000])),
    "add negative": lambda index: index.add(GOOD, np.array([-1, 6000])),
    "add no ids left": lambda index: index.add(GOOD, np.array([2**63 - 1, 6000])) or index.add(GOOD),
    "remove missing": lambda index: index.remove(np.array([index.ids[0], 5001])),
    "update missing": lambda index: index.update(np.array([index.ids[0], 5001]), GOOD),
    "update twice": lambda index: index.update(np.array([6, 6]), GOOD),
    "update lengths": lambda index: index.update(index.ids[:1], GOOD),
}


@pytest.mark.parametrize("name", [name for name in BAD_CALLS if name != "add no ids left"])
def test_errors_are_those_of_one_index(pair, name):
    index, truth = pair
    with pytest.raises((TypeError, ValueError)) as wanted:
        BAD_CALLS[name](truth)
    with pytest.raises(wanted.type) as got:
        BAD_CALLS[name](index)
    assert str(got.value) == str(wanted.value).replace("BinaryIndex", "ShardedIndex")
    assert len(index) == 700


def test_metrics_take_the_index_as_the_database(pair):
    index, truth = pair
    rng = np.random.default_rng(6)
    queries, labels, query_labels = packed_codes(rng, 9, BITS), rng.random((700, 6)) < 0.3, rng.random((9, 6)) < 0.4
    query_labels[:, 0] = True
    for protocol, ties in (("map_all", "expected"), ("map_at_k", "pessimistic")):
        asked = {"bits": BITS, "protocol": protocol, "ties": ties, "k": 50 if protocol == "map_at_k" else None}
        found = metrics.evaluate(queries, index, query_labels, labels, **asked)
        wanted = metrics.evaluate(queries, truth.codes, query_labels, labels, **asked)
        assert str(found) == str(wanted)
        assert np.array_equal(found.per_query, wanted.per_query)
        assert np.array_equal(found.histograms.relevant, wanted.histograms.relevant)
    ids = rng.integers(0, 4, 700), rng.integers(0, 4, 9)
    assert np.array_equal(
        metrics.average_precision(queries, index, ids[1], ids[0], bits=BITS),
        metrics.average_precision(queries, truth.codes, ids[1], ids[0], bits=BITS),
    )


def test_histograms_name_the_argument(pair):
    index, _ = pair
    queries, labels = packed_codes(np.random.default_rng(7), 3, BITS), np.zeros(700, np.int64)
    for bad, line in (
        ((queries, labels[:3], labels[:-1]), "database_labels must have 700 rows like the index, got 699"),
        ((queries, labels[:2], labels), "query_labels"),
        ((queries, labels[:3], labels.reshape(-1, 1)), "of one form and width"),
        ((queries[:, :1], labels[:3], labels), "queries"),
    ):
        with pytest.raises(ValueError, match=f"ShardedIndex.histograms: .*{line}"):
            index.histograms(*bad)


def test_random_changes(ray_cluster):
    """Adds, removals and updates in any order, checked after every few; shards may be empty all along."""
    rng = np.random.default_rng(8)
    with ShardedIndex(BITS, shards=3) as index:
        truth = BinaryIndex(BITS)
        for step in range(40):
            kind = rng.integers(0, 4)
            count = int(rng.integers(1, 30))
            some = rng.permutation(truth.ids.copy())[:count]
            if kind == 0 and len(some):
                for one in (index, truth):
                    one.remove(some)
            elif kind == 1 and len(some):
                codes = packed_codes(rng, len(some), BITS)
                for one in (index, truth):
                    one.update(some, codes)
            else:
                codes = packed_codes(rng, count, BITS)
                ids = np.setdiff1d(rng.integers(0, 4000, count), truth.ids) if kind == 2 else None
                codes = codes if ids is None else codes[: len(ids)]
                for one in (index, truth) if len(codes) else ():
                    one.add(codes, ids)
            if step % 8 == 7 and len(truth):
                assert_same_answers(index, truth, rng, ks=(3,), radii=(2,))
        gone = truth.ids.copy()
        index.remove(gone)
        assert len(index) == 0
        assert len(index.ids) == 0
        with pytest.raises(ValueError, match="ShardedIndex.search: the index is empty; add codes first"):
            index.search(GOOD, 1)
        index.add(GOOD)
        assert_same(index.search(GOOD, 1), one_index(BITS, GOOD).search(GOOD, 1))


def test_any_folder_of_shards(ray_cluster, tmp_path):
    """Files of other sizes than shards, fewer and more."""
    rng = np.random.default_rng(9)
    codes = packed_codes(rng, 60, 64)
    truth = one_index(64, codes)
    write_shards(tmp_path / "five", [codes], 64, rows_per_shard=13)
    with ShardedIndex.load(tmp_path / "five", shards=2) as index:
        assert_same_answers(index, truth, rng)
        assert [len(shard.files) for shard in index.status()] == [3, 2]
        index.save(tmp_path / "two")
        with pytest.raises(FileExistsError, match="shards.json already"):
            index.save(tmp_path / "two")
    write_shards(tmp_path / "one", [codes], 64)
    with ShardedIndex.load(tmp_path / "one", shards=2, mmap=False) as index:
        assert_same_answers(index, truth, rng)
        assert [shard.rows for shard in index.status()] == [60, 0]
    with ShardedIndex.load(tmp_path / "two") as index:
        assert index.shards == 2
        assert_same_answers(index, truth, rng)
