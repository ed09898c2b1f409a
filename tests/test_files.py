"""Files appear whole or not at all."""

import errno

import pytest

from fasthash._files import replace_file


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "a.txt"
    replace_file(target, lambda path: path.write_text("one"))
    replace_file(target, lambda path: path.write_text("two"))
    assert target.read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(path):
        path.write_text("half")
        raise error

    with pytest.raises(type(error)):
        replace_file(target, write)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder .*nowhere does not exist"):
        replace_file(tmp_path / "nowhere" / "a.txt", lambda path: path.write_text("x"))
