"""A plain folder of pictures, with a table of captions and labels, or with a sub-folder for each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._archives import ARCHIVES, in_archive
from fasthash.data.readers._columns import (
    GIVEN,
    SPLIT_WORDS,
    SUFFIXES,
    PicturePaths,
    Places,
    choice,
    files_below,
    multi_hot,
    name_of,
    split_of,
    words,
)
from fasthash.data.readers._registry import reader
from fasthash.data.readers._roles import OPTIONS, Made, Roles, captions_of, cell_of, label_matrix, labels_of
from fasthash.data.readers._tables import SUFFIXES as TABLES
from fasthash.data.readers._tables import Table, read_table
from fasthash.features import Picture, array_files
from fasthash.features._progress import Progress

_OP = "folder"
_NEAR = ("images", "pictures", "photos", "img", "imgs")  # folders beside a table in which its pictures often lie
_NO_TABLE = ("license", "readme", "requirements", "package")
_NOT_PLAIN = ("dataset.json", "dataset_info.json", "dataset_dict.json", "state.json")  # prepared, Hugging Face's


def _tables_in(folder: Path) -> list[Path]:
    """Tables, Flickr8k's captions.txt too, and .json where there is no other: settings are often such files."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES or path.name == "captions.txt")
    found = [path for path in found if path.is_file()]
    found = [path for path in found if not path.name.lower().startswith(_NO_TABLE)]
    return [path for path in found if path.suffix.lower() != ".json"] or found


