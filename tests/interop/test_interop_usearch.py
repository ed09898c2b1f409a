"""Indexes of USearch hold the same bits and keys and give the same distances."""

import numpy as np
import pytest
from hypothesis import given
from interop_indexes import FEW, LENGTHS, assert_same, indexes, made, queries_of, without

from fasthash.interop.usearch import from_usearch, to_usearch
from fasthash.search import BinaryIndex, load, write_shards

usearch = pytest.importorskip("usearch.index")


@FEW
@given(index=indexes())
def test_round_trip(index):
    live = to_usearch(index)
    assert (live.ndim, len(live)) == (index.bits, len(index))
    assert_same(from_usearch(live), index)


@pytest.mark.parametrize("bits", LENGTHS)
def test_exact_distances_are_equal(bits):
    index = made(bits, 300)
    queries = queries_of(index)
    matches = to_usearch(index).search(queries, 40, exact=True)
    np.testing.assert_array_equal(matches.distances, index.search(queries, 40)[0])
    # which keys stand at equal distances is not defined: each must have its distance
    own = np.stack([index.codes[np.searchsorted(index.ids, row)] for row in matches.keys.astype(np.int64)])
    np.testing.assert_array_equal(np.bitwise_count(own ^ queries[:, None]).sum(2), matches.distances)


def test_a_graph_that_looks_everywhere_is_exact():
    index = made(64, 300)
    live = to_usearch(index, connectivity=32, expansion_add=400, expansion_search=400, threads=1)
    assert (live.connectivity, live.expansion_add, live.expansion_search) == (32, 400, 400)
    np.testing.assert_array_equal(live.search(queries_of(index), 10).distances, index.search(queries_of(index), 10)[0])


def test_more_hits_than_codes():
    index = made(64, 5)
    assert to_usearch(index).search(queries_of(index), 8, exact=True).counts.tolist() == [5] * 5


def test_its_own_files(tmp_path):
    index = made(65, 100)
    to_usearch(index).save(str(tmp_path / "a.usearch"))
    for view in (False, True):
        live = usearch.Index.restore(str(tmp_path / "a.usearch"), view=view)
        assert live.ndim == 65
        assert_same(from_usearch(live), index)


def test_what_others_built_is_read():
    index = made(64, 100)
    live = usearch.Index(ndim=64, metric="hamming", dtype="b1")
    keys = np.random.default_rng(0).permutation(100).astype(np.uint64)
    live.add(keys, index.codes)
    live.remove(keys[:10])
    want = BinaryIndex(64)
    want.add(index.codes[10:], keys[10:])
    assert_same(from_usearch(live), want)


def test_shards_go_in_as_an_index_does(tmp_path):
    index = made(64, 500)
    write_shards(tmp_path / "shards", index.batches(64), 64, rows_per_shard=200)
    seen = []
    assert_same(from_usearch(to_usearch(load(tmp_path / "shards"), progress=lambda *at: seen.append(at))), index)
    assert seen[-1] == (500, 500)


def others(keys, **options):
    live = usearch.Index(**{"ndim": 64, "metric": "hamming", "dtype": "b1", **options})
    live.add(np.array(keys, np.uint64), np.full((len(keys), -(-live.ndim // 8)), 255, np.uint8))
    return live


def floats():
    return usearch.Index(ndim=64, metric="cos", dtype="f32")


BAD = {
    "source": (lambda: to_usearch(np.zeros((3, 8))), TypeError, "index must be a BinaryIndex or Shards, got ndarray"),
    "connectivity": (lambda: to_usearch(made(64, 3), connectivity=1), ValueError, "connectivity must be .* from 2 to"),
    "threads": (lambda: to_usearch(made(64, 3), threads=0), ValueError, "to_usearch: threads must be a whole number"),
    "live": (lambda: from_usearch([1]), TypeError, "live must be a usearch.index.Index, got list"),
    "dtype": (lambda: from_usearch(floats()), ValueError, "live must be of B1 with Hamming, got F32 with Cos"),
    "metric": (lambda: from_usearch(others([1], metric="tanimoto")), ValueError, "got B1 with Tanimoto"),
    "key": (lambda: from_usearch(others([1, 2**63])), ValueError, "from_usearch: ids must fit int64, got 922337203"),
    "twice": (lambda: from_usearch(others([1, 1], multi=True)), ValueError, "live has the key 1 twice"),
    "padding": (
        lambda: from_usearch(others([1], ndim=63)),
        ValueError,
        "row 0 has a non-zero padding bit after bit 63",
    ),
    "long": (lambda: from_usearch(others([1], ndim=8192)), ValueError, "codes of 8192 bits, at most 4096"),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_in_one_line(what):
    call, kind, said = BAD[what]
    with pytest.raises(kind, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch):
    without(monkeypatch, "usearch")
    with pytest.raises(RuntimeError, match=r"to_usearch needs the package usearch: pip install 'fasthash\[usearch\]'"):
        to_usearch(made(64, 3))
