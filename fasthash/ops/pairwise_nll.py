"""Pairwise negative log-likelihood of label similarity under code inner products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from fasthash import _native
from fasthash.ops._checks import check_choice, check_finite, check_tensor, describe
from fasthash.ops._pair_loss import (
    Labels,
    Results,
    accumulator,
    check_codes_of_both,
    check_pair_matrix,
    check_row_vector,
    fake,
    float32_accepts,
    gradient_memory,
    mask_words,
    native_results,
    pair_loss,
    similarity,
    triton_accepts,
    words_of_both,
)
from fasthash.ops._pair_native import operand, run
from fasthash.ops._registry import define, register
from fasthash.ops.labels import PackedLabels, check_class_ids

_OP = "pairwise_nll"


def _check(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None,
    pair_weights: Tensor | None, row_weights_a: Tensor | None, row_weights_b: Tensor | None, layer_bits: Sequence[int],
    *_: Any,
) -> None:  # fmt: skip
    """Values that cannot be right. On the CPU only: reading them would make a GPU wait."""
    for name, x in (("labels_a", labels_a), ("labels_b", labels_b)):
        check_class_ids(_OP, name, x.flatten() if layer_bits and x is not None else x)
    weights = {"pair_weights": pair_weights, "row_weights_a": row_weights_a, "row_weights_b": row_weights_b}
    for name, x in weights.items():
        if x is None or x.device.type != "cpu":
            continue
        low, high = (float(value) for value in x.aminmax())
        if not (low >= 0 and high < float("inf")):
            raise ValueError(f"{_OP}: {name} must be finite and >= 0, got values from {low:g} to {high:g}")


# One pass over the pairs makes the loss and whichever gradients are wanted; backward only scales them.
# labels: class ids int64 [n] or mask words int64 [n, w], None where sim [n, m] is given; with layers, which stand side
# by side in the codes and are layer_bits wide, class ids int64 [n, layers]. Pair (i, j) counts pair_weights[i, j] *
# row_weights_a[i] * row_weights_b[j] times.
define(
    "pairwise_nll(Tensor a, Tensor b, Tensor? labels_a, Tensor? labels_b, Tensor? sim, Tensor? pair_weights,"
    " Tensor? row_weights_a, Tensor? row_weights_b, int[] layer_bits, float[] layer_weights, float scale, bool grad_a,"
    " bool grad_b) -> (Tensor, Tensor, Tensor)",
    fake=fake,
    check=_check,
)


def _layers(layer_bits: Sequence[int], layer_weights: Sequence[float], d: int) -> Iterator[tuple[int, slice, float]]:
    """Each layer's number, columns and weight; without layers there is one of all columns."""
    start = 0
    for layer, (bits, weight) in enumerate(zip(layer_bits or (d,), layer_weights or (1.0,), strict=True)):
        yield layer, slice(start, start + bits), weight
        start += bits


