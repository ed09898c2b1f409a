"""The latest codes of a whole training set, and their column sum, kept up to date batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fasthash.losses.shard import Shard
from fasthash.ops import PackedLabels
from fasthash.ops._checks import check_matrix, check_same, check_tensor, describe

_NAME = "CodeBank"
_ROWS = 1 << 16  # summed together
Labels = TypeVar("Labels", Tensor, PackedLabels)


class CodeBank(nn.Module):
    """Codes [n, bits] of the latest forward of each row, and their running column sum.

    A batch is compared with the codes of all other rows, of which only its own have changed: so rows are overwritten,
    and the column sum, which the balance loss needs, is corrected by their difference. It is kept in float64 (float32
    on a device that has none): after a hundred thousand updates it is still the sum of the codes to ten digits.
    Codes and sum are the state, so a loaded state dict goes on bit for bit; under DistributedDataParallel give every
    rank the gathered rows and indices, and set ``broadcast_buffers=False`` where each keeps a shard.

    With a ``shard`` this process keeps its rows alone, and every process is given the same batch: `update` writes the
    rows that are kept here, `pairs` is this process's share of a loss over pairs, and the column sum is that of all.

    Args:
        codes: [n, bits] to start from, for example N(0, 1); float32 or float64. The bank keeps a copy. With a shard the
            rows of that shard, [len(shard), bits].
        shard: the rows that are kept here; default all.
    """

    codes: Tensor  # [n, bits], or the shard's rows; call refresh() after writing to it other than by update()
    column_sum: Tensor  # [bits]
    row_buffers: ClassVar = ("codes",)  # sharded like the rows

    def __init__(self, codes: Tensor, shard: Shard | None = None) -> None:
        super().__init__()
        check_matrix(_NAME, "codes", codes)
        if codes.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{_NAME}: codes must be float32 or float64, got {describe(codes)}")
        self.shard = Shard(len(codes)) if shard is None else shard
        if len(codes) != len(self.shard):
            raise ValueError(f"{_NAME}: codes must be the {len(self.shard)} rows of the shard, got {describe(codes)}")
        self.register_buffer("codes", codes.detach().clone())
        self.register_buffer("column_sum", _column_sum(self.codes))
        self._partial = not self.shard.alone  # whether the column sum is that of the shard's rows alone

    def __len__(self) -> int:
        """Rows of all processes."""
        return self.shard.n

    def rows(self, index: Tensor) -> Tensor:
        """Codes [m, bits] of any rows int64 [m]."""
        return self.shard.rows(self.codes, index)

    def pairs(
        self,
        loss: Callable[[Tensor, Tensor, Labels, Labels], Tensor],
        h: Tensor,
        labels: Labels,
        all_labels: Labels,
        *,
        mean: bool = False,
    ) -> Tensor:
        """``loss(h, codes, labels, all_labels)`` over the pairs of a batch and all rows.

        With a shard it is computed for the rows kept here, and comes back as this process's share: the mean over the
        processes is the loss, and the mean of the gradients its gradient.

        Args:
            loss: a sum over pairs; with ``mean`` a mean over them.
            h: [m, bits] codes of the whole batch, and ``labels`` their labels.
            all_labels: of all n rows.
        """
        found = loss(h, self.codes, labels, self.shard.own(all_labels))
        return self.shard.share_of_mean(found) if mean else self.shard.share(found)

    @torch.no_grad()
    def update(self, index: Tensor, h: Tensor) -> Tensor:
        """Overwrite rows, and return what balances them: the column sum [bits] of all the other rows.

        ``code_balance(h, bank.update(index, h))`` is |1^T codes|^2 with a gradient for the rows of h alone.

        Args:
            index: int64 [m] rows, each at most once: checked on the CPU, but not under torch.compile; on a GPU reading
                them would make it wait. Unchecked, a row named twice leaves the column sum wrong until ``refresh``.
            h: [m, bits] their codes, of any floating dtype; stored without gradient.
        Raises:
            ValueError: shapes or devices disagree, or a row is out of range or named twice.
        """
        check_matrix(_NAME, "h", h)
        self._check_index(index, h)
        h = check_same(_NAME, "h", h.to(self.codes.dtype), "codes", self.codes)
        self.settle()
        place, rows = (None, index) if self.shard.alone else self.shard.mine(index)
        rest = self.column_sum - self.shard.sum(_column_sum(self.codes[rows]))
        self.codes.index_copy_(0, rows, h if place is None else h[place])
        torch.add(rest, _column_sum(h), out=self.column_sum)
        return rest

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the column sum anew from the codes; on all processes alike."""
        self.column_sum.copy_(_column_sum(self.codes))
        self._partial = not self.shard.alone
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Add up the processes' column sums where that was put off: no process may wait for others as it is made."""
        if self._partial:
            self.shard.sum(self.column_sum)
            self._partial = False

    def _check_index(self, index: Tensor, h: Tensor) -> None:
        check_tensor(_NAME, "index", index)
        if index.dtype != torch.int64 or index.shape != h.shape[:1] or index.device != h.device:
            want = f"int64 [{h.shape[0]}] on {h.device} like the rows of h"
            raise ValueError(f"{_NAME}: index must be {want}, got {describe(index)}")
        if index.device.type != "cpu" or torch.compiler.is_compiling():
            return
        ordered = index.sort().values
        low, high = int(ordered[0]), int(ordered[-1])
        if low < 0 or high >= len(self):
            raise ValueError(f"{_NAME}: index must be from 0 to {len(self) - 1}, got {low if low < 0 else high}")
        twice = ordered[1:] == ordered[:-1]
        if bool(twice.any()):
            raise ValueError(f"{_NAME}: index must name a row once, got {int(ordered[1:][twice][0])} twice")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CodeBank:
        """Devices and dtypes change the codes; the sum is made anew, in the widest dtype the device has."""
        del self.column_sum
        try:
            super()._apply(fn, recurse)
        finally:
            self.register_buffer("column_sum", _column_sum(self.codes))
            self._partial = not self.shard.alone
        return self

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state, prefix, *args)
        if prefix + "column_sum" in state:
            self._partial = False

    def extra_repr(self) -> str:
        kept = "" if self.shard.alone else f" (rows {self.shard.start} to {self.shard.stop})"
        return f"{len(self)}{kept}, bits={self.codes.shape[1]}"


def _column_sum(codes: Tensor) -> Tensor:
    """[bits], in float64 where the device has it."""
    dtype = torch.float32 if codes.device.type == "mps" else torch.float64
    sums = [part.sum(dim=0, dtype=dtype) for part in codes.split(_ROWS)]  # sum copies what it reads to the other dtype
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum(dim=0)
