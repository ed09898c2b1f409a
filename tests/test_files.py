"""Files appear whole or not at all."""

import errno
import os

import pytest

from fasthash._files import locked_folder, replace_file


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


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "a.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    for text in ("one", "two"):  # a link to nothing yet, and one to a file
        replace_file(link, lambda path, text=text: path.write_text(text))
        assert link.is_symlink()
        assert real.read_text() == text
    assert [p.name for p in real.parent.iterdir()] == ["a.txt"]


def test_the_longest_name(tmp_path):
    target = tmp_path / ("x" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    replace_file(target, lambda path: path.write_text("x"))
    assert target.read_text() == "x"


def test_a_folder_is_refused_in_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="^cannot write .*folder: it is a folder$"):
        replace_file(tmp_path / "folder", lambda path: path.write_text("x"))
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_permissions_follow_the_umask_which_nobody_changes(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)  # even a moment of another umask shows in the files of other threads

        def write(path):
            path.unlink()
            path.touch(0o600)

        replace_file(tmp_path / "a", lambda path: path.write_text("x"))
        replace_file(tmp_path / "b", write)
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o640, 0o640]


def test_a_folder_is_held_by_one(tmp_path):
    pytest.importorskip("fcntl")
    with locked_folder(tmp_path, "taken"):
        with pytest.raises(RuntimeError, match="^taken$"), locked_folder(tmp_path, "taken"):
            pytest.fail("held twice")
        (tmp_path / "other").mkdir()
        with locked_folder(tmp_path / "other", "taken"):
            pass
    with pytest.raises(KeyboardInterrupt), locked_folder(tmp_path, "taken"):
        raise KeyboardInterrupt
    with locked_folder(tmp_path, "taken"):
        assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_does_not_hold_a_folder_on(tmp_path):
    pytest.importorskip("fcntl")
    ready, done = os.pipe(), None
    with locked_folder(tmp_path, "taken"):
        child = os.fork()
        if child == 0:
            os.close(ready[1])
            os.read(ready[0], 1)  # until the parent closes its end
            os._exit(0)
    try:
        with locked_folder(tmp_path, "taken"):
            done = True
    finally:
        for end in ready:
            os.close(end)
        os.waitpid(child, 0)
    assert done
