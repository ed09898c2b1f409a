"""Local vectors of a pair, the regions of a picture and the words of a text, for losses that align them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasthash.models.inputs import Rows
from fasthash.models.sparse import SparseBatch


class LocalVectors(nn.Module):
    """Unit vectors [m, k, out] of k parts: each part's own share, plus one that the features f of the whole give it.

    A part's own share comes from its features [m, k, width] through a linear layer, from a table by its number, or is
    nothing. The share of f is one for all the parts or, where they have nothing of their own, one for each: k learned
    linear views ("slots") of f. Through it a loss on local vectors reaches the networks that hash.

    Args:
        out: width of the local vectors.
        parts: features of parts that come with the data, their width; or 0.
        table: rows of the table, for parts that are numbers; or 0.
        slots: how many views of f, for parts that have nothing of their own; or 0.
        f: width of the features of the whole; 0: they take no part.
    Raises:
        ValueError: not exactly one of parts, table and slots, or slots of nothing.
    """

    def __init__(self, out: int, *, parts: int = 0, table: int = 0, slots: int = 0, f: int = 0) -> None:
        super().__init__()
        if sum(map(bool, (parts, table, slots))) != 1:
            raise ValueError(f"LocalVectors: expected one of parts, table and slots, got {parts}, {table} and {slots}")
        if slots and not f:
            raise ValueError("LocalVectors: slots are views of f, expected its width, got 0")
        self.out, self.slots = out, slots
        self.parts = nn.Linear(parts, out) if parts else None
        self.table = nn.Embedding(table, out) if table else None
        self.whole = nn.Linear(f, max(1, slots) * out) if f else None

    def forward(self, own: Tensor | None, f: Tensor) -> Tensor:
        """Unit vectors [m, k, out].

        Args:
            own: features [m, k, parts], or numbers int64 [m, k] below ``table``; None for slots.
            f: [m, width].
        """
        x: Tensor | float = 0.0
        if own is not None:
            layer = self.table if self.parts is None else self.parts
            assert layer is not None
            x = layer(own)
        if self.whole is not None:
            x = x + self.whole(f).view(len(f), max(1, self.slots), self.out)
        assert isinstance(x, Tensor)
        return functional.normalize(x, dim=2)


def words_of(rows: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Which words a bag of words holds.

    Args:
        rows: [m, vocabulary], not 0 where a word occurs.
        limit: words of a row at most: those of largest magnitude.
    Returns:
        columns int64 [m, k] and which of them are words, bool [m, k]; k = min(limit, vocabulary).
    """
    magnitude, columns = rows.abs().topk(min(limit, rows.shape[1]), dim=1)
    return columns, magnitude > 0


def words_of_rows(rows: Rows, limit: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`words_of` all the training rows of a modality, taken a thousand at a time; on the training device."""
    parts = []
    for index in torch.arange(len(rows), device=device).split(1024):
        bags = rows.take(index)
        parts.append(words_of(bags.dense() if isinstance(bags, SparseBatch) else bags, limit))
    columns, there = (torch.cat(each) for each in zip(*parts, strict=True))
    return columns, there
