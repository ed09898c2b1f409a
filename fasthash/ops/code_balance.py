"""How unbalanced the bits of codes are: the squared length of their column sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.ops._checks import check_matrix, check_tensor, describe
from fasthash.ops._registry import define, register

_OP = "code_balance"


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _fake(h: Tensor, rest: Tensor | None) -> tuple[Tensor, Tensor]:
    acc = _accumulator(h)
    return h.new_empty((), dtype=acc), h.new_empty(h.shape[1], dtype=acc)


# The column sums are all that the gradient needs: 2 s is that of every row.
define("code_balance(Tensor h, Tensor? rest) -> (Tensor, Tensor)", fake=_fake)


# The only backend on every device: torch sums 128 x 64 in the time of a call, and columns of many rows at the speed
# of the memory (100,000 x 64: less time than a copy), which leaves a kernel of our own nothing to win.
@register("code_balance", "reference")
def _reference(h: Tensor, rest: Tensor | None) -> tuple[Tensor, Tensor]:
    acc = _accumulator(h)  # float64 stays float64, so gradcheck can use it
    column_sum = h.sum(dim=0, dtype=acc)
    if rest is not None:
        column_sum = (column_sum.to(rest.dtype) + rest).to(acc)
    return torch.dot(column_sum, column_sum), column_sum


class _CodeBalance(torch.autograd.Function):  # outside the op: less per-call cost than register_autograd
    @staticmethod
    def forward(ctx: Any, h: Tensor, rest: Tensor | None) -> Tensor:
        ctx.rows, ctx.dtype = h.shape[0], h.dtype
        loss, column_sum = torch.ops.fasthash.code_balance(h, rest)
        ctx.save_for_backward(column_sum)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (column_sum,) = ctx.saved_tensors
        row = (2 * grad * column_sum).to(ctx.dtype)
        return row.expand(ctx.rows, -1), None


def code_balance(h: Tensor, rest: Tensor | None = None) -> Tensor:
    """|rest + 1^T h|^2, the squared length of the codes' column sums: 0 where every bit is +1 as often as -1.

    The gradient of each row of h is 2 (rest + 1^T h): of a whole set without ``rest``, or of the rows of a batch while
    the others, of which ``rest`` is the sum, stand still; ``losses.CodeBank`` keeps that sum.

    Args:
        h: [n, bits] relaxed codes; float64/32/16 or bfloat16.
        rest: [bits] column sum of the rows that are not in h, float64 or float32 on the device of h; a constant.
    Returns:
        [] loss, float32 or wider.
    Raises:
        ValueError: shapes, dtypes or devices disagree.
        TypeError: something is no tensor.
    Memory: O(bits) beyond the inputs; the gradient of h is one row, expanded.
    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, third term of the objective (weight eta).
    """
    check_matrix(_OP, "h", h)
    if rest is not None:
        check_tensor(_OP, "rest", rest)
        if rest.shape != h.shape[1:] or rest.device != h.device or rest.dtype not in (torch.float64, torch.float32):
            want = f"float64 or float32 [{h.shape[1]}] on {h.device}"
            raise ValueError(f"{_OP}: rest must be {want}, got {describe(rest)}")
        if rest.requires_grad:
            raise ValueError(f"{_OP}: rest must be a constant, got a tensor that requires grad")
    if torch.is_grad_enabled() and h.requires_grad:
        loss: Tensor = _CodeBalance.apply(h, rest)
        return loss
    loss, _ = torch.ops.fasthash.code_balance(h, rest)
    return loss
