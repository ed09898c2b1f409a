"""csrc/cuda/hamming_histogram.cu on the CPU against brute force."""

import numpy as np
import pytest


def brute_force(queries, database, bits, relevant):
    by = np.stack([np.bitwise_count(query ^ database).sum(axis=1, dtype=np.int64) for query in queries])
    counts = np.stack([np.bincount(row, minlength=bits + 1) for row in by])
    return counts, np.stack([np.bincount(row[r], minlength=bits + 1) for row, r in zip(by, relevant, strict=True)])


def histogram(native, queries, database, labels=None, bits=None):
    (nq, nbytes), nb = queries.shape, len(database)
    bits = bits or 8 * nbytes
    counts, relevant = (np.zeros((nq + 1, bits + 1), np.int64) for _ in range(2))
    counts[nq:] = relevant[nq:] = -7
    mine, theirs = labels if labels is not None else (None, None)
    words = mine.shape[1] if labels is not None and mine.ndim == 2 else 0
    native.hamming_histogram_cuda(
        queries.ctypes.data, nq, database.ctypes.data, nb, nbytes, bits, 0 if mine is None else mine.ctypes.data,
        0 if theirs is None else theirs.ctypes.data, words, 0, counts.ctypes.data,
        0 if labels is None else relevant.ctypes.data,
    )  # fmt: skip
    assert (counts[nq:] == -7).all()
    assert (relevant[nq:] == -7).all()
    return counts[:nq], relevant[:nq]


def make_labels(rng, form, n):
    if form == "class ids":
        return rng.integers(0, 5, n) * 2**60
    classes = {"one word": 64, "three words": 192}[form]
    return np.packbits(rng.random((n, classes)) < 4 / classes, axis=1).view(np.uint64)


def shares(mine, theirs):
    return mine[:, None] == theirs if mine.ndim == 1 else (mine[:, None] & theirs[None]).any(axis=2)


@pytest.mark.parametrize("form", ["class ids", "one word", "three words"])
@pytest.mark.parametrize(
    ("nb", "nq", "nbytes"),
    [(1, 1, 1), (31, 2, 3), (100, 3, 8), (9000, 1, 8), (5000, 6, 12), (4300, 4, 16), (5000, 2, 32), (300, 5, 512)],
)
def test_counts_of_random_codes(cuda_module, nb, nq, nbytes, form):
    rng = np.random.default_rng(nb)
    database, queries = (rng.integers(0, 256, (n, nbytes), dtype=np.uint8) for n in (nb, nq))
    labels = make_labels(rng, form, nq), make_labels(rng, form, nb)
    want = brute_force(queries, database, 8 * nbytes, shares(*labels))
    got = histogram(cuda_module, queries, database, labels)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
    without = histogram(cuda_module, queries, database)
    np.testing.assert_array_equal(without[0], want[0])
    assert not without[1].any()


@pytest.mark.parametrize("nbytes", [1, 64])
def test_every_code_in_one_bin(cuda_module, nbytes):
    database, nb = np.full((70_000, nbytes), 255, np.uint8), 70_000
    labels = np.zeros(1, np.int64), np.zeros(nb, np.int64)
    counts, relevant = histogram(cuda_module, np.zeros((1, nbytes), np.uint8), database, labels)
    assert counts[0, 8 * nbytes] == relevant[0, 8 * nbytes] == nb
    assert counts.sum() == relevant.sum() == nb


@pytest.mark.parametrize("bits", [1, 13, 31, 60, 127])
def test_padding_bits_count_in_no_distance(cuda_module, bits):
    rng = np.random.default_rng(bits)
    raw = [rng.integers(0, 256, (n, (bits + 7) // 8), dtype=np.uint8) for n in (3, 900)]
    clean = [np.packbits(np.unpackbits(x, axis=1, count=bits), axis=1) for x in raw]
    want = brute_force(*clean, bits, np.zeros((3, 900), bool))
    np.testing.assert_array_equal(histogram(cuda_module, *raw, bits=bits)[0], want[0])


@pytest.mark.parametrize("offset", [1, 4, 8])
def test_unaligned_codes(cuda_module, offset):
    rng = np.random.default_rng(offset)
    raw = rng.integers(0, 256, 16 * 700 + offset, dtype=np.uint8)
    database, queries = raw[offset:].reshape(700, 16), rng.integers(0, 256, (2, 16), dtype=np.uint8)
    want = brute_force(queries, database, 128, np.zeros((2, 700), bool))
    np.testing.assert_array_equal(histogram(cuda_module, queries, database)[0], want[0])


def test_sizes_are_checked(cuda_module):
    bad = ((0, 1, 8, 64), (2**31, 1, 8, 64), (1, 0, 8, 64), (1, 1, 0, 8), (1, 1, 513, 4104), (1, 1, 8, 56))
    for nq, nb, nbytes, bits in bad:
        with pytest.raises(ValueError, match="hamming_histogram_cuda: ") as caught:
            cuda_module.hamming_histogram_cuda(0, nq, 0, nb, nbytes, bits, 0, 0, 0, 0, 0, 0)
        assert "\n" not in str(caught.value)