@register(_OP, "reference")
def _reference(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None,
    pair_weights: Tensor | None, row_weights_a: Tensor | None, row_weights_b: Tensor | None, layer_bits: Sequence[int],
    layer_weights: Sequence[float], scale: float, grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    acc = accumulator(a)
    a, b = a.to(acc), b.to(acc)
    parts_a, parts_b, losses = [], [], []
    for layer, columns, weight in _layers(layer_bits, layer_weights, a.shape[1]):
        ids_a, ids_b = (x[:, layer] if layer_bits and x is not None else x for x in (labels_a, labels_b))
        x, y = a[:, columns], b[:, columns]
        theta = scale * (x @ y.T)
        similar = similarity(ids_a, ids_b, sim).to(acc)
        # softplus(theta) - S theta = t theta + log1p(e) and sigmoid(theta) - S = t -+ e / (1 + e): nothing cancels
        e = theta.abs().neg().exp()
        positive = theta > 0
        t = torch.where(positive, 1 - similar, -similar)
        loss = _weighted(t * theta + e.log1p(), pair_weights, row_weights_a, row_weights_b)
        losses.append(weight * loss.sum())
        if grad_a or grad_b:
            tail = e / (1 + e)
            residual = scale * weight * torch.where(positive, t - tail, t + tail)  # dJ / d(x @ y.T)
            residual = _weighted(residual, pair_weights, row_weights_a, row_weights_b)
            parts_a += [residual @ y] if grad_a else []
            parts_b += [residual.T @ x] if grad_b else []
    out_a, out_b = (torch.cat(parts, dim=1) if parts else a.new_empty(0) for parts in (parts_a, parts_b))
    return torch.stack(losses).sum(), out_a, out_b


def _weighted(
    values: Tensor, pair_weights: Tensor | None, row_weights_a: Tensor | None, row_weights_b: Tensor | None
) -> Tensor:
    columns = None if row_weights_a is None else row_weights_a[:, None]
    for weights in (pair_weights, columns, row_weights_b):
        values = values if weights is None else values * weights.to(values.dtype)
    return values


@register(_OP, "cpp", accepts=float32_accepts)
def _cpp(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None,
    pair_weights: Tensor | None, row_weights_a: Tensor | None, row_weights_b: Tensor | None, layer_bits: Sequence[int],
    layer_weights: Sequence[float], scale: float, grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    products = {"bf16": _native.bf16(), "bf16_codes": a.dtype == torch.bfloat16}
    a, b = (x.to(torch.float32).contiguous() for x in (a, b))
    grads = gradient_memory(a, b, grad_a, grad_b)
    labels_a, labels_b = (None if x is None else x.contiguous() for x in (labels_a, labels_b))
    dense, pairs, each_a, each_b = (
        None if x is None else x.to(torch.float32).contiguous()
        for x in (sim, pair_weights, row_weights_a, row_weights_b)
    )
    words = 0 if layer_bits else mask_words(labels_a)
    loss = 0.0
    for layer, columns, weight in _layers(layer_bits, layer_weights, a.shape[1]):
        out_a, out_b = (None if x is None else x[:, columns] for x in grads)
        x, y = a[:, columns], b[:, columns]
        loss += run(
            _OP, operand(x, out_a, labels_a, each_a, layer), operand(y, out_b, labels_b, each_b, layer), x.shape[1],
            scale, words=words, dense=dense, weights=pairs, factor=weight, **products,
        )  # fmt: skip
    return native_results(loss, grads)


def _triton_accepts(
    a: Tensor, b: Tensor, labels_a: Any, labels_b: Any, sim: Any, pair_weights: Any, row_weights_a: Any,
    row_weights_b: Any, layer_bits: Sequence[int], *_: Any,
) -> str | None:  # fmt: skip
    return triton_accepts(a, max(layer_bits or (a.shape[1],)), half_products=True)


@register(_OP, "triton", accepts=_triton_accepts)
def _triton(*args: Any) -> Results:
    from fasthash._kernels.pairwise_nll import pairwise_nll_fwd  # late: triton is optional

    return pairwise_nll_fwd(*args)


def pairwise_nll(
    a: Tensor,
    b: Tensor,
    labels_a: Labels = None,
    labels_b: Labels = None,
    *,
    sim: Tensor | None = None,
    layer_weights: Sequence[float] | None = None,
    layer_bits: Sequence[int] | None = None,
    pair_weights: Tensor | None = None,
    row_weights_a: Tensor | None = None,
    row_weights_b: Tensor | None = None,
    scale: float = 0.5,
    reduction: str = "sum",
) -> Tensor:
    """Sum over all n * m pairs of softplus(theta_ij) - S_ij theta_ij, with theta = scale * a @ b.T.

    S_ij is 1 where rows i and j share a label, or have the same class id, and 0 elsewhere; or it is ``sim``. With
    ``layer_weights`` the codes of several layers stand side by side, and the loss is the weighted sum of the losses of
    the layers, each with class ids of its own.

    Args:
        a: [n, d] relaxed codes of one modality, before sign; float64/32/16 or bfloat16.
        b: [m, d] relaxed codes of the other modality, dtype and device of ``a``; under autocast the dtypes may differ.
        labels_a, labels_b: of the rows of a and of b; not together with ``sim``. A matrix [n, c] of any dtype is always
            multi-hot (non-zero: has the label; a row of zeros is similar to none), a vector int64 [n] holds class ids
            (>= 0, checked on the CPU), and labels packed beforehand are a PackedLabels from ``pack_labels``. With
            ``layer_weights`` int64 [n, layers] and [m, layers] class ids of each layer.
        sim: [n, m] similarity, 0..1; a constant.
        layer_weights: weight (>= 0) of each layer's loss.
        layer_bits: width of each layer's code, d in all; equal widths unless given.
        pair_weights: [n, m], row_weights_a: [n], row_weights_b: [m], constants, finite and >= 0 (checked on the CPU),
            used as float32: the loss of pair (i, j) is multiplied by all that are given.
        scale: factor of the inner product (unitless); 0.5 in the paper.
        reduction: "sum", or "mean": the sum divided by n * m, whatever the weights are.
    Returns:
        [] loss in nats, float32 or wider. NaN in a code makes it NaN.
    Raises:
        ValueError: shapes, dtypes or devices disagree: "pairwise_nll: b must be [n, 64] like a, got [32, 128]".
        TypeError: something is no tensor.
    Memory: beyond the inputs and gradients O(n + m) on `cpp` and `triton`, O(n * m) on `reference`.
    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, first term of the objective (equation 1); layers: Sun et
    al., Supervised Hierarchical Cross-Modal Hashing, SIGIR 2019.
    """
    check_choice(_OP, "reduction", reduction, ("sum", "mean"))
    scale = check_finite(_OP, "scale", scale)
    a, b = check_codes_of_both(_OP, a, b)
    given, bits = check_layers(_OP, layer_weights, layer_bits)
    weights = given or []
    bits = _layer_widths(a.shape[1], len(weights), bits)
    ids: tuple[Tensor | None, Tensor | None]
    if not weights:
        ids = words_of_both(_OP, a, b, labels_a, labels_b, sim)
    elif sim is None:
        ids = _layer_ids("labels_a", labels_a, a, len(weights)), _layer_ids("labels_b", labels_b, b, len(weights))
    else:
        raise ValueError(f"{_OP}: layer_weights goes with class ids of each layer, got sim")
    if pair_weights is not None:
        check_pair_matrix(_OP, "pair_weights", pair_weights, a, b)
    for name, x, codes in (("row_weights_a", row_weights_a, a), ("row_weights_b", row_weights_b, b)):
        if x is not None:
            check_row_vector(_OP, name, x, codes)
    constants = (*ids, sim, pair_weights, row_weights_a, row_weights_b, bits, weights, scale)
    return pair_loss(torch.ops.fasthash.pairwise_nll, a, b, *constants, reduction=reduction)


def check_layers(
    op: str, layer_weights: Sequence[float] | None, layer_bits: Sequence[int] | None
) -> tuple[list[float] | None, list[int] | None]:
    """Weights and widths of the layers, as far as they are given."""
    if layer_weights is None:
        if layer_bits is not None:
            raise ValueError(f"{op}: layer_bits goes with layer_weights, got layer_bits alone")
        return None, None
    for name, x in (("layer_weights", layer_weights), ("layer_bits", layer_bits)):
        if not isinstance(x, Iterable | None):
            raise TypeError(f"{op}: {name} must be a sequence of numbers, got {x!r}")
    weights = [check_finite(op, "layer_weights", weight) for weight in layer_weights]
    if not weights or min(weights) < 0:
        raise ValueError(f"{op}: layer_weights must be one or more numbers >= 0, got {weights}")
    bits = None if layer_bits is None else list(layer_bits)
    whole = bits is None or all(isinstance(width, Integral) and width >= 1 for width in bits)
    if bits is not None and (len(bits) != len(weights) or not whole):
        raise ValueError(f"{op}: layer_bits must be {len(weights)} widths >= 1 like layer_weights, got {bits}")
    return weights, None if bits is None else [int(width) for width in bits]


def _layer_widths(d: int, layers: int, bits: list[int] | None) -> list[int]:
    """Widths that add up to d."""
    if layers == 0:
        return []
    widths = [d // layers] * layers if bits is None else bits
    if sum(widths) != d:
        raise ValueError(f"{_OP}: layer_bits must add up to the codes' width {d}, got {widths}")
    return widths


def _layer_ids(name: str, labels: Labels, codes: Tensor, layers: int) -> Tensor:
    """Class ids of each layer."""
    if isinstance(labels, PackedLabels):
        raise ValueError(f"{_OP}: {name} must be class ids of each layer, got packed labels")
    labels = check_tensor(_OP, name, labels)
    if labels.shape != (codes.shape[0], layers) or labels.dtype != torch.int64 or labels.device != codes.device:
        expected = f"int64 class ids [{codes.shape[0]}, {layers}] on {codes.device}"
        raise ValueError(f"{_OP}: {name} must be {expected} with layer_weights, got {describe(labels)}")
    return labels
