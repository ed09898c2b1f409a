"""Live indexes of FAISS hold the same codes and ids and give the same distances."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interop_indexes import FEW, LENGTHS, assert_same, indexes, made, queries_of, without

from fasthash.interop.faiss import from_faiss, range_search, to_faiss
from fasthash.search import BinaryIndex, load, read_faiss, write_shards

faiss = pytest.importorskip("faiss")
WHOLE = tuple(bits for bits in LENGTHS if bits % 8 == 0)


@FEW
@given(index=indexes((1, 7, 64, 65), least=1), kind=st.sampled_from(["flat", "hnsw", "ivf"]))
def test_round_trip(index, kind):
    live = to_faiss(index, kind, pad=True)
    gc.collect()  # what is inside must be kept by what is outside
    assert live.ntotal == len(index)
    assert_same(from_faiss(live, index.bits), index)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("bits", LENGTHS)
def test_exact_distances_are_equal(bits, sparse):
    index = made(bits, 300, sparse=sparse)
    live, queries = to_faiss(index, pad=True), queries_of(index)
    assert isinstance(live, faiss.IndexBinaryIDMap2 if sparse else faiss.IndexBinaryFlat)
    distances, ids = live.search(queries, 40)
    want, _ = index.search(queries, 40)
    np.testing.assert_array_equal(distances, want)
    # which ids stand at equal distances is not defined: each must have its distance
    own = np.stack([index.codes[np.searchsorted(index.ids, row)] for row in ids])
    np.testing.assert_array_equal(np.bitwise_count(own ^ queries[:, None]).sum(2), distances)


@pytest.mark.parametrize("bits", LENGTHS)
def test_range_search_is_that_of_the_index(bits):
    index = made(bits, 300)
    live, queries = to_faiss(index, pad=True), queries_of(index)
    for radius in (0, bits // 2, bits):
        for got, want in zip(range_search(live, queries, radius), index.range_search(queries, radius), strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype


def test_faiss_alone_leaves_the_radius_out():
    index = BinaryIndex(8)
    index.add(np.array([[0b0], [0b1], [0b11]], np.uint8))
    live, query = to_faiss(index), np.zeros((1, 1), np.uint8)
    assert live.range_search(query, 1)[2].tolist() == [0]
    assert range_search(live, query, 1)[2].tolist() == [0, 1]


def test_more_hits_than_codes_are_missing():
    index = made(64, 5)
    distances, ids = to_faiss(index).search(queries_of(index), 8)
    want, found = index.search(queries_of(index), 8)
    np.testing.assert_array_equal(distances, want)
    np.testing.assert_array_equal(ids[:, 5:], found[:, 5:])
    distances, ids = to_faiss(index, "hnsw", ef_search=64).search(queries_of(index), 8)
    assert (ids[:, 5:] == -1).all()
    assert (distances[:, 5:] == -(2**31)).all()


def test_graphs_and_lists_that_look_everywhere_are_exact():
    index = made(64, 400)
    queries = queries_of(index)
    want, _ = index.search(queries, 10)
    lists = to_faiss(index, "ivf", nlist=10, nprobe=10)
    assert (lists.nlist, lists.nprobe) == (10, 10)
    np.testing.assert_array_equal(lists.search(queries, 10)[0], want)
    np.testing.assert_array_equal(range_search(lists, queries, 24)[1], index.range_search(queries, 24)[1])
    graph = to_faiss(index, "hnsw", M=8, ef_construction=400, ef_search=400)
    np.testing.assert_array_equal(graph.search(queries, 10)[0], want)


def test_options_reach_faiss():
    live = to_faiss(made(64, 50), "hnsw", M=5, ef_construction=7, ef_search=9)
    inner = faiss.downcast_IndexBinary(live.index)  # of live, which must stay
    assert (inner.hnsw.efConstruction, inner.hnsw.efSearch, inner.hnsw.nb_neighbors(1)) == (7, 9, 5)
    small, large = to_faiss(made(64, 100), "ivf"), to_faiss(made(64, 4000), "ivf")
    assert (small.nlist, small.nprobe) == (2, 1)  # 39 codes a list at least
    assert (large.nlist, large.nprobe) == (63, 8)  # sqrt(n), an eighth of them
    codes = [from_lists(to_faiss(made(64, 400), "ivf", nlist=9, seed=seed)) for seed in (1, 1, 2)]
    assert codes[0] == codes[1] != codes[2]


def from_lists(live):
    return [live.invlists.list_size(number) for number in range(live.nlist)]


def test_what_others_built_is_read():
    codes, ids = made(64, 200).codes, np.random.default_rng(0).permutation(200) * 3
    want = BinaryIndex(64)
    want.add(codes, ids)
    plain = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(64))
    plain.add_with_ids(codes, ids)
    assert_same(from_faiss(plain), want)
    quantizer = faiss.IndexBinaryFlat(64)
    mapped = faiss.IndexBinaryIDMap(faiss.IndexBinaryIVF(quantizer, 64, 3))  # an id map over ids
    mapped.train(codes)
    mapped.add_with_ids(codes, ids)
    assert_same(from_faiss(mapped), want)
    plain.remove_ids(ids[:50])
    want.remove(ids[:50])
    assert_same(from_faiss(plain), want)


def test_files_of_faiss_and_live_indexes_agree(tmp_path):
    index = made(64, 60)
    faiss.write_index_binary(to_faiss(index), str(tmp_path / "a.faiss"))
    assert_same(read_faiss(tmp_path / "a.faiss"), index)
    faiss.write_index_binary(to_faiss(index, "ivf"), str(tmp_path / "b.faiss"))
    assert_same(from_faiss(faiss.read_index_binary(str(tmp_path / "b.faiss"))), index)


def test_shards_go_in_as_an_index_does(tmp_path):
    index = made(64, 500)
    write_shards(tmp_path / "shards", index.batches(64), 64, rows_per_shard=200)
    for kind in ("flat", "ivf"):
        assert_same(from_faiss(to_faiss(load(tmp_path / "shards"), kind)), index)


def test_empty():
    for kind in ("flat", "hnsw"):
        assert_same(from_faiss(to_faiss(BinaryIndex(64), kind)), BinaryIndex(64))
    with pytest.raises(ValueError, match="to_faiss: kind ivf needs codes to train its lists on, the index is empty"):
        to_faiss(BinaryIndex(64), "ivf")


def test_changes_while_codes_are_handed_over_are_left_out():
    index = made(64, 20, sparse=False)
    live = to_faiss(index, progress=lambda done, total: index.add(index.codes[:1]))
    assert (live.ntotal, len(index)) == (20, 21)


def ids_of(values):
    live = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(64))
    live.add_with_ids(np.zeros((len(values), 8), np.uint8), np.array(values))
    return live


def set_bits():
    live = faiss.IndexBinaryFlat(64)
    live.add(np.full((1, 8), 255, np.uint8))
    return live


BAD = {
    "length": (lambda: to_faiss(made(63, 3)), ValueError, "whole bytes only, got codes of 63 bits; see pad=True"),
    "kind": (lambda: to_faiss(made(64, 3), "lsh"), ValueError, "kind must be one of flat, hnsw, ivf, got 'lsh'"),
    "option": (lambda: to_faiss(made(64, 3), M=3), ValueError, "flat has the options none, got 'M'"),
    "nlist": (lambda: to_faiss(made(64, 3), "ivf", nlist=4), ValueError, "nlist must be .* from 1 to 3, got 4"),
    "source": (lambda: to_faiss([1]), TypeError, "index must be a BinaryIndex or Shards, got list"),
    "live": (lambda: from_faiss(faiss.IndexFlatL2(8)), TypeError, "live must be a faiss.IndexBinary, got IndexFlatL2"),
    "hash": (lambda: from_faiss(faiss.IndexBinaryHash(64, 8)), TypeError, "IndexBinaryFlat, .* got IndexBinaryHash"),
    "negative": (lambda: from_faiss(ids_of([-5, 1])), ValueError, "from_faiss: ids must not be negative, got -5"),
    "twice": (lambda: from_faiss(ids_of([7, 7])), ValueError, "from_faiss: id 7 is twice in ids"),
    "bits": (lambda: from_faiss(ids_of([7]), 56), ValueError, "bits must be from 57 to 64 for d = 64, got 56"),
    "padding": (lambda: from_faiss(set_bits(), 63), ValueError, "row 0 has a non-zero padding bit after bit 63"),
    "long": (lambda: from_faiss(faiss.IndexBinaryFlat(8192)), ValueError, "codes of 8192 bits, at most 4096"),
    "radius": (lambda: range_search(ids_of([1]), np.zeros((1, 8), np.uint8), -1), ValueError, "radius must be a whole"),
    "queries": (lambda: range_search(ids_of([1]), np.zeros((1, 7), np.uint8), 1), ValueError, r"must be \[n, 8\]"),
    "graph": (
        lambda: range_search(to_faiss(made(64, 3), "hnsw"), np.zeros((1, 8), np.uint8), 1),
        RuntimeError, "FAISS has no range search in an IndexBinaryHNSW"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_refused_in_one_line(what):
    call, kind, said = BAD[what]
    with pytest.raises(kind, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch):
    without(monkeypatch, "faiss")
    with pytest.raises(RuntimeError, match=r"to_faiss needs the package faiss-cpu: pip install 'fasthash\[faiss\]'"):
        to_faiss(made(64, 3))
