"""Pairwise negative log-likelihood with both gradients; neither theta nor similarity is ever written to memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import torch
import triton
import triton.language as tl
from fasthash._kernels._pairs import dense, similar
from fasthash._kernels._pairs_launch import (
    DENSE,
    IDS,
    MASKS,
    Loss,
    Pairs,
    Results,
    Side,
    outputs,
    product_for,
    results,
    variant,
)  # fmt: skip
from fasthash._kernels._variant import ARCHS, Variant
from torch import Tensor


@triton.jit
def _log1p(e):
    """log(1 + e) for e in [0, 1], relative error 2e-7, also for small e; a software logarithm would cost 36 more."""
    p = e * 0.00536482455 - 0.0300657935
    p = p * e + 0.079204537
    p = p * e - 0.137538031
    p = p * e + 0.191536546
    p = p * e - 0.248571634
    p = p * e + 0.33321324
    p = p * e - 0.499996483
    p = p * e + 1.0
    return p * e


@triton.jit
def _epilogue(
    inner, rows, cols, rows_in, cols_in, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr, each_y_ptr, pair_ptr, d,
    pitch, scale, sim_x, sim_y, pair_x, pair_y,
    LABELS: tl.constexpr, WORDS: tl.constexpr, EACH: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    theta = scale * inner
    e = tl.exp2(tl.abs(theta) * -1.4426950408889634)
    inverse = 1.0 / (1.0 + e)
    # where, not maximum: a NaN must stay one
    if LABELS == 2:
        sim = dense(sim_ptr, sim_x, sim_y, rows, cols, rows_in, cols_in)
        share = tl.where(theta > 0.0, 1.0 - sim, -sim)  # theta's share and the tail are apart: nothing cancels
        tail = e * inverse
        nll = share * theta + _log1p(e)
        residual = share + tl.where(theta > 0.0, -tail, tail)
    else:
        same = similar(lx_ptr, ly_ptr, rows, cols, rows_in, cols_in, LABELS, WORDS)
        z = tl.where(same, -theta, theta)  # one flip makes loss and residual one-sided
        nll = tl.where(z < 0.0, 0.0, z) + _log1p(e)
        residual = tl.where(z < 0.0, e, 1.0) * inverse
        residual = tl.where(same, -residual, residual)
    if EACH:
        weight_x = tl.load(each_x_ptr + rows, mask=rows_in, other=0.0)
        weight_y = tl.load(each_y_ptr + cols, mask=cols_in, other=0.0)
        weight = weight_x[:, None] * weight_y[None, :]
        nll *= weight
        residual *= weight
    if PAIR:
        weight = dense(pair_ptr, pair_x, pair_y, rows, cols, rows_in, cols_in)
        nll *= weight
        residual *= weight
    return nll, residual


def pairwise_nll_fwd(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None,
    pair_weights: Tensor | None, row_weights_a: Tensor | None, row_weights_b: Tensor | None, layer_bits: Sequence[int],
    layer_weights: Sequence[float], scale: float, grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    """Loss [] and gradients [n, d], [m, d] in float32 (empty where not wanted); arguments as the op's."""
    a, b = a.contiguous(), b.contiguous()
    product = product_for(a.dtype)
    if a.dtype == torch.float16 and any(x is not None for x in (pair_weights, row_weights_a, row_weights_b)):
        a, b, product = a.float(), b.float(), "tf32"  # as precise, and no weight is too large or too small for it
    labels_a, labels_b = (None if x is None else x.contiguous() for x in (labels_a, labels_b))
    sim, pair_weights = (None if x is None else x.to(torch.float32) for x in (sim, pair_weights))
    each_a, each_b = _row_weights(a, row_weights_a, row_weights_b), _row_weights(b, row_weights_b, row_weights_a)
    out_a, out_b = outputs(a, b, grad_a, grad_b)
    kind = DENSE if sim is not None else IDS if layer_bits or _labels(labels_a).ndim == 1 else MASKS
    words = 1 if kind == DENSE or _labels(labels_a).ndim == 1 else _labels(labels_a).shape[1]
    loss = Loss(_epilogue, kind, words, each_a is not None, pair_weights is not None)
    total, start = None, 0
    for layer, (bits, weight) in enumerate(zip(layer_bits or (a.shape[1],), layer_weights or (1.0,), strict=True)):
        part = partial(_columns, start=start, bits=bits)
        ids = (labels_a, labels_b) if not layer_bits else (_labels(x)[:, layer] for x in (labels_a, labels_b))
        sides = [Side(*side) for side in zip((part(a), part(b)), ids, (each_a, each_b), strict=True)]
        pairs = Pairs(loss, product, *sides, sim, pair_weights, scale, scale * weight)
        value = pairs.forward(part(out_a), part(out_b))
        value = value if weight == 1 else weight * value
        total = value if total is None else total + value
        start += bits
    assert total is not None
    return results(total, out_a, out_b)


def _columns(x: Tensor | None, start: int, bits: int) -> Tensor | None:
    return None if x is None else x[:, start : start + bits]


def _labels(x: Tensor | None) -> Tensor:
    assert x is not None
    return x


def _row_weights(x: Tensor, own: Tensor | None, other: Tensor | None) -> Tensor | None:
    """float32 [n]; ones where only the other side has weights."""
    if own is not None:
        return own.to(torch.float32).contiguous()
    return None if other is None else x.new_ones(len(x), dtype=torch.float32)


def variants() -> Iterator[Variant]:
    """Every architecture, product and width with everything wanted; at width 64 also what else a launch may want."""
    full = (True, True, True)  # loss, gradient of x, gradient of y
    masks, matrix = Loss(_epilogue, MASKS), Loss(_epilogue, DENSE)
    weights = {"each": True, "pair": True}
    for arch, product, width in itertools.product(ARCHS, ("half", "tf32", "tf32x3"), (16, 32, 64, 128, 256, 512)):
        make = partial(variant, "pairwise_nll", arch=arch, product=product, width=width)
        yield make(masks, text="masks", wanted=full, guarded=width == 64)
        if width >= 64:
            yield make(matrix, text="dense", wanted=full, guarded=width == 64 and product == "tf32x3")
            yield make(Loss(_epilogue, MASKS, **weights), text="masks, weights", wanted=full)
        if width == 64:
            yield make(Loss(_epilogue, MASKS, 2), text="masks x2", wanted=full)
            yield make(Loss(_epilogue, IDS, 2), text="ids of layers", wanted=full, guarded=product == "tf32x3")
            yield make(Loss(_epilogue, MASKS, each=True), text="masks, row weights", wanted=full)
            yield make(Loss(_epilogue, DENSE, **weights), text="dense, weights", wanted=full)
            for wanted in ((True, False, False), (True, True, False), (False, True, False)):
                yield make(masks, text="masks", wanted=wanted)
