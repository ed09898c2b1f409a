"""The benchmarks' contestants: they agree with brute force, and the checks before timing can fail."""

import cases_hamming
import cases_hamming_filter
import cases_import
import numpy as np
import pytest
from cases_hamming import FAISS, READ, Point, check, contestants, make_codes

TINY = Point(64, 3, 200, 5)


def brute_force(queries, database, k):
    bits = np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(database, axis=1)
    return np.sort(bits.sum(axis=2), axis=1)[:, :k]


@pytest.mark.parametrize("threads", [1, 2])
def test_contestants_find_the_nearest(threads):
    queries, database = make_codes(3, 128, 200)
    for name, search in contestants(queries, database, threads, 5).items():
        np.testing.assert_array_equal(search()[0], brute_force(queries, database, 5), err_msg=name)


@pytest.mark.parametrize("bits", [64, 128, 256, 512])
@pytest.mark.parametrize("nq", [1, 4])
def test_peers_find_the_nearest(bits, nq):
    for package in ("usearch", "numkong", "torch"):
        pytest.importorskip(package)
    from cases_hamming_peers import contestants as peers

    queries, database = make_codes(nq, bits, 300)
    for name, search in peers(queries, database, 7).items():
        distances, ids = search()
        np.testing.assert_array_equal(distances, brute_force(queries, database, 7), err_msg=name)
        found = (np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(database[ids], axis=2)).sum(axis=2)
        np.testing.assert_array_equal(found, distances, err_msg=name)


def test_check_names_who_is_wrong():
    queries, database = make_codes(3, 64, 200)
    searches = contestants(queries, database, 1, 5)
    right = searches[FAISS]
    check(searches)
    searches[FAISS] = lambda: (right()[0] + 1, right()[1])
    with pytest.raises(AssertionError, match=f"{FAISS} and fasthash, .* find different distances"):
        check(searches)


def test_filter_check_notices_a_filter_that_is_not_applied(monkeypatch):
    cases_hamming_filter.case(TINY).check()
    real = cases_hamming_filter.knn
    monkeypatch.setattr(cases_hamming_filter, "knn", lambda q, d, k, allow=None, threads=None: real(q, d, k))
    with pytest.raises(AssertionError, match="keeps 1 % finds other codes"):
        cases_hamming_filter.case(TINY).check()


def test_import_check_notices_torch(monkeypatch, tmp_path):
    cases_import.check()
    package = tmp_path / "fasthash"
    package.mkdir()
    for name in ("__init__", "search", "metrics"):
        (package / f"{name}.py").write_text("import sys; sys.modules['torch'] = sys\n")
    monkeypatch.chdir(tmp_path)  # `python -c` looks there first
    with pytest.raises(AssertionError, match="loads torch"):
        cases_import.check()


def test_points_stay_apart_and_keep_their_goals():
    for points in (cases_hamming.POINTS, cases_hamming_filter.POINTS):
        for quick in (False, True):
            assert len(cases_hamming.named(points, quick)) == len(points)
    found = {point.name: point.goals for point in cases_hamming.POINTS}
    goals = found["64 bits, N 1,000,000, Q 256, 1 thread"]
    assert [(goal.contestant, goal.least, goal.aim) for goal in goals] == [
        ("fasthash, AVX-512", 12, 20), ("fasthash, AVX2", 5, 8)
    ]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_plain_read_reads_every_word(threads):
    database = np.zeros((50, 8), np.uint8)
    database[7, 0], database[49, 7] = 1, 128
    found = cases_hamming.plain_read(database, threads)()
    assert np.bitwise_or.reduce(np.atleast_1d(found)) == 1 | 128 << 56


def test_read_is_timed_beside_one_query():
    point = next(point for point in cases_hamming.POINTS if point.share is not None)
    case = point.quick().case()
    assert READ in case.contestants
    case.check()
