"""A folder of shards: index files and ``shards.json``, which says what they are.

``shards.json`` holds format, version, bits, count and for each shard its file, count, first and last id (null without
codes) and the checksum that stands in the file's header. It is written after the files it names, whole or not at all:
a folder without it is none, or one that was not finished. Files that it does not name are not looked at.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fasthash._files import replace_file
from fasthash.codes import MAX_BITS
from fasthash.search import storage
from fasthash.search.index import BinaryIndex
from fasthash.search.snapshot import MAX_ID, Snapshot

LIST = "shards.json"
FORMAT = "fasthash.Shards"
VERSION = 1
_FILE = re.compile(r"shard-([0-9]{5,9})\.safetensors")  # what this library writes
_ANY_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")  # what it reads: a name, never a path


@dataclass(frozen=True)
class ShardEntry:
    """What ``shards.json`` says of a file."""

    file: str
    count: int
    first_id: int | None  # smallest; None without codes
    last_id: int | None  # largest
    checksum: str  # "crc32:01234567", that of the file's header


@dataclass(frozen=True)
class ShardList:
    """What ``shards.json`` says."""

    bits: int
    shards: tuple[ShardEntry, ...]

    @property
    def count(self) -> int:
        """Codes in all shards."""
        return sum(entry.count for entry in self.shards)


def shard_file(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:05}.safetensors"


def shard_number(file: str) -> int | None:
    """The number in a name that ``shard_file`` made; None for any other."""
    found = _FILE.fullmatch(file)
    return int(found[1]) if found else None


def is_folder_of_shards(path: str | os.PathLike[str]) -> bool:
    """Whether a finished folder of shards stands there."""
    return (Path(path) / LIST).is_file()


def write_shard_list(folder: str | os.PathLike[str], shards: ShardList) -> None:
    """Write ``shards.json``, whole or not at all; the files must be there."""
    entries = [asdict(entry) for entry in shards.shards]
    content = {"format": FORMAT, "version": VERSION, "bits": shards.bits, "count": shards.count, "shards": entries}
    text = json.dumps(content, indent=1) + "\n"
    replace_file(Path(folder) / LIST, lambda temporary: temporary.write_text(text))


def read_shard_list(folder: str | os.PathLike[str], op: str = "load") -> ShardList:
    """What ``write_shard_list`` wrote; the files are not looked at. ``op`` names the caller in errors.

    Raises:
        FileNotFoundError: no ``shards.json``.
        ValueError: damaged, or of a newer version; one line says which.
    """
    path = Path(folder) / LIST
    if not path.is_file():
        raise FileNotFoundError(f"{op}: no index file at {folder}: a folder without {LIST}, or not yet finished")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(f"{op}: {path} is damaged: it is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{op}: {path} does not describe a folder of shards")
    version: Any = content.get("version")
    if _whole(version, 1) and version > VERSION:
        raise ValueError(f"{op}: {path} is of version {version}, this fasthash reads up to {VERSION}; update fasthash")
    bits: Any = content.get("bits")
    count, entries = content.get("count"), content.get("shards")
    if not _whole(version, 1) or not _whole(bits, 1, MAX_BITS) or not _whole(count, 0) or not isinstance(entries, list):
        raise ValueError(f"{op}: {path} is damaged: version, bits, count or shards are wrong or missing")
    shards = ShardList(bits, tuple(_entry(path, i, entry, op) for i, entry in enumerate(entries)))
    files = Counter(entry.file for entry in shards.shards)
    if twice := next((file for file, times in files.items() if times > 1), None):
        raise ValueError(f"{op}: {path} is damaged: it names {twice} twice")
    if shards.count != count:
        raise ValueError(f"{op}: {path} is damaged: its shards have {shards.count} codes, its count is {count}")
    return shards


def _entry(path: Path, i: int, entry: Any, op: str) -> ShardEntry:
    sound = isinstance(entry, dict) and set(entry) == {field.name for field in fields(ShardEntry)}
    if sound:
        found = ShardEntry(**entry)
        empty = found.first_id is None and found.last_id is None
        sound = (
            isinstance(found.file, str)
            and _ANY_FILE.fullmatch(found.file) is not None
            and _whole(found.count, 0)
            and (empty if found.count == 0 else _whole(found.first_id, 0) and _whole(found.last_id, found.first_id))
            and isinstance(found.checksum, str)
            and re.fullmatch("crc32:[0-9a-f]{8}", found.checksum) is not None
        )
        if sound:
            return found
    raise ValueError(f"{op}: {path} is damaged: shards[{i}] is {reprlib.repr(entry)}")


def _whole(value: Any, low: Any, high: int = MAX_ID) -> bool:
    return type(value) is int and low <= value <= high


def shard_entry(path: str | os.PathLike[str]) -> ShardEntry:
    """What ``shards.json`` is to say of an index file. Reads its header and its ids.

    Raises: as ``fasthash.search.load`` of the file.
    """
    stored = storage.read(path, mmap=True, verify=False)
    return _described(Path(path).name, stored)


def open_shard(
    folder: str | os.PathLike[str], bits: int, entry: ShardEntry, *, mmap: bool = True, verify: bool = False
) -> BinaryIndex:
    """The index in a shard's file: mapped and read-only, or in memory; compared with what ``shards.json`` says.

    Args:
        verify: read everything and check the checksum of the data as well.
    Raises:
        FileNotFoundError: there is no such file.
        ValueError: truncated, damaged, or another file than the entry is of; one line names it.
    """
    path = Path(folder) / entry.file
    if not path.is_file():
        raise FileNotFoundError(f"load: {path} is missing, which {LIST} names")
    stored = storage.read(path, mmap=mmap, verify=verify)
    if stored.bits != bits:
        raise ValueError(f"load: {path} has codes of {stored.bits} bits, {LIST} says {bits}")
    found = _described(entry.file, stored)
    for name in ("count", "checksum", "first_id", "last_id"):
        got, wanted = getattr(found, name), getattr(entry, name)
        if got != wanted:
            raise ValueError(f"load: {path} is not the file that {LIST} names: {name} is {got}, it should be {wanted}")
    return BinaryIndex._of(bits, _rows(stored), "mapped" if mmap else "own")


def _described(file: str, stored: storage.Stored) -> ShardEntry:
    rows = _rows(stored)
    first, last = (int(rows.ids_between(0, 1)[0]), rows.next_id() - 1) if rows.size else (None, None)
    return ShardEntry(file, rows.size, first, last, stored.metadata["checksum"])


def _rows(stored: storage.Stored) -> Snapshot:
    return Snapshot(stored.codes, stored.ids, len(stored.codes), stored.first)
