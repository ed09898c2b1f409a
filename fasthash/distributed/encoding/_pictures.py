"""A folder of pictures as a corpus; each picture's key is its path within the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fasthash.distributed.encoding._cells import PICTURES
from fasthash.distributed.encoding._rows import Rows
from fasthash.distributed.encoding._sources import Corpus, File, Span
from fasthash.features import Picture


@dataclass(frozen=True)
class PictureReader:
    """Pictures of spans, each of which is one file."""

    folder: str

    def read(self, spans: Sequence[Span], step: int) -> Iterator[Rows]:
        """See `Reader.read`; a picture is opened when it is encoded."""
        for first in range(0, len(spans), step):
            part = spans[first : first + step]
            ids = np.array([span.number for span in part], np.int64)
            paths = [Path(self.folder, span.path) for span in part]
            places, keys = [str(path) for path in paths], [span.path for span in part]
            yield Rows(ids, [Picture(path) for path in paths], places, [""] * len(part), keys)


def picture_corpus(folder: Path, names: Sequence[str]) -> Corpus:
    """The corpus of these pictures below a folder."""
    files = [File(name, _size(os.path.join(folder, name)), 1) for name in names]
    return Corpus("pictures", str(folder), names, files, PictureReader(str(folder)), PICTURES)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # gone, or a link to nowhere: a row that cannot be read, and told as such
        return 0
