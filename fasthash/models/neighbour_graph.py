"""A graph of the training pairs, each with its nearest neighbours alone: where a walk of one step may lead."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROWS, COLUMNS = 1024, 8192  # of the similarities that are alive together


class NeighbourGraph:
    """Transition probabilities of n nodes to k others each, P: as columns and values, never as n x n.

    Args:
        columns: int32 [n, k], the neighbours of each node, itself not among them.
        values: float32 [n, k], not negative; each row sums to 1, or is 0 for a node without neighbours.
    Memory: 8 n k bytes.
    """

    def __init__(self, columns: Tensor, values: Tensor) -> None:
        self.columns, self.values = columns, values

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    @torch.no_grad()
    def build(cls, similarity: Callable[[Tensor, Tensor], Tensor], n: int, k: int) -> NeighbourGraph:
        """The k most similar others of each node, similarities divided by their sum; negative ones are no neighbours.

        Args:
            similarity: of nodes int64 [r] and [c], on the CPU, -> [r, c], finite.
            n: nodes, 2 or more.
            k: neighbours, from 1 to n - 1.
        Raises:
            ValueError: too few nodes, or k out of range.
        Time: n^2 similarities. Memory: those of `ROWS` nodes with `COLUMNS` others at once.
        """
        if n < 2:
            raise ValueError(f"NeighbourGraph: n must be 2 or more, got {n}")
        if not 1 <= k < n:
            raise ValueError(f"NeighbourGraph: k must be from 1 to {n - 1}, got {k}")
        columns, values = [], []
        for rows in torch.arange(n).split(ROWS):
            best: tuple[Tensor, Tensor] | None = None
            for part in torch.arange(n).split(COLUMNS):
                found = _most_similar(similarity(rows, part), rows, part, k)
                scores, ids = (
                    found if best is None else (torch.cat([a, b], 1) for a, b in zip(best, found, strict=True))
                )
                top, at = scores.topk(min(k, scores.shape[1]), dim=1)
                best = top, ids.gather(1, at)
            assert best is not None
            weights = best[0].clamp_min(0)
            total = weights.sum(dim=1, keepdim=True)
            values.append(torch.where(total > 0, weights / total, 0.0).float())
            columns.append(best[1].int())
        return cls(torch.cat(columns), torch.cat(values))

    @torch.no_grad()
    def second_order(self, index: Tensor) -> Tensor:
        """P P^T of some nodes, [m, m]: how probably steps from two of them lead to one place.

        Args:
            index: int64 [m], on the device of the graph.
        Memory: m x n, or m x m k where there are more nodes than that.
        """
        columns, values = self.columns[index].long(), self.values[index]
        width = len(self)
        if width > columns.numel():
            known, columns = columns.unique(return_inverse=True)
            width = len(known)
        rows = values.new_zeros(len(index), width).scatter_(1, columns, values)
        return rows @ rows.T


def _most_similar(scores: Tensor, rows: Tensor, part: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of [r, c] and their nodes, each node itself left out."""
    rows, part = rows.to(scores.device), part.to(scores.device)
    scores = scores.masked_fill(rows[:, None] == part[None, :], -torch.inf)
    top, at = scores.topk(min(k, scores.shape[1]), dim=1)
    return top, part[at]
