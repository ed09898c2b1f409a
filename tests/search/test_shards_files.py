"""Folders of shards on disk: written whole or not at all, and every kind of damage named."""

import itertools
import json
import multiprocessing
import os
import signal

import hamming_truth as truth
import numpy as np
import pytest

from fasthash.search import BinaryIndex, load, shard_files, shard_writer, shards, storage, write_shards

CODES = truth.random_codes(np.random.default_rng(0), 90, 64)


@pytest.fixture
def folder(tmp_path):
    """Three shards of 30 codes; the ids of the last two interleave."""
    path = tmp_path / "s"
    ids = np.concatenate([np.arange(30), 30 + 2 * np.arange(30), 31 + 2 * np.arange(30)])
    write_shards(path, [(ids[i : i + 45], CODES[i : i + 45]) for i in (0, 45)], 64, rows_per_shard=30)
    return path


def edit(folder, change):
    path = folder / "shards.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(folder, error, *words):
    with pytest.raises(error) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith("load: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_the_list_says(folder):
    content = json.loads((folder / "shards.json").read_text())
    assert {key: content[key] for key in ("format", "version", "bits", "count")} == {
        "format": "fasthash.Shards", "version": 1, "bits": 64, "count": 90,
    }  # fmt: skip
    assert [(x["file"], x["count"], x["first_id"], x["last_id"]) for x in content["shards"]] == [
        ("shard-00000.safetensors", 30, 0, 29),
        ("shard-00001.safetensors", 30, 30, 88),
        ("shard-00002.safetensors", 30, 31, 89),
    ]
    listed = shard_files.read_shard_list(folder)
    assert listed.count == 90
    assert [shard_files.shard_entry(folder / entry.file) for entry in listed.shards] == list(listed.shards)


def test_an_empty_shard_is_allowed(folder):
    BinaryIndex(64).save(folder / "none.safetensors")
    listed = shard_files.read_shard_list(folder)
    entry = shard_files.shard_entry(folder / "none.safetensors")
    assert (entry.count, entry.first_id, entry.last_id) == (0, None, None)
    shard_files.write_shard_list(folder, shard_files.ShardList(64, (entry, *listed.shards)))
    opened = load(folder)
    assert [len(index) for index in opened.indexes] == [0, 30, 30, 30]
    np.testing.assert_array_equal(opened.ids, np.arange(90))
    distances, ids = opened.search(CODES[:3], 1)
    assert (distances == 0).all()
    assert ids.shape == (3, 1)


def test_missing_file(folder):
    (folder / "shard-00001.safetensors").unlink()
    refused(folder, FileNotFoundError, "shard-00001.safetensors is missing", "shards.json")


@pytest.mark.parametrize("left", [0, 7, 200, -1])
def test_truncated_file(folder, left):
    path = folder / "shard-00001.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    refused(folder, ValueError, "shard-00001.safetensors")


def test_swapped_files(folder):
    first, last = folder / "shard-00000.safetensors", folder / "shard-00002.safetensors"
    first.rename(folder / "x")
    last.rename(first)
    (folder / "x").rename(last)
    refused(folder, ValueError, "shard-00000.safetensors is not the file that shards.json names", "checksum")


def test_damaged_codes_are_found_by_verify(folder):
    path = folder / "shard-00002.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    load(folder)  # mapped, and trusted
    for options in ({"verify": True}, {"mmap": False}):
        with pytest.raises(ValueError, match="shard-00002.safetensors is damaged: its checksum"):
            load(folder, **options)


def test_a_file_of_another_length_of_codes(folder):
    index = BinaryIndex(32)
    index.add(CODES[:30, :4])
    index.save(folder / "shard-00000.safetensors")
    refused(folder, ValueError, "shard-00000.safetensors has codes of 32 bits, shards.json says 64")


WRONG = {
    "another format": (lambda c: c.update(format="x"), "does not describe a folder of shards"),
    "newer version": (lambda c: c.update(version=2), "version 2, this fasthash reads up to 1; update"),
    "version 0": (lambda c: c.update(version=0), "damaged"),
    "version true": (lambda c: c.update(version=True), "damaged"),
    "no bits": (lambda c: c.pop("bits"), "damaged"),
    "too many bits": (lambda c: c.update(bits=5000), "damaged"),
    "other bits": (lambda c: c.update(bits=32), "has codes of 64 bits, shards.json says 32"),
    "wrong count": (lambda c: c.update(count=91), "its shards have 90 codes, its count is 91"),
    "count of a shard": (
        lambda c: (c.update(count=91), c["shards"][1].update(count=31)),
        "count is 30, it should be 31",
    ),
    "first id": (lambda c: c["shards"][1].update(first_id=29), "first_id is 30, it should be 29"),
    "last id": (lambda c: c["shards"][2].update(last_id=99), "last_id is 89, it should be 99"),
    "ids descend": (lambda c: c["shards"][2].update(last_id=3), "shards[2]"),
    "checksum": (lambda c: c["shards"][0].update(checksum="crc32:00000000"), "it should be crc32:00000000"),
    "no checksum": (lambda c: c["shards"][0].update(checksum="md5"), "shards[0]"),
    "a path": (lambda c: c["shards"][0].update(file="../x.safetensors"), "shards[0]"),
    "more keys": (lambda c: c["shards"][0].update(more=1), "shards[0]"),
    "an entry that is none": (lambda c: c["shards"].append(7), "shards[3] is 7"),
    "a file twice": (lambda c: c["shards"].append(c["shards"][0]), "it names shard-00000.safetensors twice"),
    "no shards": (lambda c: c.update(shards={}), "damaged"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_damaged_list(folder, kind):
    change, message = WRONG[kind]
    edit(folder, change)
    refused(folder, ValueError, message)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100000, b"[]", b"7"])
def test_list_that_is_no_list(folder, content):
    (folder / "shards.json").write_bytes(content)
    refused(folder, ValueError, "shards.json")


def test_no_list(folder):
    (folder / "shards.json").unlink()
    refused(folder, FileNotFoundError, "no index file at", "shards.json")


def test_an_id_in_two_shards(folder):
    index = BinaryIndex(64)
    index.add(CODES[:3], np.array([5, 57, 200]))
    index.save(folder / "more.safetensors")
    listed = shard_files.read_shard_list(folder)
    entry = shard_files.shard_entry(folder / "more.safetensors")
    shard_files.write_shard_list(folder, shard_files.ShardList(64, (*listed.shards, entry)))
    refused(folder, ValueError, "an id must be there once, got 5 in shards 0 and 3")


def test_an_id_twice_while_writing(tmp_path):
    twice = [(np.array([1, 2, 3]), CODES[:3]), (np.array([4, 2]), CODES[:2])]
    for size, message in ((10, "id 2 is twice in ids"), (3, "an id must be there once, got 2 in shards 0 and 1")):
        with pytest.raises(ValueError, match=f"^write_shards: {message}"):
            write_shards(tmp_path / "s", twice, 64, rows_per_shard=size)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
def test_disk_full(tmp_path, monkeypatch, there):
    """After a failure there is nothing, or what was there before."""
    folder = tmp_path / "s"
    if there:
        write_shards(folder, [CODES], 64, rows_per_shard=20)
    before = {path.name: path.read_bytes() for path in folder.glob("*")}
    real = storage._checksum
    calls = []

    def full(tensors):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(tensors)

    monkeypatch.setattr(storage, "_checksum", full)
    with pytest.raises(OSError, match="No space left"):
        write_shards(folder, [CODES], 64, rows_per_shard=10, overwrite=True)
    assert len(calls) == 3
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == before
    assert folder.exists() == there


def test_interrupted_source(tmp_path):
    def rows():
        yield CODES[:50]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path / "s", rows(), 64, rows_per_shard=20)
    assert list(tmp_path.iterdir()) == []


