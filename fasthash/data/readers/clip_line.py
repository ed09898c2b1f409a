"""caption, index and label of the CLIP line: DCHMT, DSPH, DNPH, TwDH, DCGH, MITH."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._field import folder, known_name, lines, matrix, multi_hot
from fasthash.data.readers._registry import reader
from fasthash.features import Picture
from fasthash.features._progress import Progress
from fasthash.features.array_files import ArrayFile

KIND = "clip_line"
_LABELS = ("category", "label")
_NO_TAGS = "123456"  # what the line's NUS-WIDE script writes where a picture has no tags


def _is_clip_line(where: Path) -> bool:
    return (
        where.is_dir()
        and (where / "index.mat").is_file()
        and (where / "label.mat").is_file()
        and any((where / file).is_file() for file in ("caption.mat", "caption.txt"))
    )


@reader(
    KIND,
    "caption.mat or caption.txt, index.mat and label.mat of the CLIP line: DCHMT, DSPH, DNPH, TwDH, DCGH, MITH",
    {"pictures": "folder of the pictures, whose paths in index.mat are of another machine; default: those paths"},
    detect=_is_clip_line,
)
def read(where: Path, *, name: str | None, progress: Progress, pictures: str | None = None) -> Gathered:
    """See `fasthash.data.readers.read`."""
    if not where.is_dir():
        raise ValueError(f"{KIND}: {where} must be the folder of caption.mat, index.mat and label.mat, got a file")
    labels_file = ArrayFile(where / "label.mat", KIND)
    found = next((label for label in _LABELS if label in labels_file), None)
    if found is None:
        held = ", ".join(labels_file.names) or "no array"
        raise ValueError(f"{KIND}: {labels_file.path} must hold category or label, got {held}")
    shape = labels_file.shape(found)
    index = ArrayFile(where / "index.mat", KIND).strings("index")
    labels = multi_hot(labels_file, found, len(index), "rows" if len(set(shape)) == 1 else None)
    n, classes = labels.shape
    captions = _captions(where, n)
    paths = [_path(where, i, words) for i, words in enumerate(index)]
    bow, notes = _bag(where, n), []
    empty = sum(caption == (_NO_TAGS,) for caption in captions)
    if empty:
        notes.append(f"{empty} captions are {_NO_TAGS}, which stands for no tags")
    relative = [PurePosixPath(path).name for path in paths]
    return Gathered(
        name=name or known_name(n, classes, where.resolve().name), ids=relative, pictures=_pictures(paths, pictures),
        texts=captions, text=bow, text_features="bow", labels=labels,
        class_names=tuple(str(i) for i in range(classes)), notes=tuple(notes),
        source="files in the layout of J. Tu et al., Differentiable Cross-modal Hashing via Multimodal Transformers, "
        "ACM Multimedia 2022",
        where=[f"index.mat:{i}" for i in range(1, n + 1)],
    )  # fmt: skip


def _path(where: Path, i: int, words: tuple[str, ...]) -> str:
    if len(words) != 1:
        raise ValueError(f"{KIND}: {where / 'index.mat'}: row {i} must be one path, got {len(words)}")
    return words[0].replace("\\", "/")


def _captions(where: Path, n: int) -> list[tuple[str, ...]]:
    if (where / "caption.mat").is_file():
        found = ArrayFile(where / "caption.mat", KIND).strings("caption", n)
    else:
        found = [(line.strip(),) for line in lines(KIND, where / "caption.txt")]
        if len(found) != n:
            raise ValueError(f"{KIND}: {where / 'caption.txt'} must have {n} lines like index.mat, got {len(found)}")
    return [tuple(word for word in words if word) for words in found]


def _bag(where: Path, n: int) -> NDArray[Any] | None:
    path = where / "caption_one_hot.mat"
    return matrix(ArrayFile(path, KIND), "caption_one_hot", n, None, np.float32) if path.is_file() else None


def _pictures(paths: list[str], given: str | None) -> list[Picture | None]:
    """The paths as they are, or as much of their ends as is found below a folder."""
    if given is None:
        return [Picture(Path(path)) if path else None for path in paths]
    root = folder(KIND, "pictures", given)
    parts = PurePosixPath(paths[0]).parts if paths else ()
    for cut in range(1 if parts[:1] == ("/",) else 0, len(parts)):
        if root.joinpath(*parts[cut:]).exists():
            return [Picture(root.joinpath(*PurePosixPath(path).parts[cut:])) if path else None for path in paths]
    raise FileNotFoundError(f"{KIND}: pictures: {root} has no end of the path {paths[0] if paths else ''}")
