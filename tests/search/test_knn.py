import subprocess
import sys

import faiss
import hamming_truth as truth
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthash
from fasthash import _hamming, _native
from fasthash.ops import hamming_topk
from fasthash.search import knn, merge_topk

SIZES = [1, 2, 7, 8, 9, 63, 64, 65, 300, 511, 512, 513, 1023, 1025, 1600]  # below, at and above blocks and tiles
LENGTHS = [*range(1, 521), 1024, 2048, 4096]


@pytest.mark.parametrize("isa", _native.isa_names())
def test_every_code_length(isa):
    rng = np.random.default_rng(7)
    with _native.use_isa(isa):
        for bits in LENGTHS:
            n = int(rng.choice(SIZES))
            database = truth.random_codes(rng, n, bits)
            queries = truth.random_codes(rng, int(rng.choice([1, 2, 5])), bits)  # few: by rows; more: by tiles
            k = int(rng.choice([1, 10, n, n + 5]))
            got = knn(queries, database, k, bits=bits, threads=int(rng.choice([1, 2, 3, 5])))
            truth.assert_same(got, truth.topk(queries, database, k))


@pytest.mark.parametrize("isa", _native.isa_names())
@pytest.mark.parametrize("n", SIZES)
def test_every_size(isa, n):
    rng = np.random.default_rng(n)
    with _native.use_isa(isa):
        for bits in (8, 60, 64, 128, 500):
            database, queries = truth.random_codes(rng, n, bits), truth.random_codes(rng, 3, bits)
            for k in (1, n, n + 5):
                truth.assert_same(knn(queries, database, k, bits=bits), truth.topk(queries, database, k))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("n", "nq", "bits", "k"), [(300_000, 1, 512, 10), (20_000, 150, 128, 3000), (800_000, 3, 24, 50)]
)
def test_threads_and_parts_do_not_matter(n, nq, bits, k, threads):
    rng = np.random.default_rng(1)
    database, queries = truth.random_codes(rng, n, bits), truth.random_codes(rng, nq, bits)
    allow = rng.random(n) < 0.5
    truth.assert_same(knn(queries, database, k, threads=threads), truth.topk(queries, database, k))
    got = knn(queries, database, k, allow=allow, threads=threads)
    truth.assert_same(got, truth.topk(queries, database, k, allow))


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_a_part_that_is_ahead_does_not_win_ties(threads):
    """The nearest codes lie on both sides of each cut between threads: the later part meets them first."""
    n = 1 << 21
    database, query = np.full((n, 8), 255, np.uint8), np.zeros((1, 8), np.uint8)
    for cut in range(n // 8, n, n // 8):
        database[cut - 20 : cut + 20] = 0
    with _native.use_isa("scalar"):  # the slowest: all threads are under way when the first ones meet
        for _ in range(5):
            distances, ids = knn(query, database, 20, threads=threads)
            assert (distances == 0).all()
            np.testing.assert_array_equal(ids[0], np.arange(n // 8 - 20, n // 8))


def test_equal_codes_come_in_order_of_id():
    database = np.zeros((5000, 8), np.uint8)
    distances, ids = knn(database[:2], database, 4000)
    assert (distances == 0).all()
    assert (ids == np.arange(4000)).all()


def test_nearest_codes_last():
    """The worst order for a falling limit: every code is nearer than all before it."""
    database = np.packbits(np.arange(512)[::-1, None] > np.arange(512), axis=1).repeat(3, axis=0)
    query = np.zeros((1, 64), np.uint8)
    for k in (1, 10, 600):
        truth.assert_same(knn(query, database, k), truth.topk(query, database, k))


@pytest.mark.parametrize("isa", _native.isa_names())
@pytest.mark.parametrize("bits", [64, 72, 256])
def test_unaligned_buffers(isa, bits):
    rng = np.random.default_rng(2)
    database, queries = truth.random_codes(rng, 1200, bits), truth.random_codes(rng, 2, bits)
    raw = np.empty(database.size + 8, np.uint8)
    with _native.use_isa(isa):
        for offset in (1, 3, 4):
            shifted = raw[offset : offset + database.size].reshape(database.shape)
            shifted[:] = database
            truth.assert_same(knn(queries, shifted, 9), truth.topk(queries, database, 9))


@pytest.mark.parametrize("offset", [0, 5])
def test_memory_mapped_files(tmp_path, offset):
    rng = np.random.default_rng(3)
    database, queries = truth.random_codes(rng, 3000, 64), truth.random_codes(rng, 4, 64)
    (tmp_path / "codes").write_bytes(b"x" * offset + database.tobytes())
    mapped = np.memmap(tmp_path / "codes", np.uint8, "r", offset, database.shape)
    truth.assert_same(knn(queries, mapped, 12), truth.topk(queries, database, 12))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
@pytest.mark.parametrize("n", [1, 13, 512, 4000])
def test_allow(share, n):
    rng = np.random.default_rng(4)
    database, queries = truth.random_codes(rng, n, 100), truth.random_codes(rng, 3, 100)
    allow = rng.random(n) < share
    want = truth.topk(queries, database, 20, allow)
    truth.assert_same(knn(queries, database, 20, bits=100, allow=allow), want)
    truth.assert_same(knn(queries, database, 20, bits=100, allow=np.packbits(allow)), want)
    truth.assert_same(knn(queries, database, 20, bits=100, allow=torch.from_numpy(allow)), want)


@pytest.mark.parametrize("bits", [32, 64, 128, 256, 512, 520])
def test_distances_agree_with_faiss(bits):
    rng = np.random.default_rng(5)
    database, queries = truth.random_codes(rng, 4000, bits), truth.random_codes(rng, 20, bits)
    index = faiss.IndexBinaryFlat(bits)
    index.add(database)
    np.testing.assert_array_equal(knn(queries, database, 50)[0], index.search(queries, 50)[0])


def test_result_is_of_the_queries_kind():
    rng = np.random.default_rng(6)
    database, queries = truth.random_codes(rng, 500, 64), truth.random_codes(rng, 3, 64)
    want = truth.topk(queries, database, 5)
    distances, ids = knn(torch.from_numpy(queries), torch.from_numpy(database), 5)
    assert isinstance(distances, torch.Tensor)
    assert (distances.dtype, ids.dtype) == (torch.int32, torch.int64)
    truth.assert_same((distances.numpy(), ids.numpy()), want)
    got = knn(queries, torch.from_numpy(database), 5)
    assert (got[0].dtype, got[1].dtype) == (np.int32, np.int64)
    truth.assert_same(got, want)


def test_queries_with_gaps_are_copied():
    rng = np.random.default_rng(8)
    database, queries = truth.random_codes(rng, 500, 64), truth.random_codes(rng, 6, 64)
    truth.assert_same(knn(queries[::2], database, 5), truth.topk(queries[::2], database, 5))
    truth.assert_same(knn(np.asfortranarray(queries), database, 5), truth.topk(queries, database, 5))


codes = st.integers(1, 70).flatmap(
    lambda bits: st.tuples(
        st.just(bits), st.integers(1, 90), st.integers(1, 4), st.integers(1, 100), st.integers(0, 2**32 - 1)
    )
)


@settings(max_examples=60, deadline=None)
@given(codes)
def test_xor_of_a_mask_changes_nothing(case):
    bits, n, nq, k, seed = case
    rng = np.random.default_rng(seed)
    database, queries, mask = (truth.random_codes(rng, rows, bits) for rows in (n, nq, 1))
    truth.assert_same(knn(queries ^ mask, database ^ mask, k, bits=bits), knn(queries, database, k, bits=bits))


@settings(max_examples=60, deadline=None)
@given(codes)
def test_permuting_the_database_permutes_the_ids(case):
    bits, n, nq, k, seed = case
    rng = np.random.default_rng(seed)
    database, queries = truth.random_codes(rng, n, bits), truth.random_codes(rng, nq, bits)
    order = rng.permutation(n)
    before, after = knn(queries, database, n, bits=bits), knn(queries, database[order], k, bits=bits)
    np.testing.assert_array_equal(after[0][:, :n], before[0][:, : min(k, n)])
    mapped = np.where(after[1] < 0, -1, order[after[1]])
    for q in range(nq):  # equal distances may be cut differently: compare what lies below the last one
        sure = after[0][q] < after[0][q, min(k, n) - 1]
        assert set(mapped[q, sure]) == set(before[1][q, before[0][q] < after[0][q, min(k, n) - 1]])


@settings(max_examples=60, deadline=None)
@given(codes, st.integers(1, 5))
def test_shards_merge_to_the_whole(case, shards):
    bits, n, nq, k, seed = case
    rng = np.random.default_rng(seed)
    database, queries = truth.random_codes(rng, n, bits), truth.random_codes(rng, nq, bits)
    parts = []
    for rows in np.array_split(np.arange(n), min(shards, n)):
        distances, ids = knn(queries, database[rows], k, bits=bits)
        parts.append((distances, np.where(ids < 0, -1, ids + rows[0])))
    truth.assert_same(merge_topk(parts[::-1], k), knn(queries, database, k, bits=bits))


def test_the_database_is_not_copied():
    """Peak memory of a fresh process grows by far less than the 128 MB that are searched."""
    code = (
        "import resource, numpy as np; from fasthash.search import knn, range_search; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024; "
        "base, query = np.full((1 << 23, 16), 255, np.uint8), np.zeros((3, 16), np.uint8); "
        "knn(query, base[:600], 5), range_search(query, base[:600], 3); before = peak(); "
        "knn(query, base, 100, threads=2), range_search(query, base, 3, threads=2); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32


class OnAGpu:
    """What an array of another GPU library looks like."""

    __cuda_array_interface__ = None


Q, DB = np.zeros((2, 8), np.uint8), np.zeros((9, 8), np.uint8)
BAD = {
    "list": (TypeError, ([[1]], DB, 1), {}),
    "foreign GPU array": (TypeError, (OnAGpu(), OnAGpu(), 1), {}),
    "database on a GPU": (TypeError, (Q, OnAGpu(), 1), {}),
    "float k": (TypeError, (Q, DB, 1.0), {}),
    "bool k": (TypeError, (Q, DB, True), {}),
    "k 0": (ValueError, (Q, DB, 0), {}),
    "huge k": (ValueError, (Q, DB, 2**31), {}),
    "no queries": (ValueError, (Q[:0], DB, 1), {}),
    "no database": (ValueError, (Q, DB[:0], 1), {}),
    "no bytes": (ValueError, (Q[:, :0], DB[:, :0], 1), {}),
    "one row as a vector": (ValueError, (Q[0], DB, 1), {}),
    "other width": (ValueError, (Q[:, :4], DB, 1), {}),
    "dtype of queries": (ValueError, (Q.astype(np.int32), DB, 1), {}),
    "dtype of database": (ValueError, (Q, DB.astype(np.float32), 1), {}),
    "too wide": (ValueError, (np.zeros((1, 513), np.uint8), np.zeros((1, 513), np.uint8), 1), {}),
    "bits do not fit": (ValueError, (Q, DB, 1), {"bits": 56}),
    "bits 0": (ValueError, (Q, DB, 1), {"bits": 0}),
    "padding of queries": (ValueError, (Q + 1, DB, 1), {"bits": 63}),
    "padding of database": (ValueError, (Q, DB + 1, 1), {"bits": 63}),
    "database with gaps": (ValueError, (Q, np.zeros((9, 16), np.uint8)[:, ::2], 1), {}),
    "every second row": (ValueError, (Q, np.zeros((9, 8), np.uint8)[::2], 1), {}),
    "threads 0": (ValueError, (Q, DB, 1), {"threads": 0}),
    "threads text": (TypeError, (Q, DB, 1), {"threads": "4"}),
    "allow too short": (ValueError, (Q, DB, 1), {"allow": np.ones(8, bool)}),
    "allow of floats": (ValueError, (Q, DB, 1), {"allow": np.ones(9)}),
    "packed allow too long": (ValueError, (Q, DB, 1), {"allow": np.ones(9, np.uint8)}),
    "allow is a list": (TypeError, (Q, DB, 1), {"allow": [True] * 9}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case):
    error, args, options = BAD[case]
    with pytest.raises(error, match=r"^knn: ") as caught:
        knn(*args, **options)
    assert "\n" not in str(caught.value)


def test_errors_name_what_was_expected():
    with pytest.raises(ValueError, match=r"knn: queries must be \[nq, 8\] like the database, got shape \(2, 4\)"):
        knn(Q[:, :4], DB, 1)
    with pytest.raises(ValueError, match=r"database row 0 has a non-zero padding bit after bit 63"):
        knn(Q, DB + 1, 1, bits=63)
    with pytest.raises(ValueError, match=r"np\.ascontiguousarray"):
        knn(Q, np.zeros((9, 16), np.uint8)[:, ::2], 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_torch_operation_uses_the_threads_of_torch(monkeypatch, threads):
    seen = []
    monkeypatch.setattr(_hamming, "thread_count", lambda threads, op: seen.append(threads) or 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with fasthash.use_backend("cpp"):
        hamming_topk(torch.zeros(1, 8, dtype=torch.uint8), torch.zeros(5, 8, dtype=torch.uint8), 2)
    assert seen == [threads]
