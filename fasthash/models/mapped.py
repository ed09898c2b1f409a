"""Features that stay in their file: rows of a memory map, read for a batch ahead of its step, or part by part."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasthash.models.inputs import MEAN_ROWS, mean_of

# Bytes of training rows up to which mapped features are taken into memory all the same: they are then handled as an
# array is, entry by entry where they are mostly zeros, and on a GPU lie on the device.
MAPPED_FROM = 64 << 20
KEPT = 4  # batches that are read or being read: the one trained on, those announced, and one for a step before a step
WORKERS = 2  # threads: enough to wait for the disk while the step computes


class FeatureView:
    """Some rows of a feature matrix [n, width], in the order given; they are read when they are asked for.

    Args:
        features: [N, width], in memory or a memory map.
        rows: int64 [n], from 0 to N - 1; None: all.
    """

    def __init__(self, features: NDArray[Any], rows: NDArray[np.int64] | None = None) -> None:
        self.features = np.asarray(features)  # the same memory: each index into an np.memmap makes another np.memmap
        self.rows = rows

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.features.shape[1]

    def __len__(self) -> int:
        return len(self.features if self.rows is None else self.rows)

    def __getitem__(self, part: slice) -> NDArray[Any]:
        """[m, width]; a view where all rows are meant."""
        return self.features[part] if self.rows is None else np.take(self.features, self.rows[part], axis=0)

    def take(self, at: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Rows [m, width] at places int64 [m], from 0 to n - 1, which is not checked with ``out``."""
        rows = at if self.rows is None else self.rows[at]
        # "raise" would make a copy of what is written to out
        return np.take(self.features, rows, axis=0, out=out, mode="raise" if out is None else "clip")


class MappedRows:
    """Dense features in a file, float32: memory holds those of a few batches, however many rows there are.

    Threads read the rows of the coming batches, as they are announced; on a GPU they come from pinned memory. The
    numbers are those of `FeatureRows` over the same features, and so is what is trained on them, bit for bit.

    Args:
        features: np.memmap or other array [N, width].
        rows: int64 [n], those of the training set; None: all.
        device: of training.
    """

    takes_host = True  # numbers of rows on the CPU

    def __init__(
        self,
        features: NDArray[np.float32],
        rows: NDArray[np.int64] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._view, self.device = FeatureView(features, rows), torch.device(device)
        self._made: OrderedDict[bytes, Future[Tensor]] = OrderedDict()  # by the batch's rows, the latest last
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="fasthash-rows")

    @property
    def width(self) -> int:
        return self._view.shape[1]

    def __len__(self) -> int:
        return len(self._view)

    @property
    def features(self) -> Tensor:
        """float32 [n, width] on the training device, made anew."""
        return of_array(self._view[:]).to(self.device)

    def announce(self, index: Tensor) -> None:
        """Start reading the rows of a coming batch."""
        self._reading(index.cpu())

    def take(self, index: Tensor) -> Tensor:
        """float32 [m, width] of the rows ``index`` int64 [m]; on the CPU best, for a device would have to be asked."""
        index = index.cpu()
        known = self._made.get(_key(index))
        made = self._read(index) if known is None else known.result()
        return made.to(self.device, non_blocking=True)

    def mean(self) -> Tensor:
        """[width]; reads all rows, one part after the other."""
        return mean_of(self._parts(), len(self))

    def _parts(self) -> Iterator[Tensor]:
        for start in range(0, len(self), MEAN_ROWS):
            yield of_array(self._view[start : start + MEAN_ROWS])

    def _reading(self, index: Tensor) -> None:
        key = _key(index)
        if key not in self._made:
            self._made[key] = self._pool.submit(self._read, index)
        while len(self._made) > KEPT:
            self._made.popitem(last=False)[1].cancel()

    def _read(self, index: Tensor) -> Tensor:
        made = torch.empty(len(index), self.width, pin_memory=self.device.type == "cuda")
        self._view.take(index.numpy(), made.numpy())
        return made


def is_mapped(features: NDArray[np.float32], rows: NDArray[np.int64]) -> bool:
    """Whether training reads these rows of a side's features from their file: a memory map above `MAPPED_FROM`."""
    return isinstance(features, np.memmap) and len(rows) * features.shape[1] * features.itemsize > MAPPED_FROM


def of_array(part: NDArray[Any]) -> Tensor:
    """float32 on the CPU; a copy where the array is read-only, which torch has no word for."""
    part = np.ascontiguousarray(part, dtype=np.float32)
    return torch.from_numpy(part if part.flags.writeable else part.copy())


def _key(index: Tensor) -> bytes:
    return index.numpy().tobytes()
