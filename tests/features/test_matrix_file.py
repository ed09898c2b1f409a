"""Matrices in safetensors files: another reader agrees, damaged ones are one line, nothing is ever half there."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fasthash.features import matrix_file
from fasthash.features.matrix_file import map_matrix, matrix_metadata, write_matrix
from fasthash.features.matrix_writer import MatrixWriter

safetensors = pytest.importorskip("safetensors")
ROWS, WIDTH = 23, 5


@pytest.fixture
def matrix():
    return np.random.default_rng(3).normal(size=(ROWS, WIDTH)).astype(np.float32)


def blocks(matrix, size=4):
    return (matrix[i : i + size] for i in range(0, len(matrix), size))


def test_another_reader_agrees(tmp_path, matrix):
    path = tmp_path / "m.safetensors"
    write_matrix(path, blocks(matrix), ROWS, WIDTH, {"encoder": '{"kind": "smörgås"}'})
    with safetensors.safe_open(str(path), framework="np") as file:
        assert list(file.keys()) == ["features"]
        np.testing.assert_array_equal(file.get_tensor("features"), matrix)
        assert file.metadata() == matrix_metadata(path)
    assert matrix_metadata(path)["encoder"] == '{"kind": "smörgås"}'
    mapped = map_matrix(path)
    assert isinstance(mapped, np.memmap)
    assert mapped.dtype == np.float32
    assert not mapped.flags.writeable
    assert mapped.ctypes.data % 64 == 0
    np.testing.assert_array_equal(mapped, matrix)


def test_blocks_are_the_matrix(tmp_path, matrix, monkeypatch):
    write_matrix(tmp_path / "m", [matrix], ROWS, WIDTH)
    monkeypatch.setattr(matrix_file, "BLOCK_BYTES", 7 * WIDTH * 4 + 3)
    parts = list(matrix_file.matrix_blocks(tmp_path / "m"))
    assert [len(part) for part in parts] == [7, 7, 7, 2]
    np.testing.assert_array_equal(np.concatenate(parts), matrix)


def test_reads_what_safetensors_writes(tmp_path, matrix):
    from safetensors.numpy import save_file

    save_file({"features": matrix}, str(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(map_matrix(tmp_path / "m.safetensors"), matrix)
    assert matrix_metadata(tmp_path / "m.safetensors") == {}


def raw(tensor, *, name="features", data=b"\0" * 24, **more):
    text = json.dumps({name: tensor, **more}).encode()
    return len(text).to_bytes(8, "little") + text + data


def good(dtype="F32", shape=(2, 3), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


DAMAGED = {
    "empty": b"",
    "short": b"\x08\0\0",
    "text": b"id,caption\n1,a red heart\n" * 9,
    "endless header": (1 << 62).to_bytes(8, "little") + b"{}",
    "no object": (2).to_bytes(8, "little") + b"[]",
    "bad utf-8": (2).to_bytes(8, "little") + b"\xff\xfe",
    "nested": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "no tensor": (2).to_bytes(8, "little") + b"{}",
    "another name": raw(good(), name="labels"),
    "two tensors": raw(good(), other=good()),
    "float64": raw(good("F64")),
    "one dimension": raw(good(shape=(6,))),
    "negative": raw(good(shape=(-2, -3))),
    "no row": raw(good(shape=(0, 3), offsets=(0, 0)), data=b""),
    "a float for a size": raw(good(shape=(2.0, 3))),
    "a truth for a size": raw(good(shape=(True, 6))),
    "no shape": raw({"dtype": "F32", "data_offsets": [0, 24]}),
    "no description": raw(7),
    "wrong place": raw(good(offsets=(0, 20))),
    "cut off": raw(good(), data=b"\0" * 23),
    "more behind": raw(good(), data=b"\0" * 25),
    "metadata of numbers": raw(good(), __metadata__={"rows": 2}),
    "metadata of one number": raw(good(), __metadata__=7),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_one_line(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^data\.load: .*m\.safetensors") as caught:
        map_matrix(path, op="data.load")
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^load: no such file: .*none"):
        map_matrix(tmp_path / "none")
    with pytest.raises(ValueError, match="must be a file, got a folder"):
        map_matrix(tmp_path)


def test_the_sound_file_beside_the_damaged_ones(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw(good()))
    assert map_matrix(path).shape == (2, 3)


@pytest.mark.parametrize(
    ("rows", "width", "said"),
    [(22, WIDTH, "22 rows, got 23 or more"), (24, WIDTH, "24 rows, got 23"), (ROWS, 4, r"\[m, 4\], got \(4, 5\)")],
)
def test_wrong_blocks_leave_nothing(tmp_path, matrix, rows, width, said):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=said):
        write_matrix(path, blocks(matrix), rows, width)
    assert os.listdir(tmp_path) == ["m.safetensors"]
    assert path.read_bytes() == b"before"


def test_no_more_than_a_block_is_held(tmp_path):
    """Each block is asked for after the one before was taken: no list of them is made."""
    alive = []

    def numbered():
        for i in range(50):
            alive.append(i)
            yield np.full((2, 3), i, np.float32)

    written = numbered()
    first = next(written)
    assert alive == [0]
    write_matrix(tmp_path / "m", (block for part in ([first], written) for block in part), 100, 3)
    np.testing.assert_array_equal(map_matrix(tmp_path / "m")[:, 0], np.repeat(np.arange(50), 2))


FULL = """
import pathlib, resource, sys, numpy as np
from fasthash.features.matrix_file import write_matrix
from fasthash.features.matrix_writer import MatrixWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
folder = sys.argv[1]
ones = [np.full((100, 10), i, np.float32) for i in range(30)]
try:
    write_matrix(f"{folder}/whole", ones, 3000, 10)
