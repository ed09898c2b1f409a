"""The rule by which a loss over all pairs is shared between ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fasthash.distributed import _group
from fasthash.distributed._gather import gather_rows, row_counts
from fasthash.ops import PackedLabels
from fasthash.ops._checks import check_choice, check_tensor

_OP = "pair_loss"
Labels = Tensor | PackedLabels | None


def pair_loss(
    loss: Callable[..., Tensor],
    a: Tensor,
    b: Tensor,
    labels_a: Labels = None,
    labels_b: Labels = None,
    *,
    reduction: str = "mean",
    group: Any = None,
) -> Tensor:
    """A loss over the pairs of all ranks' rows: local rows x all columns, sum, times world size over N M.

    The average over the ranks of what comes back is the loss of the whole batch, and the average of the gradients,
    which is what DistributedDataParallel makes, is its gradient: as one process with all rows has them, to rounding.

    Args:
        loss: sums over pairs, ``loss(a, all_b, labels_a, all_labels_b)``: ``losses.PairwiseNLL()``, or a function.
            Called without labels where none are given; not called on a rank without rows.
        a: [n, d] this rank's rows; n may differ between ranks and may be 0.
        b: [m, d] this rank's columns; those of all ranks are gathered, and their gradients go back.
        labels_a, labels_b: of the rows of a and of b: multi-hot, class ids or PackedLabels.
        reduction: "mean" over the N M pairs of all ranks, or their "sum".
        group: process group; None is the default one. Without a process group this is the loss of the rows here.
    Returns:
        [] this rank's share.
    Raises:
        ValueError: as ``gather_rows``; or on every rank, when no rank has a row or no rank has a column.
    """
    check_choice(_OP, "reduction", reduction, ("mean", "sum"))
    if getattr(loss, "reduction", "sum") != "sum":
        raise ValueError(f"{_OP}: loss must sum over pairs, got {loss!r}")
    if (labels_a is None) != (labels_b is None):
        raise ValueError(f"{_OP}: expected labels_a and labels_b or neither, got one of them")
    world = _group.world_size(_OP, group)
    columns = gather_rows(b, group=group)
    labels = () if labels_b is None else (labels_a, gather_rows(labels_b, group=group))
    rows = sum(row_counts(_OP, check_tensor(_OP, "a", a), group))
    if rows == 0 or len(columns) == 0:
        raise ValueError(f"{_OP}: expected rows and columns on some rank, got {rows} rows and {len(columns)} columns")
    if len(a):
        total = loss(a, columns, *labels)
    else:  # nothing to add, but the gradients of the columns are summed by all ranks together
        dtype = torch.promote_types(columns.dtype, torch.float32)
        total = a.sum(dtype=dtype) + columns[:0].sum(dtype=dtype)
    return total * (world / (rows * len(columns)) if reduction == "mean" else world)
