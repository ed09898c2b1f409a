"""Folders of shards: answers are those of one index over all rows, to the bit, however the rows are spread."""

import copy
import pickle

import hamming_truth as truth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash.search import BinaryIndex, Shards, load, write_shards

SLOW = settings(deadline=None, max_examples=25)


def blocks(codes, ids, size):
    for start in range(0, len(codes), size):
        yield ids[start : start + size], codes[start : start + size]


def both(folder, n=1000, bits=64, order="mixed", rows_per_shard=170, seed=0):
    """The shards, one index over the same rows, and queries. Order of the ids: mixed, ascending, or in turn."""
    rng = np.random.default_rng(seed)
    codes = truth.random_codes(rng, n, bits)
    ids = np.sort(rng.permutation(3 * n)[:n])
    if order == "mixed":
        ids = rng.permutation(ids)
    elif order == "in turn":  # shard i has every so many-th id
        parts = -(-n // rows_per_shard)
        ids = np.concatenate([ids[i::parts] for i in range(parts)])
    one = BinaryIndex(bits)
    one.add(codes, ids)
    shards = write_shards(folder, blocks(codes, ids, 100), bits, rows_per_shard=rows_per_shard)
    return shards, one, truth.random_codes(rng, 4, bits)


@pytest.mark.parametrize("order", ["mixed", "ascending", "in turn"])
@pytest.mark.parametrize("bits", [64, 13, 128])
def test_same_answers(tmp_path, bits, order):
    shards, one, queries = both(tmp_path / "s", bits=bits, order=order)
    assert len(shards.indexes) == 6
    assert (len(shards), shards.bits, shards.device) == (1000, bits, "cpu")
    allow = np.random.default_rng(1).random(1000) < 0.4
    for mask in (None, allow, np.packbits(allow), np.zeros(1000, bool)):
        for k in (1, 10, 1100):
            truth.assert_same(shards.search(queries, k, mask), one.search(queries, k, mask))
        for radius in (0, bits // 2, bits):
            truth.assert_same(shards.range_search(queries, radius, mask), one.range_search(queries, radius, mask))


@SLOW
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_spread(tmp_path_factory, data, seed):
    n = data.draw(st.integers(1, 60))
    bits = data.draw(st.sampled_from([3, 8, 20, 64]))
    order = data.draw(st.sampled_from(["mixed", "ascending", "in turn"]))
    size = data.draw(st.integers(1, 70))
    folder = tmp_path_factory.mktemp("shards") / "s"
    shards, one, queries = both(folder, n, bits, order, size, seed)
    k, radius = data.draw(st.integers(1, 80)), data.draw(st.integers(0, bits))
    allow = None if data.draw(st.booleans()) else np.random.default_rng(seed).random(n) < 0.5
    packed = None if allow is None else np.packbits(allow)
    truth.assert_same(shards.search(queries, k, packed), one.search(queries, k, allow))
    truth.assert_same(shards.range_search(queries, radius, allow), one.range_search(queries, radius, allow))
    step = data.draw(st.integers(1, 70))
    ids, codes = (np.concatenate(parts) for parts in zip(*shards.batches(step), strict=True))
    np.testing.assert_array_equal(ids, one.ids)
    np.testing.assert_array_equal(codes, one.codes)
    assert all(1 <= len(part) <= step for part, _ in shards.batches(step))


def test_results_are_int64_and_int32(tmp_path):
    shards, _, queries = both(tmp_path / "s")
    lims, distances, ids = shards.range_search(queries, 30)
    assert (lims.dtype, distances.dtype, ids.dtype) == (np.int64, np.int32, np.int64)
    distances, ids = shards.search(queries, 3)
    assert (distances.dtype, ids.dtype) == (np.int32, np.int64)


def test_torch_queries(tmp_path):
    torch = pytest.importorskip("torch")
    shards, one, queries = both(tmp_path / "s")
    got = [*shards.search(torch.from_numpy(queries), 5), *shards.range_search(torch.from_numpy(queries), 25)]
    assert all(isinstance(x, torch.Tensor) for x in got)
    truth.assert_same([x.numpy() for x in got], [*one.search(queries, 5), *one.range_search(queries, 25)])


def test_load_opens_what_was_written(tmp_path):
    shards, one, queries = both(tmp_path / "s")
    for again in (load(tmp_path / "s"), load(tmp_path / "s", mmap=False), load(str(tmp_path / "s"), verify=True)):
        assert isinstance(again, Shards)
        truth.assert_same(again.search(queries, 9), one.search(queries, 9))
    assert repr(shards) == "Shards(bits=64, codes=1000, shards=6)"
    assert shards.folder == tmp_path / "s"
    assert [len(index) for index in shards.indexes] == [170] * 5 + [150]
    assert all("mapped" in repr(index) for index in load(tmp_path / "s").indexes)
    assert not any("mapped" in repr(index) for index in load(tmp_path / "s", mmap=False).indexes)
    for other in (pickle.loads(pickle.dumps(shards)), copy.copy(shards), copy.deepcopy(shards)):
        truth.assert_same(other.search(queries, 9), one.search(queries, 9))


def test_pickled_under_a_relative_path(tmp_path, monkeypatch):
    """Whoever unpickles may work in another folder; and what was in memory comes back there."""
    monkeypatch.chdir(tmp_path)
    both("s")
    pickles = [pickle.dumps(load("s", mmap=mmap)) for mmap in (True, False)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    mapped, read = map(pickle.loads, pickles)
    assert mapped.folder == read.folder == tmp_path / "s"
    assert all("mapped" in repr(index) for index in mapped.indexes)
    assert not any("mapped" in repr(index) for index in read.indexes)


def test_copies_are_of_the_same_rows(tmp_path):
    shards, one, queries = both(tmp_path / "s")
    write_shards(tmp_path / "s", [one.codes[:10]], 64, overwrite=True)
    for other in (copy.copy(shards), copy.deepcopy(shards)):
        truth.assert_same(other.search(queries, 9), one.search(queries, 9))


@pytest.mark.parametrize("mmap", [True, False])
def test_indexes_are_read_only(tmp_path, mmap):
    both(tmp_path / "s")
    index = load(tmp_path / "s", mmap=mmap).indexes[0]
    for change in (
        lambda: index.add(index.codes[:1]),
        lambda: index.update(index.ids[:1], index.codes[:1]),
        lambda: index.remove(index.ids[:1]),
    ):
        with pytest.raises(RuntimeError, match="^BinaryIndex.* read-only; load .* mmap=False$"):
            change()


def test_ids_in_a_row_take_no_room(tmp_path):
    codes = truth.random_codes(np.random.default_rng(0), 1000, 64)
    shards = write_shards(tmp_path / "s", [codes[:600], codes[600:]], 64, rows_per_shard=300)
    for i, path in enumerate(sorted((tmp_path / "s").glob("*.safetensors"))):
        assert path.stat().st_size < 8 * len(shards.indexes[i]) + 1000
        alone = load(path)  # a file knows its ids without its folder
        np.testing.assert_array_equal(alone.ids, shards.indexes[i].ids)
    np.testing.assert_array_equal(shards.ids, np.arange(1000))
    np.testing.assert_array_equal(shards.search(codes[700:701], 1)[1], [[700]])


def test_changed_copy_of_a_shard_keeps_its_ids(tmp_path):
    codes = truth.random_codes(np.random.default_rng(0), 30, 64)
    write_shards(tmp_path / "s", [codes], 64, rows_per_shard=10)
    index = load(tmp_path / "s" / "shard-00001.safetensors", mmap=False)
    np.testing.assert_array_equal(index.ids, np.arange(10, 20))
    index.add(codes[:2])
    index.update(np.array([12]), codes[:1])
    index.remove(np.array([15]))
    want = np.array([10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21])
    np.testing.assert_array_equal(index.ids, want)
    np.testing.assert_array_equal(index.codes, codes[[10, 11, 0, 13, 14, 16, 17, 18, 19, 0, 1]])
    with pytest.raises(ValueError, match="id 9 is not in the index"):
        index.remove(np.array([9]))
    index.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").ids, want)


def test_codes_alone_continue_after_the_largest_id(tmp_path):
    codes = truth.random_codes(np.random.default_rng(0), 10, 64)
    shards = write_shards(tmp_path / "s", [(np.array([7, 3]), codes[:2]), codes[2:5], (np.array([1]), codes[5:6])], 64)
    np.testing.assert_array_equal(shards.ids, [1, 3, 7, 8, 9, 10])
    found = shards.search(codes[:6], 6)
    one = BinaryIndex(64)
    one.add(codes[:6], np.array([7, 3, 8, 9, 10, 1]))
    truth.assert_same(found, one.search(codes[:6], 6))


def test_save_writes_a_folder_again(tmp_path):
    shards, one, queries = both(tmp_path / "s", order="in turn")
    shards.save(tmp_path / "t")
    again = load(tmp_path / "t", verify=True)
    assert len(again.indexes) == 1
    np.testing.assert_array_equal(again.ids, one.ids)
    truth.assert_same(again.search(queries, 9), one.search(queries, 9))


def test_empty_shards(tmp_path):
    shards = write_shards(tmp_path / "s", [], 64)
    assert len(shards) == 0
    assert shards.ids.shape == (0,)
    assert list(shards.batches()) == []
    with pytest.raises(ValueError, match="^Shards.search: the index is empty$"):
        shards.search(np.zeros((1, 8), np.uint8), 1)
    with pytest.raises(ValueError, match="^Shards.range_search: the index is empty$"):
        shards.range_search(np.zeros((1, 8), np.uint8), 1)


def test_refusals_name_the_argument(tmp_path):
    shards, _, queries = both(tmp_path / "s")
    for call, error, message in [
        (lambda: shards.search(queries[:, :4], 1), ValueError, r"Shards.search: queries must be \[nq, 8\]"),
        (lambda: shards.search(queries, 0), ValueError, "Shards.search: k must be"),
        (lambda: shards.search(queries, 1, np.ones(7, bool)), ValueError, "Shards.search: allow of bool must have"),
        (lambda: shards.search(queries, 1, threads=0), ValueError, "Shards.search: threads must be"),
        (lambda: shards.range_search(queries, -1), ValueError, "Shards.range_search: radius must be"),
        (lambda: shards.batches(0), ValueError, "Shards.batches: size must be"),
        (lambda: shards.add(queries), RuntimeError, "Shards.add: a folder of shards is read-only"),
        (lambda: shards.update([1], queries), RuntimeError, "Shards.update: a folder of shards is read-only"),
        (lambda: shards.remove([1]), RuntimeError, "Shards.remove: a folder of shards is read-only"),
        (lambda: shards.to("cuda"), ValueError, "Shards.to: shards stay on disk"),
    ]:
        with pytest.raises(error, match=f"^{message}"):
            call()
    assert shards.to("cpu") is shards
