import json
import os
import zlib

import hamming_truth as truth
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from fasthash._multi_index import use_patience
from fasthash.search import BinaryIndex, MultiIndex, load, storage

WALK = float("inf")  # every query by the tables


@pytest.fixture(params=[(64, None, None), (77, 5, False), (200, None, True)], ids=str)
def saved(request, tmp_path):
    """An index with ids of its own, its file, and the file's content."""
    rng = np.random.default_rng(0)
    bits, tables, copies = request.param
    index = MultiIndex(bits, tables, copies)
    index.add(truth.random_codes(rng, 300, bits), rng.permutation(1000)[:300])
    path = tmp_path / "codes.safetensors"
    index.save(path)
    return index, path, path.read_bytes()


def header_of(raw):
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), 8 + length


def write_back(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def edit_tensor(path, name, change):
    """One tensor changed in place, with the checksum that then belongs to the file."""
    raw = path.read_bytes()
    header, begin = header_of(raw)
    data = bytearray(raw[begin:])
    start, stop = header[name]["data_offsets"]
    dtype = {"U32": "<u4", "U64": "<u8", "I64": "<i8"}[header[name]["dtype"]]
    change(np.frombuffer(data, dtype, (stop - start) // np.dtype(dtype).itemsize, start))
    header["__metadata__"]["checksum"] = f"crc32:{zlib.crc32(data):08x}"
    write_back(path, header, bytes(data))


def same_hits(a, b, queries):
    with use_patience(WALK):
        truth.assert_same(a.search(queries, 9), b.search(queries, 9))
        truth.assert_same(a.range_search(queries, 15), b.range_search(queries, 15))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("verify", [None, True, False])
def test_round_trip(saved, mmap, verify):
    index, path, _ = saved
    again = load(path, mmap=mmap, verify=verify)
    assert (type(again), again.bits, len(again)) == (MultiIndex, index.bits, 300)
    assert again.table_bytes == index.table_bytes > 0  # nothing is made anew
    truth.assert_same((again.codes, again.ids), (index.codes, index.ids))
    same_hits(again, index, index.codes[:4])
    assert repr(again) == f"MultiIndex(bits={index.bits}, codes=300{', mapped' if mmap else ''})"


def test_what_was_asked_of_the_tables_is_kept(saved):
    index, path, _ = saved
    again = load(path, mmap=False)
    assert (again._wanted, again._copies) == (index._wanted, index._copies)
    again.remove(index.ids[:100])
    assert again.table_bytes == 0
    index.remove(index.ids[:100])
    same_hits(again, index, index.codes[:4])
    assert again.table_bytes == index.table_bytes


def test_mapped_tables_are_searched_in_place(saved):
    index, path, raw = saved
    mapped = load(path)
    tables = mapped._tables(mapped._rows, "test")
    for array in (tables.rows, tables.codes, mapped.codes):
        assert array is None or isinstance(array, np.memmap) or isinstance(array.base, np.memmap)
        assert array is None or not array.flags.writeable
    with pytest.raises(RuntimeError, match=r"MultiIndex.add: .*read-only; load it with mmap=False"):
        mapped.add(index.codes[:1])
    MultiIndex(index.bits).save(path)  # a new file takes the name; the old one lives on under the map
    same_hits(mapped, index, index.codes[:4])
    assert path.read_bytes() != raw


def test_the_safetensors_library_reads_it(saved):
    index, path, raw = saved
    tensors, tables = load_file(path), index._tables(index._rows, "test")
    truth.assert_same((tensors["rows"], tensors["offsets"]), (tables.rows, tables.offsets))
    assert ("table_codes" in tensors) == (tables.codes is not None)
    with safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "fasthash.MultiIndex"
    header, begin = header_of(raw)
    for name in set(header) - {"__metadata__"}:  # each begins at a multiple of its alignment
        assert (begin + header[name]["data_offsets"][0]) % {"U8": 1, "U32": 4}.get(header[name]["dtype"], 8) == 0


@pytest.mark.parametrize("mmap", [True, False])
def test_an_empty_index(tmp_path, mmap):
    MultiIndex(77, 3).save(tmp_path / "x")
    again = load(tmp_path / "x", mmap=mmap)
    assert (type(again), len(again), again._wanted) == (MultiIndex, 0, 3)
    if not mmap:
        codes = truth.random_codes(np.random.default_rng(0), 50, 77)
        again.add(codes)
        truth.assert_same(again.search(codes[:2], 3), truth.topk(codes[:2], codes, 3))


def test_each_kind_of_file_is_what_it_was(saved, tmp_path):
    index, _, _ = saved
    flat = BinaryIndex(index.bits)
    flat.add(index.codes, index.ids)
    flat.save(tmp_path / "flat")
    assert type(load(tmp_path / "flat")) is BinaryIndex
    with pytest.raises(ValueError, match="not one of a fasthash index"):
        storage.read(saved[1], mmap=False, verify=True)


def refuse(path, match, **options):
    with pytest.raises(ValueError, match=match) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("mmap", [True, False])
def test_truncated_anywhere(saved, mmap):
    _, path, raw = saved
    for keep in [0, 3, 8, 40, 300, len(raw) // 2, len(raw) - 1]:
        path.write_bytes(raw[:keep])
        refuse(path, "truncated|not an index file", mmap=mmap)
    path.write_bytes(raw + b"x")
    refuse(path, "damaged", mmap=mmap)


HEADERS = {
    "newer version": (lambda h: h["__metadata__"].update(version="3"), "version 3.*update fasthash"),
    "another format": (lambda h: h["__metadata__"].update(format="fasthash.TreeIndex"), "not one of a fasthash index"),
    "a list of formats": (lambda h: h["__metadata__"].update(format=["x"]), "not one of a fasthash index"),
    "the plain format": (lambda h: h["__metadata__"].update(format="fasthash.BinaryIndex"), "must hold codes"),
    "no widths": (lambda h: h["__metadata__"].pop("widths"), "damaged metadata"),
    "no tables": (lambda h: h["__metadata__"].update(widths="", starts=""), "damaged metadata"),
    "width 0": (lambda h: h["__metadata__"].update(widths="0", starts="0"), "damaged metadata"),
    "width 25": (lambda h: h["__metadata__"].update(widths="25", starts="0"), "damaged metadata"),
    "widths of text": (lambda h: h["__metadata__"].update(widths="a,b", starts="0,8"), "damaged metadata"),
    "endless widths": (lambda h: h["__metadata__"].update(widths="8," * 9999), "damaged metadata"),
    "widths as numbers": (lambda h: h["__metadata__"].update(widths=[8, 8]), "damaged metadata"),
    "more starts": (lambda h: h["__metadata__"].update(starts=h["__metadata__"]["starts"] + ",60"), "damaged metadata"),
    "a shared bit": (lambda h: h["__metadata__"].update(starts="0,7", widths="8,8"), "damaged metadata"),
    "beyond the code": (lambda h: h["__metadata__"].update(starts="0,9990", widths="8,8"), "damaged metadata"),
    "other widths": (lambda h: h["__metadata__"].update(starts="0,8", widths="8,8"), "should be"),
    "copies maybe": (lambda h: h["__metadata__"].update(copies="maybe"), "damaged metadata"),
    "tables 0": (lambda h: h["__metadata__"].update(tables="0"), "damaged metadata"),
    "tables many": (lambda h: h["__metadata__"].update(tables="many"), "damaged metadata"),
    "count": (lambda h: h["__metadata__"].update(count="299"), "should be"),
    "no rows": (lambda h: h.pop("rows"), "must hold codes"),
    "no offsets": (lambda h: h.pop("offsets"), "must hold codes"),
    "another tensor": (lambda h: h.update(more={}), "must hold codes"),
    "rows elsewhere": (lambda h: h["rows"].update(data_offsets=[0, 1200]), "rows should be"),
    "rows of U64": (lambda h: h["rows"].update(dtype="U64"), "rows should be"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("mmap", [True, False])
def test_damaged_header(saved, case, mmap):
    _, path, raw = saved
    change, match = HEADERS[case]
    header, begin = header_of(raw)
    change(header)
    write_back(path, header, raw[begin:])
    refuse(path, match, mmap=mmap)


def descend(offsets):
    offsets[3], offsets[4] = 9, 8


def begin_late(offsets):
    offsets[0] = 1


def end_beyond(offsets):
    offsets[-1] = 2**32 - 1


@pytest.mark.parametrize("change", [descend, begin_late, end_beyond])
@pytest.mark.parametrize("options", [{}, {"mmap": False}, {"mmap": False, "verify": False}])
def test_offsets_are_always_checked(saved, change, options):
    _, path, _ = saved
    edit_tensor(path, "offsets", change)
    refuse(path, "the offsets of a table do not ascend from 0 to 300", **options)


@pytest.mark.parametrize("row", [300, 2**31, 2**32 - 1])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_row_that_is_not_there_is_noticed_by_the_search(saved, row, mmap):
    """Whoever can write the file can also make its checksum fit: nothing outside of the codes may be read."""
    index, path, _ = saved

    def set_all(rows):
        rows[:] = row

    edit_tensor(path, "rows", set_all)
    again = load(path, mmap=mmap)
    for search in (lambda: again.search(index.codes[:4], 5), lambda: again.range_search(index.codes[:4], 9)):
        with use_patience(WALK), pytest.raises(RuntimeError, match=rf"row {row} of 300: .*damaged") as caught:
            search()
        assert "\n" not in str(caught.value)


def test_any_rows_and_codes_in_a_file_are_safe_to_search(saved):
    index, path, _ = saved
    rng = np.random.default_rng(0)
    names = ["rows", "table_codes"] if index._copies else ["rows"]
    for name in names:
        edit_tensor(
            path, name, lambda values: np.copyto(values, rng.integers(0, 300, len(values)).astype(values.dtype))
        )
    again = load(path)
    with use_patience(WALK):
        for k in (1, 10, 300, 1000):
            ids = again.search(index.codes[:9], k)[1]
            assert np.isin(ids, [-1, *index.ids]).all()
        again.range_search(index.codes[:9], index.bits)


@pytest.mark.parametrize("name", ["rows", "offsets", "codes"])
def test_checksum(saved, name):
    _, path, raw = saved
    header, begin = header_of(raw)
    at = begin + header[name]["data_offsets"][1] - 1
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 128]) + raw[at + 1 :])
    refuse(path, "checksum|offsets", mmap=False)
    refuse(path, "checksum|offsets", mmap=True, verify=True)


def test_a_file_cut_short_during_a_load(saved, monkeypatch):
    _, path, raw = saved
    real = storage._check_tensors

    def then_cut(*arguments):
        os.truncate(path, len(raw) // 2)
        return real(*arguments)

    monkeypatch.setattr(storage, "_check_tensors", then_cut)
    for mmap in (True, False):
        path.write_bytes(raw)
        refuse(path, "cannot be mapped|truncated", mmap=mmap)
