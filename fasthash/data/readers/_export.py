"""Pictures out of a column: paths as they are, bytes written to files once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from fasthash.data.readers._roles import Made
from fasthash.features import Picture

_MAGIC = (
    (b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)  # fmt: skip
_FOLDER = 10_000  # pictures of one sub-folder: longer lists are slow to open on many file systems


class Stored(Enum):
    """What a column of pictures holds."""

    PATHS = "paths"
    BYTES = "bytes"
    BOTH = "struct{bytes, path}"


class Exported:
    """Where the pictures of a column lie, after those that are bytes were written.

    Args:
        op: who asks.
        column: its name.
        stored: what it holds.
        folder: for pictures that are bytes; None: there must be none.
    """

    def __init__(self, op: str, column: str, stored: Stored, folder: Path | None) -> None:
        self._op, self._column, self._stored, self._folder = op, column, stored, folder
        self._places: list[str] = []
        self._made: Path | None = None  # the sub-folder that is there

    @property
    def bytes_inside(self) -> bool:
        """Whether pictures themselves may be in the column."""
        return self._stored is not Stored.PATHS

    def add(self, chunk: Any, home: Path) -> None:
        """More cells; paths begin at ``home``."""
        for cell in chunk.to_pylist():
            data = cell if self._stored is Stored.BYTES else cell["bytes"] if isinstance(cell, dict) else None
            path = cell if self._stored is Stored.PATHS else cell["path"] if isinstance(cell, dict) else None
            if data is not None:
                self._places.append(self._write(data, len(self._places)))
            else:
                self._places.append(_place(path, home))

    def pictures(self) -> Sequence[Picture | None]:
        """One an entry."""
        return Made([self._places], _picture)

    def _write(self, data: bytes, row: int) -> str:
        if self._folder is None:
            raise ValueError(
                f"{self._op}: the pictures of column {self._column} are bytes inside the file: export=FOLDER writes "
                f"them as files there, export=none leaves them out"
            )
        suffix = next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), None)
        suffix = suffix or ("webp" if data[8:12] == b"WEBP" else "bin")
        path = self._folder / f"{row // _FOLDER:04d}" / f"{row:08d}.{suffix}"
        if path.parent != self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made = path.parent
        if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
            path.write_bytes(data)
        return str(path.absolute())


def _place(path: str | None, home: Path) -> str:
    if not path:
        return ""
    if path.startswith("zip://") and "::" in path:  # as Hugging Face names a member: zip://a/b.jpg::/data/x.zip
        member, _, archive = path[len("zip://") :].partition("::")
        return f"{archive}\0{member}"
    return os.path.join(home, path)


def _picture(place: str) -> Picture | None:
    path, _, member = place.partition("\0")
    return Picture(Path(path), member or None) if path else None
