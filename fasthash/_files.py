"""Files appear whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Let ``write(temporary)`` make a file, then put it at ``path``; on any failure nothing is left behind.

    Args:
        path: where the file shall stand; its folder must exist.
        write: makes the file at the path it is given (same folder, so that the rename is atomic).
    Raises:
        OSError: as from ``write``, for instance when the disk is full; an older file at ``path`` is then untouched.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 would hide the file from others who share the folder
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
