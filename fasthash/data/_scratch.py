"""Matrices that are put together block by block, in a file without a name: memory stays flat however many rows come."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY = 1 << 26  # bytes: below this an array of its own is plainer, and faster


class Scratch:
    """A matrix [n, width] that grows by rows. It is written, not mapped: a full disk is then an error, no crash."""

    def __init__(self, width: int, dtype: DTypeLike = np.float32) -> None:
        self.width = width
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self._file: Any = None
        self._blocks: list[NDArray[Any]] = []

    def append(self, block: NDArray[Any]) -> None:
        """Adds rows [m, width].

        Raises:
            OSError: the folder of temporary files (TMPDIR) is full.
        """
        block = np.ascontiguousarray(block, self.dtype)
        assert block.shape[1:] == (self.width,)
        self.rows += len(block)
        if self._file is None and self.rows * self.width * self.dtype.itemsize > IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix="fasthash-")  # noqa: SIM115  (it lives as long as its map)
            for earlier in self._blocks:
                self._file.write(earlier.data)
            self._blocks.clear()
        if self._file is None:
            self._blocks.append(block.copy())
        elif block.size:
            self._file.write(block.data)

    def finish(self) -> NDArray[Any]:
        """The matrix: in memory where it is small, else mapped from the file, which is gone when nobody has it."""
        if self._file is None:
            return np.concatenate(self._blocks) if self._blocks else np.empty((0, self.width), self.dtype)
        self._file.flush()
        return np.memmap(self._file, self.dtype, "r", shape=(self.rows, self.width))


def take_rows(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """array[rows], in a scratch file where `array` is a large mapped one."""
    if not isinstance(array, np.memmap) or array.nbytes <= IN_MEMORY or array.ndim != 2:
        return array[rows]
    scratch = Scratch(array.shape[1], array.dtype)
    step = max(1, (1 << 22) // (array.shape[1] * array.itemsize))
    for start in range(0, len(rows), step):
        scratch.append(array[rows[start : start + step]])
    return scratch.finish()
