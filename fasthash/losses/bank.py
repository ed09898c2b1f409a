"""The latest codes of a whole training set, and their column sum, kept up to date batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fasthash.ops._checks import check_matrix, check_same, check_tensor, describe

_NAME = "CodeBank"
_ROWS = 1 << 16  # summed together


class CodeBank(nn.Module):
    """Codes [n, bits] of the latest forward of each row, and their running column sum.

    A batch is compared with the codes of all other rows, of which only its own have changed: so rows are overwritten,
    and the column sum, which the balance loss needs, is corrected by their difference. It is kept in float64 (float32
    on a device that has none): after a hundred thousand updates it is still the sum of the codes to ten digits.
    Codes and sum are the state, so a loaded state dict goes on bit for bit; under DistributedDataParallel give every
    rank the gathered rows and indices, or set ``broadcast_buffers=False``.

    Args:
        codes: [n, bits] to start from, for example N(0, 1); float32 or float64. The bank keeps a copy.
    """

    codes: Tensor  # [n, bits]; call refresh() after writing to it other than by update()
    column_sum: Tensor  # [bits]

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        check_matrix(_NAME, "codes", codes)
        if codes.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{_NAME}: codes must be float32 or float64, got {describe(codes)}")
        self.register_buffer("codes", codes.detach().clone())
        self.register_buffer("column_sum", _column_sum(self.codes))

    def __len__(self) -> int:
        return self.codes.shape[0]

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
        rest = self.column_sum - _column_sum(self.codes[index])
        self.codes.index_copy_(0, index, h)
        torch.add(rest, _column_sum(h), out=self.column_sum)
        return rest

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the column sum anew from the codes."""
        self.column_sum.copy_(_column_sum(self.codes))

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
        return self

    def extra_repr(self) -> str:
        return f"{len(self)}, bits={self.codes.shape[1]}"


def _column_sum(codes: Tensor) -> Tensor:
    """[bits], in float64 where the device has it."""
    dtype = torch.float32 if codes.device.type == "mps" else torch.float64
    sums = [part.sum(dim=0, dtype=dtype) for part in codes.split(_ROWS)]  # sum copies what it reads to the other dtype
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum(dim=0)
