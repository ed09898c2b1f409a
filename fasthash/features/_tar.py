"""Members of .tar files by random access: where each lies is found once, by reading the headers alone."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = (b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"(\xb5/\xfd")  # gzip, xz, zstandard
_SHORT = 100  # bytes of a name that a header itself holds


class TarMember(NamedTuple):
    """A regular file inside a .tar."""

    name: str
    offset: int  # bytes before its contents
    size: int  # bytes

    @property
    def address(self) -> str:
        """What `Picture.member` takes, and what `read_member` finds without reading any header but one."""
        return f"{self.name}@{self.offset}"


def scan(path: str | os.PathLike[str]) -> Iterator[TarMember]:
    """The regular files of an uncompressed .tar, in order; their contents are not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: compressed, no .tar, damaged, or cut off.
    """
    with open(path, "rb") as file:
        head = file.read(10)
        if head.startswith(_COMPRESSED) or (head[:3] == b"BZh" and head[4:] == b"1AY&SY"):
            raise ValueError(f"{path}: must be an uncompressed .tar for random access, this one is compressed")
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        try:
            archive = tarfile.TarFile(fileobj=file, mode="r")
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # a shard has tens of thousands: they are not kept
                if member.isreg():
                    if member.offset_data + member.size > size:
                        raise ValueError(f"{path}: damaged tar file: cut off inside {member.name}")
                    yield TarMember(member.name, member.offset_data, member.size)
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f"{path}: damaged tar file: {error}") from None
        file.seek(archive.offset - BLOCK if archive.offset >= BLOCK else 0)
        _check_end(path, file.read(2 * BLOCK), archive.offset, size)


def _check_end(path: str | os.PathLike[str], tail: bytes, offset: int, size: int) -> None:
    """tarfile stops without a word at a header that is cut off or none; a whole archive ends in blocks of zeros."""
    if any(tail[-BLOCK:]) or len(tail) < BLOCK or size < offset:
        raise ValueError(f"{path}: damaged tar file: it ends at byte {min(offset, size)} without its end mark")


def read_member(path: Path, member: str) -> bytes:
    """Contents of NAME@OFFSET, or of NAME, which is then looked for among the headers.

    The file is opened for each read, so that threads and forked processes never share a position.

    Raises:
        FileNotFoundError: no such file or member.
        ValueError: the .tar is damaged, or another one than the address was made for.
    """
    found = locate(path, member)
    with open(path, "rb") as file:
        file.seek(found.offset)
        data = file.read(found.size)
    if len(data) != found.size:
        raise ValueError(
            f"{path}:{found.name}: damaged tar file: cut off after {len(data)} of {found.size} bytes of it"
        )
    return data


def locate(path: Path, member: str) -> TarMember:
    """Where a member lies, as its own header says. Arguments and errors as of `read_member`."""
    name, at, digits = member.rpartition("@")
    if not at or not digits.isdecimal():
        index = _index(path, *_state(path))
        if member not in index:
            raise FileNotFoundError(f"{path}:{member}: the tar file has no such member")
        return index[member]
    with open(path, "rb") as file:
        file.seek(max(int(digits) - BLOCK, 0))
        try:
            info = tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise ValueError(f"{path}:{name}: damaged tar file, or another one than it was: no header") from None
    if name.isascii() and len(name) < _SHORT and info.name != name:  # else the name stands in a header of its own
        raise ValueError(f"{path}:{name}: another tar file than it was: {info.name} lies there")
    return TarMember(name, int(digits), info.size)


def _state(path: Path) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_size, about.st_mtime_ns


@lru_cache(maxsize=8)
def _index(path: Path, size: int, changed: int) -> dict[str, TarMember]:
    return {member.name: member for member in scan(path)}
