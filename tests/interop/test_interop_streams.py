"""Rows of a stream, which no index vouches for, are looked at on their way into every system."""

import numpy as np
import pytest
from interop_indexes import assert_same, made

from fasthash.interop import arrow, faiss, lance, usearch
from fasthash.interop._codes import Checked
from fasthash.search import load, write_shards


class Stream:
    """Rows as they come."""

    def __init__(self, *parts, bits=63):
        self.parts, self.bits, self.passes = parts, bits, 0

    def __len__(self):
        return sum(len(ids) for ids, _ in self.parts)

    def batches(self, size=1):
        self.passes += 1
        yield from self.parts


def rows(*ids, last=0):
    codes = np.zeros((len(ids), 8), np.uint8)
    codes[-1, -1] = last
    return np.array(ids, np.int64), codes


TARGETS = {
    "faiss": lambda stream, folder: faiss.to_faiss(stream, pad=True),
    "faiss-cpu hnsw": lambda stream, folder: faiss.to_faiss(stream, "hnsw", pad=True),
    "faiss-cpu ivf": lambda stream, folder: faiss.to_faiss(stream, "ivf", pad=True, nlist=1),
    "usearch": lambda stream, folder: usearch.to_usearch(stream),
    "lancedb": lambda stream, folder: lance.write_lance(stream, folder / "base", "codes"),
    "pyarrow": lambda stream, folder: arrow.write_parquet(stream, folder / "a.parquet"),
    "pyarrow table": lambda stream, folder: arrow.to_arrow(stream),
}
BAD = {
    "padding": ((rows(3, 4), rows(5, last=1)), "codes row 0 has a non-zero padding bit after bit 63"),
    "negative": ((rows(3, 4), rows(-5)), "ids must not be negative, got -5"),
    "twice in a batch": ((rows(3), rows(7, 7)), "id 7 is twice in ids"),
    "twice in two": ((rows(3, 7), rows(7, 9)), "id 7 is twice in ids"),
    "twice in a stream that descends": ((rows(3, 7), rows(5), rows(1, 3)), "id 3 is twice in ids"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("target", TARGETS)
def test_refused_and_nothing_is_left(target, what, tmp_path):
    pytest.importorskip(target.split()[0].split("-")[0])
    parts, said = BAD[what]
    with pytest.raises(ValueError, match=said):
        TARGETS[target](Stream(*parts), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_ascending_ids_are_read_once_and_others_twice_at_most():
    def passes(*parts):
        stream = Stream(*parts)
        found = [ids for ids, _ in Checked(stream, "op").batches()]
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate([ids for ids, _ in parts]))
        return stream.passes

    assert passes(rows(0, 2), rows(3), rows(9)) == 1
    assert passes(rows(3), rows(9), rows(0, 2), rows(10), rows(1)) == 2


def test_parquet_files_in_any_order_go_in(tmp_path):
    pytest.importorskip("pyarrow")
    index = made(63, 300)
    (tmp_path / "parts").mkdir()
    shards = write_shards(tmp_path / "shards", index.batches(64), 63, rows_per_shard=100)
    for name, part in zip("cab", shards.indexes, strict=True):
        arrow.write_parquet(part, tmp_path / "parts" / f"{name}.parquet")
    arrow.write_parquet(arrow.parquet_batches(tmp_path / "parts"), tmp_path / "one.parquet")
    assert_same(arrow.read_parquet(tmp_path / "one.parquet"), index)
    arrow.write_parquet(load(tmp_path / "shards"), tmp_path / "of_shards.parquet")
    assert_same(arrow.read_parquet(tmp_path / "of_shards.parquet"), index)


def test_a_mapped_array_is_looked_at_too(tmp_path):
    pytest.importorskip("pyarrow")
    from fasthash.search import BinaryIndex

    np.save(tmp_path / "codes.npy", np.full((3, 8), 255, np.uint8))
    index = BinaryIndex.from_codes(np.load(tmp_path / "codes.npy", mmap_mode="r"), 63)  # not looked at yet
    with pytest.raises(ValueError, match="codes row 0 has a non-zero padding bit after bit 63"):
        arrow.to_arrow(index)


def test_a_table_without_a_key_may_have_an_id_twice(connection):
    pytest.importorskip("pyarrow")
    from fasthash.interop import postgres

    some = "SELECT n / 2 AS id, repeat('01', 32)::bit(64) AS code FROM generate_series(2, 9) n"
    connection.execute(f"CREATE TABLE codes AS {some}")
    with pytest.raises(ValueError, match="to_arrow: id 1 is twice in ids"):
        arrow.to_arrow(postgres.table_codes(connection, "codes"))
