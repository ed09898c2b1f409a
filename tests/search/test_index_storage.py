import errno
import json
import os
import subprocess
import sys

import hamming_truth as truth
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fasthash.search import BinaryIndex, load, storage


@pytest.fixture
def saved(tmp_path):
    """An index with ids of its own, its file, and the file's content."""
    rng = np.random.default_rng(0)
    index = BinaryIndex(77)
    index.add(truth.random_codes(rng, 200, 77), rng.permutation(1000)[:200])
    path = tmp_path / "codes.safetensors"
    index.save(path)
    return index, path, path.read_bytes()


def edit_header(path, change):
    """The header as a dict, changed and written back in front of the same data."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("verify", [None, True, False])
def test_round_trip(saved, mmap, verify):
    index, path, _ = saved
    again = load(path, mmap=mmap, verify=verify)
    assert (again.bits, len(again)) == (77, 200)
    truth.assert_same((again.codes, again.ids), (index.codes, index.ids))
    truth.assert_same(again.search(index.codes[:4], 9), index.search(index.codes[:4], 9))


@pytest.mark.parametrize("n", [0, 1, 30])
@pytest.mark.parametrize("mmap", [True, False])
def test_round_trip_without_ids(tmp_path, n, mmap):
    index = BinaryIndex(64)
    if n:
        index.add(truth.random_codes(np.random.default_rng(1), n, 64))
    index.save(tmp_path / "x")
    again = load(tmp_path / "x", mmap=mmap)
    truth.assert_same((again.codes, again.ids), (index.codes, index.ids))
    if not mmap:
        again.add(np.zeros((1, 8), np.uint8))
        assert again.ids.tolist() == list(range(n + 1))


def test_the_safetensors_library_reads_it(saved):
    index, path, raw = saved
    tensors = load_file(path)
    truth.assert_same((tensors["codes"], tensors["ids"]), (index.codes, index.ids))
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "fasthash.BinaryIndex"
    assert (metadata["bits"], metadata["count"], metadata["version"]) == ("77", "200", "1")
    assert (8 + int.from_bytes(raw[:8], "little")) % 64 == 0


def test_mapped_codes_are_searched_in_place_and_read_only(saved):
    index, path, raw = saved
    mapped = load(path)
    assert isinstance(mapped.codes.base, np.memmap) or isinstance(mapped.codes, np.memmap)
    for change in (lambda: mapped.add(np.zeros((1, 10), np.uint8)), lambda: mapped.remove(index.ids[:1])):
        with pytest.raises(RuntimeError, match="read-only; load it with mmap=False") as caught:
            change()
        assert "\n" not in str(caught.value)
    loaded = load(path, mmap=False)
    loaded.remove(index.ids[:5])
    loaded.add(index.codes[:5])
    assert len(loaded) == 200
    assert path.read_bytes() == raw


def test_saving_over_a_mapped_file_keeps_the_map_sound(saved):
    index, path, _ = saved
    mapped = load(path)
    BinaryIndex(77).save(path)  # a new file takes the name; the old one lives on under the map
    truth.assert_same(mapped.search(index.codes[:4], 9), index.search(index.codes[:4], 9))
    assert len(load(path)) == 0


def refuse(path, match, **options):
    with pytest.raises(ValueError, match=match) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no index file at"):
        load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no index file at"):
        load(tmp_path)


@pytest.mark.parametrize("mmap", [True, False])
def test_truncated_anywhere(saved, mmap):
    _, path, raw = saved
    for keep in [0, 3, 8, 40, 300, len(raw) // 2, len(raw) - 1]:
        path.write_bytes(raw[:keep])
        refuse(path, "truncated|not an index file", mmap=mmap)
    path.write_bytes(raw + b"x")
    refuse(path, "damaged", mmap=mmap)


def test_a_save_during_a_load_is_not_mixed_in(saved, monkeypatch):
    """The file is replaced between any two steps: what was opened first is what comes back."""
    index, path, raw = saved
    other = BinaryIndex(77)
    other.add(truth.random_codes(np.random.default_rng(9), 200, 77), index.ids + 5)
    for step in ("_read_header", "_read_metadata", "_check_tensors", "read_tensor", "_check_ids"):
        for options in ({"mmap": True}, {"mmap": False}, {"mmap": True, "verify": True}):
            path.write_bytes(raw)
            real = getattr(storage, step)

            def then_save(*arguments, real=real):
                other.save(path)
                return real(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(storage, step, then_save)
                found = load(path, **options)
            truth.assert_same((found.codes, found.ids), (index.codes, index.ids))
            truth.assert_same((load(path).codes, load(path).ids), (other.codes, other.ids))


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_cut_short_during_a_load(saved, monkeypatch, mmap):
    _, path, raw = saved
    real = storage._check_tensors

    def then_cut(*arguments):
        os.truncate(path, len(raw) - 3)
        return real(*arguments)

    monkeypatch.setattr(storage, "_check_tensors", then_cut)
    refuse(path, "cannot be mapped|truncated", mmap=mmap)


@pytest.mark.parametrize("ids", [[9, -7, 5, 3], [-1, 0, 1, 2], [0, 1, 1, 2], [0, 2**63 - 1, -(2**63), 1]])
@pytest.mark.parametrize("options", [{}, {"mmap": False, "verify": False}])
def test_ids_are_always_checked(tmp_path, ids, options):
    path = tmp_path / "x"
    storage.write(path, 8, np.zeros((4, 1), np.uint8), np.array(ids))
    refuse(path, "ids do not ascend", **options)


def test_ids_are_checked_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_CHUNK", 32)
    for at in range(1, 12):
        ids = np.arange(0, 24, 2)
        storage.write(tmp_path / "x", 8, np.zeros((12, 1), np.uint8), ids)
        assert load(tmp_path / "x").ids.tolist() == ids.tolist()
        ids[at] = ids[at - 1]
        storage.write(tmp_path / "x", 8, np.zeros((12, 1), np.uint8), ids)
        refuse(tmp_path / "x", "ids do not ascend")


def test_padding_is_checked_by_verify_and_names_the_file(tmp_path):
    storage.write(tmp_path / "x", 7, np.array([[2], [1]], np.uint8), None)
    refuse(tmp_path / "x", "row 1 has a non-zero padding bit", mmap=False)
    refuse(tmp_path / "x", "row 1 has a non-zero padding bit", verify=True)


def test_a_header_of_brackets(tmp_path):
    (tmp_path / "x").write_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000)
    refuse(tmp_path / "x", "not an index file")


@pytest.mark.parametrize(
    "content", [b"", b"hello, world, this is text\n" * 9, b"\x02" + b"\0" * 7 + b"[]", b"\xff" * 64]
)
def test_no_index_at_all(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    refuse(tmp_path / "x", "not an index file")


def test_foreign_safetensors(tmp_path):
    save_file({"codes": np.zeros((3, 8), np.uint8)}, tmp_path / "x", metadata={"format": "pt"})
    refuse(tmp_path / "x", "not one of a fasthash index")


HEADERS = {
    "newer version": (lambda h: h["__metadata__"].update(version="3"), "version 3.*update fasthash"),
    "version 0": (lambda h: h["__metadata__"].update(version="0"), "damaged metadata"),
    "no bits": (lambda h: h["__metadata__"].pop("bits"), "damaged metadata"),
    "bits of text": (lambda h: h["__metadata__"].update(bits="many"), "damaged metadata"),
    "bits 0": (lambda h: h["__metadata__"].update(bits="0"), "damaged metadata"),
    "other checksum kind": (lambda h: h["__metadata__"].update(checksum="md5:00"), "damaged metadata"),
    "wrong bits": (lambda h: h["__metadata__"].update(bits="128"), "codes should be"),
    "other bit order": (lambda h: h["__metadata__"].update(bit_order="little"), "bit_order 'little'"),
    "wrong count": (lambda h: h["__metadata__"].update(count="199"), "should be"),
    "count beyond the file": (lambda h: h["__metadata__"].update(count="9" * 19), "truncated"),
    "endless count": (lambda h: h["__metadata__"].update(count="9" * 3000), "damaged metadata"),
    "infinite count": (lambda h: h["__metadata__"].update(count=float("inf")), "damaged metadata"),
    "infinite version": (lambda h: h["__metadata__"].update(version=float("inf")), "damaged metadata"),
    "count as a number": (lambda h: h["__metadata__"].update(count=200), "damaged metadata"),
    "count with blanks": (lambda h: h["__metadata__"].update(count=" 200 "), "damaged metadata"),
    "count with an underline": (lambda h: h["__metadata__"].update(count="2_00"), "damaged metadata"),
    "count in other digits": (lambda h: h["__metadata__"].update(count="\u0662\u0660\u0660"), "damaged metadata"),
    "true version": (lambda h: h["__metadata__"].update(version=True), "damaged metadata"),
    "checksum with a sign": (lambda h: h["__metadata__"].update(checksum="crc32:+1234567"), "damaged metadata"),
    "shape of floats": (lambda h: h["codes"].update(shape=[200.0, 10]), "codes should be"),
    "shape of text": (lambda h: h["ids"].update(shape=["200"]), "ids should be"),
    "offset false": (lambda h: h["ids"].update(data_offsets=[False, 1600]), "ids should be"),
    "long bit order": (lambda h: h["__metadata__"].update(bit_order="x\n" * 9999), "bit_order 'x"),
    "many tensors": (lambda h: h.update({f"{i}\n": {} for i in range(9999)}), "must hold codes"),
    "negative count": (lambda h: h["__metadata__"].update(count="-1"), "damaged metadata"),
    "wrong shape": (lambda h: h["codes"].update(shape=[200, 11]), "codes should be"),
    "wrong dtype": (lambda h: h["codes"].update(dtype="I8"), "codes should be"),
    "negative offset": (lambda h: h["ids"].update(data_offsets=[-8, 1592]), "ids should be"),
    "overlap": (lambda h: h["codes"].update(data_offsets=[0, 2000]), "codes should be"),
    "offset of text": (lambda h: h["codes"].update(data_offsets="0"), "codes should be"),
    "tensor of text": (lambda h: h.update(codes="x"), "codes should be"),
    "no codes": (lambda h: h.pop("codes"), "must hold codes"),
    "another tensor": (lambda h: h.update(more={}), "must hold codes"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("mmap", [True, False])
def test_damaged_header(saved, case, mmap):
    _, path, _ = saved
    change, match = HEADERS[case]
    edit_header(path, change)
    refuse(path, match, mmap=mmap)


@pytest.mark.parametrize("at", [-1, -2001])
def test_checksum(saved, at):
    """A flipped bit in the codes, and one in the largest id."""
    _, path, raw = saved
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 64]) + raw[len(raw) + at + 1 :])
    refuse(path, "checksum", mmap=False)
    refuse(path, "checksum", mmap=True, verify=True)
    assert len(load(path)) == 200  # a map does not read the codes until it is searched


class FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


@pytest.mark.parametrize("room", [0, 100, 1000, 3000])
def test_a_full_disk_leaves_nothing_behind(saved, monkeypatch, room):
    index, path, raw = saved
    index.add(np.zeros((1, 10), np.uint8))
    real = open
    monkeypatch.setattr(
        "fasthash.search.storage.open", lambda p, mode: FullDisk(real(p, mode), room) if "w" in mode else real(p, mode),
        raising=False,
    )  # fmt: skip
    for target in (path, path.parent / "new"):
        with pytest.raises(OSError, match="No space left"):
            index.save(target)
    assert path.read_bytes() == raw
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_saving_into_no_folder(saved, tmp_path):
    with pytest.raises(FileNotFoundError):
        saved[0].save(tmp_path / "no" / "where")


def test_search_loads_neither_torch_nor_what_writes_files():
    code = (
        "import sys, numpy as np; before = set(sys.modules); import fasthash.search as s; "
        "index = s.BinaryIndex(8); index.add(np.zeros((3, 1), np.uint8)); index.search(np.zeros((1, 1), np.uint8), 1); "
        "assert not {'torch', 'triton', 'safetensors', 'faiss', 'fasthash.ops'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
