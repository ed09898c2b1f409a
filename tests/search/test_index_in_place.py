"""Indexes over codes that are there already: arrays of one's own and .npy files."""

import copy
import io
import pickle

import hamming_truth as truth
import numpy as np
import pytest
import torch

from fasthash.search import BinaryIndex, from_npy, knn, load, read_faiss

RNG = np.random.default_rng(0)


@pytest.fixture
def codes():
    return truth.random_codes(np.random.default_rng(1), 300, 77)


@pytest.fixture
def saved(tmp_path, codes):
    np.save(tmp_path / "codes.npy", codes)
    return tmp_path / "codes.npy"


def in_memory_of(index, array):
    return index._rows.buffer.ctypes.data == array.ctypes.data


@pytest.mark.parametrize("ids", [None, np.arange(300) * 5])
def test_an_array_is_not_copied(codes, ids):
    index = BinaryIndex.from_codes(codes, 77, ids)
    assert in_memory_of(index, codes)
    assert (len(index), index.bits, repr(index)) == (300, 77, "BinaryIndex(bits=77, codes=300, borrowed)")
    want = truth.topk(codes[:4], codes, 9)
    truth.assert_same(index.search(codes[:4], 9), (want[0], want[1] * (1 if ids is None else 5)))
    assert ids is None or np.shares_memory(index.ids, ids)


def test_bits_default_to_whole_bytes(codes):
    assert BinaryIndex.from_codes(codes).bits == 80


def test_a_tensor_is_not_copied(codes):
    tensor = torch.from_numpy(codes.copy())
    index = BinaryIndex.from_codes(tensor, 77, torch.arange(300))
    assert index._rows.buffer.ctypes.data == tensor.data_ptr()


def test_nothing_can_be_changed(codes, saved, tmp_path):
    for index, why in (
        (BinaryIndex.from_codes(codes, 77), "the index stands on an array of yours"),
        (from_npy(saved, 77), "mapped from a file, read-only"),
    ):
        for change in (
            lambda index=index: index.add(codes[:1]),
            lambda index=index: index.update(np.array([1]), codes[:1]),
            lambda index=index: index.remove(np.array([1])),
        ):
            with pytest.raises(RuntimeError, match=why) as caught:
                change()
            assert "\n" not in str(caught.value)
        index.save(tmp_path / "x")
        truth.assert_same((load(tmp_path / "x").codes,), (codes,))


def test_copies_of_a_mapped_index(codes, saved):
    """A copy is mapped too; what goes through pickle is in memory and can be changed."""
    mapped = from_npy(saved, 77, np.arange(300) * 2)
    kept = copy.copy(mapped)
    assert in_memory_of(kept, mapped.codes)
    with pytest.raises(RuntimeError, match="mapped from a file"):
        kept.add(codes[:1])
    for again in (pickle.loads(pickle.dumps(mapped)), copy.deepcopy(mapped)):
        truth.assert_same((again.codes, again.ids), (codes, mapped.ids))
        assert not np.shares_memory(again.codes, mapped.codes)
        again.update(np.array([0]), codes[1:2])
        again.add(codes[:1])
        assert repr(again) == "BinaryIndex(bits=77, codes=301)"


BAD_CODES = {
    "list": (lambda c: c.tolist(), TypeError, "codes must be a NumPy array or torch tensor, got list"),
    "dtype": (lambda c: c.astype(np.int8), ValueError, "codes must be packed uint8, got int8"),
    "width": (lambda c: np.ascontiguousarray(c[:, 1:]), ValueError, r"codes must be \[n, 10\] for 77 bits"),
    "row": (lambda c: c[0], ValueError, r"codes must be \[n, 10\] for 77 bits"),
    "number": (lambda c: c[0, 0, None].reshape(()), ValueError, "codes must be"),
    "columns": (lambda c: np.asfortranarray(c), ValueError, "C-contiguous to be searched in place"),
    "every other row": (lambda c: c[::2], ValueError, "C-contiguous to be searched in place"),
    "padding": (lambda c: c | 1, ValueError, "row 0 has a non-zero padding bit"),
}


