"""Tables of LanceDB hold the same codes and ids and give the same distances."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from interop_indexes import FEW, LENGTHS, assert_same, indexes, made, queries_of, without

from fasthash.interop.lance import read_lance, search_lance, write_lance
from fasthash.search import BinaryIndex, load, write_shards

lancedb = pytest.importorskip("lancedb")
TABLES = (f"t{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lance")


@FEW
@given(index=indexes())
def test_round_trip(index, folder):
    table = next(TABLES)
    live = write_lance(index, folder, table)
    assert live.count_rows() == len(index)
    assert_same(read_lance(folder, table), index)


@pytest.mark.parametrize("bits", LENGTHS)
def test_exact_search_is_that_of_the_index(bits, folder):
    index, table = made(bits, 200), next(TABLES)
    write_lance(index, folder, table)
    queries = queries_of(index, 70)  # more than go into one plan
    for got, want in zip(search_lance(folder, table, queries, 230), index.search(queries, 230), strict=True):
        np.testing.assert_array_equal(got, want)  # all rows: here the order of equal distances is defined too
        assert got.dtype == want.dtype
    distances, ids = search_lance(folder, table, queries[:1], 20)
    np.testing.assert_array_equal(distances, index.search(queries[:1], 20)[0])
    own = index.codes[np.searchsorted(index.ids, ids[0])]
    np.testing.assert_array_equal(np.bitwise_count(own ^ queries[:1]).sum(1), distances[0])


def test_search_through_an_index(folder):
    index, table = made(64, 600), next(TABLES)
    live = write_lance(index, folder, table, partitions=4)
    (made_index,) = live.list_indices()
    assert (made_index.index_type, made_index.columns) == ("IvfFlat", ["code"])
    queries = queries_of(index)
    want = index.search(queries, 10)[0]
    np.testing.assert_array_equal(search_lance(folder, table, queries, 10, probes=4)[0], want)
    np.testing.assert_array_equal(search_lance(folder, table, queries, 10)[0], want)
    assert (search_lance(folder, table, queries, 600, probes=1)[1] == -1).any()  # it looks into one part alone


def test_lances_range_leaves_the_upper_bound_out(folder):
    index = BinaryIndex(8)
    index.add(np.array([[0b0], [0b1], [0b11]], np.uint8))
    query = write_lance(index, folder, next(TABLES)).search(np.zeros(1, np.uint8), vector_column_name="code")
    hits = query.distance_type("hamming").distance_range(upper_bound=1).to_arrow()
    assert hits["id"].to_pylist() == [0]


def test_modes(folder):
    first, second, table = made(64, 50, sparse=False), made(64, 30, seed=1), next(TABLES)
    write_lance(first, folder, table)
    with pytest.raises(ValueError, match=f"table must be new for mode 'create', .* has '{table}'"):
        write_lance(second, folder, table)
    write_lance(second, folder, table, mode="append")
    both = BinaryIndex(64)
    both.add(first.codes, first.ids)
    both.add(second.codes, second.ids)
    assert_same(read_lance(folder, table), both)
    with pytest.raises(ValueError, match=rf"write_lance: id \d+ is already in table {table}"):
        write_lance(second, folder, table, mode="append")
    with pytest.raises(ValueError, match=f"index must have codes of 64 bits like table {table}, got 63"):
        write_lance(made(63, 3), folder, table, mode="append")
    write_lance(made(63, 20), folder, table, mode="overwrite")
    assert_same(read_lance(folder, table), made(63, 20))
    with pytest.raises(ValueError, match="table must exist for mode 'append', there is no 'none'"):
        write_lance(second, folder, "none", mode="append")


class Broken:
    """Rows that end in an error."""

    bits = 64

    def __len__(self):
        return 10

    def batches(self, size=1):
        yield np.arange(1000, 1005), np.zeros((5, 8), np.uint8)
        raise KeyError("the disk is gone")


@pytest.mark.parametrize("mode", ["create", "overwrite", "append"])
def test_a_table_is_there_whole_or_as_it_was(mode, folder):
    index, table = made(64, 20, sparse=False), next(TABLES)
    if mode != "create":
        write_lance(index, folder, table)
    with pytest.raises(KeyError, match="the disk is gone"):
        write_lance(Broken(), folder, table, mode=mode)
    if mode == "create":
        assert not (folder / f"{table}.lance").exists()
        write_lance(index, folder, table)
    assert_same(read_lance(folder, table), index)


def test_tables_of_others(folder):
    index = made(63, 40)
    rows = {"key": index.ids, "vector": index.codes.tolist(), "more": ["x"] * 40}
    kind = pa.schema([("key", pa.int64()), ("vector", pa.list_(pa.uint8(), 8)), ("more", pa.string())])
    lancedb.connect(folder).create_table("others", pa.table(rows, kind))
    assert_same(read_lance(folder, "others", 63, id_column="key", column="vector"), index)
    with pytest.raises(ValueError, match="others must have one column 'id', it has key, vector, more"):
        search_lance(folder, "others", index.codes[:1], 3)
    renamed = pa.table(rows, kind).rename_columns(["id", "code", "more"])
    lancedb.connect(folder).create_table("bare", renamed)
    with pytest.raises(ValueError, match="bare must be one that write_lance wrote, it has no metadata of codes"):
        search_lance(folder, "bare", index.codes[:1], 3)


def test_shards_go_in_as_an_index_does(tmp_path, folder):
    index, table = made(64, 500), next(TABLES)
    write_shards(tmp_path / "shards", index.batches(64), 64, rows_per_shard=200)
    seen = []
    write_lance(load(tmp_path / "shards"), folder, table, progress=lambda *at: seen.append(at))
    assert_same(read_lance(folder, table), index)
    assert seen[-1] == (500, 500)


def test_an_empty_table_has_no_hits(folder):
    table = next(TABLES)
    write_lance(BinaryIndex(65), folder, table)
    distances, ids = search_lance(folder, table, np.zeros((2, 9), np.uint8), 3)
    assert (distances == 2**31 - 1).all()
    assert (ids == -1).all()


BAD = {
    "source": (lambda at: write_lance([], at, "a"), TypeError, "index must be a BinaryIndex or Shards, got list"),
    "mode": (
        lambda at: write_lance(made(8, 2), at, "a", mode="new"),
        ValueError,
        "mode must be one of create, overwrite",
    ),
    "name": (lambda at: write_lance(made(8, 2), at, "a/b"), ValueError, "name"),
    "parts": (lambda at: write_lance(made(8, 2), at, "a", partitions=3), ValueError, "partitions must .* from 1 to 2"),
    "table": (lambda at: read_lance(at, "none"), ValueError, "read_lance: .* has no table 'none'"),
    "folder": (lambda at: search_lance(at / "x", "none", made(8, 1).codes, 1), ValueError, "has no table 'none'"),
    "k": (lambda at: search_lance(at, "kept", made(8, 1).codes, 0), ValueError, "k must be a whole number"),
    "queries": (lambda at: search_lance(at, "kept", made(16, 1).codes, 1), ValueError, r"queries must be \[n, 1\]"),
    "probes": (
        lambda at: search_lance(at, "kept", made(8, 1).codes, 1, probes=0),
        ValueError,
        "probes must be a whole",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_in_one_line(what, folder):
    write_lance(made(8, 2), folder, "kept", mode="overwrite")
    call, kind, said = BAD[what]
    with pytest.raises(kind, match=said) as caught:
        call(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch, tmp_path):
    without(monkeypatch, "lancedb")
    with pytest.raises(RuntimeError, match=r"read_lance needs the package lancedb: pip install 'fasthash\[lance\]'"):
        read_lance(tmp_path, "a")
