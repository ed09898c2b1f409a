"""Arrays that come in training and test parts (I_tr, T_tr, L_tr, I_te, T_te, L_te), and Wiki's lists beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._field import first_there, folder, known_name, lines
from fasthash.data.readers._registry import reader
from fasthash.data.splits import Split
from fasthash.features import Picture
from fasthash.features._progress import Progress
from fasthash.features.array_files import ArrayFile

_SUFFIXES = (".mat", ".h5", ".hdf5", ".npz")
_FEATURES = ("I_tr", "T_tr", "I_te", "T_te")
WIKI_LISTS = ("trainset_txt_img_cat.list", "testset_txt_img_cat.list")
_WIKI = "raw_features.mat"


def _parts(file: ArrayFile, letter: str, parts: list[str]) -> list[NDArray[Any]]:
    """The arrays of one letter, part by part: numbers in two dimensions, of one width."""
    arrays = [np.asarray(file.load(f"{letter}_{part}")) for part in parts]
    for part, array in zip(parts, arrays, strict=True):
        if array.ndim != 2 or array.dtype.kind not in "biuf" or array.shape[1] != arrays[0].shape[1]:
            like = f"[n, {arrays[0].shape[-1]}] numbers" if array is not arrays[0] else "[n, width] numbers"
            raise ValueError(f"{file.who}: {file.path}:{letter}_{part} must be {like}, got {list(array.shape)}")
    return arrays


def _check_rows(file: ArrayFile, letter: str, part: str, array: NDArray[Any], n: int) -> None:
    if len(array) != n:
        raise ValueError(
            f"{file.who}: {file.path}:{letter}_{part} must have {n} rows like I_{part}, got {list(array.shape)}"
        )


def _labels(file: ArrayFile, parts: list[str], sizes: list[int]) -> NDArray[np.uint8]:
    """Multi-hot labels of all parts, from 0 and 1, or from class numbers (of 0 or 1) in one column or row."""
    columns = []
    for part, n in zip(parts, sizes, strict=True):
        values = np.asarray(file.load(f"L_{part}"))
        if values.ndim == 2 and 1 in values.shape and values.size == n:
            values = values.reshape(n, 1)
        if values.ndim != 2 or len(values) != n:
            raise ValueError(f"{file.who}: {file.path}:L_{part} must have {n} rows like I_{part}, got {values.shape}")
        columns.append(values.astype(np.float64))
    if len({values.shape[1] for values in columns}) > 1:
        widths = ", ".join(str(values.shape[1]) for values in columns)
        raise ValueError(f"{file.who}: {file.path}: L of {', '.join(parts)} must have one width, got {widths}")
    values = np.concatenate(columns)
    if values.shape[1] == 1:
        ids = values[:, 0]
        if (ids != np.rint(ids)).any() or ids.min() < 0:
            bad = ids[(ids != np.rint(ids)) | (ids < 0)][0]
            raise ValueError(f"{file.who}: {file.path}: L in one column must hold class numbers from 0, got {bad:g}")
        return (ids[:, None] == np.arange(min(ids.min(), 1), ids.max() + 1)).astype(np.uint8)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"{file.who}: {file.path}: L must hold 0 and 1, or class numbers in one column")
    return values.astype(np.uint8)


def _file(where: Path) -> Path | None:
    """The file of a folder that holds the parts."""
    paths = [where] if where.is_file() else sorted(path for path in where.glob("*") if path.suffix in _SUFFIXES)
    for path in paths:
        if path.suffix in _SUFFIXES and set(_FEATURES) <= set(ArrayFile(path, "train_test").names):
            return path
    return None


def _is_parts(where: Path) -> bool:
    return _file(where) is not None and not _is_wiki(where)


@reader(
    "train_test",
    "arrays in training and test parts, as shallow methods keep them: I_tr, T_tr, L_tr, I_te, T_te, L_te, I_db ...",
    detect=_is_parts,
)
def read(where: Path, *, name: str | None, progress: Progress) -> Gathered:
    """See `fasthash.data.readers.read`. The test part is the queries, the training part (and I_db) the database."""
    path = _file(where)
    if path is None:
        raise ValueError(f"train_test: {where} has no file with the arrays {', '.join(_FEATURES)}")
    file = ArrayFile(path, "train_test")
    parts = ["tr", "te"]
    notes = []
    if {"I_db", "T_db"} <= set(file.names):
        # a database part holds the training rows once more in most files: then only rows of the database are kept
        inside = _rows_inside(file)
        parts = ["db", "te"] if inside is not None else ["tr", "te", "db"]
        if inside is not None:
            notes.append("I_tr, T_tr are rows of I_db, T_db: each pair is kept once")
    else:
        inside = None
    image, text = _parts(file, "I", parts), _parts(file, "T", parts)
    sizes = [len(array) for array in image]
    for part, array, n in zip(parts, text, sizes, strict=True):
        _check_rows(file, "T", part, array, n)
    labels = _labels(file, parts, sizes) if {f"L_{part}" for part in parts} <= set(file.names) else None
    starts = np.cumsum([0, *sizes])
    rows = {part: np.arange(starts[i], starts[i + 1]) for i, part in enumerate(parts)}
    train = rows["tr"] if inside is None else inside
    database = rows["db"] if "db" in rows and inside is not None else np.setdiff1d(np.arange(starts[-1]), rows["te"])
    classes = 0 if labels is None else labels.shape[1]
    return Gathered(
        name=name or known_name(int(starts[-1]), classes, path.stem), image=np.concatenate(image),
        text=np.concatenate(text), labels=labels, class_names=tuple(str(i) for i in range(classes)),
        splits={"given": Split(rows["te"].astype(np.int64), database.astype(np.int64), train.astype(np.int64))},
        notes=tuple(notes),
    )  # fmt: skip


def _rows_inside(file: ArrayFile) -> NDArray[np.int64] | None:
    """Row numbers of the training part in the database part, where every one of its rows is found there."""
    image, text = (np.asarray(file.load(f"{letter}_db")) for letter in "IT")
    places = {row.tobytes() + words.tobytes(): i for i, (row, words) in enumerate(zip(image, text, strict=True))}
    train = zip(np.asarray(file.load("I_tr")), np.asarray(file.load("T_tr")), strict=True)
    found = [places.get(row.tobytes() + words.tobytes()) for row, words in train]
    if None in found or len(set(found)) != len(found):
        return None
    return np.array(found, np.int64)


def _is_wiki(where: Path) -> bool:
    return where.is_dir() and all((where / file).is_file() for file in (_WIKI, *WIKI_LISTS))


@reader(
    "wiki",
    "Wiki: raw_features.mat, trainset_ and testset_txt_img_cat.list, categories.list, pictures in images/CLASS/",
    {"pictures": "folder of the pictures, CLASS/NAME.jpg; default: images/ beside the lists, where it is"},
    detect=_is_wiki,
)
def read_wiki(where: Path, *, name: str | None, progress: Progress, pictures: str | None = None) -> Gathered:
    """See `fasthash.data.readers.read`. 2,173 training pairs, which are the database, then 693 queries."""
    if not (where / _WIKI).is_file():
        raise FileNotFoundError(f"wiki: no such file: {where / _WIKI}")
    file = ArrayFile(where / _WIKI, "wiki")
    parts = ["tr", "te"]
    image, text = _parts(file, "I", parts), _parts(file, "T", parts)
    rows: list[tuple[str, str, int]] = []
    for part, title, arrays in zip(parts, WIKI_LISTS, zip(image, text, strict=True), strict=True):
        listed = _wiki_list(where / title)
        for letter, array in zip("IT", arrays, strict=True):
            if len(array) != len(listed):
                raise ValueError(
                    f"wiki: {file.path}:{letter}_{part} must have {len(listed)} rows like {title}, got {len(array)}"
                )
        rows += listed
    classes = _wiki_classes(where, max(label for _, _, label in rows))
    ids = np.array([label - 1 for _, _, label in rows])
    root = folder("wiki", "pictures", pictures) if pictures else first_there([where / "images"])
    n_train = len(image[0])
    rest = np.arange(n_train, dtype=np.int64)
    return Gathered(
        name=name or "wiki", ids=[document for document, _, _ in rows],
        pictures=None if root is None else [Picture(root / classes[c - 1] / f"{title}.jpg") for _, title, c in rows],
        image=np.concatenate(image).astype(np.float32), image_features="sift",
        text=np.concatenate(text).astype(np.float32), text_features="lda",
        labels=(ids[:, None] == np.arange(len(classes))).astype(np.uint8), class_names=classes,
        splits={"given": Split(np.arange(n_train, len(rows), dtype=np.int64), rest, rest)},
        notes=("features as published: 128-d SIFT bag of visual words, 10-d LDA topics",),
        source="N. Rasiwasia et al., A New Approach to Cross-Modal Multimedia Retrieval, ACM Multimedia 2010",
        licence="for research, with citation; no licence stated",
        where=[f"{title}:{i}" for title, n in zip(WIKI_LISTS, map(len, image), strict=True) for i in range(1, n + 1)],
    )  # fmt: skip


def _wiki_list(path: Path) -> list[tuple[str, str, int]]:
    """Document, picture and class (from 1) of each line."""
    found = []
    for i, line in enumerate(lines("wiki", path), 1):
        words = line.split()
        if len(words) != 3 or not words[2].isdecimal() or words[2] == "0":
            raise ValueError(f"wiki: {path}:{i} must be document, picture and class from 1, got {line[:60]!r}")
        found.append((words[0], words[1], int(words[2])))
    return found


def _wiki_classes(where: Path, most: int) -> tuple[str, ...]:
    path = where / "categories.list"
    if not path.exists():
        return tuple(str(i) for i in range(1, most + 1))
    names = tuple(line.strip() for line in lines("wiki", path) if line.strip())
    if len(names) < most:
        raise ValueError(f"wiki: {path} must name {most} classes like the lists, got {len(names)}")
    return names
