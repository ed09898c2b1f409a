"""The arrays of DCMH, SSAH and the many after them: IAll, FAll, XAll, YAll, LAll in files of their own or in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers import _array_pictures as array_pictures
from fasthash.data.readers._field import first_there, folder, known_name, matrix, multi_hot, one_of, whole
from fasthash.data.readers._registry import reader
from fasthash.features import Picture
from fasthash.features._progress import Progress
from fasthash.features.array_files import ArrayFile

KIND = "dcmh"
_SUFFIXES = (".mat", ".h5", ".hdf5")
_NAMES = {  # what an array is -> names that published files give it
    "labels": ("LAll", "labels", "L_all", "l_all"),
    "tags": ("YAll", "tags", "t_all"),
    "features": ("XAll",),
    "names": ("FAll", "imgs", "FALL"),
    "images": ("IAll", "images", "i_all"),
}
_MOST = 64  # files of a folder that are looked into
_OPTIONS = {
    "pictures": "folder of the pictures that FAll names; default: beside the arrays, where they are found there",
    "export": "folder that pictures inside an array (IAll, images) are written to as PNG; default: they are left out",
    "axes": "order of the axes of that array where its shape leaves it open, such as nchw, hwcn",
    "n": "number of pairs, where the shapes leave it open",
    "order": "rows ([n, width]) or columns ([width, n]), of matrices whose shape leaves it open",
    **{role: f"FILE:NAME of the {role}, where the folder has other names or several" for role in _NAMES},
}


@dataclass(frozen=True)
class _At:
    """An array in a file."""

    file: ArrayFile
    name: str

    def __str__(self) -> str:
        return f"{self.file.path}:{self.name}"


def _files(where: Path) -> list[Path]:
    """Files of arrays in a folder and the folders right in it, or the one file."""
    if where.is_file():
        return [where]
    found = [path for pattern in ("*", "*/*") for path in where.glob(pattern) if path.suffix in _SUFFIXES]
    return sorted(path for path in found if path.is_file())


def _roles(where: Path, given: Mapping[str, Any]) -> dict[str, _At]:
    """What each array is, by its name; what the options name goes first."""
    found: dict[str, _At] = {}
    root = where if where.is_dir() else where.parent
    for role, place in given.items():
        before, _, after = str(place).rpartition(":")
        name = after if before else ""  # a .npy has one array without a name
        at = Path(before or after).expanduser()
        file = ArrayFile(at if at.is_absolute() else root / at, KIND)
        if name not in file:
            held = ", ".join(file.names) or "no array"
            raise ValueError(f"{KIND}: {role} must be FILE:NAME, got {place!r}; {file.path} holds {held}")
        found[role] = _At(file, name)
    paths = _files(where)
    if len(paths) > _MOST:
        raise ValueError(f"{KIND}: {where} has {len(paths)} files of arrays, at most {_MOST} are looked into")
    for path in paths:
        file = ArrayFile(path, KIND)
        for role, names in _NAMES.items():
            for name in (name for name in names if name in file and role not in given):
                if role in found:
                    both = f"{found[role]} and {path}:{name}"
                    raise ValueError(f"{KIND}: both {both} are {role}: give {role}=FILE:NAME")
                found[role] = _At(file, name)
    return found


@lru_cache(maxsize=64)
def _names_in(path: Path, size: int, changed: int) -> frozenset[str]:
    return frozenset(ArrayFile(path, KIND).names)


def detect(where: Path) -> bool:
    """Labels and tags under the names of published files, in .mat or HDF5 files."""
    if where.is_file() and where.suffix not in _SUFFIXES:
        return False
    held: set[str] = set()
    for path in _files(where)[:_MOST]:
        try:
            held |= _names_in(path, path.stat().st_size, path.stat().st_mtime_ns)
        except (OSError, ValueError):  # one damaged file among several: said when it is read
            continue
    return all(held & set(_NAMES[role]) for role in ("labels", "tags"))


@reader(KIND, "arrays of DCMH, SSAH and after: IAll, FAll, XAll, YAll, LAll or images, tags, labels (.mat, .h5); "
        "MIRFlickr-25K, NUS-WIDE, IAPR TC-12, MS COCO", _OPTIONS, detect=detect)  # fmt: skip
def read(
    where: Path,
    *,
    name: str | None,
    progress: Progress,
    pictures: str | None = None,
    export: str | None = None,
    axes: str | None = None,
    n: int | str | None = None,
    order: str | None = None,
    **given: Any,
) -> Gathered:
    """See `fasthash.data.readers.read`."""
    order = None if order is None else one_of(KIND, "order", order, ("rows", "columns"))
    axes = None if axes is None else one_of(KIND, "axes", axes, array_pictures.AXES)
    roles = _roles(where, given)
    if "labels" not in roles and "tags" not in roles:
        known = "; ".join(f"{role}: {', '.join(names)}" for role, names in _NAMES.items())
        raise ValueError(f"{KIND}: {where} has no labels and no tags under a known name ({known})")
    rows = _number(roles, None if n is None else whole(KIND, "n", n), order)
    labels = multi_hot(roles["labels"].file, roles["labels"].name, rows, order) if "labels" in roles else None
    names = _picture_names(roles["names"], rows) if "names" in roles else None
    found, notes = _pictures(where, roles, rows, names, pictures, export, axes, progress)
    classes = 0 if labels is None else labels.shape[1]
    return Gathered(
        name=name or known_name(rows, classes, where.stem), ids=names, pictures=found,
        image=_matrix(roles, "features", rows, order), image_features="xall", text=_matrix(roles, "tags", rows, order),
        text_features="bow", labels=labels, class_names=tuple(str(i) for i in range(classes)), notes=tuple(notes),
        source="arrays in the layout of Q.-Y. Jiang and W.-J. Li, Deep Cross-Modal Hashing, CVPR 2017",
    )  # fmt: skip


def _number(roles: Mapping[str, _At], n: int | None, order: str | None) -> int:
    """Number of pairs: the one length that every array has."""
    shapes = {role: at.file.shape(at.name) for role, at in roles.items()}
    listed = ", ".join(f"{roles[role]} {list(shape)}" for role, shape in shapes.items())
    common = set.intersection(*(set(shape) for role, shape in shapes.items() if role != "names"))
    if n is not None:
        common &= {n}
    if not common:
        of = "" if n is None else f" of n={n}"
        raise ValueError(f"{KIND}: the arrays must have a common number of pairs{of}, got {listed}")
    if len(common) > 1 and len(common & set(shapes.get("names", ()))) == 1:
        common &= set(shapes["names"])
    if len(common) > 1 and order is not None and "labels" in shapes:
        common = {shapes["labels"][0 if order == "rows" else -1]}
    if len(common) > 1:
        raise ValueError(
            f"{KIND}: the number of pairs may be {' or '.join(map(str, sorted(common)))}: give n ({listed})"
        )
    return common.pop()


def _matrix(roles: Mapping[str, _At], role: str, n: int, order: str | None) -> NDArray[Any] | None:
    return matrix(roles[role].file, roles[role].name, n, order, np.float32) if role in roles else None


def _picture_names(at: _At, n: int) -> list[str]:
    """File names of the pictures; a folder in a column of its own comes before the name."""
    names = ["/".join(part.strip("/\\") for part in parts) for parts in at.file.strings(at.name, n)]
    return [name.replace("\\", "/") for name in names]


def _pictures(
    where: Path, roles: Mapping[str, _At], n: int, names: Sequence[str] | None, given: str | None, export: str | None,
    axes: str | None, progress: Progress,
) -> tuple[list[Picture] | None, list[str]]:  # fmt: skip
    """Where each picture lies, if anywhere, and what to say of it."""
    at = roles.get("images")
    if export is not None:
        if at is None:
            raise ValueError(f"{KIND}: export is of pictures inside an array, {where} has none ({_NAMES['images']})")
        order = array_pictures.axes_of(at.file, at.name, n, axes)
        to = Path(export).expanduser()
        return array_pictures.export(at.file, at.name, order, to, names, progress), [f"pictures are those of {at.name}"]
    if given is not None:
        if names is None:
            raise ValueError(f"{KIND}: pictures needs their names, {where} has none ({', '.join(_NAMES['names'])})")
        root: Path | None = folder(KIND, "pictures", given)
    else:
        here = where if where.is_dir() else where.parent
        beside = (here, here / "mirflickr", here / "images") if names else ()
        root = first_there(place for place in beside if names and (place / names[0]).exists())
    if root is not None and names is not None:
        return [Picture(root / name) for name in names], []
    if at is None:
        return None, []
    return None, [f"the pictures inside {at.file.path.name}:{at.name} are left out: export=FOLDER writes them as files"]
