"""FAISS's files byte for byte against FAISS itself, in both directions."""

import struct

import hamming_truth as truth
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.search import BinaryIndex, load, read_faiss, write_faiss

faiss = pytest.importorskip("faiss")

MAPS = {"IBMp": faiss.IndexBinaryIDMap, "IBM2": faiss.IndexBinaryIDMap2}
IDS = np.array([3, 8, 9, 700, 2**40, 2**63 - 1])


def codes_of(n, bits, seed=0):
    return truth.random_codes(np.random.default_rng(seed), n, bits)


def faiss_flat(codes):
    flat = faiss.IndexBinaryFlat(8 * codes.shape[1])
    flat.add(codes)
    return flat


def faiss_map(codes, ids, kind="IBMp"):
    flat = faiss.IndexBinaryFlat(8 * codes.shape[1])
    mapped = MAPS[kind](flat)
    mapped.flat = flat  # FAISS does not keep it alive
    mapped.add_with_ids(codes, ids)
    return mapped


def ours(codes, ids=None):
    index = BinaryIndex(8 * codes.shape[1])
    if len(codes):
        index.add(codes, ids)
    return index


def written(index, path, **options):
    write_faiss(index, path, **options)
    return path.read_bytes()


def faiss_bytes(index, path):
    faiss.write_index_binary(index, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("n", [0, 1, 6, 300])
@pytest.mark.parametrize("bits", [8, 64, 136, 4096])
def test_flat_is_written_byte_for_byte_and_read(tmp_path, n, bits):
    codes = codes_of(n, bits)
    raw = faiss_bytes(faiss_flat(codes), tmp_path / "theirs")
    assert written(ours(codes), tmp_path / "ours") == raw
    for mmap in (True, False):
        index = read_faiss(tmp_path / "theirs", mmap=mmap)
        assert (index.bits, len(index)) == (bits, n)
        truth.assert_same((index.codes, index.ids), (codes, np.arange(n)))


@pytest.mark.parametrize("kind", MAPS)
def test_id_maps_are_written_byte_for_byte_and_read(tmp_path, kind):
    codes = codes_of(6, 72)
    raw = faiss_bytes(faiss_map(codes, IDS, kind), tmp_path / "theirs")
    assert written(ours(codes, IDS), tmp_path / "ours", reverse=kind == "IBM2") == raw
    for mmap in (True, False):
        index = read_faiss(tmp_path / "theirs", mmap=mmap)
        truth.assert_same((index.codes, index.ids), (codes, IDS))
    back = faiss.read_index_binary(str(tmp_path / "ours"))
    assert type(back) is MAPS[kind]
    distances, ids = back.search(codes[:2], 3)
    truth.assert_same(index.search(codes[:2], 3)[:1], (distances,))
    assert ids[0, 0] == IDS[0]


def test_ids_that_are_rows_make_a_flat_index(tmp_path):
    index = ours(codes_of(6, 64), np.arange(6))
    index.add(codes_of(1, 64), IDS[-1:])
    index.remove(IDS[-1:])
    assert written(index, tmp_path / "x")[:4] == b"IBxF"
    index.remove(np.array([0]))
    assert written(index, tmp_path / "x")[:4] == b"IBMp"
    assert read_faiss(tmp_path / "x").ids.tolist() == [1, 2, 3, 4, 5]


def test_an_id_map_of_rows_is_read_as_rows(tmp_path):
    faiss_bytes(faiss_map(codes_of(5, 64), np.arange(5)), tmp_path / "x")
    assert read_faiss(tmp_path / "x")._rows.id_buffer is None


@given(data=st.data())
def test_any_codes_and_ids_go_there_and_back(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("there_and_back")
    width = data.draw(st.integers(1, 40))
    ids = np.array(sorted(data.draw(st.sets(st.integers(0, 2**63 - 1), max_size=20))), np.int64)
    codes = codes_of(len(ids), 8 * width, seed=width)
    kind = data.draw(st.sampled_from(sorted(MAPS)))
    raw = faiss_bytes(faiss_map(codes, ids, kind), folder / "theirs")
    index = load(folder / "theirs")
    truth.assert_same((index.codes, index.ids), (codes, ids))
    if ids.tolist() != list(range(len(ids))):
        assert written(index, folder / "ours", reverse=kind == "IBM2") == raw


def test_codes_are_searched_in_the_file(tmp_path):
    codes = codes_of(400, 64)
    for index, name in ((faiss_flat(codes), "flat"), (faiss_map(codes, np.arange(400) * 7), "mapped")):
        faiss_bytes(index, tmp_path / name)
        mapped = read_faiss(tmp_path / name)
        assert isinstance(mapped._rows.buffer, np.memmap)
        assert repr(mapped) == "BinaryIndex(bits=64, codes=400, mapped)"
        distances, _ = faiss_flat(codes).search(codes[:5], 9)
        np.testing.assert_array_equal(mapped.search(codes[:5], 9)[0], distances)
        with pytest.raises(RuntimeError, match="read-only; load it with mmap=False"):
            mapped.add(codes[:1])
        writable = read_faiss(tmp_path / name, mmap=False)
        writable.add(codes[:1])
        assert len(writable) == 401


def test_load_knows_faiss_by_its_first_bytes(tmp_path):
    codes = codes_of(6, 64)
    faiss_bytes(faiss_map(codes, IDS), tmp_path / "x")
    truth.assert_same((load(tmp_path / "x").codes, load(tmp_path / "x", mmap=False).ids), (codes, IDS))


def refuse(path, match, **options):
    for op, read in (("read_faiss", read_faiss), ("load", load)):
        with pytest.raises(ValueError, match=match) as caught:
            read(path, **options)
        assert str(caught.value).startswith(f"{op}: {path} ")
        assert "\n" not in str(caught.value)


def test_ids_in_another_order(tmp_path):
    """Sorted in memory; in place that cannot be, and a silent copy might not fit."""
    codes, ids = codes_of(50, 64), np.random.default_rng(1).permutation(1000)[:50]
    faiss_bytes(faiss_map(codes, ids), tmp_path / "x")
    refuse(tmp_path / "x", "ids that do not ascend.* read it with mmap=False")
    index = read_faiss(tmp_path / "x", mmap=False)
    truth.assert_same((index.codes, index.ids), (codes[np.argsort(ids)], np.sort(ids)))


@pytest.mark.parametrize(
    ("ids", "match"), [([5, 7, 5], "the id 5 twice"), ([1, -2, 4], "id -2; ids must not be negative")]
)
@pytest.mark.parametrize("mmap", [True, False])
def test_ids_no_index_can_have(tmp_path, ids, match, mmap):
    faiss_bytes(faiss_map(codes_of(3, 64), np.array(ids)), tmp_path / "x")
    refuse(tmp_path / "x", match, mmap=mmap)


def test_bits_that_faiss_cannot_hold(tmp_path):
    index = BinaryIndex(77)
    with pytest.raises(ValueError, match=r"^write_faiss: FAISS holds codes of whole bytes only, got codes of 77 bits$"):
        write_faiss(index, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match=r"^write_faiss: index must be a BinaryIndex, got ndarray$"):
        write_faiss(np.zeros((1, 8), np.uint8), tmp_path / "x")


def other_kinds():
    codes = codes_of(3, 64)
    quantizer = faiss.IndexBinaryFlat(64)
    ivf = faiss.IndexBinaryIVF(quantizer, 64, 1)
    ivf.quantizer_alive = quantizer
    hnsw = faiss.IndexBinaryHNSW(64, 4)
    inner = faiss.IndexBinaryHash(64, 8)
    mapped = faiss.IndexBinaryIDMap(inner)
    mapped.inner = inner
    mapped.add_with_ids(codes, IDS[:3])
    return {
        "IndexBinaryIVF": ivf,
        "IndexBinaryHNSW": hnsw,
        "IndexBinaryHash": faiss.IndexBinaryHash(64, 8),
        "IndexBinaryMultiHash": faiss.IndexBinaryMultiHash(64, 2, 8),
        "IndexBinaryFromFloat": faiss.IndexBinaryFromFloat(faiss.IndexFlatL2(64)),
        "IndexBinaryHash ('IBHh') inside an IndexBinaryIDMap": mapped,
    }


@pytest.mark.parametrize("name", other_kinds())
def test_other_binary_indexes_are_named(tmp_path, name):
    faiss_bytes(other_kinds()[name], tmp_path / "x")
    refuse(tmp_path / "x", f"holds a FAISS {name.replace('(', '[(]').replace(')', '[)]')}")


def test_float_indexes_are_named(tmp_path):
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "x"))
    refuse(tmp_path / "x", r"holds a FAISS index \('IxF2'\), expected an IndexBinaryFlat")


