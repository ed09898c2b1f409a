"""Tables of anybody's: which column is the picture, the text, the labels, and what their cells say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data._lazy import Lazy
from fasthash.data.readers._columns import multi_hot, words

NONE = "none"  # a role that no column has, said in an option
USUAL = {
    "image": ("image", "images", "file", "filename", "file_name", "filepath", "path", "image_path", "image_name",
              "picture", "img", "photo", "jpg", "png", "webp"),
    "text": ("captions", "caption", "text", "texts", "title", "description", "sentence", "sentences", "txt"),
    "labels": ("labels", "label", "class", "classes", "category", "categories", "cls"),
    "id": ("id", "ids", "key"),
    "split": ("split", "subset"),
}  # fmt: skip
OPTIONS: dict[str, str] = {
    "image": "the column of pictures (default: one of the usual names; none: no pictures)",
    "text": "the column of captions, or several: title,description (none: no texts)",
    "labels": "the column of labels (none: no labels)",
    "separator": 'what stands between several labels in a cell, such as "|" (default: a cell is one label)',
    "layers": "columns of a label tree, coarse to fine: category,kind",
    "id": "the column of ids (default: id, else the row numbers)",
    "split": "the column with train, val, test, query or database (none: no split)",
}


@dataclass(frozen=True)
class Roles:
    """Which column has which role; None: no column."""

    image: str | None
    text: tuple[str, ...]
    labels: str | None
    layers: tuple[str, ...]
    id: str | None
    split: str | None

    @classmethod
    def find(cls, columns: Sequence[str], options: Mapping[str, Any], op: str) -> Roles:
        """Roles by the options, or else by the usual names, whatever their case.

        Args:
            columns: that the table has.
            options: those of `OPTIONS` that were given.
            op: who asks: kind and file.
        Raises:
            ValueError: an option names a column that is not there.
        """
        plain = {column.lower().replace(" ", "_"): column for column in reversed(columns)}

        def role(name: str) -> tuple[str, ...]:
            given = options.get(name)
            if given is not None:
                wanted = () if given == NONE else words(given)
                for column in wanted:
                    if column not in columns:
                        raise ValueError(f"{op}: no column {column!r} for {name}; there are {', '.join(columns)}")
                return wanted
            found = [plain[usual] for usual in USUAL.get(name, ()) if usual in plain]
            if name == "text" and not found:  # caption_0, caption_1, ...
                return tuple(column for column in columns if column.lower().rstrip("0123456789").rstrip("_ ") in (
                    "caption", "text", "sentence") and column[-1:].isdigit())  # fmt: skip
            return tuple(found[:1])

        def single(name: str) -> str | None:
            found = role(name)
            if len(found) > 1:
                raise ValueError(f"{op}: {name} must be one column, got {', '.join(found)}")
            return found[0] if found else None

        layers = role("layers")
        return cls(
            single("image"), role("text"), None if layers else single("labels"), layers, single("id"), single("split")
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are read."""
        single = (self.image, self.labels, self.id, self.split)
        return tuple(dict.fromkeys([name for name in single if name is not None] + [*self.text, *self.layers]))

    def unused(self, columns: Sequence[str]) -> tuple[str, ...]:
        """A note on columns that are not read."""
        left = [column for column in columns if column not in self.columns]
        return (f"columns that were not read: {', '.join(left)}",) if left else ()


class Made(Lazy[Any]):
    """Entries that are made from the cells of some columns when they are asked for."""

    def __init__(self, columns: Sequence[Sequence[Any]], make: Callable[..., Any]) -> None:
        self._columns, self._make = tuple(columns), make

    def __len__(self) -> int:
        return len(self._columns[0])

    def _at(self, row: int) -> Any:
        return self._make(*(column[row] for column in self._columns))

    def __iter__(self) -> Iterator[Any]:
        return map(self._make, *self._columns)


def is_blank(cell: Any) -> bool:
    """Nothing in the cell: none, NaN (how pandas writes none), or blanks."""
    if isinstance(cell, str):
        return not cell or cell.isspace()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def captions_of(*cells: Any) -> tuple[str, ...]:
    """The captions that the cells of one row hold, each a text or a list of them.

    Raises:
        ValueError: something else, without the place.
    """
    out: list[str] = []
    for cell in cells:
        for text in cell if isinstance(cell, (list, tuple)) else (cell,):
            if not is_blank(text):
                if isinstance(text, (dict, list, bytes)):
                    raise ValueError(f"text must be words or a list of them, got {type(text).__name__}")
                out.append(word_of(text))
    return tuple(out)


def labels_of(cell: Any, separator: str | None = None) -> tuple[str, ...]:
    """The labels in a cell: a list of them, or one text, cut at the separator."""
    if is_blank(cell):
        return ()
    if isinstance(cell, str) and not separator:
        return (cell.strip(),)
    if isinstance(cell, str):
        parts: Sequence[Any] = cell.split(separator)
    else:
        parts = cell if isinstance(cell, (list, tuple)) else (cell,)
    for label in parts:
        if isinstance(label, (dict, list, bytes)):
            raise ValueError(f"labels must be words, numbers or a list of them, got {type(label).__name__}")
    return tuple(word_of(label) for label in parts if not is_blank(label))


def word_of(cell: Any) -> str:
    """A cell as a word; 3.0 is 3, since a column of numbers with gaps becomes one of floats."""
    if isinstance(cell, str):
        return cell.strip()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def cell_of(cell: Any) -> str:
    """A word, or the empty one where there is nothing."""
    if isinstance(cell, str):
        return cell.strip()
    return "" if is_blank(cell) else word_of(cell)


def label_matrix(rows: Sequence[tuple[str, ...]]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Labels uint8 [n, c] and names of the classes, from lists of labels or from rows of a multi-hot matrix.

    Lists of labels that are all of one length of two or more and hold but 0 and 1 would give every pair both, so these
    are rows of zeros and ones.
    """
    width = len(rows[0]) if rows else 0
    if width < 2 or any(len(row) != width or not {"0", "1"}.issuperset(row) for row in rows):
        return multi_hot(rows, len(rows))
    return np.array(rows).astype(np.uint8), tuple(map(str, range(width)))
