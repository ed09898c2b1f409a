"""The features that an unsupervised method of pairs learns from, of a batch: kept, or made along with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.methods._base import SIDES, Batch, Outputs, TrainData
from fasthash.models.teacher import FixedFeatures
from fasthash.ops._unit_rows import unit_rows


class TeacherFeatures:
    """Both sides' features as no step changes them, in rows of length 1.

    Kept of n pairs in memory: a copy of their features. Features in a file and pictures under augmentation are not
    kept: a batch brings its own. Nothing of it is state of a run.

    Args:
        train: the training rows, before a step is made: frozen copies of their backbones are taken.
    """

    def __init__(self, train: TrainData) -> None:
        self._rows: dict[str, Any] = {"image": train.image, "text": train.text}
        self._fixed = {side: FixedFeatures(rows) for side, rows in self._rows.items()}
        self.with_batch = tuple(side for side, f in self._fixed.items() if f.changes or f.mapped)
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._rows["image"])

    def outputs(self, batch: Batch) -> Outputs:
        """What `of` needs beside the index, to be made along with the networks' outputs."""
        given = {"image": batch.image, "text": batch.text}
        return {f"f_{side}": self._fixed[side].of(given[side]) for side in self.with_batch}

    def of(self, outputs: Outputs, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows [m, p_image] and [m, p_text] of the batch ``index`` int64 [m], float32 on its device."""
        image, text = (
            unit_rows(outputs[f"f_{side}"].detach().float())[0]
            if side in self.with_batch
            else self.kept(side, index.device)[index]
            for side in SIDES
        )
        return image, text

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The same before training, of rows ``index`` int64 [m] on the CPU: pictures as this epoch has them."""
        image, text = (self._side_at(side, index) for side in SIDES)
        return image, text

    @torch.no_grad()
    def _side_at(self, side: str, index: Tensor) -> Tensor:
        rows = self._rows[side]
        if side in self._kept:  # before asking where rows lie: sparse ones are made dense for the answer
            kept = self._kept[side]
            return kept[index.to(kept.device)]
        device = device_of(rows)
        if side not in self.with_batch:
            return self.kept(side, device)[index.to(device)]
        made = self._fixed[side].of(rows.take(index if hasattr(rows, "takes_host") else index.to(device)))
        return unit_rows(made.float())[0]

    def kept(self, side: str, device: torch.device) -> Tensor:
        """Unit rows [n, p] of a side that is not in ``with_batch``."""
        if side not in self._kept:
            self._kept[side] = unit_rows(self._fixed.pop(side).all(device).float())[0]
        return self._kept[side]


def device_of(rows: Any) -> torch.device:
    """Where a batch of these rows lies."""
    if hasattr(rows, "device"):  # asked first: features in a file are read where they are asked for
        return torch.device(rows.device)
    held: Tensor = rows.tokens if hasattr(rows, "tokens") else rows.features
    return held.device
