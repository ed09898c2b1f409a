"""The codes that training pairs got in training, beside those that each modality's encoder gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import codes
from fasthash._files import replace_file

FILE = "learned.npz"


@dataclass(frozen=True, eq=False)
class LearnedCodes:
    """One code for both modalities of each training pair.

    Args:
        bits: code length.
        rows: int64 [n], the training rows in the data set.
        packed: uint8 [n, ceil(bits / 8)], their codes.
    """

    bits: int
    rows: NDArray[np.int64]
    packed: NDArray[np.uint8]

    @classmethod
    def of(cls, values: Any, rows: NDArray[np.int64]) -> LearnedCodes:
        """Codes from values [n, bits] whose signs count, 0 as +1."""
        values = np.asarray(values)
        return cls(values.shape[1], np.asarray(rows, np.int64), codes.pack(values))

    def replace(self, packed: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """``packed`` codes of data set rows ``rows``, with the learned code in place of each that was trained on."""
        order = np.argsort(self.rows)
        place = np.searchsorted(self.rows, rows, sorter=order).clip(max=len(order) - 1)
        found = order[place]
        known = self.rows[found] == rows
        made = packed.copy()
        made[known] = self.packed[found[known]]
        return made

    def save(self, folder: Path) -> None:
        """Write ``learned.npz`` into a run's folder, whole or not at all."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, bits=np.int64(self.bits), rows=self.rows, packed=self.packed)

        replace_file(folder / FILE, write)

    @classmethod
    def load(cls, folder: Path) -> LearnedCodes | None:
        """Those of a run's folder; None where its method learns none. ValueError: the file is damaged."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                made = cls(int(arrays["bits"]), arrays["rows"], arrays["packed"])
        except Exception as error:  # a damaged zip raises several kinds
            raise ValueError(f"learned codes: {path} cannot be read: {' '.join(str(error).split())}") from None
        if made.rows.ndim != 1 or made.packed.shape != (len(made.rows), -(-made.bits // 8)):
            raise ValueError(f"learned codes: {path} is damaged: {made.packed.shape} codes of {made.rows.shape} rows")
        return made
