"""Arrays of anybody's: embeddings or features, with or without labels, texts, ids and a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data._scratch import IN_MEMORY, Scratch
from fasthash.data.gathered import Gathered
from fasthash.data.readers._columns import GIVEN, multi_hot, name_of
from fasthash.data.readers._registry import reader
from fasthash.data.splits import Split
from fasthash.data.tree import one_hot
from fasthash.features._progress import Progress
from fasthash.features.array_files import SUFFIXES, ArrayFile

_OP = "arrays"
_ROWS = 4096  # of a large array, copied at a time
NONE = "none"
_USUAL = {
    "image": ("image", "images", "img", "image_features", "image_embeddings", "image_embeds", "img_emb", "img_feats"),
    "text": ("text", "texts", "txt", "text_features", "text_embeddings", "text_embeds", "txt_emb", "text_emb"),
    "captions": ("captions", "caption"),
    "labels": ("labels", "label", "lab", "y"),
    "ids": ("ids", "id", "keys"),
    "classes": ("class_names", "classes"),
    "query": ("query", "queries"),
    "database": ("database", "retrieval"),
    "train": ("train",),
}
_WHAT = "FILE, FILE:NAME, or the NAME of an array in the file that is read"
Found = tuple[ArrayFile, str]


def _detect(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in SUFFIXES
    return any(child.suffix.lower() in SUFFIXES for child in path.iterdir())


@reader(
    "arrays",
    "arrays in .npy, .npz, .mat, .h5 or .safetensors: embeddings alone, or with labels, texts, ids and a split",
    {
        "image": f"features of the pictures [n, width]: {_WHAT} (default: by its usual name; none: no such array)",
        "text": "features of the texts [n, width], or the texts themselves",
        "captions": "the texts [n] or [n, k] beside their features",
        "labels": "multi-hot [n, c], class numbers [n], or words",
        "ids": "a word or number for each pair",
        "classes": "names of the classes",
        "query": "row numbers of the queries, or booleans [n]; database and train likewise",
        "database": "default: all that are not queries",
        "train": "default: the database",
        "first_row": "what numbers of rows and classes begin at: 0 (default), or 1 as MATLAB's do",
    },
    detect=_detect,
    general=True,
)
def read(where: Path, *, name: str | None, progress: Progress, **options: Any) -> Gathered:
    """See `readers.read`."""
    found = _Arrays(where, options)
    sides: dict[str, Any] = {}
    texts = None
    n: int | None = None
    for role in ("image", "text"):
        place = found.of(role)
        if place is None:
            continue
        if place[0].kind(place[1]) == "text" and role == "text":
            texts = place
        else:
            sides[role] = _matrix(place, role)
            n = len(sides[role]) if n is None else n
    texts = found.of("captions") or texts
    if not sides and texts is None:
        raise ValueError(f"{_OP}: {where} holds {found.held()}: name arrays with image=NAME and text=NAME")
    captions = None if texts is None else texts[0].strings(texts[1], n)
    n = len(captions) if n is None and captions is not None else n
    assert n is not None
    labels, class_names = _labels(found, n, options.get("first_row", 0))
    return Gathered(
        name=name or name_of(where), ids=_words(found, "ids", n), texts=captions, labels=labels,
        class_names=class_names, splits=_splits(found, n, options.get("first_row", 0)), **sides,
    )  # fmt: skip


class _Arrays:
    """The arrays of a file, or of the files of a folder, by role."""

    def __init__(self, where: Path, options: Mapping[str, Any]) -> None:
        self.where, self.options = where, options
        self.home = where if where.is_dir() else where.parent
        self.file = None if where.is_dir() else ArrayFile(where, _OP)

    def of(self, role: str) -> Found | None:
        """The array that has a role, by the option or its usual name; None where there is none."""
        given = self.options.get(role)
        if given is not None:
            return None if given == NONE else self._named(str(given), role)
        for usual in _USUAL[role]:
            found = self._usual(usual)
            if found is not None:
                return found
        return None

    def _usual(self, usual: str) -> Found | None:
        if self.file is not None:
            same = [name for name in self.file.names if name.lower() == usual]
            return (self.file, same[0]) if same else None
        for child in sorted(self.home.iterdir()):
            if child.stem.lower() == usual and child.suffix.lower() in SUFFIXES:
                return self._alone(child, child.name)
        return None

    def _named(self, given: str, role: str) -> Found:
        if self.file is not None and given in self.file:
            return self.file, given
        for base in (self.home, Path()):
            path = (base / given).expanduser()
            if path.is_file():
                return self._alone(path, given)
            before, colon, inside = str(path).rpartition(":")
            if colon and Path(before).is_file():
                file = ArrayFile(before, f"{_OP}: {role}")
                if inside not in file:
                    raise ValueError(f"{_OP}: {role}: {before} has no array {inside!r}; it holds {_list(file)}")
                return file, inside
        raise ValueError(f"{_OP}: {role}: no array and no file {given!r}; {self.where} holds {self.held()}")

    def _alone(self, path: Path, given: str) -> Found:
        file = ArrayFile(path, _OP)
        if len(file.names) != 1:
            raise ValueError(f"{_OP}: {path} holds several arrays ({_list(file)}): name one as {given}:NAME")
        return file, file.names[0]

    def held(self) -> str:
        """What there is to name."""
        if self.file is not None:
            return _list(self.file)
        return ", ".join(sorted(child.name for child in self.home.iterdir() if child.suffix.lower() in SUFFIXES))


def _list(file: ArrayFile) -> str:
    return ", ".join(f"{name or 'one array'} {list(file.shape(name))}" for name in file.names) or "no array"


def _matrix(found: Found, role: str) -> NDArray[Any]:
    """Real numbers [n, width]; a large .npy stays in its file, any other large one goes to a scratch file by blocks."""
    file, name = found
    shape, what = file.shape(name), f"{_OP}: {role}: {file.path}{':' if name else ''}{name}"
    if file.kind(name) != "numbers" or len(shape) != 2 or 0 in shape:
        raise ValueError(f"{what} must be numbers [n, width], got {file.kind(name)} {list(shape)}")
    if file.path.suffix.lower() == ".npy" or shape[0] * shape[1] * 4 <= IN_MEMORY:
        values = file.load(name)
        _check_real(values, what)
        return values
    scratch: Scratch | None = None
    for _, block in file.blocks(name, rows=_ROWS):
        _check_real(block, what)
        scratch = scratch or Scratch(shape[1], block.dtype)
        scratch.append(block)
    assert scratch is not None  # at least one row, as checked
    return scratch.finish()


def _check_real(values: NDArray[Any], what: str) -> None:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{what} must be real numbers, got {values.dtype}")


def _words(found: _Arrays, role: str, n: int) -> list[str] | None:
    """A word an item."""
    place = found.of(role)
    if place is None:
        return None
    file, name = place
    if file.kind(name) == "text":
        return [" ".join(words) for words in file.strings(name, n)]
    values = np.asarray(file.load(name)).reshape(-1)
    whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool((values == np.rint(values)).all()))
    if len(values) != n or not whole or np.isinf(values).any():
        raise ValueError(f"{_OP}: {role} must be {n} words or whole numbers, got {values.dtype} {list(values.shape)}")
    return [str(int(value)) for value in values.tolist()]


def _labels(found: _Arrays, n: int, first_row: Any) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    place = found.of("labels")
    if place is None:
        return None, ()
    file, name = place
    if file.kind(name) == "text":
        return multi_hot(file.strings(name, n), n)
    values = np.asarray(file.load(name))
    if values.ndim == 2 and 1 in values.shape and n in values.shape and n > 1:
        values = values.reshape(-1)  # a column or row of class numbers, as MATLAB keeps a vector
    shown = f"{_OP}: labels must be multi-hot 0/1 [{n}, c], class numbers [{n}], or words, got"
    whole = values.dtype.kind in "iub" or (values.dtype.kind == "f" and bool((values == np.rint(values)).all()))
    if not whole or len(values) != n or values.ndim not in (1, 2):
        raise ValueError(f"{shown} {values.dtype} {list(values.shape)}")
    if values.ndim == 1:
        return _numbered(found, values, n, first_row)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise ValueError(f"{shown} values from {values.min()} to {values.max()}")
    return values.astype(np.uint8), _class_names(found, values.shape[1]) or tuple(map(str, range(values.shape[1])))


def _numbered(
    found: _Arrays, values: NDArray[Any], n: int, first_row: Any
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Class numbers [n]: the classes that occur in their order; where more are named, each by its number."""
    labels, numbers = multi_hot([(str(int(value)),) for value in values.tolist()], n)
    names = _class_names(found, None)
    if len(names) <= len(numbers):
        return labels, _class_names(found, len(numbers)) or numbers
    first, last = int(_begin(first_row)), len(names) - 1 + int(first_row)
    if values.min() < first or values.max() > last:
        raise ValueError(
            f"{_OP}: labels must be class numbers from {first} to {last}, for {len(names)} names of classes and"
            f" first_row={first}, got {values.min():g} to {values.max():g}"
        )
    return one_hot(values.astype(np.int64) - first, len(names)), names