def _detect(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in TABLES and path.suffix.lower() != ".json"
    if any((path / name).exists() for name in _NOT_PLAIN):
        return False
    return len(_tables_in(path)) == 1 or next(files_below(path, SUFFIXES), None) is not None


@reader(
    "folder",
    "pictures with a CSV, TSV, JSONL or JSON table of captions and labels; or a sub-folder a class, a .txt a picture",
    {
        "table": "the table, when there are several (none: sub-folders are the classes)",
        **OPTIONS,
        "id": "the column of ids (default: id, else the names of the pictures, else the row numbers)",
        "pictures": "the folder, .zip or .tar with the pictures (default: the table's, or images/, pictures/... in it)",
        "suffix": "what is missing at the end of the names of pictures: .jpg",
        "captions": "group: rows with the same picture are captions of one pair; rows: each row is a pair",
        "delimiter": "between the cells of a .csv (default: a comma, or what its header has instead)",
        "image_features": "an array file with a row for each pair",
        "text_features": "an array file with a row for each pair",
    },
    detect=_detect,
    general=True,
)
def read(where: Path, *, name: str | None, progress: Progress, **options: Any) -> Gathered:
    """See `readers.read`."""
    name = name or name_of(where)
    table = _table_path(where, options.get("table"))
    if table is None:
        return _by_folders(where, name, options)
    op = f"{_OP}: {table.name}"
    content = read_table(table, _OP, options.get("delimiter"))
    roles = Roles.find(tuple(content.columns), options, op)
    if roles.image is None and not roles.text and "image_features" not in options:
        raise ValueError(
            f"{op}: no column of pictures or texts; there are {', '.join(content.columns)}: "
            f"name them with image=COLUMN and text=COLUMN"
        )
    content, groups = _grouped(content, roles, options.get("captions"))
    places = Places(content.file, content.lines)
    column = content.columns.__getitem__
    pictures = None if roles.image is None else _pictures(where, table, column(roles.image), options, places, op)
    texts = None
    if roles.text:
        texts = _checked(places, captions_of, *map(column, roles.text)) if groups is None else groups
    labels, class_names = _labels(content, roles, options.get("separator"), places)
    splits, notes = _splits(content, roles, places)
    return Gathered(
        name=name, pictures=pictures, texts=texts, labels=labels, class_names=class_names, splits=splits,
        ids=_ids(content, roles),
        layers={layer: [cell_of(cell) for cell in column(layer)] for layer in roles.layers}, where=places,
        notes=(*notes, *roles.unused(tuple(content.columns))), **_features(where, options, len(places)),
    )  # fmt: skip


def _ids(table: Table, roles: Roles) -> list[str] | None:
    """The column of ids, else the names of the pictures, where they are distinct: other rows do not change them."""
    name = roles.id or roles.image
    if name is None:
        return None
    words = [cell_of(cell) for cell in table.columns[name]]
    return words if roles.id is not None or (all(words) and len(set(words)) == len(words)) else None


def _table_path(where: Path, option: str | None) -> Path | None:
    if where.is_file():
        return where
    if option is not None:
        if option == "none":
            return None
        path = where / option
        if not path.is_file():
            raise FileNotFoundError(f"{_OP}: table: no such file: {path}")
        return path
    found = _tables_in(where)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{_OP}: {where} has several tables ({names}): name one as table=NAME")
    return found[0] if found else None


def _checked(places: Sequence[str], make: Callable[..., Any], *columns: Sequence[Any]) -> Made:
    """Cells as captions, looked through once so that an error has its place; made again when they are asked for."""
    for row, cells in enumerate(zip(*columns, strict=True)):
        try:
            make(*cells)
        except ValueError as error:
            raise ValueError(f"{_OP}: {places[row]}: {error}") from None
    return Made(columns, make)


def _grouped(table: Table, roles: Roles, how: str | None) -> tuple[Table, list[tuple[str, ...]] | None]:
    """One row a pair; with captions=group also the captions of each."""
    if how is not None:
        choice(_OP, "captions", how, ("group", "rows"))
    if roles.image is None or how == "rows":
        return table, None
    names = [cell_of(cell) for cell in table.columns[roles.image]]
    first: dict[str, int] = {}
    group = [first.setdefault(name, row) if name else row for row, name in enumerate(names)]
    again = next((row for row, head in enumerate(group) if head != row), None)
    if again is None:
        return table, None
    place = f"{_OP}: {table.file}:{table.lines[again]}"
    if how is None:
        raise ValueError(
            f"{place}: the picture {names[again]} is that of line {table.lines[group[again]]} too: "
            f"captions=group makes one pair of them, with several captions, captions=rows a pair of each row"
        )
    heads = [row for row, head in enumerate(group) if head == row]
    texts: dict[int, list[str]] = {row: [] for row in heads}
    others = [name for name in (roles.labels, roles.split, *roles.layers) if name is not None]
    for row, head in enumerate(group):
        texts[head] += captions_of(*(table.columns[name][row] for name in roles.text))
        for name in others:
            if table.columns[name][row] != table.columns[name][head]:
                raise ValueError(
                    f"{_OP}: {table.file}:{table.lines[row]}: {name} must be that of line {table.lines[head]}, which "
                    f"has the same picture, got {table.columns[name][row]!r} and {table.columns[name][head]!r}"
                )
    kept = {name: [column[row] for row in heads] for name, column in table.columns.items()}
    return Table(table.file, kept, [table.lines[row] for row in heads]), [tuple(texts[row]) for row in heads]


def _pictures(
    where: Path, table: Path, cells: Sequence[Any], options: Mapping[str, Any], places: Sequence[str], op: str
) -> Sequence[Picture | None]:
    suffix = str(options.get("suffix") or "")
    for row, cell in enumerate(cells):
        if isinstance(cell, (dict, list)):
            raise ValueError(f"{_OP}: {places[row]}: a picture must be the name of a file, got {type(cell).__name__}")
    names = [cell_of(cell) + suffix if cell_of(cell) else "" for cell in cells]
    given = options.get("pictures")
    home = table.parent
    if given is not None:
        place = (where if where.is_dir() else home) / given
        if not place.exists():
            raise FileNotFoundError(f"{op}: pictures: no such folder or archive: {place}")
        return PicturePaths(place, names) if place.is_dir() else in_archive(place, names, op)
    some = [name for name in names if name][:100]
    near = [home, *(path for path in sorted(home.iterdir()) if path.name.lower() in _NEAR and path.is_dir())]
    for folder in near:  # the first that has any; where none has, they are missing, and said to be
        if any((folder / name).is_file() for name in some):
            return PicturePaths(folder, names)
    archives = [path for path in sorted(home.iterdir()) if path.suffix.lower() in ARCHIVES and path.is_file()]
    return in_archive(archives[0], names, op) if len(archives) == 1 else PicturePaths(home, names)


def _labels(
    table: Table, roles: Roles, separator: str | None, places: Sequence[str]
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    if roles.labels is None:
        return None, ()
    made = _checked(places, lambda cell: labels_of(cell, separator), table.columns[roles.labels])
    rows = list(made)
    return label_matrix(rows)


def _splits(table: Table, roles: Roles, places: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    if roles.split is None:
        return {}, ()
    split, notes = split_of([cell_of(cell) for cell in table.columns[roles.split]], _OP, places.__getitem__)
    return {GIVEN: split}, notes


def _features(where: Path, options: Mapping[str, Any], n: int) -> dict[str, Any]:
    """Arrays that lie beside the table."""
    found: dict[str, Any] = {}
    for side in ("image", "text"):
        option = f"{side}_features"
        if options.get(option) is not None:
            near = (where if where.is_dir() else where.parent) / options[option]
            path = near if array_place(near).exists() else options[option]
            values = array_files.read(path, f"{_OP}: {option}").values
            if values.ndim != 2 or len(values) != n:
                raise ValueError(f"{_OP}: {option} must be [{n}, width], a row for each pair, got {list(values.shape)}")
            found[side] = values
    return found


def array_place(path: Path) -> Path:
    """The file of FILE or FILE:NAME."""
    return path if path.exists() else Path(str(path).rpartition(":")[0] or str(path))


def _by_folders(where: Path, name: str, options: Mapping[str, Any]) -> Gathered:
    """Pictures alone: their sub-folders are the classes (below train/, test/... where these are), .txt are captions."""
    names = list(files_below(where, SUFFIXES))
    for option in set(options) - {"table", "layers", "image_features", "text_features"}:
        raise ValueError(f"{_OP}: {option} is an option of a table, and {where} has none ({', '.join(TABLES)})")
    if not names:
        raise ValueError(f"{_OP}: {where} must have pictures ({', '.join(SUFFIXES)}) or a table, got neither")
    parts = [file.split("/")[:-1] for file in names]
    notes: tuple[str, ...] = ()
    splits = {}
    if all(part and part[0].lower() in SPLIT_WORDS for part in parts) and len({part[0] for part in parts}) > 1:
        split, notes = split_of([part[0] for part in parts], _OP, names.__getitem__)
        splits[GIVEN] = split
        parts = [part[1:] for part in parts]
    beside = set(files_below(where, (".txt",)))
    texts = None
    stems = [file.rpartition(".")[0] for file in names]
    if any(f"{stem}.txt" in beside for stem in stems):
        texts = [_captions(where / f"{stem}.txt") if f"{stem}.txt" in beside else () for stem in stems]
    labels, layers = None, {}
    class_names: tuple[str, ...] = ()
    wanted = words(options.get("layers") or ())
    if wanted:
        if any(len(part) != len(wanted) for part in parts):
            odd = next(i for i, part in enumerate(parts) if len(part) != len(wanted))
            raise ValueError(f"{_OP}: layers: every picture must lie {len(wanted)} sub-folders deep, got {names[odd]}")
        layers = {layer: [part[depth] for part in parts] for depth, layer in enumerate(wanted)}
    elif any(parts):
        labels, class_names = multi_hot([("/".join(part),) if part else () for part in parts], len(names))
    return Gathered(
        name=name, ids=stems, pictures=PicturePaths(where, names), texts=texts, labels=labels, layers=layers,
        class_names=class_names, splits=splits, where=names, notes=notes, **_features(where, options, len(names)),
    )  # fmt: skip


def _captions(path: Path) -> tuple[str, ...]:
    """One caption a line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{_OP}: {path} must be UTF-8, other bytes are in it") from None
    return tuple(line.strip() for line in lines if line.strip())
