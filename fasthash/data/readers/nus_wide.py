"""NUS-WIDE as it is given out: ImageList, Groundtruth/AllLabels, NUS_WID_Tags; pictures by the list's paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._field import first_there, folder, lines, one_of
from fasthash.data.readers._registry import reader
from fasthash.data.splits import Split
from fasthash.features import Picture
from fasthash.features._progress import Progress, progress_bar

KIND = "nus_wide"
ALL = 269648
TOP10 = ("animal", "buildings", "clouds", "grass", "lake", "person", "plants", "sky", "water", "window")
TOP21 = (
    "animal", "beach", "buildings", "clouds", "flowers", "grass", "lake", "mountain", "ocean", "person", "plants",
    "reflection", "road", "rocks", "sky", "snow", "sunset", "tree", "vehicle", "water", "window",
)  # fmt: skip
_LISTS = ("ImageList/Imagelist.txt", "ImageList/ImageList.txt", "Imagelist.txt", "ImageList.txt")
_LABELS = ("Groundtruth/AllLabels", "AllLabels")
_TAGS = ("NUS_WID_Tags", "NUS_WIDE_Tags", "Tags", ".")
_PARTS = ("Groundtruth/TrainTestLabels", "TrainTestLabels")
_WORDS = ("TagList1k.txt", "../ConceptsList/TagList1k.txt", "../TagList1k.txt", "Final_Tag_List.txt")
_WIDTH = 1000
_SUBSETS = ("labelled", "tagged", "all")
_COUNTS = {("21", "labelled"): 195834, ("10", "labelled"): 186577, ("21", "tagged"): 190421}
_CHUNK = 1 << 24  # bytes of the tag matrix read at once


def _place(where: Path, places: Sequence[str]) -> Path | None:
    """One of these below the folder, or below a folder in it (NUS-WIDE/, Low-Level-Features/, ...)."""
    inner = sorted(path for path in where.iterdir() if path.is_dir()) if where.is_dir() else []
    return first_there(root / place for root in (where, *inner[:50]) for place in places)


def _is_nus_wide(where: Path) -> bool:
    found = _place(where, _LABELS)
    return found is not None and _place(where, _LISTS) is not None and any(found.glob("Labels_*.txt"))


@reader(
    KIND,
    "NUS-WIDE as given out: ImageList/Imagelist.txt, Groundtruth/AllLabels/Labels_*.txt, NUS_WID_Tags/",
    {
        "top": "how many concepts: 21 (default), 10 or 81",
        "subset": "labelled (default: pairs with one of the concepts), tagged (with one of the 1,000 tags too) or all",
        "texts": "raw (default: every tag of All_Tags.txt) or common (those of the 1,000)",
        "pictures": "folder that the paths of the list are below; default: Flickr/ or images/, where it is",
    },
    detect=_is_nus_wide,
)
def read(
    where: Path,
    *,
    name: str | None,
    progress: Progress,
    top: int | str = 21,
    subset: str = "labelled",
    texts: str = "raw",
    pictures: str | None = None,
) -> Gathered:
    """See `fasthash.data.readers.read`."""
    top = one_of(KIND, "top", top, ("81", "21", "10"))
    subset = one_of(KIND, "subset", subset, _SUBSETS)
    texts = one_of(KIND, "texts", texts, ("raw", "common"))
    list_path, labels_folder = _need(where, _LISTS), _need(where, _LABELS)
    paths = [line.strip().replace("\\", "/") for line in lines(KIND, list_path) if line.strip()]
    n = len(paths)
    classes, hot = _read_labels(labels_folder, top, n, list_path)
    tags_file = _place(where, [f"{place}/{file}" for place in _TAGS for file in ("AllTags1k.txt", "All_Tags.txt")])
    bow = vocabulary = None
    if tags_file is not None and (tags_file.parent / "AllTags1k.txt").is_file():
        bow = _read_bag(tags_file.parent / "AllTags1k.txt", n, list_path, progress)
        vocabulary = _vocabulary(tags_file.parent)
    words = _words(tags_file, texts, paths, bow, vocabulary)
    rows = _kept(subset, top, hot, bow, labels_folder)
    root = folder(KIND, "pictures", pictures) if pictures else _place(where, ("Flickr", "images", "Images"))
    base = root or where / "Flickr"
    return Gathered(
        name=name or KIND, ids=[Path(paths[i]).stem for i in rows], pictures=[Picture(base / paths[i]) for i in rows],
        texts=None if words is None else [words[i] for i in rows], text=None if bow is None else bow[rows],
        text_features="bow", labels=hot[rows], class_names=classes, splits=_given_split(where, list_path, paths, rows),
        source="T.-S. Chua et al., NUS-WIDE: A Real-World Web Image Database from National University of Singapore, "
        "CIVR 2009",
        licence="for research; each picture under its Flickr licence",
        where=[f"{list_path.name}:{i + 1}" for i in rows],
    )  # fmt: skip


def _kept(
    subset: str, top: str, hot: NDArray[np.uint8], bow: NDArray[np.uint8] | None, root: Path
) -> NDArray[np.int64]:
    """Rows of a subset; of the whole collection as many as the papers count."""
    kept = np.ones(len(hot), bool) if subset == "all" else hot.any(axis=1)
    if subset == "tagged":
        if bow is None:
            raise FileNotFoundError(f"{KIND}: no such file: {_TAGS[0]}/AllTags1k.txt: subset=tagged needs it")
        kept &= bow.any(axis=1)
    rows, wanted = np.flatnonzero(kept), _COUNTS.get((top, subset))
    if len(hot) == ALL and wanted is not None and len(rows) != wanted:
        of = f"pairs of top={top}, subset={subset}"
        raise ValueError(f"{KIND}: {root}: expected {wanted} {of}, found {len(rows)}")
    return rows


def _need(where: Path, places: Sequence[str]) -> Path:
    found = _place(where, places)
    if found is None:
        raise FileNotFoundError(f"{KIND}: no such file: {where / places[0]}")
    return found


def _read_labels(root: Path, top: str, n: int, listed: Path) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Concepts by their letters, and multi-hot labels; the file of a concept has a 0 or 1 for each picture."""
    if top == "81":
        names = tuple(sorted(path.stem.removeprefix("Labels_") for path in root.glob("Labels_*.txt")))
        if len(names) != 81:
            raise ValueError(f"{KIND}: {root}: expected 81 files Labels_*.txt, found {len(names)}")
    else:
        names = TOP10 if top == "10" else TOP21
    hot = np.zeros((n, len(names)), np.uint8)
    for column, concept in enumerate(names):
        path = root / f"Labels_{concept}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{KIND}: no such file: {path}")
        marks = np.frombuffer(path.read_bytes(), np.uint8)
        marks = marks[marks > ord(" ")] - ord("0")
        if len(marks) != n:
            raise ValueError(f"{KIND}: {path}: expected {n} lines like {listed.name}, found {len(marks)}")
        if (marks > 1).any():
            raise ValueError(f"{KIND}: {path}:{int(np.argmax(marks > 1)) + 1} must be 0 or 1")
        hot[:, column] = marks
    return names, hot