def _class_names(found: _Arrays, classes: int | None) -> tuple[str, ...]:
    place = found.of("classes")
    if place is None or place[0].kind(place[1]) != "text":
        return ()
    return tuple(" ".join(words) for words in place[0].strings(place[1], classes))


def _splits(found: _Arrays, n: int, first_row: Any) -> dict[str, Split]:
    query = _rows(found, "query", n, first_row)
    if query is None:
        return {}
    database = _rows(found, "database", n, first_row)
    if database is None:
        database = np.setdiff1d(np.arange(n), query)
    train = _rows(found, "train", n, first_row)
    return {GIVEN: Split(query, database, database if train is None else train)}


def _begin(first_row: Any) -> int:
    if str(first_row) not in ("0", "1"):
        raise ValueError(f"{_OP}: first_row must be 0 or 1, got {first_row!r}")
    return int(first_row)


def _rows(found: _Arrays, role: str, n: int, first_row: Any) -> NDArray[np.int64] | None:
    place = found.of(role)
    if place is None:
        return None
    _begin(first_row)
    values = np.asarray(place[0].load(place[1])).reshape(-1)
    if values.dtype == np.bool_ and len(values) == n:
        return np.flatnonzero(values)
    whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool((values == np.rint(values)).all()))
    rows = values.astype(np.int64) - int(first_row) if whole and values.dtype != np.bool_ else None
    if rows is None or not len(rows) or rows.min() < 0 or rows.max() >= n:
        raise ValueError(
            f"{_OP}: {role} must be row numbers from {first_row} to {n - 1 + int(first_row)}, or booleans [{n}], got "
            f"{values.dtype} {list(values.shape)}"
            + (f" from {values.min()} to {values.max()}" if rows is not None and len(rows) else "")
        )
    return rows
