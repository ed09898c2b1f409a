"""Cells of anybody's columns -> items a model encodes, with a word on each that cannot be one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.distributed.encoding._rows import HeldPicture
from fasthash.features import Picture

FEATURES, PICTURES, TEXTS = "features", "pictures", "texts"
MISSING = "the row has none"
NONE = "none"  # an id column that is not there, said in an option
_NOT_FINITE = "its features are not finite in float32"
NAMES = {  # the usual names of columns, in lower case
    FEATURES: ("features", "{side}_features", "embedding", "embeddings", "{side}_embedding", "vector"),
    PICTURES: ("image", "picture", "img", "photo", "jpg", "jpeg", "png", "webp", "path", "file", "file_name",
               "image_path"),
    TEXTS: ("text", "caption", "captions", "title", "description", "sentence", "txt"),
}  # fmt: skip


def choose_column(names: Sequence[str], column: str | None, side: str, takes: Sequence[str], source: str) -> str:
    """The column to encode: the one that was named, or the only one with a usual name.

    Args:
        takes: what the model encodes of this side: FEATURES, and PICTURES or TEXTS.
    Raises:
        ValueError: there is none, or more than one.
    """
    there = ", ".join(names) or "none"
    if column is not None:
        if column not in names:
            raise ValueError(f"encode: column must be one of {there} in {source}, got {column!r}")
        return column
    usual = {name.format(side=side) for kind in takes for name in NAMES[kind]}
    found = [name for name in names if name.lower() in usual]
    if len(found) != 1:
        what = f"several may be meant ({', '.join(found)})" if found else f"none has a usual name (there are {there})"
        raise ValueError(f"encode: column must say which one of {source} has the {' or '.join(takes)}: {what}")
    return found[0]


def feature_rows(cells: Any, width: int) -> tuple[NDArray[np.float32], list[str]]:
    """Features float32 [m, width] of m cells, and what is wrong with each, "" for nothing; such rows are zeros.

    Args:
        cells: an array [m, p], or m cells, each a list or an array of numbers, or None.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # told apart below
        if isinstance(cells, np.ndarray) and cells.ndim == 2 and cells.dtype != object:
            if cells.shape[1] != width:
                return np.zeros((len(cells), width), np.float32), [_width(cells.shape[1], width)] * len(cells)
            rows, faults = np.ascontiguousarray(cells, np.float32), [""] * len(cells)
        else:
            faults = [_fault(cell, width) for cell in cells]
            rows = np.zeros((len(faults), width), np.float32)
            for i, cell in enumerate(cells):
                if not faults[i]:
                    rows[i] = cell
    for i in np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        faults[i] = faults[i] or _NOT_FINITE
    return rows, faults


def _fault(cell: Any, width: int) -> str:
    if cell is None:
        return MISSING
    if isinstance(cell, (str, bytes, dict)) or not hasattr(cell, "__len__"):
        raise ValueError(f"encode: features must be lists of numbers, got a {type(cell).__name__}")
    return "" if len(cell) == width else _width(len(cell), width)


def _width(got: int, width: int) -> str:
    return f"it has {got} features, the model was trained on {width}"


def raw_rows(
    cells: Sequence[Any], kind: str, folder: Path | None, places: Sequence[str]
) -> tuple[list[Any], list[str]]:
    """Pictures or texts of m cells, and what is wrong with each, "" for nothing.

    Args:
        cells: of pictures: bytes, a path, {"bytes", "path"} as Hugging Face writes it, or pixels uint8 [h, w, 3];
            of texts: a string, or several, which are joined by spaces. None: there is none.
        folder: what relative paths start from.
        places: what the rows are called.
    """
    make = _picture if kind == PICTURES else _text
    items = [None if cell is None else make(cell, folder, place) for cell, place in zip(cells, places, strict=True)]
    return items, [MISSING if item is None else "" for item in items]


def _picture(cell: Any, folder: Path | None, place: str) -> Any:
    if isinstance(cell, dict):
        cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
    if cell is None:
        return None
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return HeldPicture(Path(place), content=bytes(cell))
    if isinstance(cell, str):
        return Picture((folder or Path()) / cell)
    if isinstance(cell, np.ndarray) and cell.dtype == np.uint8:
        return cell
    raise ValueError(f"encode: a picture must be bytes, a path or uint8 pixels, got a {type(cell).__name__} ({place})")


def _text(cell: Any, folder: Path | None, place: str) -> str | None:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (list, tuple, np.ndarray)) and all(isinstance(text, str) for text in cell):
        return " ".join(cell)
    raise ValueError(f"encode: a text must be a string or a list of them, got a {type(cell).__name__} ({place})")


def picture_fault(item: Any) -> str:
    """Why this picture cannot be read; "" where it can."""
    from fasthash.features.pictures import open_picture

    try:
        open_picture(item)
    except (OSError, ValueError, TypeError) as error:
        return " ".join(str(error).split()).removeprefix(f"{item}: ") or type(error).__name__
    return ""