except OSError as error:
    print("whole", error.errno)
try:
    with MatrixWriter(f"{folder}/resumed", 3000, 10, {"a": 1}) as writer:
        for block in ones:
            writer.append(block)
            writer.keep()
except OSError as error:
    print("resumed", error.errno, writer.done, pathlib.Path(error.filename).name)
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    (_, errno), (_, again, _, named) = (line.split() for line in done.stdout.splitlines())
    assert errno == again == "27"  # EFBIG
    assert named == "resumed.partial"
    assert sorted(os.listdir(tmp_path)) == ["resumed.partial", "resumed.partial.json"]
    with MatrixWriter(tmp_path / "resumed", 3000, 10, {"a": 1}) as writer:  # with room again it goes on
        assert 800 <= writer.done < 1000
        for i in range(writer.done // 100, 30):
            writer.append(np.full((100, 10), i, np.float32))
        writer.finish()
    np.testing.assert_array_equal(map_matrix(tmp_path / "resumed")[:, 3], np.repeat(np.arange(30), 100))


def write(path, matrix, *, stop=None, key=None, size=4, **options):
    """A run that makes the rows it lacks, up to ``stop``; the file as it is left by a kill at that place."""
    writer = MatrixWriter(path, ROWS, WIDTH, key or {"a": 1}, {"side": "text"}, **options)
    made = 0
    for start in range(writer.done, stop or ROWS, size):
        writer.append(matrix[start : min(start + size, stop or ROWS)])
        writer.keep()
        made += len(matrix[start : min(start + size, stop or ROWS)])
    if stop is None:
        writer.finish()
    else:
        writer._release()
    return made


def test_goes_on_after_a_kill_at_any_byte(tmp_path, matrix):
    """The file is cut at every byte behind the rows that were counted, and torn rows are made again."""
    path = tmp_path / "m"
    write(path, matrix, stop=8)
    kept, noted = (tmp_path / "m.partial").read_bytes(), (tmp_path / "m.partial.json").read_text()
    torn = matrix[8:12].tobytes()
    for cut in (*range(WIDTH * 4 + 2), len(torn)):  # every byte of a row, and into the next
        (tmp_path / "m.partial").write_bytes(kept + torn[:cut][::-1])  # whatever a torn write left there
        (tmp_path / "m.partial.json").write_text(noted)
        assert write(path, matrix, size=15) == ROWS - 8
        np.testing.assert_array_equal(map_matrix(path), matrix)
        assert os.listdir(tmp_path) == ["m"]
        assert matrix_metadata(path)["side"] == "text"
        path.unlink()


def test_rows_are_counted_when_they_are_on_the_disk(tmp_path, matrix, monkeypatch):
    def unplugged(handle):
        raise OSError("disk gone")

    writer = MatrixWriter(tmp_path / "m", ROWS, WIDTH, {"a": 1})
    writer.append(matrix[:4])
    writer.keep()
    writer.append(matrix[4:8])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", unplugged)
        with pytest.raises(OSError, match="disk gone"):
            writer.close()
    with MatrixWriter(tmp_path / "m", ROWS, WIDTH, {"a": 1}) as writer:
        assert writer.done == 4


def test_a_kill_before_the_first_count(tmp_path, matrix):
    (tmp_path / "m.partial").write_bytes(b"\1" * 100)
    assert write(tmp_path / "m", matrix) == ROWS
    np.testing.assert_array_equal(map_matrix(tmp_path / "m"), matrix)


def test_a_kill_between_the_last_steps(tmp_path, matrix):
    write(tmp_path / "m", matrix)
    (tmp_path / "m.partial.json").write_text("{}")  # renamed, but the count was not removed
    assert write(tmp_path / "m", matrix) == 0
    assert os.listdir(tmp_path) == ["m"]
    assert write(tmp_path / "m", matrix, key={"a": 2}) == ROWS  # of other settings: made anew
    assert write(tmp_path / "m", matrix, key={"a": 2}, resume=False) == ROWS


def test_other_settings_are_not_continued(tmp_path, matrix):
    key = {"encoder": {"kind": "clip", "size": 32}, "rows": "ab"}
    write(tmp_path / "m", matrix, stop=8, key=key)
    with pytest.raises(ValueError, match=r"other settings \(size was 32, now 64\)"):
        write(tmp_path / "m", matrix, key=key | {"encoder": {"kind": "clip", "size": 64}})
    with pytest.raises(ValueError, match=r"rows was ab, now None"):
        write(tmp_path / "m", matrix, key={"encoder": key["encoder"]})
    assert write(tmp_path / "m", matrix, key=key) == ROWS - 8  # nothing was lost by asking


@pytest.mark.parametrize("noted", ["", "[]", "{}", '{"format": "fasthash.matrix", "done": "x"}'])
def test_damaged_counts_are_one_line(tmp_path, matrix, noted):
    write(tmp_path / "m", matrix, stop=8)
    (tmp_path / "m.partial.json").write_text(noted)
    with pytest.raises(ValueError, match=r"partial\.json is damaged"):
        write(tmp_path / "m", matrix)
    assert write(tmp_path / "m", matrix, resume=False) == ROWS


def test_lost_rows_are_seen(tmp_path, matrix):
    write(tmp_path / "m", matrix, stop=8)
    partial = tmp_path / "m.partial"
    partial.write_bytes(partial.read_bytes()[:-1])
    with pytest.raises(ValueError, match="lacks rows that were finished"):
        write(tmp_path / "m", matrix)


def test_one_writer_at_a_time(tmp_path, matrix):
    with MatrixWriter(tmp_path / "m", ROWS, WIDTH, {"a": 1}, {"side": "text"}) as writer:
        writer.append(matrix[:4])
        with pytest.raises(RuntimeError, match="another process is writing"):
            MatrixWriter(tmp_path / "m", ROWS, WIDTH, {"a": 1})
    assert write(tmp_path / "m", matrix) == ROWS - 4  # leaving the block kept what was there


def test_unfinished_is_said(tmp_path, matrix):
    with MatrixWriter(tmp_path / "m", ROWS, WIDTH, {"a": 1}) as writer:
        with pytest.raises(ValueError, match="needs 23 rows to be finished, got 0"):
            writer.finish()
        with pytest.raises(ValueError, match=r"\[m, 5\], got \(2, 4\)"):
            writer.append(matrix[:2, :4])
        writer.discard()
        with pytest.raises(ValueError, match="finished or closed"):
            writer.append(matrix)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="1 or more"):
        write_matrix(tmp_path / "m", [], 0, 3)
    with pytest.raises(TypeError, match="strings by name"):
        write_matrix(tmp_path / "m", [matrix], ROWS, WIDTH, {"rows": 3})
