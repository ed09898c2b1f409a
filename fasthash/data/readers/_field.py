"""What the readers of the field's layouts share: options as words, matrices either way round, names of data sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features.array_files import ArrayFile

_ROWS = 8192
# (pairs, classes) -> data set; a subset of the same name has a protocol of its own
_KNOWN = {
    (20015, 24): "mirflickr25k",
    (24581, 24): "mirflickr25k",
    (25000, 24): "mirflickr25k",
    (195834, 21): "nus_wide",
    (190421, 21): "nus_wide",
    (186577, 10): "nus_wide",
    (20000, 255): "iapr_tc12",
    (122218, 80): "coco",
    (19862, 35): "fashion_vc",
    (15696, 32): "ssense",
}


def one_of(kind: str, option: str, value: Any, allowed: Sequence[str]) -> str:
    """An option that is one of a few words, which may come as a number.

    Raises:
        ValueError: it is another.
    """
    if str(value) not in allowed:
        raise ValueError(f"{kind}: {option} must be one of {', '.join(allowed)}, got {value!r}")
    return str(value)


def whole(kind: str, option: str, value: Any) -> int:
    """An option that is a whole number from 1, which may come as a word.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]*", str(value)):
        raise ValueError(f"{kind}: {option} must be a whole number from 1, got {value!r}")
    return int(value)


def folder(kind: str, option: str, value: Any) -> Path:
    """An option that is a folder which is there.

    Raises:
        FileNotFoundError: it is not.
    """
    path = Path(value).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"{kind}: {option}: no such folder: {value}")
    return path


def known_name(n: int, classes: int, otherwise: str) -> str:
    """What a data set of so many pairs and classes is, else a name made of another one."""
    return _KNOWN.get((n, classes)) or re.sub(r"[^A-Za-z0-9_-]+", "_", otherwise).strip("_") or "arrays"


def matrix(file: ArrayFile, name: str, n: int, order: str | None, dtype: Any) -> NDArray[Any]:
    """A matrix with a row for each of n pairs, read block by block, whichever way round it lies.

    Args:
        n: number of pairs.
        order: "rows" ([n, width]) or "columns" ([width, n]) where the shape leaves it open; None: it must not.
        dtype: of the result.
    Raises:
        ValueError: no such matrix, or both ways fit.
    """
    shape = file.shape(name)
    where = f"{file.who}: {file.path}:{name}"
    if file.kind(name) != "numbers":
        raise ValueError(f"{where} must hold numbers, got {file.kind(name)}")
    if len(shape) == 2 and shape[0] == shape[1] == n and order is None:
        raise ValueError(f"{where} is {list(shape)}, which may be either way round: give order=rows or order=columns")
    if len(shape) != 2 or n not in shape:
        raise ValueError(f"{where} must be [{n}, width] or [width, {n}], got {list(shape)}")
    axis = {"rows": 0, "columns": 1}[order] if order and shape[0] == shape[1] else shape.index(n)
    out = np.empty((n, shape[1 - axis]), dtype)
    for start, block in file.blocks(name, axis, _ROWS):
        out[start : start + len(block)] = block
    return out


def multi_hot(file: ArrayFile, name: str, n: int, order: str | None) -> NDArray[np.uint8]:
    """Labels of 0 and 1, uint8 [n, classes].

    Raises:
        ValueError: other values.
    """
    values = matrix(file, name, n, order, np.float32)
    bad = np.argwhere((values != 0) & (values != 1))
    if len(bad):
        row, column = bad[0]
        got = f"{values[row, column]:g} in row {row}, class {column}"
        raise ValueError(f"{file.who}: {file.path}:{name}: labels must be 0 and 1, got {got}")
    return values.astype(np.uint8)


def lines(kind: str, path: Path) -> list[str]:
    """Lines of a text file, ends stripped; UTF-8, and Latin-1 where a file is not.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{kind}: no such file: {path}")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def first_there(places: Iterable[Path]) -> Path | None:
    """The first of these that exists."""
    return next((place for place in places if place.exists()), None)