def _read_bag(path: Path, n: int, listed: Path, progress: Progress) -> NDArray[np.uint8]:
    """The tags of each picture out of 1,000, uint8 [n, 1000]: read in pieces of whole lines, no number is parsed."""
    out = np.zeros((n, _WIDTH), np.uint8)
    row, size = 0, path.stat().st_size
    with progress_bar("reading tags", size, progress) as done:
        for piece, read in _pieces(path):
            marks = np.frombuffer(piece, np.uint8)
            count = sum(1 for line in piece.split(b"\n") if line.strip())
            marks = marks[marks > ord(" ")] - ord("0")
            if len(marks) != count * _WIDTH or (marks > 1).any():
                upto = f"lines {row + 1} to {row + count}"
                raise ValueError(f"{KIND}: {path}: expected {_WIDTH} marks of 0 or 1 a line, found others in {upto}")
            if row + count > n:
                raise ValueError(f"{KIND}: {path}: expected {n} lines like {listed.name}, found more")
            out[row : row + count] = marks.reshape(count, _WIDTH)
            row += count
            done(read)
    if row != n:
        raise ValueError(f"{KIND}: {path}: expected {n} lines like {listed.name}, found {row}")
    return out


def _pieces(path: Path) -> Iterator[tuple[bytes, int]]:
    rest, read = b"", 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            read += len(block)
            whole, _, rest = (rest + block).rpartition(b"\n")
            yield whole, read
    yield rest, read


def _vocabulary(root: Path) -> list[str] | None:
    path = first_there(root / place for place in _WORDS)
    words = [] if path is None else [line.strip() for line in lines(KIND, path) if line.strip()]
    return words[:_WIDTH] if len(words) >= _WIDTH else None


def _words(
    found: Path | None, texts: str, paths: Sequence[str], bow: NDArray[np.uint8] | None, vocabulary: list[str] | None
) -> list[tuple[str, ...]] | None:
    """The tags of each picture as one text; () where it has none."""
    if texts == "common":
        if bow is None or vocabulary is None:
            raise FileNotFoundError(f"{KIND}: texts=common needs AllTags1k.txt and TagList1k.txt in NUS_WID_Tags")
        common = (" ".join(vocabulary[j] for j in np.flatnonzero(marks)) for marks in bow)
        return [tuple(filter(None, (text,))) for text in common]
    path = None if found is None else found.parent / "All_Tags.txt"
    if path is None or not path.is_file():
        return None
    out: list[tuple[str, ...]] = []
    for i, line in enumerate(line for line in lines(KIND, path) if line.strip()):
        photo, *tags = line.split()
        if i >= len(paths) or Path(paths[i]).stem.rpartition("_")[2] != photo:
            wanted = Path(paths[i]).stem if i < len(paths) else f"no line after {len(paths)}"
            raise ValueError(f"{KIND}: {path}:{i + 1} is out of step: it is of photo {photo}, the list says {wanted}")
        out.append((" ".join(tags),) if tags else ())
    if len(out) != len(paths):
        raise ValueError(f"{KIND}: {path}: expected {len(paths)} lines like the list, found {len(out)}")
    return out


def _given_split(where: Path, listed: Path, paths: Sequence[str], rows: NDArray[np.int64]) -> dict[str, Split]:
    """The collection's own training and test lists, where they are beside the list of all."""
    files = [first_there([listed.parent / f"{part}{listed.name}", listed.parent / f"{part}Imagelist.txt"])
             for part in ("Train", "Test")]  # fmt: skip
    if None in files:
        return {}
    new = {paths[i]: k for k, i in enumerate(rows)}
    parts = []
    for path in files:
        assert path is not None
        given = (line.strip().replace("\\", "/") for line in lines(KIND, path) if line.strip())
        parts.append(np.array(sorted(new[name] for name in given if name in new), np.int64))
    train, query = parts
    if not len(train) or not len(query) or len(np.intersect1d(train, query)):
        return {}
    return {"given": Split(query, train, train)}
