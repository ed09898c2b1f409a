"""Rows that are mostly zeros, such as bags of words: kept and taken as the entries that are there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from fasthash.models.inputs import FeatureRows

# Share of non-zero entries up to which rows are handled by their entries: a step of a wide layer is then twice as fast
# at least; from about 15 % on it is slower. The times are in benchmarks/results/sparse_layer_cpu.md.
MAX_DENSITY = 0.05


class ByWord(NamedTuple):
    """The entries of a batch, word after word."""

    words: Tensor  # int64 [k], ascending: those that occur
    offsets: Tensor  # int64 [k + 1]: entries of word i are those from offsets[i] to offsets[i + 1]
    rows: Tensor  # int64 [entries]
    values: Tensor  # [entries]


@dataclass(frozen=True)
class SparseBatch:
    """Rows of a batch, entry by entry: compressed sparse rows."""

    offsets: Tensor  # int64 [m + 1]: entries of row i are those from offsets[i] to offsets[i + 1]
    words: Tensor  # int64 [entries], the column of each
    values: Tensor  # float [entries]
    width: int

    @classmethod
    def from_dense(cls, features: Tensor) -> SparseBatch:
        """Of features [m, width]."""
        rows, words = features.nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(features))
        return cls(_offsets(counts), words, features[rows, words], features.shape[1])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> Tensor:
        """int64 [entries], the row of each entry."""
        return torch.repeat_interleave(self.offsets.diff(), output_size=len(self.words))

    @cached_property
    def by_word(self) -> ByWord:
        words, order = self.words.sort(stable=True)
        found, counts = words.unique_consecutive(return_counts=True)
        return ByWord(found, _offsets(counts), self.rows[order], self.values[order])

    def dense(self) -> Tensor:
        """[m, width]"""
        return self.values.new_zeros(len(self), self.width).index_put_((self.rows, self.words), self.values)

    def dot(self, vector: Tensor) -> Tensor:
        """[m] products of the rows with a vector [width]."""
        return self.row_sums(self.values * vector[self.words])

    def row_sums(self, values: Tensor) -> Tensor:
        """[m] sums over each row of something [entries]."""
        return values.new_zeros(len(self)).index_add_(0, self.rows, values)

    def distances(self, mean: Tensor) -> Tensor:
        """[m] distances of the rows from a vector [width], as exact as those of dense rows."""
        # |x|^2 - 2 x.mean + |mean|^2 would cancel where a row is near the mean: only its own entries' share is replaced
        wide, centre = self.values.double(), mean.double()
        own = centre[self.words]
        change = self.row_sums((wide - own).square() - own.square())
        return (change + centre.square().sum()).clamp_min(0).sqrt().to(self.values.dtype)


class SparseRows:
    """Features of which few are not zero, as compressed sparse rows on the CPU.

    A batch is a dense Tensor [m, width], as of `FeatureRows`, until a tower asks for its entries: `give_entries`.

    Args:
        features: float32 [n, width], dense.
    """

    def __init__(self, features: Tensor) -> None:
        self._all = SparseBatch.from_dense(features)
        self._entries = False

    @property
    def width(self) -> int:
        return self._all.width

    @property
    def features(self) -> Tensor:
        """float32 [n, width], made anew."""
        return self._all.dense()

    @property
    def density(self) -> float:
        """Share of entries that are not zero."""
        return len(self._all.words) / max(1, len(self) * self.width)

    def __len__(self) -> int:
        return len(self._all)

    def give_entries(self) -> None:
        """From now on `take` gives a `SparseBatch`: for a tower whose first layer is a `WordLinear`."""
        self._entries = True

    def take(self, index: Tensor) -> Any:
        first = self._all.offsets[index]
        counts = self._all.offsets[index + 1] - first
        offsets = _offsets(counts)
        shift = torch.repeat_interleave(first - offsets[:-1], counts)
        at = torch.arange(len(shift)).add_(shift)
        batch = SparseBatch(offsets, self._all.words[at], self._all.values[at], self.width)
        return batch if self._entries else batch.dense()

    def mean(self) -> Tensor:
        totals = torch.zeros(self.width, dtype=torch.float64)
        totals.index_add_(0, self._all.words, self._all.values.double())
        return (totals / len(self)).to(self._all.values.dtype)


def is_sparse(features: Tensor) -> bool:
    """Whether features [n, width] are worth to be handled entry by entry: on the CPU, and mostly zeros."""
    if features.device.type != "cpu" or features.numel() == 0:
        return False
    return int(torch.count_nonzero(features)) <= MAX_DENSITY * features.numel()


def feature_rows(features: Tensor) -> FeatureRows | SparseRows:
    """The rows of features [n, width], float32 on the training device: by their entries where that is worth it."""
    return SparseRows(features) if is_sparse(features) else FeatureRows(features)


def bag_sums(table: Tensor, items: Tensor, offsets: Tensor, values: Tensor) -> Tensor:
    """[bags, out]: sums over each bag of values[i] * table[items[i]]."""
    return embedding_bag(
        items, table, offsets, mode="sum", per_sample_weights=values.to(table.dtype), include_last_offset=True
    )


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
