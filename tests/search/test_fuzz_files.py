"""Readers of files given anything: an index that can be searched, or one line; never a crash, never much memory.

The files are valid ones with bytes flipped, numbers overwritten, pieces cut, doubled or swapped, JSON changed; headers
of every format with anything in them; and plain bytes.
"""

import json
import struct

import hamming_truth as truth
import numpy as np
import pytest
from fuzz import budget, outcome, peak_of
from hypothesis import given
from hypothesis import strategies as st

from fasthash.search import BinaryIndex, from_npy, load, read_faiss, write_faiss

NUMBERS = [0, 1, 2, 7, 8, 63, 255, 4096, 4097, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**63, 2**64 - 1]
READERS = {
    "load mapped": ("load", lambda path: load(path)),
    "load verified": ("load", lambda path: load(path, verify=True)),
    "load": ("load", lambda path: load(path, mmap=False)),
    "load unverified": ("load", lambda path: load(path, mmap=False, verify=False)),
    "faiss mapped": ("read_faiss", lambda path: read_faiss(path)),
    "faiss": ("read_faiss", lambda path: read_faiss(path, mmap=False)),
    "npy mapped": ("from_npy", lambda path: from_npy(path)),
    "npy": ("from_npy", lambda path: from_npy(path, mmap=False)),
    "npy 13 bits": ("from_npy", lambda path: from_npy(path, 13, verify=True)),
    "npy ids": ("from_npy", lambda path: from_npy(path, ids=np.arange(9) * 2)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


class Files(dict):
    """A dict that a failing example does not print."""

    __repr__ = object.__repr__


def valid_files(folder):
    """The bytes of one small file of each kind."""
    files = {}
    for name, bits, ids in (("rows", 16, None), ("ids", 16, np.arange(9) * 5), ("bits", 13, None), ("none", 16, None)):
        index = BinaryIndex(bits)
        if name != "none":
            index.add(truth.random_codes(np.random.default_rng(0), 9, bits), ids)
        index.save(folder / name)
        files[name] = (folder / name).read_bytes()
        if bits % 8 == 0:
            write_faiss(index, folder / name, reverse=bool(ids is not None and len(ids) % 2))
            files[f"faiss {name}"] = (folder / name).read_bytes()
        np.save(folder / "x.npy", index.codes)
        files[f"npy {name}"] = (folder / "x.npy").read_bytes()
    return files


@pytest.fixture(scope="module")
def valid(folder):
    return Files(valid_files(folder))


def read_everything(folder, raw):
    """Every reader on these bytes; returns how many took them."""
    path = folder / "fuzzed"
    path.write_bytes(raw)
    taken = 0
    for op, read in READERS.values():
        index, peak = peak_of(lambda op=op, read=read: outcome(
            lambda: read(path), (op,), (ValueError, FileNotFoundError, OSError)))  # fmt: skip
        assert peak < 200_000 + 20 * len(raw), f"{op} took {peak} bytes for a file of {len(raw)}"
        if index is not None:
            taken += 1
            use(index, len(raw))
    return taken


def use(index, size):
    """Whatever a reader lets through behaves like an index."""
    assert index.codes.nbytes <= size
    assert index.codes.shape == (len(index), (index.bits + 7) // 8)
    assert len(index.ids) == len(index)
    assert (np.diff(index.ids) > 0).all()
    if len(index):
        assert index.ids[0] >= 0
        distances, ids = index.search(index.codes[:1] & np.uint8(0), len(index) + 1, threads=1)
        assert ids[0, -1] == -1
        assert sorted(ids[0, :-1]) == index.ids.tolist()
        assert distances[0, :-1].max() <= 8 * index.codes.shape[1]


@st.composite
def mutated(draw, raw):
    """A file after up to four changes."""
    data = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(("flip", "number", "cut", "insert", "double", "end", "text")))
        if kind == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "number":
            value, form = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(["<I", "<Q", "<H", "<B", ">Q"]))
            packed = struct.pack(form, value % (1 << 8 * struct.calcsize(form)))
            data[at : at + len(packed)] = packed
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        elif kind == "end":
            del data[at:]
        elif kind == "text" and (digits := [i for i, byte in enumerate(data) if 48 <= byte <= 57]):
            data[draw(st.sampled_from(digits))] = draw(st.sampled_from(b"0123456789-.eE\"' "))
    return bytes(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(NUMBERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=6,
)


@st.composite
def safetensors(draw, raw):
    """A file of the library's own whose header has a value exchanged, at any depth."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    inside = header
    for _ in range(draw(st.integers(0, 2))):
        below = [value for value in inside.values() if isinstance(value, dict)]
        inside = draw(st.sampled_from(below)) if below else inside
    key = draw(st.sampled_from(sorted(inside)) | st.text(max_size=9)) if inside else "x"
    value = draw(JSON | st.sampled_from(NUMBERS).map(str))
    if draw(st.booleans()):
        inside[key] = value
    else:
        inside.pop(key, None)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


@st.composite
def faiss_like(draw):
    """Headers of FAISS with any numbers in them, one inside another."""
    small = st.integers(0, 20) | st.sampled_from([8, 16, 64, -1, *NUMBERS])
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        fourcc = draw(st.sampled_from([b"IBxF", b"IBMp", b"IBM2", b"IBwF", b"IBHf", b"IxF2", b"I\0\0\0"]))
        bits, count = draw(small), draw(small)
        width = draw(st.sampled_from([bits // 8, bits]))
        parts.append(struct.pack("<4sIIQBI", fourcc, bits % 2**32, width % 2**32, count % 2**64, 1, 1))
    body = draw(st.binary(max_size=60))
    size = draw(st.sampled_from([len(body), *NUMBERS]))
    tail = draw(st.just(b"") | st.binary(max_size=40))
    return b"".join(parts) + struct.pack("<Q", size) + body + tail


@st.composite
def npy_like(draw):
    """The magic of NumPy and any header."""
    shape = draw(st.lists(st.integers(-2, 20) | st.sampled_from(NUMBERS), max_size=4).map(tuple))
    header = {"descr": draw(st.sampled_from(["|u1", "<u1", "|b1", "<f8", "|O", 7, None])), "fortran_order": draw(
        st.booleans()), "shape": draw(st.just(shape) | JSON)}  # fmt: skip
    text = draw(st.just(repr(header)) | st.text(max_size=60)).encode("utf-8", "replace")
    length = draw(st.just(len(text)) | st.sampled_from(NUMBERS))
    major = draw(st.sampled_from([1, 2, 3, 0, 4, 255]))
    size = (length % 65536).to_bytes(2, "little") if major == 1 else (length % 2**32).to_bytes(4, "little")
    return b"\x93NUMPY" + bytes([major, 0]) + size + text + draw(st.binary(max_size=100))


def test_the_valid_files_are_taken(folder, valid):
    """What the fuzzers start from is sound: each is taken by the readers of its kind."""
    for name, raw in valid.items():
        kinds = 2 if name.startswith("npy") else 6 if name.startswith("faiss") else 4
        assert read_everything(folder, raw) >= kinds, name


@budget(150)
@given(data=st.data())
def test_mutated_files(folder, valid, data):
    name = data.draw(st.sampled_from(sorted(valid)))
    read_everything(folder, data.draw(mutated(valid[name])))


@budget(60)
@given(data=st.data())
def test_spliced_files(folder, valid, data):
    """The beginning of one file and the end of another."""
    names = st.sampled_from(sorted(valid))
    first, second = valid[data.draw(names)], valid[data.draw(names)]
    cut, rest = data.draw(st.integers(0, len(first))), data.draw(st.integers(0, len(second)))
    read_everything(folder, first[:cut] + second[rest:])


@budget(80)
@given(data=st.data())
def test_headers_of_ours(folder, valid, data):
    read_everything(folder, data.draw(safetensors(valid[data.draw(st.sampled_from(["rows", "ids", "bits", "none"]))])))


@budget(80)
@given(raw=faiss_like() | npy_like())
def test_headers_of_others(folder, raw):
    read_everything(folder, raw)


@budget(40)
@given(raw=st.binary(max_size=300))
def test_any_bytes(folder, raw):
    read_everything(folder, raw)


@budget(40)
@given(text=JSON.map(json.dumps), extra=st.binary(max_size=30))
def test_any_json(folder, text, extra):
    raw = text.encode()
    read_everything(folder, len(raw).to_bytes(8, "little") + raw + extra)
