"""The evaluation kernels on every instruction set: histograms, label index, precision sums of the stable ranking."""

import signal

import numpy as np
import pytest

from fasthash import _native
from fasthash._histogram import Evaluation

# one word, ragged words, the longest that fits a byte, beyond it, several words a tile, the longest of all
BITS = [1, 8, 20, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 1000, 4096]
# tiles hold 512 items, runs 8 tiles, blocks 32 queries, four of which take turns
SIZES = [(1, 1), (3, 512), (4, 513), (37, 4100)]


def codes(rng, n, bits, ones=0.5):
    return np.packbits(rng.random((n, bits)) < ones, axis=1)


def masks(rng, n, words, labelled):
    return np.packbits(rng.random((n, words * 64)) < labelled, axis=1).view(np.uint64)


def truth(query, database, relevant, bits):
    """(counts, relevant counts, distances)."""
    by = np.stack([np.bitwise_count(row ^ database).sum(1, dtype=np.int64) for row in query])
    every = np.stack([np.bincount(d, minlength=bits + 1) for d in by])
    return every, np.stack([np.bincount(d[r], minlength=bits + 1) for d, r in zip(by, relevant, strict=True)]), by


@pytest.mark.parametrize("isa", _native.isa_names())
@pytest.mark.parametrize(("nq", "nb"), SIZES)
@pytest.mark.parametrize("bits", BITS)
def test_histograms(bits, nq, nb, isa):
    rng = np.random.default_rng(bits + nb)
    query, database = codes(rng, nq, bits), codes(rng, nb, bits, 0.4)
    labels_q, labels_d = masks(rng, nq, 2, 0.05), masks(rng, nb, 2, 0.05)
    relevant = (labels_q[:, None] & labels_d[None]).any(axis=2)
    counts, hits, _ = truth(query, database, relevant, bits)
    with _native.use_isa(isa):
        for threads in (1, 2, 3):
            got = Evaluation(query, database, bits, labels_q, labels_d, threads=threads).histogram()
            np.testing.assert_array_equal(got[0], counts)
            np.testing.assert_array_equal(got[1], hits)


@pytest.mark.parametrize("isa", _native.isa_names())
@pytest.mark.parametrize("extreme", ["same", "opposite"])
@pytest.mark.parametrize("bits", [8, 64, 255, 256, 4096])
def test_smallest_and_largest_distance(bits, extreme, isa):
    query = codes(np.random.default_rng(0), 1, bits)
    other = query if extreme == "same" else np.packbits(1 - np.unpackbits(query, axis=1, count=bits), axis=1)
    with _native.use_isa(isa):
        counts, hits = Evaluation(query, np.repeat(other, 1025, axis=0), bits, threads=1).histogram()
    assert counts[0, 0 if extreme == "same" else bits] == 1025
    assert counts.sum() == 1025
    assert hits.sum() == 0  # no labels were given


@pytest.mark.parametrize("isa", _native.isa_names())
@pytest.mark.parametrize("form", ["dense masks", "rare masks", "ids", "far ids", "no label at all"])
def test_label_forms(form, isa):
    rng = np.random.default_rng(5)
    nq, nb, bits = 9, 9000, 24
    query, database = codes(rng, nq, bits), codes(rng, nb, bits)
    if form.endswith("ids"):
        known = np.sort(rng.integers(0, 400 if form == "ids" else 2**62, 60))
        labels_q, labels_d = rng.choice(known, nq), rng.choice(known[:50], nb)
        labels_d[:4000] = known[0]  # one frequent class, many rare ones
        relevant = labels_q[:, None] == labels_d
    else:
        share = {"dense masks": 0.2, "rare masks": 0.002, "no label at all": 0.0}[form]
        labels_q, labels_d = masks(rng, nq, 3, 0.02), masks(rng, nb, 3, share)
        relevant = (labels_q[:, None] & labels_d[None]).any(axis=2)
    want = truth(query, database, relevant, bits)[1]
    with _native.use_isa(isa):
        np.testing.assert_array_equal(Evaluation(query, database, bits, labels_q, labels_d).histogram()[1], want)


