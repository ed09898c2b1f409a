"""Features of a modality's rows that no step changes: what an unsupervised method learns from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.models import backbones
from fasthash.models.inputs import Rows
from fasthash.models.mapped import MappedRows

BATCH = 256  # rows through a frozen network at once, where their features are made beforehand


class FixedFeatures:
    """The features that the rows are, or those that a frozen copy of their backbone makes of them.

    Made once, at the first look, where a row looks the same each time; pictures under augmentation go through the
    frozen network as the batch sees them. Neither is state of a run: the copy holds the weights from before training.
    Features in a file come with the batch, too, or all of them are read into memory, as whoever asks chooses.

    Args:
        rows: of one modality; dense or sparse features, or the input of a backbone.
    Raises:
        TypeError: rows that have neither features nor a backbone.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows: Any = rows
        backbone = getattr(rows, "backbone", None)
        has_features = "features" in vars(rows) or hasattr(type(rows), "features")  # not made for the question
        if backbone is None and not has_features:
            raise TypeError(f"FixedFeatures: rows must have features or a backbone, got {type(rows).__name__}")
        self._network = None if backbone is None else backbones.teacher(backbone).eval()
        view = getattr(rows, "view", None)
        self.changes = view is not None and bool(view.augments)  # from look to look
        self.mapped = isinstance(rows, MappedRows)
        self._all: Tensor | None = None

    @torch.no_grad()
    def all(self, device: torch.device) -> Tensor:
        """[n, p] of all rows, where they do not change."""
        if self._all is None:
            if self._network is None:
                self._all = self._rows.features.to(device)
            else:
                parts = torch.arange(len(self._rows), device=device).split(BATCH)
                self._all = torch.cat([self.of(self._rows.take(part)) for part in parts])
        return self._all

    @torch.no_grad()
    def of(self, x: Any) -> Tensor:
        """[m, p] of a batch, as the tower sees it."""
        if self._network is None:
            return torch.as_tensor(x)
        made: Tensor = self._network.to(x.device)(x)
        return made
