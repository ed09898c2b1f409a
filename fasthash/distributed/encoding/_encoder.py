"""Rows -> codes with one model, in the batches of `encode_image`; rows that cannot be read are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fasthash.distributed.encoding._batches import EXTRACTED, fitted_rows
from fasthash.distributed.encoding._cells import FEATURES, PICTURES, picture_fault
from fasthash.distributed.encoding._rows import Rows, regrouped
from fasthash.models import HashModel
from fasthash.models.hash_model import BATCH


@dataclass
class RowEncoder:
    """Encodes the rows of one side with one model.

    Args:
        side: "image" or "text". what: features, pictures or texts, what the rows hold.
        damaged: "refuse" raises at the first row that cannot be encoded, "skip" leaves such rows out.
        batch_size: rows through the network, or items to the extractor, at once; None: fitted to the free memory. On
            a GPU that has too little it is halved.
        workers: that share this machine.
    """

    model: HashModel
    side: str
    what: str
    damaged: str
    batch_size: int | None = None
    workers: int = 1
    skipped: list[tuple[int, str, str]] = field(default_factory=list)  # (id, place, why), since they were last taken

    def __post_init__(self) -> None:
        self.batch = self.batch_size or fitted_rows(self.model, self.side, self.what, self.workers)
        known = self.model.image_extractor if self.side == "image" else self.model.text_extractor
        self.extractor = None if self.what == FEATURES else known

    @property
    def step(self) -> int:
        """Rows that should be read at a time."""
        return BATCH if self.what == FEATURES else EXTRACTED

    def encode(self, parts: Iterable[Rows]) -> Iterator[tuple[Rows, NDArray[np.uint8]]]:
        """(rows that could be encoded, their codes uint8 [m, bytes]) of all rows, in order.

        Raises:
            ValueError: a damaged row, named, unless they are skipped.
        """
        chunks: Iterable[Rows] = regrouped(parts, self.step)
        if self.extractor is not None:
            chunks = regrouped((rows.with_items(x) for rows, x in map(self._extracted, chunks)), BATCH)
        for chunk in chunks:
            rows, made = self._sound(chunk, self._coded)
            if len(rows):
                yield rows, made

    def take_skipped(self) -> list[tuple[int, str, str]]:
        """(id, place, why) of the rows left out since the last call."""
        taken, self.skipped = self.skipped, []
        return taken

    def _coded(self, items: Any) -> NDArray[np.uint8]:
        encode = self.model.encode_image if self.side == "image" else self.model.encode_text
        made: NDArray[np.uint8]
        if self.extractor is not None:
            made = encode(items)
        else:
            made = self._fitting(lambda: encode(items, batch_size=self.batch))
        return made

    def _extracted(self, chunk: Rows) -> tuple[Rows, NDArray[np.float32]]:
        rows, made = self._sound(chunk, lambda items: self._fitting(lambda: self._features(items)))
        width = (self.model.image if self.side == "image" else self.model.text).config.width
        return rows, np.zeros((0, width), np.float32) if made is None else made

    def _features(self, items: list[Any]) -> NDArray[np.float32]:
        assert self.extractor is not None
        parts = [self.extractor.encode(items[i : i + self.batch]) for i in range(0, len(items), self.batch)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _sound(self, rows: Rows, make: Callable[[Any], Any]) -> tuple[Rows, Any]:
        """The rows that can be encoded, and what ``make`` makes of their items; None where there is none left."""
        rows = self._without(rows, rows.faults)
        if not len(rows):
            return rows, None
        try:
            return rows, make(rows.items)
        except (ValueError, TypeError, OSError):
            # looked for only now: opening every picture beforehand would decode each twice
            faults = [picture_fault(item) for item in rows.items] if self.what == PICTURES and _is_raw(rows) else []
            if not any(faults):
                raise
            rows = self._without(rows, faults)
            return rows, make(rows.items) if len(rows) else None

    def _without(self, rows: Rows, faults: Any) -> Rows:
        if not any(faults):
            return rows
        bad = [i for i, fault in enumerate(faults) if fault]
        if self.damaged == "refuse":
            raise ValueError(
                f"encode: {rows.places[bad[0]]}: {faults[bad[0]]}; damaged='skip' leaves such rows out and names them"
            )
        self.skipped += [(int(rows.ids[i]), rows.places[i], faults[i]) for i in bad]
        return rows.take(np.setdiff1d(np.arange(len(rows)), bad))

    def _fitting(self, make: Callable[[], Any]) -> Any:
        """What ``make`` makes, in ever smaller batches while a GPU has too little memory."""
        while True:
            try:
                return make()
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
            self.batch = max(1, self.batch // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _is_raw(rows: Rows) -> bool:
    return not isinstance(rows.items, np.ndarray)
