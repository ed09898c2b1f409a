"""Rows of all ranks, with gradients that flow back to the rank that owns them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor

from fasthash.distributed import _group
from fasthash.ops import PackedLabels
from fasthash.ops._checks import describe

_OP = "gather_rows"
_DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip
_MAX_NDIM = 9
_HALF = (torch.float16, torch.bfloat16)

Rows = Tensor | PackedLabels


@overload
def gather_rows(x: Tensor, *, rows: Sequence[int] | None = None, group: Any = None) -> Tensor: ...
@overload
def gather_rows(x: PackedLabels, *, rows: Sequence[int] | None = None, group: Any = None) -> PackedLabels: ...
@overload
def gather_rows(x: Rows, *, rows: Sequence[int] | None = None, group: Any = None) -> Rows: ...
def gather_rows(x: Rows, *, rows: Sequence[int] | None = None, group: Any = None) -> Rows:
    """The rows of all ranks, one rank after the other. Every rank of the group calls it, and uses what comes back.

    The gradient of a row is summed over the ranks and goes to the rank that gave the row. Call it alike everywhere:
    where one rank needs a gradient, all do, and the backward passes run through as many calls in the same order.

    Args:
        x: [n, ...] tensor of real numbers or booleans, or PackedLabels; n may differ between ranks and may be 0.
        rows: n of every rank, where known beforehand. Otherwise sizes and kinds are exchanged and compared first; a
            GPU is waited for then, unless the group also has a backend for the CPU ("cpu:gloo,cuda:nccl").
        group: process group; None is the default one.
    Returns:
        [sum of n, ...] of the kind of ``x``; ``x`` itself without a process group, or when it has one rank.
    Raises:
        ValueError: on every rank, when widths, dtypes or the need of a gradient differ between ranks, or when a rank
            gave something that cannot be sent.
        TypeError: on the rank that gave no tensor; ValueError on the others.
    Memory: the result; where the numbers of rows differ, world size * largest n rows more while it runs.
    """
    world = _group.world_size(_OP, group)
    if isinstance(x, PackedLabels):
        if world > 1 and rows is None:
            rows = _agree(x.words, group, x.classes)
        return PackedLabels(gather_rows(x.words, rows=rows, group=group), x.classes)
    if world == 1:
        if not isinstance(x, Tensor):
            raise TypeError(_problem(x, group))
        return x
    counts = _agree(x, group) if rows is None else _checked(rows, x, world, group)
    if x.requires_grad and torch.is_grad_enabled():
        gathered: Tensor = _GatherRows.apply(x, counts, group)
        return gathered
    return _exchange(x, counts, group)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int], group: Any) -> Tensor:
        ctx.counts, ctx.group = counts, group
        return _exchange(x, counts, group)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _sum_to_owner(grad, ctx.counts, ctx.group), None, None


def row_counts(op: str, x: Tensor, group: Any) -> list[int]:
    """len(x) on every rank."""
    if _group.world_size(op, group) == 1:
        return [len(x)]
    return [line[0] for line in _group.all_gather_integers([len(x)], group)]


def _agree(x: Any, group: Any, classes: int = 0) -> list[int]:
    """Rows of every rank, after all ranks have compared what they give: an error is told on each, so none waits."""
    problem = _problem(x, group)
    header = [0] * (5 + _MAX_NDIM)
    if problem is None:
        grad = x.requires_grad and torch.is_grad_enabled()
        header = [1, len(x), _DTYPES.index(x.dtype), int(grad), classes]
        header += [x.ndim - 1, *x.shape[1:], *[0] * (_MAX_NDIM - x.ndim)]
    every = _group.all_gather_integers(header, group)
    if problem is not None:
        raise (ValueError if isinstance(x, Tensor) else TypeError)(problem)
    for rank, other in enumerate(every):
        if not other[0]:
            raise ValueError(f"{_OP}: rank {rank} gave no tensor that can be sent; its own error says more")
        if other[2:] != every[0][2:]:
            kinds = f"{_kind(every[0])} on rank 0 and {_kind(other)} on rank {rank}"
            raise ValueError(f"{_OP}: every rank must give rows of one kind, got {kinds}")
    return [other[1] for other in every]


def _problem(x: Any, group: Any) -> str | None:
    """Why x cannot be sent; None when it can."""
    if not isinstance(x, Tensor):
        return f"{_OP}: x must be a torch tensor or PackedLabels, got {type(x).__name__}"
    if not 1 <= x.ndim <= _MAX_NDIM or x.dtype not in _DTYPES:
        return (
            f"{_OP}: x must have rows of real numbers or booleans and at most {_MAX_NDIM} dimensions, got {describe(x)}"
        )
    devices = _group.devices(group)
    if x.device.type not in devices:
        return f"{_OP}: x must be on a device of the process group's backend ({', '.join(devices)}), got {describe(x)}"
    return None


def _kind(header: list[int]) -> str:
    _, _, dtype, grad, classes, ndim, *shape = header
    rows = ", ".join(["n", *map(str, shape[:ndim])])
    name = f"labels of {classes} classes" if classes else str(_DTYPES[dtype]).removeprefix("torch.")
    return f"{name} [{rows}]" + (" with gradient" if grad else "")


def _checked(rows: Sequence[int], x: Any, world: int, group: Any) -> list[int]:
    problem = _problem(x, group)
    if problem is not None:
        raise (ValueError if isinstance(x, Tensor) else TypeError)(problem)
    counts = [int(n) for n in rows]
    rank = _group.rank(group)
    if len(counts) != world or min(counts) < 0 or counts[rank] != len(x):
        raise ValueError(f"{_OP}: rows must be {world} numbers, {len(x)} that of rank {rank}, got {counts}")
    return counts


def _exchange(x: Tensor, counts: list[int], group: Any) -> Tensor:
    """All rows, sent as bytes: backends know few dtypes."""
    shape = x.shape[1:]
    width = math.prod(shape)
    total, size = sum(counts), max(counts)
    if total * width == 0:
        return x.new_empty(total, *shape)
    sent = x.detach().reshape(len(x), width).contiguous().view(torch.uint8)
    if len(x) < size:
        sent = torch.cat((sent, sent.new_zeros(size - len(x), sent.shape[1])))
    every = _group.all_gather(sent, group).view(x.dtype)
    if total < len(every):
        every = torch.cat([part[:n] for part, n in zip(every.split(size), counts, strict=True)])
    return every.view(total, *shape)


def _sum_to_owner(grad: Tensor, counts: list[int], group: Any) -> Tensor:
    """The sum over ranks of this rank's rows of the gradient; half precision is summed in float32."""
    mine, size = counts[_group.rank(group)], max(counts)
    shape, width = grad.shape[1:], math.prod(grad.shape[1:])
    if len(grad) * width == 0:
        return grad.new_empty(mine, *shape)
    wide = grad.reshape(len(grad), width).to(torch.float32 if grad.dtype in _HALF else grad.dtype)
    if len(grad) < size * len(counts):
        parts = zip(wide.split(counts), counts, strict=True)
        wide = torch.cat([torch.cat((part, part.new_zeros(size - n, width))) for part, n in parts])
    own = _group.reduce_scatter(wide.contiguous(), group)
    return own[:mine].to(grad.dtype).view(mine, *shape)
