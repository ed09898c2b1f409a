"""What a network is given: rows of a modality, from which the trainer takes a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

MEAN_ROWS = 8192  # rows whose sum is made together; another number could change a mean's last digit


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
            index: int64 [m], on the training device; on the CPU for rows with an attribute ``takes_host``.
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
        return mean_of((part.cpu() for part in self.features.split(MEAN_ROWS)), len(self))


def mean_of(parts: Iterable[Tensor], n: int) -> Tensor:
    """[width] mean of n rows that come in parts of `MEAN_ROWS`; sums of parts are added in float64."""
    total, dtype = torch.zeros((), dtype=torch.float64), torch.float32
    for part in parts:
        total, dtype = total + part.sum(dim=0).double(), part.dtype
    return (total / n).to(dtype)
