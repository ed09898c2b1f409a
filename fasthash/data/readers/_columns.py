"""What readers of anybody's files share: columns that make their entries when asked, labels, splits, options."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data._lazy import Lazy
from fasthash.data.splits import Split
from fasthash.features import Picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jfif")  # of pictures
GIVEN = "given"  # the split that the files bring themselves
_QUERY = ("query", "queries", "test", "testing")
_DATABASE = ("database", "db", "gallery", "retrieval")
_TRAIN = ("train", "training", "restval")
_HELD_OUT = ("val", "valid", "validation", "dev")
SPLIT_WORDS = (*_QUERY, *_DATABASE, *_TRAIN, *_HELD_OUT)


class PicturePaths(Lazy[Picture | None]):
    """Pictures that are files: names below a folder; the empty name is no picture."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names

    def __len__(self) -> int:
        return len(self._names)

    def _at(self, row: int) -> Picture | None:
        return Picture(self._folder / self._names[row]) if self._names[row] else None


class PictureMembers(Lazy[Picture | None]):
    """Pictures inside archives: for each the number of its archive, and the member; "" is no picture."""

    def __init__(self, archives: Sequence[Path], which: NDArray[np.int32], members: Sequence[str]) -> None:
        self._archives, self._which, self._members = archives, which, members

    def __len__(self) -> int:
        return len(self._members)

    def _at(self, row: int) -> Picture | None:
        return Picture(self._archives[self._which[row]], self._members[row]) if self._members[row] else None


class Places(Lazy[str]):
    """ "FILE:LINE" of every pair, from line numbers alone."""

    def __init__(self, file: str, numbers: Sequence[int] | NDArray[np.int64]) -> None:
        self._file, self._numbers = file, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def _at(self, row: int) -> str:
        return f"{self._file}:{self._numbers[row]}"


def name_of(where: Path | str) -> str:
    """What a data set is called when nothing is said: the name of its file or folder, in letters that may be in it."""
    path = Path(where)
    stem = path.name if path.is_dir() else path.name.partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem or path.absolute().name).strip("-") or "data"


def words(value: Any) -> tuple[str, ...]:
    """An option that takes one word or several: "a,b", or a list of them."""
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(str(part).strip() for part in parts if str(part).strip())


def choice(op: str, name: str, value: Any, allowed: Sequence[str]) -> str:
    """An option that takes one of a few words."""
    if value not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(allowed)}, got {value!r}")
    return str(value)


def multi_hot(
    labels: Iterable[Sequence[str]], n: int, classes: Sequence[str] = ()
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Labels uint8 [n, c] and the names of the classes: numbers in their order, all others by code point.

    Args:
        labels: the labels of each of n pairs; none is an empty sequence.
        classes: all of them in their order, where it is known.
    """
    index: dict[str, int] = {name: i for i, name in enumerate(classes)}
    rows, columns = [], []
    for row, given in enumerate(labels):
        for label in given:
            rows.append(row)
            columns.append(index.setdefault(label, len(index)))
    numbers = all(re.fullmatch(r"-?\d{1,18}", label) for label in index)
    order = sorted(index, key=(lambda label: (int(label), label)) if numbers else (lambda label: (0, label)))
    order = list(classes) or order
    place = np.empty(len(order), np.int64)
    place[[index[label] for label in order]] = np.arange(len(order))
    out = np.zeros((n, len(order)), np.uint8)
    if rows:
        out[np.array(rows), place[np.array(columns)]] = 1
    return out, tuple(order)


def split_of(parts: Sequence[str], op: str, say: Any = None) -> tuple[Split, tuple[str, ...]]:
    """The split that a word for each pair says, and notes on what became of it.

    query and test are queries; train is searched and trained on; database is searched alone, and so is val where there
    is a test part (else it has the queries). Without a train part all that is searched is trained on. A pair without a
    word takes no part.

    Args:
        parts: a word a pair: train, val, test, query, database, or one that means the same.
        op: who asks.
        say: place of a row, for the error.
    Raises:
        ValueError: another word, or no queries among them.
    """
    kinds = {word: word.strip().lower() for word in set(parts)}
    for word, kind in kinds.items():
        if kind and kind not in SPLIT_WORDS:
            row = list(parts).index(word)
            where = f"row {row}" if say is None else say(row)
            raise ValueError(f"{op}: {where}: split must be one of {', '.join(SPLIT_WORDS)}, got {word!r}")
    groups = [("",), _QUERY, _DATABASE, _TRAIN, _HELD_OUT]
    number = {word: next(i for i, group in enumerate(groups) if kind in group) for word, kind in kinds.items()}
    of = np.fromiter(map(number.__getitem__, parts), np.int8, len(parts))
    none, query, train, held_out = of == 0, of == 1, of == 3, of == 4
    notes: tuple[str, ...] = ()
    if none.any():
        notes = (f"{int(none.sum()):,} pairs are in no part of the split",)
    if not query.any():
        query = held_out
    elif held_out.any():
        notes += (f"{int(held_out.sum()):,} pairs of the validation part are searched, and not trained on",)
    rest = np.flatnonzero(~query & ~none)
    if not query.any() or not len(rest):
        held = ", ".join(sorted(set(kinds.values()) - {""})) or "blank cells"
        raise ValueError(f"{op}: split must have queries (query, test or val) and others, got {held} alone")
    return Split(np.flatnonzero(query), rest, np.flatnonzero(train) if train.any() else rest), notes


def part_word(name: str) -> str | None:
    """The word for a part of a split that a file or folder is named after ("train-00000-of-00003"), if it is."""
    word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return word if word in SPLIT_WORDS else None


def files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Names, with "/" and below the folder, of the files with these suffixes, sorted folder by folder.

    Hidden files and folders are left out; a folder that links lead to twice is looked into once.
    """
    pending, seen = [""], set()
    while pending:
        inside = pending.pop()
        about = os.stat(folder / inside)
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(folder / inside) as found:
            entries = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
        for entry in entries:
            if os.path.splitext(entry.name)[1].lower() in suffixes and entry.is_file():
                if not _is_text(entry.name):
                    name = os.fsencode(inside + entry.name)
                    raise ValueError(f"{folder}: names of files must be UTF-8, got {name!r}")
                yield f"{inside}{entry.name}"
        pending += [f"{inside}{entry.name}/" for entry in reversed(entries) if entry.is_dir()]


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8; Python keeps other bytes of it as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
