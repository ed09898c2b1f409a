"""Euclidean distances of similar rows and what dissimilar ones lack to a margin, with both gradients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

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
    results,
    variant,
)
from fasthash._kernels._variant import ARCHS, Variant
from torch import Tensor

PRODUCT = "tf32x3"  # whatever the codes are: a distance is a difference of larger numbers


@triton.jit
def _epilogue(
    inner, rows, cols, rows_in, cols_in, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr, each_y_ptr, pair_ptr, d,
    pitch, scale, sim_x, sim_y, pair_x, pair_y,
    LABELS: tl.constexpr, WORDS: tl.constexpr, EACH: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    """scale: the margin; each: squared lengths. The derivative is by the inner product: -2 times that by delta^2."""
    length_x = tl.load(each_x_ptr + rows, mask=rows_in, other=0.0)
    length_y = tl.load(each_y_ptr + cols, mask=cols_in, other=0.0)
    lengths = length_x[:, None] + length_y[None, :]
    square = lengths - 2.0 * inner
    if LABELS == 2:
        like = dense(sim_ptr, sim_x, sim_y, rows, cols, rows_in, cols_in)
    else:
        like = tl.where(similar(lx_ptr, ly_ptr, rows, cols, rows_in, cols_in, LABELS, WORDS), 1.0, 0.0)
    unlike = 1.0 - like
    # a difference of nearly equal numbers keeps few digits, and the derivative divides by its root
    near = (square < 0.03 * lengths) & (unlike != 0.0) & rows_in[:, None] & cols_in[None, :]
    if tl.max(tl.max(near.to(tl.int32), axis=1), axis=0) > 0:
        exact = tl.zeros_like(square)
        for k in range(d):
            x = tl.load(x_ptr + rows * pitch + k, mask=rows_in, other=0.0)
            y = tl.load(y_ptr + cols * pitch + k, mask=cols_in, other=0.0)
            step = x[:, None] - y[None, :]
            exact += step * step
        square = tl.where(near, exact, square)
    square = tl.where(square < 0.0, 0.0, square)  # where, not maximum: a NaN must stay one
    distance = tl.sqrt(square)
    reach = unlike * distance
    far = reach >= scale
    lack = unlike * scale - tl.where(far, scale, reach)
    loss = like * like * square + lack * lack
    same = distance == 0.0
    push = tl.where(far | same, 0.0, unlike * lack / tl.where(same, 1.0, distance))
    return loss, 2.0 * (push - like * like)


def margin_euclidean_fwd(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, margin: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    """Loss [] and gradients [n, d], [m, d] (empty where not wanted); a and b float32, other arguments as the op's."""
    labels_a, labels_b = (None if x is None else x.contiguous() for x in (labels_a, labels_b))
    out_a, out_b = outputs(a, b, grad_a, grad_b)
    kind = DENSE if sim is not None else IDS if labels_a is not None and labels_a.ndim == 1 else MASKS
    words = labels_a.shape[1] if labels_a is not None and kind == MASKS else 1
    sides = (Side(x, labels, x.square().sum(dim=1)) for x, labels in ((a, labels_a), (b, labels_b)))
    pairs = Pairs(_loss(kind, words), PRODUCT, *sides, None if sim is None else sim.float(), scale=margin)
    return results(pairs.forward(out_a, out_b), out_a, out_b)


def _loss(kind: int, words: int = 1) -> Loss:
    return Loss(_epilogue, kind, words, each=True, differences=True, demanding=True)


def variants() -> Iterator[Variant]:
    """Every architecture and width with everything wanted; at width 64 also what else a launch may want."""
    full = (True, True, True)  # loss, gradient of x, gradient of y
    for arch, width in itertools.product(ARCHS, (16, 32, 64, 128, 256, 512)):
        sizes = {"arch": arch, "product": PRODUCT, "width": width}
        yield variant("margin_euclidean", _loss(MASKS), **sizes, text="masks", wanted=full, guarded=width == 64)
        if width == 64:
            yield variant("margin_euclidean", _loss(DENSE), **sizes, text="dense", wanted=full, guarded=True)
            yield variant("margin_euclidean", _loss(MASKS, 2), **sizes, text="masks x2", wanted=full)
            yield variant("margin_euclidean", _loss(IDS), **sizes, text="ids", wanted=full)
            for wanted in ((True, False, False), (True, True, False), (False, True, False)):
                yield variant("margin_euclidean", _loss(MASKS), **sizes, text="masks", wanted=wanted)
