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

from fasthash.search import BinaryIndex, load


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
    "newer version": (lambda h: h["__metadata__"].update(version="2"), "version 2.*update fasthash"),
    "version 0": (lambda h: h["__metadata__"].update(version="0"), "damaged metadata"),
    "no bits": (lambda h: h["__metadata__"].pop("bits"), "damaged metadata"),
    "bits of text": (lambda h: h["__metadata__"].update(bits="many"), "damaged metadata"),
    "bits 0": (lambda h: h["__metadata__"].update(bits="0"), "damaged metadata"),
    "other checksum kind": (lambda h: h["__metadata__"].update(checksum="md5:00"), "damaged metadata"),
    "wrong bits": (lambda h: h["__metadata__"].update(bits="128"), "codes should be"),
    "other bit order": (lambda h: h["__metadata__"].update(bit_order="little"), "bit_order 'little'"),
    "wrong count": (lambda h: h["__metadata__"].update(count="199"), "should be"),
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


@pytest.mark.parametrize("at", [-1, -2000])
def test_checksum(saved, at):
    """A flipped bit in the codes, and one in the ids."""
    _, path, raw = saved
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 64]) + raw[len(raw) + at + 1 :])
    refuse(path, "checksum", mmap=False)
    refuse(path, "checksum", mmap=True, verify=True)
    assert len(load(path)) == 200  # a map reads nothing until it is searched


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
