"""webdataset shards as a corpus: members of one key are a row; its key is kept beside the code."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fasthash.data.readers._columns import SUFFIXES
from fasthash.distributed.encoding._cells import MISSING, NAMES, PICTURES, TEXTS
from fasthash.distributed.encoding._rows import Rows
from fasthash.distributed.encoding._sources import Corpus, File, Span, check_text
from fasthash.features import Picture
from fasthash.features._tar import TarMember, scan

_KEY = re.compile(r"((?:.*/)?[^./][^/.]*)\.([^/]+)")  # folders and name up to the first dot, then the suffix
_TEXTS = ("txt", *(name for name in NAMES[TEXTS] if name != "txt"))  # suffixes, then fields of the .json


@dataclass(frozen=True)
class TarReader:
    """Rows of spans of .tar files; pictures are read when they are encoded, texts at once.

    Args:
        what: pictures or texts.
        column: the suffix of the pictures; of the texts the suffix, or the field of the .json; None: the usual ones.
    """

    what: str
    column: str | None

    def read(self, spans: Sequence[Span], step: int) -> Iterator[Rows]:
        """See `Reader.read`."""
        for span in spans:
            held: list[tuple[str, Any, str]] = []
            number = span.number
            with open(span.path, "rb") as file:
                for key, members in _rows(span):
                    item, fault = self._item(span.path, file, key, members)
                    held.append((key, item, fault))
                    if len(held) == step:
                        yield _made(span.path, number, held)
                        number, held = number + step, []
            if held:
                yield _made(span.path, number, held)

    def _item(self, path: str, file: IO[bytes], key: str, members: list[tuple[str, TarMember]]) -> tuple[Any, str]:
        if self.what == PICTURES:
            found = [member for suffix, member in members if self._is_picture(suffix)]
            if len(found) > 1:
                raise ValueError(f"encode: {path}:{key} has several pictures: say which suffix (column)")
            return (Picture(Path(path), found[0].address), "") if found else (None, MISSING)
        try:
            text = self._text(file, dict(members))
        except (ValueError, RecursionError) as error:
            return None, f"its text cannot be read: {' '.join(str(error).split())}"
        return text, MISSING if text is None else ""

    def _is_picture(self, suffix: str) -> bool:
        if self.column is not None:
            return suffix == self.column.lower().lstrip(".")
        return os.path.splitext(f"x.{suffix}")[1] in SUFFIXES

    def _text(self, file: IO[bytes], members: dict[str, TarMember]) -> str | None:
        names = _TEXTS if self.column is None else (self.column.lstrip("."),)
        for name in names:
            if name.lower() in members and name != "json":
                return _content(file, members[name.lower()]).strip("\r\n")
        fields = json.loads(_content(file, members["json"])) if "json" in members else {}
        if not isinstance(fields, dict):
            raise ValueError(f"the .json must be an object {{...}}, got {type(fields).__name__}")
        found = next((fields[name] for name in names if fields.get(name) is not None), None)
        if isinstance(found, list) and all(isinstance(text, str) for text in found):
            return " ".join(found)
        if found is not None and not isinstance(found, str):
            raise ValueError(f"a text must be a string or a list of them, got a {type(found).__name__}")
        return found


def tar_corpus(place: str, paths: Sequence[Path], names: Sequence[str], what: str, column: str | None) -> Corpus:
    """The corpus of these shards; their headers are read to count the keys.

    Raises:
        ValueError: a compressed, damaged or cut off .tar.
    """
    files = [File(name, path.stat().st_size, *_counted(str(path))) for path, name in zip(paths, names, strict=True)]
    return Corpus("webdataset", place, [str(path) for path in paths], files, TarReader(what, column), what, column)


def _counted(path: str) -> tuple[int, str]:
    """How many keys a shard has, and a checksum of all names, places and sizes in it."""
    rows = mark = 0
    for key, members in _keys(path):
        check_text(key, path)
        rows, mark = rows + 1, zlib.crc32(repr((key, members)).encode(), mark)
    return rows, f"{mark:08x}"


def _keys(path: str) -> Iterator[tuple[str, list[tuple[str, TarMember]]]]:
    """Keys in order, each with its (suffix in lower case, member)s."""
    key, members = None, list[tuple[str, TarMember]]()
    for member in scan(path):
        found = _KEY.fullmatch(member.name)
        if found is None:
            continue  # hidden files and those without a suffix: no part of a row, as webdataset has it
        own = found.group(1).removeprefix("./")
        if own != key:
            if key is not None:
                yield key, members
            key, members = own, []
        members.append((found.group(2).lower(), member))
    if key is not None:
        yield key, members


def _rows(span: Span) -> Iterator[tuple[str, list[tuple[str, TarMember]]]]:
    for row, found in enumerate(_keys(span.path)):
        if row >= span.last:
            return
        if row >= span.first:
            yield found


def _made(path: str, number: int, held: list[tuple[str, Any, str]]) -> Rows:
    keys, items, faults = (list(column) for column in zip(*held, strict=True))
    ids = np.arange(number, number + len(held), dtype=np.int64)
    return Rows(ids, items, [f"{path}:{key}" for key in keys], faults, keys)


def _content(file: IO[bytes], member: TarMember) -> str:
    file.seek(member.offset)
    return file.read(member.size).decode("utf-8-sig")
