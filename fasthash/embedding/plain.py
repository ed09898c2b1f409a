"""Encoders without a network: bags of words and averaged word vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fasthash.embedding._network import Batch, Block
from fasthash.features import BagOfWords, Extractor


class PlainEncoder:
    """An extractor as the run asks for it: batches in, features out, in the caller's thread.

    Args:
        extractor: of texts or pictures.
        batch: items at a time.
        items: texts or pictures.
    """

    def __init__(self, extractor: Extractor, batch: int = 1024, items: str = "texts") -> None:
        self._extractor, self.batch, self.items = extractor, (batch, batch), items

    def __str__(self) -> str:
        return str(self._extractor.config()["kind"])

    @property
    def width(self) -> int:
        return self._extractor.width

    def extractor(self) -> Extractor:
        return self._extractor

    def stream(self, batches: Iterable[Batch], device: torch.device, **settings: Any) -> Iterator[Block]:
        """Features of the batches, in order; device and settings are a network's."""
        for first, items in batches:
            made = self._extractor.encode(items)
            if made.shape != (len(items), self.width) or not np.isfinite(made).all():
                what = f"be finite [{len(items)}, {self.width}]"
                raise ValueError(f"embed: {self}: features of rows from {first} must {what}, got {made.shape}")
            yield made


def description(extractor: Extractor) -> dict[str, Any]:
    """What features say of their making: the extractor's description, long lists and arrays as a count and digest."""
    config = extractor.config()
    if not isinstance(extractor, BagOfWords):
        return config
    found = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, array in sorted(extractor.tensors().items()):
        found.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return {**config, "words": len(extractor.words), "sha256": found.hexdigest()}


class Picked(Sequence[str]):
    """Some rows of a column, each read when it is asked for."""

    def __init__(self, column: Sequence[str], rows: NDArray[np.int64]) -> None:
        self._column, self._rows = column, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: Any) -> Any:
        return self._column[int(self._rows[i])]


def fit_bag(texts: Sequence[str], options: Mapping[str, Any]) -> PlainEncoder:
    """A bag of words fitted on training texts.

    Args:
        options: of `BagOfWords.fit`.
    """
    bag = BagOfWords.fit(texts, **options)
    return PlainEncoder(bag, batch=max(1, min(1024, (1 << 24) // bag.width)))  # rows are dense: 64 MiB at a time
