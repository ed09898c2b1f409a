"""Arrow tables and Parquet files keep every bit and id, also those that others write."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from interop_indexes import FEW, LENGTHS, assert_same, indexes, made, without

from fasthash.interop import _schema, arrow
from fasthash.search import BinaryIndex, load, storage, write_shards


@FEW
@given(index=indexes())
def test_table_round_trip(index):
    assert_same(arrow.from_arrow(arrow.to_arrow(index)), index)


@FEW
@given(index=indexes())
def test_parquet_round_trip(index, tmp_path):
    arrow.write_parquet(index, tmp_path / "codes.parquet", rows_per_group=7)
    assert pq.ParquetFile(tmp_path / "codes.parquet").num_row_groups == -(-len(index) // 7)
    assert_same(arrow.read_parquet(tmp_path / "codes.parquet"), index)


def test_schema_says_what_index_files_say():
    kind = arrow.schema(65, {"model": "crc32:1"})
    assert kind.field("id").type == pa.int64()
    assert kind.field("code").type == pa.binary(9)
    said = {key.decode(): value.decode() for key, value in kind.metadata.items()}
    assert said == {"format": "fasthash.codes", "version": "1", "bits": "65", "model": "crc32:1", **storage._RULES}
    with pytest.raises(ValueError, match="schema: metadata must not have 'bits': codes have it already"):
        arrow.schema(65, {"bits": "64"})


def test_to_arrow_copies_no_codes():
    index = made(64, 10)
    buffer = arrow.to_arrow(index).column("code").chunk(0).buffers()[1]
    assert buffer.address == index.codes.ctypes.data


def as_column(index, kind):
    if "list" in str(kind):
        return pa.array(index.codes.tolist(), kind)
    return pa.array([code.tobytes() for code in index.codes], kind)


def kinds(width):
    return [
        pa.binary(), pa.large_binary(), pa.binary(width), pa.list_(pa.uint8()), pa.large_list(pa.uint8()),
        pa.list_(pa.uint8(), width), pa.binary_view(),
    ]  # fmt: skip


@pytest.mark.parametrize("bits", LENGTHS)
@pytest.mark.parametrize("number", range(7))
def test_columns_of_others(bits, number, tmp_path):
    index = made(bits, 40)
    kind = kinds(index.codes.shape[1])[number]
    table = pa.table({"more": ["x"] * 40, "key": index.ids.astype(np.uint64), "bin": as_column(index, kind)})
    chunks = pa.concat_tables([table.slice(20), table.slice(0, 0), table.slice(0, 20)])  # offsets, order
    assert_same(arrow.from_arrow(chunks, bits, id_column="key", column="bin"), index)
    if kind != pa.binary_view():  # Parquet knows no views
        pq.write_table(chunks, tmp_path / "a.parquet", row_group_size=13)
        assert_same(arrow.read_parquet(tmp_path / "a.parquet", bits, id_column="key", column="bin"), index)


def test_streams_and_batches_of_others():
    index = made(64, 30)
    table = arrow.to_arrow(index)
    assert_same(arrow.from_arrow(table.to_batches()[0]), index)
    assert_same(arrow.from_arrow(pa.RecordBatchReader.from_batches(table.schema, table.to_batches())), index)


def test_rows_without_ids_are_counted_over_all_files(tmp_path):
    index = made(65, 50, sparse=False)
    for number, rows in enumerate((range(20), range(20, 20), range(20, 50))):
        part = pa.table(
            {"code": [index.codes[row].tolist() for row in rows]}, pa.schema([("code", pa.list_(pa.uint8()))])
        )
        pq.write_table(part, tmp_path / f"part-{number}.parquet")
    assert_same(arrow.read_parquet(tmp_path, 65, id_column=None), index)
    assert arrow.parquet_batches(tmp_path, id_column=None).bits == 72


def test_a_folder_of_parts_streams_into_shards(tmp_path):
    index, folder = made(63, 100), tmp_path / "parts"
    (folder / "more").mkdir(parents=True)
    (folder / "_temporary").mkdir()
    for name, rows in (
        ("b", slice(0, 30)),
        ("more/c", slice(30, 60)),
        ("a", slice(60, 100)),
        ("_temporary/d", slice(5)),
    ):
        part = BinaryIndex(63)
        part.add(index.codes[rows], index.ids[rows])
        arrow.write_parquet(part, folder / f"{name}.parquet")
    (folder / "notes.txt").write_text("no part")
    rows = arrow.parquet_batches(folder)
    assert (rows.bits, len(rows)) == (63, 100)
    assert [len(ids) for ids, _ in rows.batches(25)] == [25, 15, 25, 5, 25, 5]  # a.parquet first
    write_shards(tmp_path / "shards", rows, rows.bits, rows_per_shard=40)
    assert_same(next(iter_indexes(load(tmp_path / "shards"))), index)
    arrow.write_parquet(load(tmp_path / "shards"), tmp_path / "whole.parquet")  # shards go out as an index does
    arrow.write_parquet(rows, tmp_path / "copied.parquet")  # and so does a stream
    assert_same(arrow.read_parquet(tmp_path / "whole.parquet"), index)
    assert_same(arrow.read_parquet(tmp_path / "copied.parquet"), index)


def iter_indexes(shards):
    index = BinaryIndex(shards.bits)
    for ids, codes in shards.batches():
        index.add(codes, ids)
    yield index


def test_files_of_no_compression_are_as_large_as_codes_and_ids(tmp_path):
    arrow.write_parquet(made(64, 5000, sparse=False), tmp_path / "codes.parquet")
    assert 40_000 < (tmp_path / "codes.parquet").stat().st_size < 40_000 + 5000 * 8


BAD = {
    "an id that is negative": (lambda: ([-1, 2], None), "ids must not be negative, got -1"),
    "an id that is twice": (lambda: ([2, 2], None), "id 2 is twice in ids"),
    "an id that is too large": (lambda: (pa.array([2**64 - 1], pa.uint64()), None), "ids must fit int64, got 1844"),
    "an id that is null": (lambda: ([None, 2], None), "column 'id' has 1 nulls; every row needs a value"),
    "ids of another type": (lambda: (["a", "b"], None), "column 'id' must hold integers, got string"),
    "a code that is null": (lambda: ([1, 2], [None, b"12345678"]), "column 'code' has 1 nulls"),
    "codes of two widths": (lambda: ([1, 2], [b"12345678", b"123"]), "must have 8 bytes a row, got 3 in row 1"),
    "codes of another type": (lambda: ([1, 2], [1.5, 2.5]), "must be fixed_size_binary, binary, .*double"),
    "a null in a code": (
        lambda: ([1], pa.array([[1, None]], pa.list_(pa.uint8(), 2))), "column 'code' has 1 nulls"),
    "codes without bytes": (lambda: ([1], [b""]), "codes must have 1 to 512 bytes, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_tables_that_are_refused(what):
    make, said = BAD[what]
    ids, codes = make()
    codes = [b"12345678"] * len(ids) if codes is None else codes
    with pytest.raises(ValueError, match=f"^from_arrow: .*{said}") as caught:
        arrow.from_arrow(pa.table({"id": ids, "code": codes}))
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused():
    index = made(63, 5)
    table = arrow.to_arrow(index)
    with pytest.raises(ValueError, match="bits must be 63, as the metadata say, got 64"):
        arrow.from_arrow(table, 64)
    bare = table.replace_schema_metadata(None)
    assert arrow.from_arrow(bare).bits == 64
    with pytest.raises(ValueError, match="from_arrow: codes of 65 bits have 9 bytes, got codes of 8"):
        arrow.from_arrow(bare, 65)
    with pytest.raises(ValueError, match="non-zero padding bit after bit 57"):
        arrow.from_arrow(bare, 57)
    with pytest.raises(ValueError, match="table must have one column 'label', it has id, code"):
        arrow.from_arrow(table, id_column="label")
    with pytest.raises(TypeError, match="table must be an Arrow table or stream, got dict"):
        arrow.from_arrow({"id": [1]})
    with pytest.raises(TypeError, match="to_arrow: index must be a BinaryIndex or Shards, got ndarray"):
        arrow.to_arrow(index.codes)
    with pytest.raises(ValueError, match="no rows that tell the length"):
        arrow.from_arrow(pa.table({"code": pa.array([], pa.binary())}), id_column=None)
    said = _schema.schema(63).metadata
    for name, value, line in (
        (b"bit_order", b"least significant first", "bit_order 'most significant first', got 'least significant"),
        (b"version", b"2", "of version 2, this fasthash reads up to 1"),
        (b"bits", b"many", "damaged metadata: version '1', bits 'many'"),
    ):
        with pytest.raises(ValueError, match=line):
            arrow.from_arrow(table.replace_schema_metadata({**said, name: value}))


def test_files_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_parquet|parquet_batches: no file or folder at .*nothing"):
        arrow.read_parquet(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"has no \*.parquet"):
        arrow.read_parquet(tmp_path)
    arrow.write_parquet(made(64, 50), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:200])
    with pytest.raises(ValueError, match="a.parquet is no sound Parquet file"):
        arrow.read_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(whole)
    arrow.write_parquet(made(63, 50), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="b.parquet has codes of 63 bits, those before it 64"):
        arrow.read_parquet(tmp_path)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    class Broken:
        bits = 64

        def __len__(self):
            return 10

        def batches(self, size=1):
            yield np.arange(5), np.zeros((5, 8), np.uint8)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arrow.write_parquet(Broken(), tmp_path / "codes.parquet")
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_code(tmp_path):
    seen = []
    arrow.write_parquet(made(64, 10), tmp_path / "a.parquet", rows_per_group=4, progress=lambda *at: seen.append(at))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_a_record_batch_of_other_arrays_is_refused():
    kind = arrow.schema(64)
    with pytest.raises(ValueError, match=r"must be int64 \[n\] and uint8 \[n, 8\], got int32 \(2,\)"):
        arrow.record_batch(np.zeros(2, np.int32), np.zeros((2, 8), np.uint8), kind)


def test_a_missing_package_is_one_line(monkeypatch):
    without(monkeypatch, "pyarrow")
    with pytest.raises(RuntimeError, match=r"to_arrow needs the package pyarrow: pip install 'fasthash\[arrow\]'"):
        arrow.to_arrow(made(64, 3))


def test_dates_are_no_ids():
    day = pa.array([datetime.date(2020, 1, 1)])
    with pytest.raises(ValueError, match="column 'id' must hold integers, got date32"):
        arrow.from_arrow(pa.table({"id": day, "code": [b"1"]}))
