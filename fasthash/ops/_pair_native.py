"""The native pair losses: what `csrc/bindings/pair_loss.cpp` is handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fasthash import _native

Operand = tuple[int, int, int, int, int, int, int]


def rows_for(x: Tensor) -> Tensor:
    """float32 rows, each contiguous."""
    x = x.to(torch.float32)
    return x if x.stride(1) == 1 and x.stride(0) >= x.shape[1] else x.contiguous()


def operand(
    x: Tensor, grad: Tensor | None, labels: Tensor | None = None, weights: Tensor | None = None, column: int = 0
) -> Operand:
    """Addresses and strides of one side.

    Args:
        x: [n, d] from rows_for, or some of its columns.
        grad: float32, with the strides of x; written.
        labels: int64 [n] class ids, [n, layers] class ids of which `column` is read, or [n, words] masks.
        weights: float32 [n], contiguous.
    """
    place, step = 0, 1
    if labels is not None:
        step = labels.stride(0)
        place = labels.data_ptr() + (8 * column * labels.stride(1) if labels.ndim == 2 else 0)
    return (
        x.data_ptr(), x.shape[0], x.stride(0), place, step,
        0 if weights is None else weights.data_ptr(), 0 if grad is None else grad.data_ptr(),
    )  # fmt: skip


def run(
    loss: str, a: Operand, b: Operand, d: int, *options: float, words: int = 0, dense: Tensor | None = None,
    weights: Tensor | None = None, factor: float = 1.0, **products: int,
) -> float:  # fmt: skip
    """The summed loss; writes the operands' gradients. dense, weights: float32 [n, m], contiguous; products: of
    bfloat16 numbers, where the loss takes them."""
    call: Callable[..., Any] = getattr(_native.load(), loss)
    pairs = tuple(0 if x is None else x.data_ptr() for x in (dense, weights))
    return float(call((a, b, d, words, *pairs, factor), *options, _native.isa(), torch.get_num_threads(), **products))
