"""Label sets as bit masks: one AND tells whether two rows share a label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fasthash.ops._checks import check_tensor, describe

_ROWS = 1 << 16  # packed together: the sums take 4 bytes a label
_GROUP = 16  # classes per float32 sum: 2**16 - 1 is exact there, and also in TF32 products of 0/1 with powers of two


@dataclass(frozen=True)
class PackedLabels:
    """Multi-hot labels packed by ``pack_labels``; rows are taken with ``packed[index]``.

    words: int64 [n, ceil(classes / 64)]; class k is bit k % 64 of word k // 64.
    """

    words: Tensor
    classes: int

    def __post_init__(self) -> None:
        x, width = check_tensor("PackedLabels", "words", self.words), -(-self.classes // 64)
        if x.ndim != 2 or x.shape[1] != width or x.dtype != torch.int64:  # kernels read this many words of each row
            raise ValueError(
                f"PackedLabels: words must be int64 [n, {width}] for {self.classes} classes, got {describe(x)}"
            )

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
    classes = labels.shape[1]
    groups = -(-classes // 64) * (64 // _GROUP)
    with torch.autocast(labels.device.type, enabled=False):
        index = torch.arange(classes, device=labels.device)
        power = (2.0 ** (index % _GROUP))[:, None]
        column = torch.arange(groups, device=labels.device)[None, :]
        weights = torch.where(index[:, None] // _GROUP == column, power, 0.0)
        shift = torch.arange(0, 64, _GROUP, device=labels.device)
        words = []
        for rows in labels.split(_ROWS):
            sums = ((rows != 0).to(torch.float32) @ weights).to(torch.int64)
            words.append((sums.view(len(rows), groups * _GROUP // 64, 64 // _GROUP) << shift).sum(dim=-1))
    return PackedLabels(words[0] if len(words) == 1 else torch.cat(words), classes)


def label_words(op: str, name: str, labels: Tensor | PackedLabels, codes: Tensor) -> tuple[Tensor, int]:
    """What kernels read: (int64 [n] class ids or [n, w] mask words, number of classes: 0 for class ids).

    Args:
        labels: of the rows of ``codes``, on their device: class ids int64 [n], multi-hot [n, c], or PackedLabels.
    """
    tensor = labels.words if isinstance(labels, PackedLabels) else check_tensor(op, name, labels)
    if tensor.ndim not in (1, 2) or tensor.shape[0] != codes.shape[0] or tensor.device != codes.device:
        expected = f"{codes.shape[0]} rows (class ids [n], multi-hot [n, c] or PackedLabels) on {codes.device}"
        raise ValueError(f"{op}: {name} must have {expected}, got {describe(tensor)}")
    if isinstance(labels, PackedLabels):
        return labels.words, labels.classes
    if tensor.ndim == 1:
        if tensor.dtype != torch.int64:
            raise ValueError(f"{op}: {name} must be int64 class ids when it is a vector, got {describe(tensor)}")
        return tensor, 0
    packed = pack_labels(tensor)
    return packed.words, packed.classes


def check_class_ids(op: str, name: str, labels: Tensor | None) -> None:
    """ValueError for a negative class id. On the CPU only: reading them would make a GPU wait."""
    if labels is not None and labels.ndim == 1 and labels.device.type == "cpu" and int(labels.min()) < 0:
        raise ValueError(f"{op}: {name} must be class ids >= 0, got {int(labels.min())}")


def check_label_kinds(op: str, a: tuple[str, int], b: tuple[str, int]) -> None:
    """ValueError unless both sides, (name, number of classes of label_words), can be compared."""
    if a[1] != b[1]:
        kinds = [f"{classes} classes" if classes else "class ids" for _, classes in (a, b)]
        raise ValueError(f"{op}: {b[0]} must be of the kind of {a[0]} ({kinds[0]}), got {kinds[1]}")


def share_label(a: Tensor, b: Tensor) -> Tensor:
    """bool [n, m]: whether rows of two results of label_words share a label."""
    if a.ndim == 1:
        return a[:, None] == b[None, :]
    shared = torch.zeros(len(a), len(b), dtype=torch.bool, device=a.device)
    for word_a, word_b in zip(a.unbind(1), b.unbind(1), strict=True):
        shared |= (word_a[:, None] & word_b[None, :]) != 0
    return shared