@pytest.mark.parametrize("content", [b"", b"IB", b"hello, world", b"\xff" * 100])
def test_no_faiss_index_at_all(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"^read_faiss: .* holds no FAISS index$"):
        read_faiss(tmp_path / "x")


def test_missing_file(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match="^read_faiss: no index file at"):
            read_faiss(path)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("ids", [None, IDS])
def test_truncated_anywhere(tmp_path, mmap, ids):
    path = tmp_path / "x"
    raw = written(ours(codes_of(6, 64), ids), path)
    for keep in range(4, len(raw)):
        path.write_bytes(raw[:keep])
        refuse(path, "truncated|holds no FAISS index inside|FAISS index .* inside", mmap=mmap)
    path.write_bytes(raw + b"x")
    refuse(path, "damaged", mmap=mmap)


FIELDS = {  # of the header: where, how, what, which line
    "negative bits": (4, "<i", -64, "damaged header: d -64"),
    "bits 0": (4, "<i", 0, "damaged header"),
    "bits 65": (4, "<i", 65, "damaged header"),
    "bits 1 << 20": (4, "<i", 1 << 20, "codes of 1048576 bits, at most 4096"),
    "code_size": (8, "<i", 9, "damaged header.*code_size 9"),
    "negative ntotal": (12, "<q", -1, "damaged header.*ntotal -1"),
    "another ntotal": (12, "<q", 5, "damaged"),
    "endless ntotal": (12, "<q", 2**63 - 1, "truncated|damaged"),
    "untrained": (20, "<B", 0, "is_trained 0"),
    "metric": (21, "<i", 0, "metric_type 0"),
}


@pytest.mark.parametrize("case", FIELDS)
@pytest.mark.parametrize("base", [0, 25])
def test_damaged_headers(tmp_path, case, base):
    """The header of a flat index, of an id map, and of what is inside one."""
    at, form, value, match = FIELDS[case]
    for ids in (None, IDS):
        raw = bytearray(written(ours(codes_of(6, 64), ids), tmp_path / "x"))
        if base and ids is None:
            continue
        struct.pack_into(form, raw, base + at, value)
        (tmp_path / "x").write_bytes(raw)
        refuse(tmp_path / "x", match)


@pytest.mark.parametrize("at", [50, 106])
def test_damaged_sizes(tmp_path, at):
    raw = bytearray(written(ours(codes_of(6, 64), IDS), tmp_path / "x"))
    raw[at] += 1
    (tmp_path / "x").write_bytes(raw)
    refuse(tmp_path / "x", "it says (49|7) (bytes of codes|ids), expected")
