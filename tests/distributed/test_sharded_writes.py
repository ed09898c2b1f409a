"""Changes are on disk before they are acknowledged, in all shards or in none, and once."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from sharded_truth import assert_same, assert_same_answers, one_index, packed_codes

import fasthash.search
from fasthash.distributed import ShardedIndex
from fasthash.distributed.sharded import folder as sharded_folder
from fasthash.search import storage, write_shards

BITS = 24


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def files(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))


def listed(folder):
    return sorted(entry.file for entry in fasthash.search.shard_files.read_shard_list(folder).shards)


def test_what_was_acknowledged_is_there_for_the_next_process(ray_cluster, tmp_path, rng):
    codes = packed_codes(rng, 500, BITS)
    truth = one_index(BITS, codes)
    truth.remove(np.arange(0, 500, 7))
    truth.update(np.array([1, 2, 498]), codes[:3])
    with ShardedIndex(BITS, shards=2, folder=tmp_path / "own") as index:
        index.add(codes)
        index.remove(np.arange(0, 500, 7))
        index.update(np.array([1, 2, 498]), codes[:3])
        # the folder is complete while the index is open: nobody has to close it in time
        assert_same_answers(fasthash.search.load(tmp_path / "own"), truth, rng)
        assert files(tmp_path / "own") == listed(tmp_path / "own")
    with pytest.raises(FileExistsError, match="is a folder of shards already; open it with ShardedIndex.load"):
        ShardedIndex(BITS, folder=tmp_path / "own")
    with ShardedIndex.load(tmp_path / "own", mmap=False, shards=1) as again:
        assert_same_answers(again, truth, rng)
        again.add(codes[:4])
        truth.add(codes[:4])
        assert_same_answers(again, truth, rng)


def test_a_process_that_ends_without_closing(tmp_path, ray_cluster, rng):
    """The address of the cluster is not needed: what counts is the folder."""
    (tmp_path / "own").mkdir()
    code = """
import os, sys
import numpy as np
from fasthash.distributed.sharded.changes import added, removed
from fasthash.distributed.sharded.folder import Folder
from pathlib import Path
folder = Folder.made(Path(sys.argv[1]), 24, 2)
codes = np.random.default_rng(1).integers(0, 256, (300, 3), dtype=np.uint8)
folder.commit(added(folder.version.layout, codes, np.arange(300)))
folder._written = lambda name, rows: (Path(sys.argv[1]) / name).write_bytes(b"half") and os._exit(9)
folder.commit(removed(folder.version.layout, np.arange(0, 300, 2)))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "own")], check=False)
    assert done.returncode == 9
    assert len(files(tmp_path / "own")) > 2
    codes = np.random.default_rng(1).integers(0, 256, (300, 3), dtype=np.uint8)
    with ShardedIndex.load(tmp_path / "own", mmap=False, shards=1) as index:
        assert_same_answers(index, one_index(BITS, codes), rng)
        assert files(tmp_path / "own") == listed(tmp_path / "own")  # what was left half done is gone


@pytest.fixture(scope="module")
def writable(ray_cluster, tmp_path_factory):
    with ShardedIndex(BITS, shards=2, folder=tmp_path_factory.mktemp("writable")) as index:
        yield index


@pytest.fixture
def filled(writable, rng):
    """An index of two shards with 400 rows, the same before each test."""
    if len(writable):
        writable.remove(writable.ids)
    codes = packed_codes(rng, 400, BITS)
    writable.add(codes)
    return writable, one_index(BITS, codes)


