"""What a corpus on disk is: files in a stable order, blocks of their rows, and readers of a block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from fasthash.distributed.encoding._rows import Rows


class File(NamedTuple):
    """A file of a corpus."""

    name: str  # as the listing has it: relative to the folder that was given
    size: int  # bytes
    rows: int
    mark: str = ""  # what tells other contents of the same size: of a Parquet file its footer, of a .tar its headers


class Span(NamedTuple):
    """Rows first to last of a file (or of the listing itself), of which the first has the number ``number``."""

    path: str
    first: int
    last: int
    number: int


class Reader(Protocol):
    """Reads the rows of a block, in any process; pickled to the workers."""

    def read(self, spans: Sequence[Span], step: int) -> Iterator[Rows]:
        """Rows of the spans, in order, about ``step`` at a time.

        Raises:
            FileNotFoundError, ValueError: a file that is gone or damaged, named.
        """


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk: its files sorted by name, their rows numbered through from 0.

    Args:
        kind: "parquet", "webdataset" or "pictures".
        place: what was given.
        paths, files: in order; a path is where the reader finds the file.
        reader: of spans of these files.
        what: "features", "pictures" or "texts".
        column: the column or suffix that is encoded; None where there is no choice.
        id_column: whose integers are the ids; None: the row numbers are.
        keyed: whether rows have keys of their own.
    """

    kind: str
    place: str
    paths: Sequence[str]
    files: Sequence[File]
    reader: Reader
    what: str
    column: str | None = None
    id_column: str | None = None
    keyed: bool = True

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def blocks(self, size: int) -> Iterator[Block]:
        """The rows in blocks of ``size``, the last may be shorter; a block may reach over several files."""
        spans: list[Span] = []
        number = begun = 0
        for path, file in zip(self.paths, self.files, strict=True):
            at = 0
            while at < file.rows:
                end = min(file.rows, at + size - (number - begun))
                spans.append(Span(path, at, end, number))
                number, at = number + end - at, end
                if number - begun == size:
                    yield Block(begun, number, tuple(spans))
                    spans, begun = [], number
        if spans:
            yield Block(begun, number, tuple(spans))

    def digest(self) -> str:
        """SHA-256 of the names, sizes and marks of the files."""
        found = hashlib.sha256()
        for file in self.files:
            found.update(f"{file.name}\0{file.size}\0{file.rows}\0{file.mark}\n".encode())
        return found.hexdigest()

    def described(self) -> dict[str, Any]:
        """JSON-able: what codes are of; two corpora of one description have the same rows."""
        said = {"kind": self.kind, "files": len(self.files), "bytes": sum(file.size for file in self.files)}
        return said | {"rows": self.rows, "column": self.column, "ids": self.id_column or "row numbers",
                       "listing": self.digest()}  # fmt: skip

    def listed(self) -> list[dict[str, Any]]:
        """JSON-able: the files and the number of the first row of each; empty where each row is a file."""
        if all(file.rows == 1 for file in self.files):
            return []
        firsts = np.cumsum([0, *(file.rows for file in self.files)])
        return [{**file._asdict(), "first_row": int(first)} for file, first in zip(self.files, firsts, strict=False)]


@dataclass(frozen=True)
class Block:
    """The rows first to last of a corpus, what one part of the output holds."""

    first: int
    last: int
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def part(self) -> str:
        """The name of its file."""
        return f"part-{self.first:012d}-{self.last:012d}.parquet"


def check_text(name: str, place: object) -> None:
    """ValueError: a name that is not UTF-8 on disk; neither Parquet nor JSON could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        written = name.encode("utf-8", "backslashreplace").decode()
        raise ValueError(f"encode: names must be UTF-8, got {written} in {place}") from None
