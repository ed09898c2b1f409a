"""The cleaned lists that MITH gives out: all_imgs.txt, all_tags.txt or all_txts.txt, all_labels.txt, a line a pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._field import first_there, folder, known_name, lines, one_of
from fasthash.data.readers._registry import reader
from fasthash.features import Picture
from fasthash.features._progress import Progress

KIND = "mith_lists"
_IMAGES, _LABELS = "all_imgs.txt", "all_labels.txt"
_TEXTS = {"all_tags.txt": ",", "all_txts.txt": ";"}  # what stands between the tags, or the sentences, of a line
_WORDS = ("Concepts/TagList.txt", "Concepts/TagList1k.txt", "TagList.txt", "TagList1k.txt")


def _text_file(where: Path) -> Path | None:
    return first_there(where / file for file in _TEXTS)


def _is_lists(where: Path) -> bool:
    files = (where / _IMAGES, where / _LABELS)
    return where.is_dir() and all(file.is_file() for file in files) and _text_file(where) is not None


@reader(
    KIND,
    "cleaned lists of MITH: all_imgs.txt, all_tags.txt or all_txts.txt, all_labels.txt; Concepts/TagList.txt",
    {
        "subset": "labelled (default: pairs with at least one label) or all",
        "pictures": "folder of the pictures; default: images/ beside the lists, where it is",
    },
    detect=_is_lists,
)
def read(
    where: Path, *, name: str | None, progress: Progress, subset: str = "labelled", pictures: str | None = None
) -> Gathered:
    """See `fasthash.data.readers.read`."""
    subset = one_of(KIND, "subset", subset, ("labelled", "all"))
    paths = [line.strip().replace("\\", "/") for line in lines(KIND, where / _IMAGES)]
    n = len(paths)
    labels = _labels(where / _LABELS, n)
    text_path = _text_file(where)
    if text_path is None:
        raise FileNotFoundError(f"{KIND}: no such file: {where / next(iter(_TEXTS))}")
    given = lines(KIND, text_path)
    if len(given) != n:
        raise ValueError(f"{KIND}: {text_path} must have {n} lines like {_IMAGES}, got {len(given)}")
    parts = [[part.strip() for part in line.split(_TEXTS[text_path.name]) if part.strip()] for line in given]
    tagged = text_path.name == "all_tags.txt"
    texts = [(" ".join(words),) if tagged and words else tuple(words) for words in parts]
    bow = _bag(where, text_path, parts) if tagged else None
    rows = np.flatnonzero(labels.any(axis=1)) if subset == "labelled" else np.arange(n)
    root = folder(KIND, "pictures", pictures) if pictures else first_there([where / "images"]) or where
    whole = any((root / path).exists() for path in paths[:1])  # some keep the first folder of the list, some do not
    names = [PurePosixPath(path).name for path in paths]
    return Gathered(
        name=name or known_name(len(rows), labels.shape[1], where.resolve().name), ids=[names[i] for i in rows],
        pictures=[Picture(root / (paths[i] if whole else names[i])) for i in rows], texts=[texts[i] for i in rows],
        text=None if bow is None else bow[rows], text_features="bow", labels=labels[rows],
        class_names=tuple(str(i) for i in range(labels.shape[1])),
        source="lists in the layout of Y. Liu et al., Multi-Granularity Interactive Transformer Hashing, "
        "ACM Multimedia 2023",
        where=[f"{_IMAGES}:{i + 1}" for i in rows],
    )  # fmt: skip


def _labels(path: Path, n: int) -> NDArray[np.uint8]:
    """Marks of 0 and 1, a line a pair."""
    rows = lines(KIND, path)
    if len(rows) != n:
        raise ValueError(f"{KIND}: {path} must have {n} lines like {_IMAGES}, got {len(rows)}")
    width = len(rows[0].split()) if rows else 0
    out = np.zeros((n, width), np.uint8)
    marks: dict[str, int] = {}  # few words say 0 or 1: "1", "1.0", "1.000000000000000000e+00"
    for i, row in enumerate(rows):
        words = row.split()
        for word in set(words) - marks.keys():
            marks[word] = _mark(word)
        found = [marks[word] for word in words]
        if len(words) != width or 2 in found:
            raise ValueError(f"{KIND}: {path}:{i + 1} must be {width} marks of 0 or 1, got {row[:60]!r}")
        out[i] = found
    return out


def _mark(word: str) -> int:
    """0 or 1; 2 for anything else."""
    try:
        return {0.0: 0, 1.0: 1}.get(float(word), 2)
    except ValueError:
        return 2


def _bag(where: Path, path: Path, parts: Sequence[Sequence[str]]) -> NDArray[np.float32] | None:
    """Bag of the listed tags, where the list is there; a tag that it lacks is an error."""
    listed = first_there(where / place for place in _WORDS)
    if listed is None:
        return None
    words = [line.strip() for line in lines(KIND, listed) if line.strip()]
    column = {word: i for i, word in enumerate(words)}
    out = np.zeros((len(parts), len(words)), np.float32)
    for i, tags in enumerate(parts):
        strange = next((tag for tag in tags if tag not in column), None)
        if strange is not None:
            raise ValueError(f"{KIND}: {path}:{i + 1}: the tag {strange!r} is not in {listed.name}")
        out[i, [column[tag] for tag in tags]] = 1
    return out
