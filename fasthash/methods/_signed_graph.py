"""Signed graphs of neighbours: each row is tied to its k nearest rows and set apart from its k farthest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

PART = 2048  # rows read together
BLOCK = 1024  # rows whose neighbours are looked for together


class CentredRows:
    """n rows of features, centred by their mean and at unit length, read part by part.

    Args:
        n: rows.
        read: rows from start to stop -> [stop - start, p], the same each time.
        keep: whether to read them once, and keep them in memory.
    """

    def __init__(self, n: int, read: Callable[[int, int], Tensor], *, keep: bool = False) -> None:
        self.n, self._read = n, read
        if keep:
            every = torch.cat([part for _, part in self._parts()])
            self._read = lambda start, stop: every[start:stop]
        total = torch.stack([part.sum(dim=0) for _, part in self._parts()]).sum(dim=0)
        self.mean = total / n

    def _parts(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, self.n, PART):
            stop = min(start + PART, self.n)
            yield slice(start, stop), self._read(start, stop).float()

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """(which rows, float32 [m, p]), in order."""
        for rows, part in self._parts():
            yield rows, torch.nn.functional.normalize(part - self.mean, eps=1e-12)


class SignedGraph:
    """A = (W + W') / 2 where W_ij is +1 for the k nearest rows j of i, -1 for its k farthest, and 0 else.

    Held of n rows are n * 2k entries and as many of the transpose, on the CPU.

    Args:
        rows: between which cosines say who is near.
        k: neighbours of either kind; half of the other rows at most.
    """

    def __init__(self, rows: CentredRows, k: int) -> None:
        n = rows.n
        k = min(k, (n - 1) // 2)
        columns = torch.cat(_neighbours(rows, k), dim=1)  # [n, 2k]
        values = torch.cat([torch.ones(n, k), -torch.ones(n, k)], dim=1).double().flatten() / 2
        row = torch.arange(n).repeat_interleave(2 * k)
        column = columns.flatten()
        at = torch.stack([torch.cat([row, column]), torch.cat([column, row])])
        made = torch.sparse_coo_tensor(at, torch.cat([values, values]), (n, n), check_invariants=False)
        self.matrix = made.coalesce()

    def degrees(self) -> Tensor:
        """float64 [n]: sums of the absolute values of A's rows."""
        return row_sums(self.matrix, self.matrix.values().abs())


def row_sums(matrix: Tensor, values: Tensor) -> Tensor:
    """[n] sums over the rows of a sparse matrix of something [entries]."""
    return values.new_zeros(matrix.shape[0]).index_add_(0, matrix.indices()[0], values)


def _neighbours(rows: CentredRows, k: int) -> tuple[Tensor, Tensor]:
    """int64 [n, k] nearest and farthest rows of each, itself left out; a block of rows against a part at a time."""
    nearest, farthest = [], []
    for place, part in rows.parts():
        for start in range(0, len(part), BLOCK):
            block = part[start : start + BLOCK]
            near, far = _of_block(block, place.start + start, rows, k)
            nearest.append(near.cpu())
            farthest.append(far.cpu())
    return torch.cat(nearest), torch.cat(farthest)


def _of_block(block: Tensor, first: int, rows: CentredRows, k: int) -> tuple[Tensor, Tensor]:
    """The neighbours of rows first, first + 1, ..."""
    best: list[tuple[Tensor, Tensor] | None] = [None, None]  # (values, columns) of the nearest and of the farthest
    for place, part in rows.parts():
        cosines = block @ part.T
        low, high = max(first, place.start), min(first + len(block), place.stop)
        own = torch.arange(low, max(low, high), device=block.device)
        for kind, sign in enumerate((1.0, -1.0)):
            signed = sign * cosines
            signed[own - first, own - place.start] = -torch.inf
            values, columns = signed.topk(min(k, signed.shape[1]), dim=1)
            columns += place.start
            before = best[kind]
            if before is not None:
                values, columns = torch.cat([before[0], values], dim=1), torch.cat([before[1], columns], dim=1)
                values, at = values.topk(min(k, values.shape[1]), dim=1)
                columns = columns.gather(1, at)
            best[kind] = (values, columns)
    near, far = best
    assert near is not None
    assert far is not None
    return near[1], far[1]