@pytest.mark.parametrize("change", ["add", "remove", "update"])
def test_a_change_that_fails_in_one_shard_is_made_in_none(filled, rng, monkeypatch, change):
    index, truth = filled
    before, write, written = files(index.folder), storage.write, []

    def full(path, *arguments, **options):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(path))
        write(path, *arguments, **options)

    monkeypatch.setattr(sharded_folder.storage, "write", full)
    codes = packed_codes(rng, 300, BITS)
    arguments = {"add": (codes,), "remove": (np.arange(50, 350),), "update": (np.arange(50, 350), codes)}[change]
    with pytest.raises(OSError, match="No space left on device"):
        getattr(index, change)(*arguments)
    assert len(written) == 2
    assert files(index.folder) == before == listed(index.folder)
    assert_same_answers(index, truth, rng)
    monkeypatch.undo()
    for one in (index, truth):
        getattr(one, change)(*arguments)  # the same again: applied once
    assert_same_answers(index, truth, rng)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_around_the_moment_of_the_change(filled, rng, monkeypatch, when):
    """Whatever the moment, the index goes on with what is on disk."""
    index, truth = filled
    replace = sharded_folder.write_shard_list

    def interrupted(*arguments):
        if when == "after":
            replace(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(sharded_folder, "write_shard_list", interrupted)
    codes = packed_codes(rng, 50, BITS)
    with pytest.raises(KeyboardInterrupt):
        index.add(codes)
    monkeypatch.undo()
    if when == "after":
        truth.add(codes)
    assert_same_answers(index, truth, rng)
    assert_same_answers(fasthash.search.load(index.folder), truth, rng)
    assert files(index.folder) == listed(index.folder)


def test_a_change_twice_is_refused(filled, rng):
    index, truth = filled
    codes, ids = packed_codes(rng, 3, BITS), np.array([900, 901, 902])
    index.add(codes, ids)
    truth.add(codes, ids)
    with pytest.raises(ValueError, match="ShardedIndex.add: id 900 is already in the index"):
        index.add(codes, ids)
    index.remove(ids)
    truth.remove(ids)
    with pytest.raises(ValueError, match="ShardedIndex.remove: id 900 is not in the index"):
        index.remove(ids)
    index.remove(np.empty(0, np.int64))
    assert_same_answers(index, truth, rng)


def test_many_small_changes_keep_few_files(filled, rng):
    index, truth = filled
    for _ in range(25):
        codes = packed_codes(rng, 3, BITS)
        index.add(codes)
        truth.add(codes)
    assert len(files(index.folder)) <= 2  # all that is small is one file a shard
    sizes = [shard.rows for shard in index.status()]
    assert max(sizes) - min(sizes) <= 3
    assert_same_answers(index, truth, rng)


def test_searches_see_a_change_whole_or_not_at_all(filled):
    """Each change replaces all codes by one code; a mixture would have two distances."""
    index, _ = filled
    index.update(index.ids, np.zeros((400, 3), np.uint8))
    stop, wrong, seen = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            distances, _ = index.search(np.zeros((1, 3), np.uint8), 400)
            seen.append(int(distances[0, 0]))
            if len(np.unique(distances)) != 1:
                wrong.append(distances)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    change = 0
    try:
        while change < 12 or (set(seen) != {0, 24} and all(thread.is_alive() for thread in threads)):
            index.update(index.ids, np.full((400, 3), 255 * (change % 2), np.uint8))
            change += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not wrong
    assert set(seen) == {0, 24}  # questions were asked before and after changes
    assert files(index.folder) == listed(index.folder)


def test_one_writer_at_a_time_and_any_number_of_readers(filled, rng):
    index, truth = filled
    with pytest.raises(RuntimeError, match="is open for changes already, here or elsewhere"):
        ShardedIndex.load(index.folder, mmap=False)
    with ShardedIndex.load(index.folder, shards=1) as reader:
        assert_same_answers(reader, truth, rng)
        for change in (lambda: reader.add(truth.codes), lambda: reader.remove(truth.ids)):
            with pytest.raises(RuntimeError, match="mapped from its folder, read-only; load it with mmap=False"):
                change()
        index.remove(truth.ids[::2])  # its files are replaced; the reader has them open
        assert listed(index.folder) == files(index.folder)
        assert_same_answers(reader, truth, rng)


def test_a_reader_while_the_list_is_replaced(filled, monkeypatch):
    """List and files are of one state, though the writer comes between reading the one and opening the others."""
    index, truth = filled
    opening, changes = sharded_folder.open_shards, [lambda: index.remove(np.arange(200)), lambda: None]

    def late(path):
        if changes:
            changes.pop(0)()
        return opening(path)

    monkeypatch.setattr(sharded_folder, "open_shards", late)
    truth.remove(np.arange(200))
    version = sharded_folder.Folder.opened(index.folder, 1, 1, writable=False).version
    assert not changes  # opened a second time
    assert sorted(entry.file for entry in version.files(0)) == files(index.folder)
    assert np.array_equal(np.sort(np.concatenate([rows.ids for rows in version.rows])), truth.ids)


def test_a_reader_whose_files_are_replaced_before_its_actors_open_them(filled, rng, monkeypatch):
    index, truth = filled
    opened, changes = sharded_folder.Folder.opened, [lambda: index.remove(np.arange(200))]

    def early(*arguments, **options):
        folder = opened(*arguments, **options)
        if changes:
            changes.pop()()
        return folder

    monkeypatch.setattr(sharded_folder.Folder, "opened", early)
    truth.remove(np.arange(200))
    with ShardedIndex.load(index.folder, shards=1) as reader:
        assert_same_answers(reader, truth, rng)


def test_a_folder_has_one_writer(tmp_path, rng):
    """Without a cluster: an index that is open for changes, or ``write_shards``; what a killed one left is removed."""
    folder = sharded_folder.Folder.made(tmp_path, BITS, 1)
    (tmp_path / f".fasthash-{'0' * 16}.tmp").touch()  # of a writer that was killed
    with pytest.raises(RuntimeError, match="is open for changes already"):
        sharded_folder.Folder.opened(tmp_path, 1, 1, writable=True)
    block = rng.integers(0, 256, (3, BITS // 8), dtype=np.uint8)
    with pytest.raises(RuntimeError, match="somebody else is writing shards"):
        write_shards(tmp_path, [block], BITS, overwrite=True)
    folder.close()
    assert len(write_shards(tmp_path, [block], BITS, overwrite=True)) == 3
    (tmp_path / f".fasthash-{'1' * 16}.tmp").touch()
    folder = sharded_folder.Folder.opened(tmp_path, 1, 1, writable=True)
    assert sorted(os.listdir(tmp_path)) == ["shard-00000.safetensors", "shards.json"]
    folder.close()


def test_closing_waits_for_a_change(tmp_path, rng, monkeypatch):
    """Otherwise another process could open the folder for changes while one is being made."""
    folder = sharded_folder.Folder.made(tmp_path, BITS, 1)
    closing = threading.Thread(target=folder.close)
    with folder.changing:
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
        with pytest.raises(RuntimeError, match="is open for changes already"):
            sharded_folder.Folder.opened(tmp_path, 1, 1, writable=True)
    closing.join(60)
    assert not closing.is_alive()
    with pytest.raises(RuntimeError, match="the index is closed"):
        folder.commit([])
    sharded_folder.Folder.opened(tmp_path, 1, 1, writable=True).close()


def test_closed(ray_cluster, rng):
    index = ShardedIndex(BITS, shards=1)
    codes = packed_codes(rng, 5, BITS)
    index.add(codes)
    own = index.folder
    assert own.is_dir()
    index.close()
    index.close()
    assert not own.exists()
    for use in (lambda: index.search(codes, 1), lambda: index.add(codes), index.status):
        with pytest.raises(RuntimeError, match="the index is closed"):
            use()


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        ({"shards": 0}, ValueError, "ShardedIndex: shards must be a whole number from 1"),
        ({"replicas": 1.5}, TypeError, "ShardedIndex: replicas must be a whole number, got float"),
        ({"threads": 0}, ValueError, "ShardedIndex: threads must be a whole number"),
        ({"num_cpus": -1}, ValueError, "ShardedIndex: num_cpus must be 0 or more, got -1"),
        ({"num_cpus": "2"}, TypeError, "ShardedIndex: num_cpus must be a number, 0 or more, got str"),
        ({"timeout": 0}, ValueError, "ShardedIndex: timeout must be seconds or None, got 0"),
        ({"bits": 0}, ValueError, "ShardedIndex: bits"),
    ],
)
def test_options(options, error, line):
    with pytest.raises(error, match=line):
        ShardedIndex(**{"bits": BITS, **options})


def test_damaged_folders_are_named_before_anything_starts(ray_cluster, tmp_path, rng):
    with pytest.raises(FileNotFoundError, match=r"shards.json"):
        ShardedIndex.load(tmp_path)
    shards = write_shards(tmp_path / "shards", [packed_codes(rng, 90, BITS)], BITS, rows_per_shard=30)
    file = shards.folder / files(shards.folder)[1]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{file} is truncated"):
        ShardedIndex.load(shards.folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        ShardedIndex.load(shards.folder)


def test_damage_that_only_reading_finds(ray_cluster, tmp_path, rng):
    shards = write_shards(tmp_path / "shards", [packed_codes(rng, 90, BITS)], BITS, rows_per_shard=45)
    file = shards.folder / files(shards.folder)[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RuntimeError, match=f"shard 0 cannot be read: {file} is damaged: its checksum"):
        ShardedIndex.load(shards.folder, shards=1, mmap=False)


def test_no_copies(filled):
    import copy
    import pickle

    for make in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled; load its folder instead"):
            make(filled[0])


def test_same_hits_after_merging_large_and_small_files(filled, rng):
    index, truth = filled
    codes = packed_codes(rng, 30_000, BITS)
    for part in (codes[:20_000], codes[20_000:]):
        index.add(part)
        truth.add(part)
    index.add(codes[:10])
    truth.add(codes[:10])
    assert len(files(index.folder)) > 2  # a small file beside a large one: the large one is not written again
    assert_same(index.search(codes[:50], 20), truth.search(codes[:50], 20))
