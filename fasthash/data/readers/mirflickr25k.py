"""MIRFlickr-25K as it is given out: im1.jpg ..., meta/tags/tags1.txt ..., annotation files of picture numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._field import first_there, folder, lines, one_of
from fasthash.data.readers._registry import reader
from fasthash.features import Picture
from fasthash.features._progress import Progress, progress_bar

KIND = "mirflickr25k"
Tags = tuple[str, ...]
_TAGS = ("meta/tags", "tags", "mirflickr/meta/tags", "mirflickr25k/meta/tags")
_ANNOTATIONS = ("mirflickr25k_annotations_v080", "annotations", "../mirflickr25k_annotations_v080")
_ALL = 25000
_COMMON = 20  # a tag counts when so many pictures have it
_WIDTH = 1386  # such tags of the whole collection
_SUBSETS = {"tagged": 20015, "labelled": 24581, "all": 25000}
_CLASSES = {"potential": 24, "relevant": 14}
_NUMBER = re.compile(r"tags(\d+)\.txt")


def _tags_folder(where: Path) -> Path | None:
    places = (where / place for place in _TAGS)
    return next((place for place in places if (place / "tags1.txt").is_file() or any(place.glob("tags*.txt"))), None)


def _annotations_folder(where: Path) -> Path | None:
    places = (where / place for place in _ANNOTATIONS)
    return next((place for place in places if place.is_dir() and any(place.glob("*_r1.txt"))), None)


def _is_mirflickr(where: Path) -> bool:
    return where.is_dir() and _tags_folder(where) is not None and _annotations_folder(where) is not None


@reader(
    KIND,
    "MIRFlickr-25K as given out: im1.jpg ..., meta/tags/tags1.txt ..., mirflickr25k_annotations_v080/*.txt",
    {
        "subset": "tagged (default: pairs with a label and a tag of 20 pictures or more: 20,015), "
        "labelled (with any label, raw tags, in the CLIP line's order: 24,581) or all (25,000)",
        "labels": "potential (default, the 24 of the field) or relevant (the 14 of the _r1 files)",
        "annotations": "folder of the annotation files; default: mirflickr25k_annotations_v080 beside the rest",
    },
    detect=_is_mirflickr,
)
def read(
    where: Path,
    *,
    name: str | None,
    progress: Progress,
    subset: str = "tagged",
    labels: str = "potential",
    annotations: str | None = None,
) -> Gathered:
    """See `fasthash.data.readers.read`."""
    subset = one_of(KIND, "subset", subset, tuple(_SUBSETS))
    kind = one_of(KIND, "labels", labels, tuple(_CLASSES))
    tags_folder = _tags_folder(where) if where.is_dir() else None
    if tags_folder is None:
        raise FileNotFoundError(
            f"{KIND}: no such file: {where / _TAGS[0] / 'tags1.txt'}, nor in {', '.join(_TAGS[1:])}"
        )
    notes_folder = folder(KIND, "annotations", annotations) if annotations else _annotations_folder(where)
    if notes_folder is None:
        raise FileNotFoundError(f"{KIND}: no such folder: {where / _ANNOTATIONS[0]}: give annotations=FOLDER")
    numbers, tags = _read_tags(tags_folder, progress)
    classes, hot = _read_labels(notes_folder, kind, numbers)
    kept, tags, bow, notes = _subset(subset, numbers, tags, hot, tags_folder)
    wanted = _SUBSETS[subset]
    if len(numbers) == _ALL and kind == "potential" and len(kept) != wanted:
        raise ValueError(f"{KIND}: {notes_folder}: expected {wanted} pairs of subset={subset}, found {len(kept)}")
    root = first_there([where / "im1.jpg", tags_folder.parent.parent / "im1.jpg", tags_folder.parent / "im1.jpg"])
    pictures = root.parent if root is not None else tags_folder.parent.parent
    return Gathered(
        name=name or KIND, ids=[f"im{numbers[i]}" for i in kept],
        pictures=[Picture(pictures / f"im{numbers[i]}.jpg") for i in kept],
        texts=[(" ".join(tags[i]),) if tags[i] else () for i in kept],
        text=None if bow is None else bow[kept], text_features="bow", labels=hot[kept], class_names=classes,
        notes=notes, source="M. J. Huiskes and M. S. Lew, The MIR Flickr Retrieval Evaluation, MIR 2008",
        licence="each picture under its Creative Commons licence, see its meta/license file",
        where=[f"tags{numbers[i]}.txt" for i in kept],
    )  # fmt: skip


def _subset(
    subset: str, numbers: Sequence[int], tags: list[Tags], hot: NDArray[np.uint8], root: Path
) -> tuple[Sequence[int], list[Tags], NDArray[np.float32] | None, tuple[str, ...]]:
    """Which pairs are kept, in which order; the tags that count; their bag of words; notes."""
    if subset == "all":
        return range(len(numbers)), tags, None, ()
    if subset == "labelled":
        order = sorted(range(len(numbers)), key=lambda i: str(numbers[i]))  # by words, as the line's script sorts them
        note = "rows lie in the order of the CLIP line's script: im1, im10, im100, ..."
        return [i for i in order if hot[i].any()], tags, None, (note,)
    vocabulary = _common_tags(tags)
    if len(numbers) == _ALL and len(vocabulary) != _WIDTH:
        what = f"tags that {_COMMON} pictures or more have"
        raise ValueError(f"{KIND}: {root}: expected {_WIDTH} {what}, found {len(vocabulary)}")
    bow, words = _bag(tags, vocabulary), set(vocabulary)
    kept = np.flatnonzero(hot.any(axis=1) & bow.any(axis=1)).tolist()
    common = [tuple(tag for tag in given if tag in words) for given in tags]
    return kept, common, bow, (f"texts are tags that {_COMMON} pictures or more have",)


def _read_tags(root: Path, progress: Progress) -> tuple[list[int], list[Tags]]:
    """Numbers of the pictures, ascending, and the tags of each, one a line of its file."""
    found = sorted(int(match[1]) for path in root.iterdir() if (match := _NUMBER.fullmatch(path.name)))
    tags = []
    with progress_bar("reading tags", len(found), progress) as done:
        for i, number in enumerate(found):
            words = (line.strip() for line in lines(KIND, root / f"tags{number}.txt"))
            tags.append(tuple(dict.fromkeys(word for word in words if word)))
            done(i + 1)
    return found, tags


def _read_labels(root: Path, kind: str, numbers: Sequence[int]) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Class names, by their letters, and multi-hot labels; a file of a class lists the numbers of its pictures."""
    relevant = kind == "relevant"
    paths = sorted(path for path in root.glob("*.txt") if path.stem.endswith("_r1") == relevant)
    paths = [path for path in paths if not path.stem.lower().startswith("readme")]
    if len(paths) != _CLASSES[kind]:
        which = "*_r1.txt" if relevant else "*.txt without _r1"
        raise ValueError(f"{KIND}: {root}: expected {_CLASSES[kind]} files {which}, found {len(paths)}")
    row = {number: i for i, number in enumerate(numbers)}
    hot = np.zeros((len(numbers), len(paths)), np.uint8)
    for column, path in enumerate(paths):
        for i, line in enumerate(lines(KIND, path), 1):
            if line.strip() and (not line.strip().isdecimal() or int(line) not in row):
                said = "the number of a picture that has a tags file"
                raise ValueError(f"{KIND}: {path}:{i} must be {said}, got {line.strip()[:40]!r}")
            if line.strip():
                hot[row[int(line)], column] = 1
    return tuple(path.stem.removesuffix("_r1") for path in paths), hot


def _common_tags(tags: Sequence[Tags]) -> list[str]:
    counts = Counter(tag for given in tags for tag in given)
    return sorted(tag for tag, count in counts.items() if count >= _COMMON)


def _bag(tags: Sequence[Tags], vocabulary: Sequence[str]) -> NDArray[np.float32]:
    column = {tag: i for i, tag in enumerate(vocabulary)}
    out = np.zeros((len(tags), len(vocabulary)), np.float32)
    for i, given in enumerate(tags):
        out[i, [column[tag] for tag in given if tag in column]] = 1
    return out
