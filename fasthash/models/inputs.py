"""What a network is given: rows of a modality, from which the trainer takes a batch."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Rows(Protocol):
    """The n inputs of one modality: dense features, sparse bags of words, pictures, tokens."""

    @property
    def width(self) -> int:
        """Features a tower gets from a row; for pictures and tokens, those that the backbone makes of it."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Any:
        """The rows of a batch, on the training device: what the tower's ``forward`` takes.

        Args:
            index: int64 [m], on the training device.
        """

    def mean(self) -> Tensor | None:
        """[width] mean of the features over all rows, on the CPU; None where features are not known beforehand."""


class FeatureRows:
    """Dense features float32 [n, width], on the training device."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    @property
    def width(self) -> int:
        return self.features.shape[1]

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: Tensor) -> Tensor:
        return self.features.index_select(0, index)

    def mean(self) -> Tensor:
        return torch.as_tensor(self.features.cpu().mean(dim=0))
