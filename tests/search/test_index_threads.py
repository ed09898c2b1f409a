"""One index, many threads: searches see the rows of one moment, and changes of several threads are all there."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import hamming_truth as truth
import numpy as np
import pytest

from fasthash.search import BinaryIndex

BITS, N = 64, 3000


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def version_codes(version, n=N):
    """n codes alike, the first ``version`` bits set: their distance to code 0 is the version."""
    return np.tile(np.packbits(np.arange(BITS) < version), (n, 1))


def while_searching(index, check, change, readers=3):
    """Run ``change`` while threads search; ``check`` is given each result. What any thread raises is raised."""
    done, rounds = threading.Event(), [0] * readers
    zero = np.zeros((2, BITS // 8), np.uint8)

    def search(reader):
        while not done.is_set() or rounds[reader] == 0:
            distances, ids = index.search(zero, 2 * N, threads=1 + reader % 2)
            check(distances, ids)
            _, range_distances, range_ids = index.range_search(zero, BITS)
            check(range_distances.reshape(2, -1), range_ids.reshape(2, -1))
            rounds[reader] += 1

    with ThreadPoolExecutor(readers) as pool:
        running = [pool.submit(search, reader) for reader in range(readers)]
        try:
            change()
        finally:
            done.set()
        for reader in running:
            reader.result()
    assert min(rounds) > 0


def test_searches_at_once_without_changes():
    rng = np.random.default_rng(0)
    codes = truth.random_codes(rng, N, BITS)
    index = BinaryIndex(BITS)
    index.add(codes, np.arange(N) * 3)
    queries = truth.random_codes(rng, 40, BITS)
    want = truth.topk(queries, codes, 20)
    with ThreadPoolExecutor(8) as pool:
        for distances, ids in pool.map(lambda _: index.search(queries, 20), range(40)):
            truth.assert_same((distances, ids), (want[0], want[1] * 3))


def test_an_update_is_seen_whole_or_not_at_all():
    index = BinaryIndex(BITS)
    index.add(version_codes(0), np.arange(N) * 2)
    seen = set()

    def check(distances, ids):
        found = distances[ids >= 0]
        assert len(found) == 2 * N
        assert found.min() == found.max()
        seen.add(int(found[0]))

    def change():
        for version in range(1, BITS + 1):
            index.update(index.ids, version_codes(version))

    while_searching(index, check, change)
    assert index.codes.min() == 255
    assert seen <= set(range(BITS + 1))


def test_adding_and_removing_are_seen_whole_or_not_at_all():
    """Rows come and go in blocks of 50; a block is there with all its ids, which say what its distance is."""
    index, block = BinaryIndex(BITS), 50
    index.add(version_codes(0, block))

    def check(distances, ids):
        for row_distances, row_ids in zip(distances, ids, strict=True):
            row_distances, row_ids = row_distances[row_ids >= 0], row_ids[row_ids >= 0]
            numbers, counts = np.unique(row_ids // block, return_counts=True)
            assert (counts == block).all()
            np.testing.assert_array_equal(row_distances, row_ids // block % BITS)
            assert numbers[0] == 0

    def change():
        for number in range(1, 60):
            index.add(version_codes(number % BITS, block))
            if number % 3 == 0:
                index.remove(np.arange(number * block, (number + 1) * block))
                index.add(version_codes(number % BITS, block), np.arange(number * block, (number + 1) * block))
            if number % 7 == 0:  # into the middle: rows move
                gone = np.arange((number - 1) * block, number * block)
                index.remove(gone)
                index.add(version_codes((number - 1) % BITS, block), gone)

    while_searching(index, check, change)
    assert len(index) == 60 * block


def test_saving_and_batches_during_changes(tmp_path):
    from fasthash.search import load, write_faiss

    index = BinaryIndex(BITS)
    index.add(version_codes(0))
    done = threading.Event()

    def change():
        for version in range(1, 200):
            if done.is_set():
                break
            index.update(index.ids, version_codes(version % BITS, len(index)))
            index.add(version_codes(version % BITS, 10), None if version % 2 else np.arange(10) + 10**6 * version)

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(8):
            index.save(tmp_path / "ours")
            write_faiss(index, tmp_path / "faiss")
            for found in (load(tmp_path / "ours"), load(tmp_path / "faiss")):
                assert (np.unique(found.codes[:N], axis=0).shape) == (1, BITS // 8)
            batches = list(index.batches(100))
            assert len({bytes(codes[0]) for _, codes in batches[: N // 100]}) == 1
    finally:
        done.set()
        writer.join()


def test_changes_of_several_threads_are_all_there():
    index = BinaryIndex(BITS)

    def change(worker):
        for step in range(30):
            ids = np.arange(10) + 10 * (8 * step + worker)
            index.add(version_codes(worker, 10), ids)
            index.update(ids[:5], version_codes(worker + 20, 5))
            index.remove(ids[5:])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))
    assert len(index) == 8 * 30 * 5
    workers = index.ids // 10 % 8
    np.testing.assert_array_equal(np.bitwise_count(index.codes).sum(axis=1), workers + 20)


def test_threads_adding_without_ids_share_them_out():
    index = BinaryIndex(BITS)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: index.add(version_codes(3, 7)), range(200)))
    np.testing.assert_array_equal(index.ids, np.arange(1400))
    np.testing.assert_array_equal(index.codes, version_codes(3, 1400))
