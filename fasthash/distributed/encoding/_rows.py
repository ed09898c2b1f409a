"""Rows of a corpus as a worker reads them: ids, keys, items, and where each came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features import Picture


@dataclass(frozen=True)
class HeldPicture(Picture):
    """A picture whose encoded bytes are in memory; ``path`` is what it is called in messages."""

    content: bytes = b""

    def read(self) -> bytes:
        return self.content

    def exists(self) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Rows:
    """m rows that are encoded together.

    Args:
        ids: int64 [m].
        items: m pictures or texts, or features float32 [m, width].
        places: what each row is called in messages: "photos.parquet row 17".
        faults: "" for each row that can be encoded; else what is wrong with it.
        keys: what the source calls each row; None where it has no names of its own.
    """

    ids: NDArray[np.int64]
    items: Any
    places: Sequence[str]
    faults: Sequence[str]
    keys: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, first: int, last: int | None = None) -> Rows:
        """The rows first to last."""
        part = slice(first, last)
        keys = None if self.keys is None else self.keys[part]
        return Rows(self.ids[part], self.items[part], self.places[part], self.faults[part], keys)

    def take(self, chosen: NDArray[Any]) -> Rows:
        """The rows of these numbers."""
        items = self.items[chosen] if isinstance(self.items, np.ndarray) else [self.items[i] for i in chosen]
        places, faults = [self.places[i] for i in chosen], [self.faults[i] for i in chosen]
        return Rows(
            self.ids[chosen], items, places, faults, None if self.keys is None else [self.keys[i] for i in chosen]
        )

    def with_items(self, items: Any) -> Rows:
        """The same rows with other items, such as their features."""
        return Rows(self.ids, items, self.places, self.faults, self.keys)

    def followed_by(self, other: Rows) -> Rows:
        """These rows and then the others."""
        arrays = isinstance(self.items, np.ndarray)
        items = np.concatenate([self.items, other.items]) if arrays else [*self.items, *other.items]
        keys = None if self.keys is None or other.keys is None else [*self.keys, *other.keys]
        ids = np.concatenate([self.ids, other.ids])
        return Rows(ids, items, [*self.places, *other.places], [*self.faults, *other.faults], keys)


def regrouped(parts: Iterable[Rows], step: int) -> Iterator[Rows]:
    """The same rows, ``step`` at a time; the last may be fewer.

    Encoding many rows at once and encoding them in aligned steps runs the same batches through the networks, so that
    the codes are the same to the bit.
    """
    held: Rows | None = None
    for part in parts:
        held = part if held is None else held.followed_by(part)
        first = 0
        while len(held) - first >= step:
            yield held.cut(first, first + step)
            first += step
        held = held.cut(first)
    if held is not None and len(held):
        yield held