@pytest.mark.parametrize("k", [0, 1, 7, 50, 600, 10**9])
@pytest.mark.parametrize("bits", [1, 12, 64, 100, 256, 300])
def test_stable_precision(bits, k):
    rng = np.random.default_rng(bits)
    nq, nb = 37, 1300
    query, database = codes(rng, nq, bits), codes(rng, nb, bits, 0.4)
    labels_q, labels_d = masks(rng, nq, 1, 0.08), masks(rng, nb, 1, 0.08)
    by = truth(query, database, (labels_q & labels_d.T) != 0, bits)[2]
    order = np.argsort(by, axis=1, kind="stable")
    ranked = np.take_along_axis((labels_q & labels_d.T) != 0, order, axis=1)
    cut = slice(0, k or nb)
    want = (ranked * ranked.cumsum(axis=1) / np.arange(1, nb + 1))[:, cut].sum(axis=1)
    first = None
    for isa in _native.isa_names():
        for threads in (1, 2, 3):
            with _native.use_isa(isa):
                evaluation = Evaluation(query, database, bits, labels_q, labels_d, threads=threads)
                sums, hits = evaluation.stable_precision(*evaluation.histogram(), k)
            np.testing.assert_array_equal(hits, ranked[:, cut].sum(axis=1))
            np.testing.assert_allclose(sums, want, rtol=1e-13, atol=1e-13)
            first = sums if first is None else first
            np.testing.assert_array_equal(sums, first)  # one order of additions everywhere


def test_codes_at_any_address():
    rng = np.random.default_rng(2)
    query, database = codes(rng, 5, 64), codes(rng, 1000, 64)
    want = Evaluation(query, database, 64).histogram()[0]
    for offset in range(1, 9):
        memory = np.zeros(8008, np.uint8)
        moved = memory[offset : offset + 8000].reshape(1000, 8)
        moved[:] = database
        np.testing.assert_array_equal(Evaluation(query, moved, 64).histogram()[0], want)


def test_empty_sets():
    some, none = np.zeros((3, 2), np.uint8), np.zeros((0, 2), np.uint8)
    for query, database in ((some, none), (none, some), (none, none)):
        evaluation = Evaluation(query, database, 16)
        counts, relevant = evaluation.histogram()
        assert counts.shape == relevant.shape == (len(query), 17)
        assert counts.sum() == relevant.sum() == 0
        sums, hits = evaluation.stable_precision(counts, relevant)
        assert sums.sum() == hits.sum() == 0


@pytest.mark.parametrize(
    ("labels_q", "labels_d", "message"),
    [
        (np.zeros((3, 1), np.uint64), None, "for queries and database, or for neither"),
        (np.zeros((2, 1), np.uint64), np.zeros((4, 1), np.uint64), "query_labels must have 3 rows"),
        (np.zeros((3, 1), np.int64), np.zeros((4, 1), np.int64), "uint64 bitmasks"),
        (np.zeros((3, 1), np.uint64), np.zeros((4, 2), np.uint64), "of one form and width"),
        (np.zeros(3, np.int64), np.zeros((4, 1), np.uint64), "of one form and width"),
        (
            np.zeros(3, np.int64),
            np.array([0, 1, -2, 0]),
            "database_labels must be class ids of 0 or more, got -2 in row 2",
        ),
    ],
    ids=["one side", "rows", "dtype", "width", "two forms", "negative"],
)
def test_bad_labels_are_refused(labels_q, labels_d, message):
    with pytest.raises(ValueError, match=f"hamming_histogram: .*{message}"):
        Evaluation(np.zeros((3, 2), np.uint8), np.zeros((4, 2), np.uint8), 16, labels_q, labels_d)


def test_bad_arguments_are_refused():
    evaluation = Evaluation(np.zeros((3, 2), np.uint8), np.zeros((4, 2), np.uint8), 16)
    counts, relevant = evaluation.histogram()
    with pytest.raises(ValueError, match="k must be a whole number of at least 0, got -1"):
        evaluation.stable_precision(counts, relevant, -1)
    with pytest.raises(ValueError, match=r"relevant must be contiguous int64 \(3, 17\), got int64 \(3, 16\)"):
        evaluation.stable_precision(counts, relevant[:, 1:], 0)
    with pytest.raises(ValueError, match="counts must be contiguous int64"):
        evaluation.stable_precision(counts.astype(np.int32), relevant, 0)
    with pytest.raises(ValueError, match="threads must be"):
        Evaluation(np.zeros((3, 2), np.uint8), np.zeros((4, 2), np.uint8), 16, threads=-1)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_an_interrupt_ends_it():
    class AlarmError(Exception):
        pass

    def ring(*_):
        raise AlarmError

    def evaluate(counts, relevant):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        _native.load().hamming_histogram(*evaluation.arguments(), counts.ctypes.data, relevant.ctypes.data)

    rng = np.random.default_rng(0)
    database = rng.integers(0, 256, (1 << 18, 64), dtype=np.uint8)
    evaluation = Evaluation(database[:2048], database, 512, threads=1)
    counts, relevant = np.full((2048, 513), -1), np.full((2048, 513), -1)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with _native.use_isa("scalar"), pytest.raises(AlarmError):
            evaluate(counts, relevant)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (counts[-1] == -1).all()  # it left before the last block of queries
