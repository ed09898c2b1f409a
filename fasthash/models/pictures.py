"""Rows of raw pictures: decoded and augmented in threads ahead of the steps, the same at every run."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fasthash.models.backbones._base import PictureBackbone
from fasthash.models.backbones._transform import Pixels, View

CACHE_BYTES = 2 << 30  # of scaled pictures kept in memory
MEAN_ROWS, MEAN_BATCH = 512, 64  # of the sample that a tower's centre comes from: one mean needs no more
AHEAD = 2  # batches that are made while another is trained on
WORKERS = 8  # threads at most: a GPU's step is longer than what they need for a batch


class PictureRows:
    """n raw pictures as uint8 pixels [m, 3, size, size] of a batch, on the training device.

    What a row looks like follows from (seed, epoch, row) alone: not from the batch it is in, the number of threads or
    processes, or where a run was interrupted.

    Args:
        pictures: paths, ``features.Picture``s, PIL images or uint8 arrays [h, w, 3].
        backbone: says how pictures become its pixels; a tower over these rows is built on it.
        device: of training.
        seed: of the augmentation.
        train: False for the view of queries and database, which draws nothing.
        cache_bytes: memory for scaled pictures; what does not fit is decoded again at each look.
        workers: threads; default the CPUs, at most 8.
    """

    takes_host = True  # numbers of rows on the CPU

    def __init__(
        self,
        pictures: Sequence[Any],
        backbone: PictureBackbone,
        device: torch.device | str = "cpu",
        *,
        seed: int = 0,
        train: bool = True,
        cache_bytes: int = CACHE_BYTES,
        workers: int | None = None,
    ) -> None:
        self.pictures, self.backbone, self.seed = pictures, backbone, seed
        self.device = torch.device(device)
        self.view: View = backbone.transform.train if train else backbone.transform.test
        self.epoch = 0
        self._free = cache_bytes
        self._kept: dict[int, Pixels] = {}
        self._lock = threading.Lock()
        self._looks: OrderedDict[int, Future[Pixels]] = OrderedDict()  # of this epoch, last announced last
        self._batch = 1  # the largest batch so far
        count = workers or min(WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else WORKERS)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="fasthash-pictures")

    @property
    def width(self) -> int:
        return self.backbone.width

    def __len__(self) -> int:
        return len(self.pictures)

    def mean(self) -> Tensor:
        """[width] mean of the features that the backbone makes of up to `MEAN_ROWS` rows, as it is now."""
        sample = self.pictures[:: -(-len(self) // MEAN_ROWS)]
        rows = PictureRows(sample, self.backbone, self.device, train=False, cache_bytes=0)
        with closing(rows):
            batches = torch.arange(len(sample)).split(MEAN_BATCH)
            return self.backbone.mean_features(map(rows.take, announced(batches, rows.announce)))

    def begin_epoch(self, epoch: int) -> None:
        """Other looks from here on, those of this epoch; set again before a resumed epoch goes on."""
        if epoch != self.epoch:
            self.epoch = epoch
            if self.view.augments:
                self._forget(0)

    def announce(self, index: Tensor) -> None:
        """Start making the rows of a coming batch."""
        rows = index.tolist()
        self._batch = max(self._batch, len(rows))
        for row in rows:
            self._look(row)
            self._looks.move_to_end(row)
        self._forget((2 + AHEAD) * self._batch)  # a step may ask twice for its rows

    def take(self, index: Tensor) -> Tensor:
        """uint8 [m, 3, size, size] of the rows ``index``.

        Raises:
            FileNotFoundError, ValueError: a picture that cannot be read, named.
        """
        # rows that were announced keep their place: moved to the end, they would outlive the rows of the coming batch
        looks = [self._look(row) for row in index.tolist()]
        self._batch = max(self._batch, len(looks))
        self._forget((2 + AHEAD) * self._batch)
        pixels = torch.from_numpy(np.stack([look.result() for look in looks]))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        # the channels stay last in memory: the layout convolutions are fastest in
        return pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def close(self) -> None:
        """End the threads."""
        self._forget(0)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, row: int) -> Future[Pixels]:
        look = self._looks.get(row)
        if look is None:
            look = self._looks[row] = self._pool.submit(self._make, row, self.epoch)
        return look

    def _forget(self, keep: int) -> None:
        while len(self._looks) > keep:
            self._looks.popitem(last=False)[1].cancel()

    def _make(self, row: int, epoch: int) -> Pixels:
        base = self._kept.get(row)
        if base is None:
            base = self.view.base(self.pictures[row], f"picture {row}")
            with self._lock:
                if base.nbytes <= self._free and row not in self._kept:
                    self._free -= base.nbytes
                    self._kept[row] = base
        if not self.view.augments:
            return base
        return self.view.augment(base, np.random.default_rng((self.seed, epoch, row)))


def announced(batches: Iterable[Tensor], announce: Callable[[Tensor], None], ahead: int = AHEAD) -> Iterator[Tensor]:
    """The batches in their order, each announced ``ahead`` batches before it is handed out."""
    source = iter(batches)
    waiting: list[Tensor] = []
    for batch in islice(source, ahead):
        announce(batch)
        waiting.append(batch)
    while waiting:
        coming = next(source, None)
        if coming is not None:
            announce(coming)
            waiting.append(coming)
        yield waiting.pop(0)
