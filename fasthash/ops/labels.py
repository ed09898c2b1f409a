"""Label sets as bit masks: one AND tells whether two rows share a label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fasthash.ops._checks import check_tensor, describe

_GROUP = 16  # classes per float32 sum: 2**16 - 1 is exact there, and also in TF32 products of 0/1 with powers of two


@dataclass(frozen=True)
class PackedLabels:
    """Multi-hot labels packed by ``pack_labels``; rows are taken with ``packed[index]``.

    words: int64 [n, ceil(classes / 64)]; class k is bit k % 64 of word k // 64.
    """

    words: Tensor
    classes: int

    def __len__(self) -> int:
        return self.words.shape[0]

    def __getitem__(self, index: Tensor | slice) -> PackedLabels:
        return PackedLabels(self.words[index], self.classes)

    def to(self, device: torch.device | str) -> PackedLabels:
        return PackedLabels(self.words.to(device), self.classes)


def pack_labels(labels: Tensor) -> PackedLabels:
    """Pack multi-hot labels into 64-bit words, once for a whole bank rather than at every step.

    Args:
        labels: [n, c] multi-hot of any numeric dtype or bool; an entry that is not zero means that the row has the
            label. Rows without any label are legal: they share no label with any row.
    Returns:
        PackedLabels on the device of ``labels``.
    Raises:
        ValueError: not a matrix, or no column.
    """
    check_tensor("pack_labels", "labels", labels)
    if labels.ndim != 2 or labels.shape[1] == 0:
        raise ValueError(f"pack_labels: labels must be multi-hot [n, c] with c >= 1, got {describe(labels)}")
    n, classes = labels.shape
    groups = -(-classes // 64) * (64 // _GROUP)
    with torch.autocast(labels.device.type, enabled=False):
        index = torch.arange(classes, device=labels.device)
        power = (2.0 ** (index % _GROUP))[:, None]
        column = torch.arange(groups, device=labels.device)[None, :]
        weights = torch.where(index[:, None] // _GROUP == column, power, 0.0)
        parts = ((labels != 0).to(torch.float32) @ weights).to(torch.int64).view(n, -1, 64 // _GROUP)
    shift = torch.arange(0, 64, _GROUP, device=labels.device)
    return PackedLabels((parts << shift).sum(dim=-1), classes)
