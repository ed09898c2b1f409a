"""Which rows of a training set a process keeps the codes of, where several processes share them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from fasthash.ops import PackedLabels

_PART = 1 << 20  # numbers drawn together; a multiple of 16, which torch's generator makes at a time
Kept = TypeVar("Kept", Tensor, PackedLabels)


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of ``n``: one of ``world`` slices, in the order of the processes' ranks.

    Its sums are exchanged in torch's default process group, so that all processes must call for them alike. Alone, a
    shard is all rows, and hands on what it is given as it is.

    Args:
        n: rows of all processes. rank: of this process. world: how many there are.
    Raises:
        ValueError: there are fewer rows than processes.
    """

    n: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(f"Shard: rank must be from 0 to {self.world - 1}, got {self.rank}")
        if self.n < self.world and self.world > 1:
            raise ValueError(f"{self.n} training pairs are too few for {self.world} processes; start fewer")

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def start(self) -> int:
        return self.bounds(self.rank)[0]

    @property
    def stop(self) -> int:
        return self.bounds(self.rank)[1]

    def __len__(self) -> int:
        return self.stop - self.start

    def bounds(self, rank: int) -> tuple[int, int]:
        """First row of a process, and the one behind its last: sizes differ by one at most."""
        size, more = divmod(self.n, self.world)
        return rank * size + min(rank, more), (rank + 1) * size + min(rank + 1, more)

    @property
    def counts(self) -> list[int]:
        """Rows of each process."""
        return [stop - start for start, stop in map(self.bounds, range(self.world))]

    def own(self, x: Kept) -> Kept:
        """The rows kept here of x, [n, ...]: a view."""
        return x if self.alone else x[self.start : self.stop]

    def mine(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the rows int64 [m] are kept here: their places in ``index``, and in what is kept."""
        place = ((index >= self.start) & (index < self.stop)).nonzero()[:, 0]
        return place, index[place] - self.start

    def rows(self, kept: Tensor, index: Tensor) -> Tensor:
        """Any rows int64 [m] of what all processes keep, [m, d]; without gradient where there are several."""
        if self.alone:
            return kept[index]
        place, rows = self.mine(index)
        found = kept.new_zeros(len(index), *kept.shape[1:])
        found[place] = kept[rows]
        return self.sum(found)

    def share(self, total: Tensor) -> Tensor:
        """Of a sum over the rows kept here, what its mean over the processes turns into the sum over all rows."""
        return total if self.alone else total * self.world

    def share_of_mean(self, mean: Tensor) -> Tensor:
        """As `share`, of a mean over the rows kept here."""
        return mean if self.alone else mean * (self.world * len(self) / self.n)

    def randn(self, width: int) -> Tensor:
        """The rows kept here of ``torch.randn(n, width)``, drawn alike on all processes; the others are not held."""
        if self.alone:
            return torch.randn(self.n, width)
        first, behind, at = self.start * width, self.stop * width, 0
        kept, total = torch.empty(behind - first), self.n * width
        while at < total:
            # a short rest is drawn with the part before it: the generator makes 16 numbers at a time
            size = total - at if total - at < 2 * _PART else _PART
            low, high = max(first, at), min(behind, at + size)
            drawn = torch.randn(size)
            if low < high:
                kept[low - first : high - first] = drawn[low - at : high - at]
            at += size
        return kept.view(-1, width)

    def sum(self, x: Tensor) -> Tensor:
        """The sum of x over the processes, in its memory."""
        if not self.alone:
            import torch.distributed as dist  # late: not every build of torch has it

            dist.all_reduce(x)
        return x

    def same(self, x: Tensor) -> Tensor:
        """x of the first process, in the memory of x: what each could compute, but for a last digit."""
        if not self.alone:
            import torch.distributed as dist

            dist.broadcast(x, src=0)
        return x

    def whole(self, kept: Tensor) -> Tensor | None:
        """On the first process the rows of all, on the CPU, received one process after the other; elsewhere None."""
        if self.alone:
            return kept
        import torch.distributed as dist

        kept = kept.contiguous()
        if self.rank:
            dist.send(kept, dst=0)
            return None
        made = torch.empty(self.n, *kept.shape[1:], dtype=kept.dtype)
        made[: len(kept)] = kept
        for rank in range(1, self.world):
            start, stop = self.bounds(rank)
            part = kept.new_empty(stop - start, *kept.shape[1:])
            dist.recv(part, src=rank)
            made[start:stop] = part
        return made
