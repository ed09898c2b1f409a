"""Files appear whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace_file(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Let ``write(temporary)`` make a file, then put it at ``path``; on any failure nothing is left behind.

    Args:
        path: where the file shall stand; its folder must exist. Where a symbolic link stands, the file it leads to is
            replaced.
        write: makes the file at the path it is given (same folder, so that the rename is atomic).
    Raises:
        OSError: as from ``write``, for instance when the disk is full; an older file at ``path`` is then untouched.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {target.parent} does not exist")
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    # A short name of its own: with the target's name in it, it could be too long where the target's is not.
    temporary = target.with_name(f".fasthash-{os.urandom(8).hex()}.tmp")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)  # less what the umask takes away
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        write(temporary)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(mode)  # also when ``write`` put another file in its place
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def locked_folder(path: str | os.PathLike[str], refusal: str) -> Iterator[None]:
    """Hold a folder until the end, also by a kill; where system or file system have no such locks nothing is held.

    Raises:
        RuntimeError: somebody else holds it, here or in another process; ``refusal`` is what it says.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(refusal) from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            with suppress(OSError):  # closed alone, a process forked in the meantime would hold it on
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)
