"""Fixed codes in the middle of each class, far from one another, and of each set of classes: central similarity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasthash.ops._checks import describe

_DRAWS = 20  # of random centres, of which the best is kept


def hash_centres(classes: int, bits: int) -> Tensor:
    """Codes -1/+1 of classes, half the bits apart wherever there are so many.

    Rows of the Hadamard matrix of order ``bits`` where that is a power of two, and of its negative after them: any two
    differ in half of the bits or in all of them. For more than 2 ``bits`` classes, or other lengths, rows of as many
    -1 as +1 in random order: of 20 draws the one whose nearest two rows are the farthest apart.

    Args:
        classes: number of classes, 1 or more.
        bits: code length, 1 or more.
    Returns:
        float32 [classes, bits] on the CPU.
    Raises:
        ValueError: a size is not positive.
    Source: Yuan et al., Central Similarity Quantization for Efficient Image and Video Retrieval, CVPR 2020.
    """
    for name, size in (("classes", classes), ("bits", bits)):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"hash_centres: {name} must be a positive integer, got {size!r}")
    if bits & (bits - 1) == 0 and classes <= 2 * bits:
        rows = _hadamard(bits)
        return torch.cat([rows, -rows])[:classes]
    draws = [_balanced(classes, bits) for _ in range(_DRAWS)]
    return max(draws, key=_nearest)


def _hadamard(order: int) -> Tensor:
    """Sylvester's matrix of a power of two."""
    rows = torch.ones(1, 1)
    while len(rows) < order:
        rows = torch.cat([torch.cat([rows, rows], dim=1), torch.cat([rows, -rows], dim=1)])
    return rows


def _balanced(classes: int, bits: int) -> Tensor:
    order = torch.rand(classes, bits).argsort(dim=1)
    return torch.where(order < bits // 2, -1.0, 1.0)


def _nearest(centres: Tensor) -> float:
    """Bits between the two rows that are nearest each other."""
    inner = (centres @ centres.T).fill_diagonal_(-centres.shape[1])
    return float(centres.shape[1] - inner.max()) / 2


class HashCentres(nn.Module):
    """The code that a row of labels stands for: the sign of the mean of its classes' centres.

    Where as many centres have -1 as +1, a code decides that is drawn once for all rows, so that a set of classes always
    stands for one code.

    Args:
        classes: number of classes.
        bits: code length.
    Attributes:
        centres: buffer [classes, bits], see `hash_centres`. ties: buffer [bits].
    """

    centres: Tensor
    ties: Tensor

    def __init__(self, classes: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("centres", hash_centres(classes, bits))
        self.register_buffer("ties", torch.where(torch.rand(bits) < 0.5, -1.0, 1.0))

    def forward(self, labels: Tensor) -> Tensor:
        """Codes -1/+1, float32 [m, bits], of multi-hot labels [m, classes]; a row without any is 0 throughout.

        Raises:
            ValueError: "HashCentres: labels must be [m, 24], got [128, 21]".
        """
        classes = len(self.centres)
        if labels.ndim != 2 or labels.shape[1] != classes:
            raise ValueError(f"HashCentres: labels must be [m, {classes}], got {describe(labels)}")
        has = (labels != 0).to(self.centres.dtype)
        total = has @ self.centres
        codes = torch.where(total == 0, self.ties, total.sign())
        return codes * has.amax(dim=1, keepdim=True)
