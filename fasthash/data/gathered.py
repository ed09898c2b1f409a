"""What a reader makes of anybody's files: columns of one entry a pair, before anything is checked or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.splits import Split
from fasthash.features import Picture

Captions = Sequence[str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Gathered:
    """n pairs as they were found. Entry i of every column belongs to pair i; a column that is not there is None.

    Raises:
        ValueError: the columns have different numbers of entries: names both, and how many each has.
    """

    name: str  # letters, digits, "-" and "_"
    ids: Sequence[str] | None = None  # None: the row numbers
    pictures: Sequence[Picture | None] | None = None  # None as an entry: the source names no picture
    texts: Sequence[Captions] | None = None  # captions of each pair; () where there is none
    image: NDArray[Any] | None = None  # real numbers [n, p_image]; may be a memory-mapped file
    text: NDArray[Any] | None = None  # real numbers [n, p_text]
    image_features: str = "given"  # short name of what `image` is, such as vgg_f
    text_features: str = "given"  # such as bow
    labels: NDArray[np.uint8] | None = None  # multi-hot [n, c]; with layers, that of the finest is made from them
    class_names: tuple[str, ...] = ()  # [c]
    layers: Mapping[str, Sequence[str]] = field(default_factory=dict)  # name -> class of each pair; coarse to fine
    splits: Mapping[str, Split] = field(default_factory=dict)  # those that the source brings itself; the first is used
    notes: tuple[str, ...] = ()  # what a reader of a result should know
    source: str = ""
    licence: str = ""
    where: Sequence[str] | None = None  # [n] place of each pair in its file ("captions.csv:17"), for messages

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns().items()}
        if not lengths:
            raise ValueError(f"{self.name}: nothing was found: neither pictures nor texts nor features")
        first, n = next(iter(lengths.items()))
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"{self.name}: {name} must have {n} entries like {first}, got {length}")

    def columns(self) -> dict[str, Any]:
        """The columns that are there, by name; layers as "layer NAME"."""
        names = ("image", "text", "pictures", "texts", "labels", "ids", "where")
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return found | {f"layer {name}": classes for name, classes in self.layers.items()}

    def __len__(self) -> int:
        return len(next(iter(self.columns().values())))