@pytest.mark.parametrize("case", BAD_CODES)
def test_bad_codes(codes, case):
    change, kind, match = BAD_CODES[case]
    with pytest.raises(kind, match=match) as caught:
        BinaryIndex.from_codes(change(codes), 77)
    assert str(caught.value).startswith("BinaryIndex.from_codes: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(3, 0), (3, 513), (3,), (1, 2, 3)])
def test_codes_whose_bits_cannot_be_told(shape):
    with pytest.raises(ValueError, match="BinaryIndex.from_codes: codes must be packed codes .* got shape"):
        BinaryIndex.from_codes(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (np.arange(299), "ids must be int64 .300. like codes"),
        (np.arange(300)[::-1], "ids must ascend"),
        (np.arange(300) // 2, "ids must ascend"),
        (np.arange(300) - 1, "ids must not be negative"),
        (np.arange(300.0), "ids must be int64"),
    ],
)
def test_bad_ids(codes, saved, ids, match):
    for op, make in (("BinaryIndex.from_codes", lambda: BinaryIndex.from_codes(codes, 77, ids)),
                     ("from_npy", lambda: from_npy(saved, 77, ids))):  # fmt: skip
        with pytest.raises(ValueError, match=match) as caught:
            make()
        assert str(caught.value).startswith(f"{op}: ")


@pytest.mark.parametrize("mmap", [True, False])
def test_npy(codes, saved, mmap):
    index = from_npy(saved, 77, ids=np.arange(300) + 9, mmap=mmap)
    assert isinstance(index._rows.buffer, np.memmap) == mmap
    truth.assert_same((index.codes, index.ids), (codes, np.arange(300) + 9))
    distances, ids = knn(codes[:3], codes, 5, bits=77)
    truth.assert_same(index.search(codes[:3], 5), (distances, ids + 9))


def test_npy_in_memory_can_be_changed_and_sorts(codes, saved):
    ids = RNG.permutation(1000)[:300]
    given = ids.copy()
    index = from_npy(saved, 77, ids, mmap=False)
    truth.assert_same((index.codes, index.ids), (codes[np.argsort(ids)], np.sort(ids)))
    index.add(codes[:1])
    index.update(ids[:1], codes[5:6])
    np.testing.assert_array_equal(ids, given)
    with pytest.raises(ValueError, match="^from_npy: id 4 is twice in ids$"):
        from_npy(saved, 77, np.array([4, *range(298), 4])[:300], mmap=False)


def test_npy_padding(tmp_path, codes):
    np.save(tmp_path / "x.npy", codes | 1)
    assert len(from_npy(tmp_path / "x.npy", 77)) == 300  # trusted: not read
    for options in ({"verify": True}, {"mmap": False}):
        with pytest.raises(ValueError, match="^from_npy: codes row 0 has a non-zero padding bit"):
            from_npy(tmp_path / "x.npy", 77, **options)
    assert from_npy(tmp_path / "x.npy", verify=True).bits == 80


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("n", [0, 1, 9])
@pytest.mark.parametrize("mmap", [True, False])
def test_every_version_of_npy(tmp_path, version, n, mmap):
    array = truth.random_codes(np.random.default_rng(2), n, 24)
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, array, version)
    np.testing.assert_array_equal(from_npy(tmp_path / "x.npy", mmap=mmap).codes, array)


def refuse(path, match):
    for mmap in (True, False):
        with pytest.raises(ValueError, match=match) as caught:
            from_npy(path, mmap=mmap)
        assert str(caught.value).startswith(f"from_npy: {path} ")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((3, 8), np.int8), "must hold packed uint8 codes .*got '|i1'"),
        (np.zeros((3, 8)), "got '<f8'"),
        (np.zeros((3, 8), [("a\nb", "u1")]), "must hold packed uint8 codes"),
        (np.zeros(3, np.uint8), r"got shape \(3,\)"),
        (np.zeros((1,) * 60, np.uint8), "got shape"),
        (np.zeros((3, 8), np.uint8, order="F"), "Fortran order"),
    ],
)
def test_other_arrays(tmp_path, array, match):
    np.save(tmp_path / "x.npy", array)
    refuse(tmp_path / "x.npy", match)


def test_truncated_anywhere(saved):
    raw = saved.read_bytes()
    for keep in [*range(140), len(raw) - 1]:
        saved.write_bytes(raw[:keep])
        refuse(saved, "truncated|damaged header|not a .npy file")
    saved.write_bytes(raw + b"x")
    refuse(saved, "damaged")


HEADERS = [
    b"",
    b"7",
    b"{}",
    b"{'descr': '|u1', 'fortran_order': False}",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 8), 'more': 1}",
    b"{['descr']: '|u1', 'fortran_order': False, 'shape': (3, 8)}",
    b"__import__('os').abort()",
    b"(" * 9000,
    b"-" * 9000,
    b"[" * 150 + b"]" * 150,
    b"\xff\xfe\0",
    b" " * (1 << 15),
]
VALUES = ["(-1, 8)", "(3, 8.0)", "(True, 8)", "(3, 2**70)", f"({10**80}, 8)", "[3, 8]", "'3, 8'", "None", "((),)"]
WHOLE = "{'descr': '|u1', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize("header", [*HEADERS, *((WHOLE % value).encode() for value in VALUES)])
def test_damaged_header(tmp_path, header):
    size = (len(header)).to_bytes(4, "little")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x02\x00" + size + header + b"\0" * 64)
    refuse(tmp_path / "x.npy", "damaged header|must hold codes")


def test_a_shape_beyond_the_file(tmp_path):
    header = (WHOLE % "(9223372036854775807, 512)").encode()
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refuse(tmp_path / "x.npy", "truncated")


@pytest.mark.parametrize("path", [0, 3.5, None, b"codes.npy"])
def test_what_is_no_path(path):
    """Numbers above all: to the operating system they are files that are open."""
    for read in (from_npy, load, read_faiss):
        with pytest.raises(TypeError):
            read(path)


def test_other_files(tmp_path, saved):
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros(3))
    (tmp_path / "x").write_bytes(archive.getvalue())
    refuse(tmp_path / "x", "is not a .npy file")
    with pytest.raises(FileNotFoundError, match="^from_npy: no .npy file at"):
        from_npy(tmp_path)
    with pytest.raises(ValueError, match=r"is a bare array \(.npy\); open it with fasthash.search.from_npy"):
        load(saved)
