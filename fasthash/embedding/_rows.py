"""Raw pictures and texts of a prepared folder, in order, a batch at a time, to features."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch

from fasthash.embedding._network import Batch, Block
from fasthash.embedding.encoders import Encoder

CAPTIONS = ("join", "first", "mean")
DAMAGED = ("refuse", "zeros")


class Column(Protocol):
    """A column of a prepared folder."""

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """The values of rows ``start`` to ``stop``, few at a time in memory."""


def batched(source: Iterator[Any], start: int, size: int) -> Iterator[Batch]:
    """(number of the first, items), by ``size``."""
    while items := list(islice(source, size)):
        yield start, items
        start += len(items)


def row_features(
    encoder: Encoder,
    column: Column,
    start: int,
    stop: int,
    *,
    size: int,
    captions: str = "join",
    **settings: Any,
) -> Generator[Block, None, None]:
    """Features of rows ``start`` to ``stop``, in blocks [m, width].

    Args:
        column: pictures, or the captions of each row.
        size: items in the network at a time.
        captions: of a row with several: join (with spaces between), first, or mean (of the features of all).
        settings: of ``encoder.stream``.
    """
    source = column.stream(start, stop)
    if encoder.items == "pictures":
        yield from encoder.stream(batched(source, start, size), **settings)
    elif captions == "mean":
        yield from _means(encoder, source, size, settings)
    else:
        texts = (_text(said, captions) for said in source)
        yield from encoder.stream(batched(texts, start, size), **settings)


def _text(said: Sequence[str], captions: str) -> str:
    if captions == "join":
        return " ".join(said)
    return said[0] if said else ""


def _means(encoder: Encoder, source: Iterator[Sequence[str]], size: int, settings: dict[str, Any]) -> Iterator[Block]:
    """Mean over the captions of each row; captions of several rows share a batch, and a row may lie in two."""
    counts: deque[int] = deque()  # captions of the rows whose features are still to come

    def every() -> Iterator[str]:
        for said in source:
            counts.append(len(said) or 1)
            yield from said or ("",)

    left = np.empty((0, encoder.width), np.float32)
    for block in encoder.stream(batched(every(), 0, size), **settings):
        left = np.concatenate([left, block])
        means, used = [], 0
        while counts and used + counts[0] <= len(left):
            count = counts.popleft()
            means.append(left[used : used + count].mean(axis=0, dtype=np.float64))
            used += count
        left = left[used:]
        if means:
            yield np.stack(means).astype(np.float32)


def device_batch(encoder: Encoder, device: torch.device, asked: int | None) -> int:
    """Items at a time: what was asked for, or what suits the device."""
    return asked or encoder.batch[device.type != "cpu"]