def killed_writer(folder):
    def rows():
        yield CODES[:50]
        os.kill(os.getpid(), signal.SIGKILL)

    write_shards(folder, rows(), 64, rows_per_shard=20)


def test_killed_writer_leaves_no_list_and_the_next_one_cleans_up(tmp_path):
    folder = tmp_path / "s"
    process = multiprocessing.get_context("fork").Process(target=killed_writer, args=(folder,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert sorted(path.name for path in folder.iterdir()) == ["shard-00000.safetensors", "shard-00001.safetensors"]
    refused(folder, FileNotFoundError, "shards.json")
    (folder / "notes.txt").write_text("mine")
    write_shards(folder, [CODES], 64)
    assert {"notes.txt", "shards.json"} < {path.name for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 3
    assert len(load(folder)) == 90


def test_two_writers_of_a_folder(tmp_path):
    """The later one is refused, and takes nothing away from the other; afterwards it finds a folder that is there."""
    folder = tmp_path / "s"

    def rows():
        yield CODES[:50]
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(RuntimeError, match="^write_shards: somebody else is writing shards into "):
            write_shards(folder, [CODES], 64, rows_per_shard=10, overwrite=True)
        assert sorted(path.name for path in folder.iterdir()) == before
        yield CODES[50:]

    write_shards(folder, rows(), 64, rows_per_shard=20)
    found = [codes for _, codes in load(folder, verify=True).batches()]
    np.testing.assert_array_equal(np.concatenate(found), CODES)
    write_shards(folder, [CODES[:7]], 64, overwrite=True)  # the lock is gone
    assert len(load(folder)) == 7


def test_a_folder_made_before_the_lock_is_had(tmp_path, monkeypatch):
    folder, real = tmp_path / "s", shard_writer.locked_folder

    def late(*args):
        monkeypatch.setattr(shard_writer, "locked_folder", real)
        write_shards(folder, [CODES], 64)
        return real(*args)

    monkeypatch.setattr(shard_writer, "locked_folder", late)
    with pytest.raises(FileExistsError, match="has a shards.json already"):
        write_shards(folder, [CODES[:10]], 64)
    assert len(load(folder, verify=True)) == 90
    write_shards(folder, [CODES[:10]], 64, overwrite=True)  # who was refused holds no lock


@pytest.mark.parametrize("step", ["shard_entry", "write_shard_list"])
def test_interrupted_right_after_a_file_is_written(tmp_path, monkeypatch, step):
    """A shard is removed again also before its entry is known; never once the list names it."""
    folder, real = tmp_path / "s", getattr(shard_writer, step)

    def interrupted(*args):
        real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(shard_writer, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards(folder, [CODES], 64, rows_per_shard=20)
    if step == "shard_entry":
        assert list(tmp_path.iterdir()) == []
    else:
        assert len(load(folder, verify=True)) == 90


def killed_at(folder, step):
    """Whether a process that overwrites the folder came to its change of so many a name, and was killed before it."""
    process = os.fork()
    if process == 0:
        calls = itertools.count()

        def counted(real):
            def change(*args, **options):
                if next(calls) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)

            return change

        try:
            os.replace, os.unlink = counted(os.replace), counted(os.unlink)
            write_shards(folder, [CODES[:50]], 64, rows_per_shard=20, overwrite=True)
        finally:
            os._exit(0)
    return os.waitpid(process, 0)[1] == signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_killed_at_any_step_of_an_overwrite(tmp_path):
    """The folder holds the old codes or the new ones, never others; the next writer finds no lock and cleans up."""
    folder, found = tmp_path / "s", []
    for step in itertools.count():
        write_shards(folder, [CODES], 64, rows_per_shard=30, overwrite=True)
        if not killed_at(folder, step):
            break
        codes = np.concatenate([codes for _, codes in load(folder, verify=True).batches()])
        np.testing.assert_array_equal(codes, CODES[: len(codes)])
        found.append(len(codes))
        write_shards(folder, [CODES[:10]], 64, overwrite=True)
        assert len(list(folder.iterdir())) == 2
    assert found == sorted(found, reverse=True)  # three shards and the list are put in place, three old ones removed
    assert set(found) == {90, 50}
    assert found.count(90) == 4


def test_overwrite(tmp_path):
    folder = tmp_path / "s"
    old = write_shards(folder, [CODES], 64, rows_per_shard=20)
    with pytest.raises(FileExistsError, match="^write_shards: .* has a shards.json already; give overwrite=True"):
        write_shards(folder, [CODES[:10]], 64)
    new = write_shards(folder, [CODES[:10]], 64, overwrite=True)
    assert (len(old), len(new), len(load(folder))) == (90, 10, 10)
    assert len(list(folder.iterdir())) == 2
    truth.assert_same(old.search(CODES, 5), truth.topk(CODES, CODES, 5))  # still mapped: readers are not disturbed


def test_shards_of_an_index_over_itself(tmp_path):
    """The source may be the folder that is replaced."""
    folder = tmp_path / "s"
    old = write_shards(folder, [CODES], 64, rows_per_shard=20)
    write_shards(folder, old.batches(7), 64, rows_per_shard=45, overwrite=True)
    again = load(folder, verify=True)
    assert [len(index) for index in again.indexes] == [45, 45]
    np.testing.assert_array_equal(np.concatenate([codes for _, codes in again.batches()]), CODES)


def test_written_anew_while_it_is_opened(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    write_shards(folder, [CODES], 64, rows_per_shard=30)
    real, calls = shards.open_shard, []

    def slow(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            monkeypatch.setattr(shards, "open_shard", real)
            write_shards(folder, [CODES[:40]], 64, rows_per_shard=20, overwrite=True)
        return real(*args, **options)

    monkeypatch.setattr(shards, "open_shard", slow)
    assert len(load(folder)) == 40
    assert len(calls) == 2


def test_progress(tmp_path):
    seen = []
    write_shards(tmp_path / "s", [CODES[:50], CODES[50:]], 64, count=90, progress=lambda *x: seen.append(x))
    assert seen == [(50, 90), (90, 90)]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (CODES, TypeError, "rows must be an iterable of blocks, got ndarray"),
        (7, TypeError, "rows must be an iterable of blocks, got int"),
        ([CODES[:, :4]], ValueError, r"rows\[0\] must be"),
        ([CODES, [1, 2, 3]], TypeError, r"rows\[1\] must be packed codes or a pair \(ids, codes\), got 3 values"),
        ([(np.arange(3), CODES)], ValueError, r"ids must be int64 \[90\] like codes of rows\[0\]"),
        ([(np.arange(90) - 1, CODES)], ValueError, "ids must not be negative, got -1"),
        ([(np.arange(90) * 0.5, CODES)], ValueError, "ids must be int64"),
    ],
)
def test_wrong_blocks(tmp_path, rows, error, message):
    with pytest.raises(error, match=f"^write_shards: {message}"):
        write_shards(tmp_path / "s", rows, 64)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="^write_shards: bits must be"):
        write_shards(tmp_path / "s", [], 0)
    with pytest.raises(ValueError, match="^write_shards: rows_per_shard must be"):
        write_shards(tmp_path / "s", [], 64, rows_per_shard=0)
    with pytest.raises(FileNotFoundError, match="^write_shards: the folder .* does not exist"):
        write_shards(tmp_path / "a" / "s", [], 64)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="^write_shards: folder must be one or not yet exist, got the file"):
        write_shards(tmp_path / "file", [CODES], 64)
    with pytest.raises(ValueError, match="padding"):
        write_shards(tmp_path / "s", [np.full((2, 1), 255, np.uint8)], 5)


def test_first_id_of_a_file(tmp_path):
    """Only a file of version 2 may begin at another id than 0."""
    folder = tmp_path / "s"
    write_shards(folder, [CODES], 64, rows_per_shard=50)
    path = folder / "shard-00001.safetensors"
    content = path.read_bytes()
    assert b'"first_id":"50"' in content
    assert b'"version":"2"' in content
    for old, new in ((b'"version":"2"', b'"version":"1"'), (b'"first_id":"50"', b'"first_id":"-5"')):
        path.write_bytes(content.replace(old, new))
        with pytest.raises(ValueError, match="has damaged metadata"):
            load(path)
    assert b'"version":"1"' in (folder / "shard-00000.safetensors").read_bytes()


def test_the_largest_ids_of_all(tmp_path):
    """A row may have id 2^63 - 1; a file whose ids are in a row up to it lists them."""
    last = 2**63 - 1
    for n in (1, 9):
        ids = np.arange(last - n + 1, last, dtype=np.int64)
        ids = np.append(ids, last)
        written = write_shards(tmp_path / f"{n}", [(ids, CODES[:n])], 64)
        np.testing.assert_array_equal(written.ids, ids)
        np.testing.assert_array_equal(written.search(CODES[:n], 1)[1][:, 0], ids)
    write_shards(tmp_path / "before", [(np.arange(last - 9, last, dtype=np.int64), CODES[:9])], 64)
    index = load(tmp_path / "before" / "shard-00000.safetensors", mmap=False)
    index.add(CODES[9:10], np.array([last]))
    np.testing.assert_array_equal(index.ids[[0, -1]], [last - 9, last])
    index.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").ids, index.ids)
