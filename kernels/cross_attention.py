"""Stacked cross attention on tiles of cosines, one tile a pair of an image and a caption.

The cosines of all regions with the words of some captions are one large matrix product, left to torch; the kernels do
everything between that matrix and the scores, or its gradient, in one pass over it. A program owns a pair: what is
attended to (the context) are the rows of its tile, what attends (the query) the columns. Sums over pairs are matrix
products again: no atomics, the same bits every time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from fasthash._kernels._variant import ARCHS, STACK_LIMIT, Variant, pointers
from torch import Tensor

from fasthash.ops.cross_attention_reference import Direction, Unit, directions, unit_rows

CHUNK = 1 << 22  # cosines at a time: 16 MiB; backward needs four such matrices


@triton.jit
def _pair(
    context_ptr, query_ptr,  # int8 [n_a, c_count] and [n_b, q_count]: which vectors there are
    gram_ptr,  # float32 [n_a, c_count, c_count]
    step_a, step_b, step_c, step_q,  # of the cosines: element (c, q) of pair (a, b) is at a * step_a + b * step_b + ...
    n_b, c_count, q_count, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """A program's pair (a, b): start and places of its cosines [BLOCK_C, BLOCK_Q], which exist, masks, Gram matrix."""
    pair = tl.program_id(0).to(tl.int64)
    a, b = pair // n_b, pair % n_b
    c, q = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_Q)
    context = tl.load(context_ptr + a * c_count + c, mask=c < c_count, other=0) != 0
    query = tl.load(query_ptr + b * q_count + q, mask=q < q_count, other=0) != 0
    square = (c[:, None] < c_count) & (c[None, :] < c_count)
    gram = tl.load(gram_ptr + (a * c_count + c[:, None]) * c_count + c[None, :], mask=square, other=0.0)
    inside = (c[:, None] < c_count) & (q[None, :] < q_count)
    at = c[:, None] * step_c + q[None, :] * step_q  # 64 rows of a chunk: far from 2**31
    return a, b, a * step_a + b * step_b, at, inside, context, query, gram


@triton.jit
def _attend(s, gram, context, temperature, leak, PRECISION: tl.constexpr):
    """Similarities normalised along the query and their scale; softmax along the context; the Gram matrix times it."""
    b = tl.where(s > 0.0, s, leak * s)
    scale = 1.0 / tl.sqrt(tl.sum(b * b, axis=1) + 1e-8)
    normalised = b * scale[:, None]
    x = tl.where(context[:, None], temperature * normalised, -1e30)
    e = tl.exp2((x - tl.max(x, axis=0)[None, :]) * 1.4426950408889634)
    e = tl.where(context[:, None], e, 0.0)
    total = tl.sum(e, axis=0)
    weights = e / tl.where(total == 0.0, 1.0, total)[None, :]  # 0 in a context that is empty
    return normalised, scale, weights, tl.dot(gram, weights, input_precision=PRECISION)


@triton.jit
def _compare(s, weights, weighted):
    """Inner products of the query and its attended vectors, and the inverse lengths of these; 1e6 where too short."""
    dots, squares = tl.sum(weights * s, axis=0), tl.sum(weights * weighted, axis=0)
    short = squares <= 1e-12
    return dots, tl.where(short, 1e6, 1.0 / tl.sqrt(tl.where(short, 1.0, squares))), short


@triton.jit
def _pool(cosines, query, pool, LSE: tl.constexpr):
    """The score of a pair, and its derivatives by the cosines."""
    count = tl.sum(query.to(tl.float32), axis=0)
    some = count > 0.0
    if LSE:
        x = tl.where(query, pool * cosines, -1e30)
        top = tl.max(x, axis=0)
        e = tl.where(query, tl.exp2((x - top) * 1.4426950408889634), 0.0)
        total = tl.where(some, tl.sum(e, axis=0), 1.0)
        share = e / total
        score = (top + tl.log(total)) / pool
    else:
        share = tl.where(query, 1.0, 0.0) / tl.where(some, count, 1.0)
        score = tl.sum(tl.where(query, cosines, 0.0) * share, axis=0)
    return tl.where(some, score, 0.0), share


@triton.jit
def _cross_attention_score_fwd_kernel(
    s_ptr,  # float32 cosines; steps as in _pair
    gram_ptr, context_ptr, query_ptr,  # as in _pair
    score_ptr,  # float32, pair (a, b) at a * score_a + b * score_b
    n_b, c_count, q_count, step_a, step_b, step_c, step_q, score_a, score_b, weight, temperature, pool, leak,
    ADD: tl.constexpr, LSE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    a, b, start, at, inside, context, query, gram = _pair(
        context_ptr, query_ptr, gram_ptr, step_a, step_b, step_c, step_q, n_b, c_count, q_count, BLOCK_C, BLOCK_Q
    )
    s = tl.load(s_ptr + start + at, mask=inside, other=0.0)
    _, _, weights, weighted = _attend(s, gram, context, temperature, leak, PRECISION)
    dots, inverse, _ = _compare(s, weights, weighted)
    score, _ = _pool(dots * inverse, query, pool, LSE)
    score = tl.where(tl.sum(context.to(tl.int32), axis=0) > 0, weight * score, 0.0)
    score_at = score_ptr + a * score_a + b * score_b
    if ADD:
        score += tl.load(score_at)
    tl.store(score_at, score)


@triton.jit
def _cross_attention_score_bwd_kernel(
    s_ptr, gram_ptr, context_ptr, query_ptr, score_ptr,  # as above; score_ptr: the gradient of the scores
    ds_ptr,  # float32 as s_ptr: the gradient of the cosines
    weights_ptr, scaled_ptr,  # float32 as s_ptr: their product over the query is the Gram matrix's gradient
    n_b, c_count, q_count, step_a, step_b, step_c, step_q, score_a, score_b, weight, temperature, pool, leak,
    ADD: tl.constexpr, LSE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    a, b, start, at, inside, context, query, gram = _pair(
        context_ptr, query_ptr, gram_ptr, step_a, step_b, step_c, step_q, n_b, c_count, q_count, BLOCK_C, BLOCK_Q
    )
    s = tl.load(s_ptr + start + at, mask=inside, other=0.0)
    normalised, scale, weights, weighted = _attend(s, gram, context, temperature, leak, PRECISION)
    dots, inverse, short = _compare(s, weights, weighted)
    _, share = _pool(dots * inverse, query, pool, LSE)
    grad = weight * tl.load(score_ptr + a * score_a + b * score_b)
    grad = tl.where(tl.sum(context.to(tl.int32), axis=0) > 0, grad, 0.0)
    of_dots = grad * share * inverse
    # twice the gradient of the squared length. Where it is not clamped, weights times a number change nothing: they
    # have no gradient along themselves
    twice = tl.where(short, 0.0, -of_dots * dots * inverse * inverse)
    along = tl.where(short, of_dots * dots, 0.0)
    of_x = weights * (of_dots[None, :] * s + twice[None, :] * weighted - along[None, :])
    across = tl.sum(of_x * normalised, axis=1)
    of_b = temperature * scale[:, None] * (of_x - normalised * across[:, None])
    ds = tl.where(s > 0.0, of_b, leak * of_b) + of_dots[None, :] * weights
    if ADD:
        ds += tl.load(ds_ptr + start + at, mask=inside, other=0.0)
    tl.store(ds_ptr + start + at, ds, mask=inside)
    tl.store(weights_ptr + start + at, weights, mask=inside)
    tl.store(scaled_ptr + start + at, weights * twice[None, :], mask=inside)


def cross_attention_score_fwd(
    regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None, t2i: Sequence[float],
    i2t: Sequence[float], leak: float,
) -> Tensor:  # fmt: skip
    """Scores [n_i, n_t] in float32; arguments as the op's."""
    v, e = unit_rows(regions, region_mask), unit_rows(words, word_mask)
    scores = v.rows.new_empty((len(regions), len(words)))
    precision = _precision(regions)
    for first, last in _chunks(v, e):
        part = Unit(e.rows[first:last], e.inverse, e.mask[first:last])
        s = v.rows.flatten(0, 1) @ part.rows.flatten(0, 1).T
        for index, direction in enumerate(directions(t2i, i2t)):
            launch = _Launch(s, v, part, scores[:, first:last], direction, leak, index > 0, precision)
            launch(_cross_attention_score_fwd_kernel)
    return scores


def cross_attention_score_bwd(
    grad: Tensor, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None,
    t2i: Sequence[float], i2t: Sequence[float], leak: float, grad_regions: bool, grad_words: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of regions and words in float32, empty where not wanted; arguments as the op's."""
    v, e = unit_rows(regions, region_mask), unit_rows(words, word_mask)
    grad, precision = grad.to(torch.float32), _precision(regions)
    grad_v, grad_e = torch.zeros_like(v.rows), torch.zeros_like(e.rows)
    flat_v = v.rows.flatten(0, 1)
    for first, last in _chunks(v, e):
        part = Unit(e.rows[first:last], e.inverse, e.mask[first:last])
        flat_e = part.rows.flatten(0, 1)
        s = flat_v @ flat_e.T
        ds, weights, scaled = (torch.empty_like(s) for _ in range(3))
        for index, direction in enumerate(directions(t2i, i2t)):
            launch = _Launch(s, v, part, grad[:, first:last], direction, leak, index > 0, precision)
            launch(_cross_attention_score_bwd_kernel, ds, weights, scaled)
            if direction.swapped:
                left, right = (x.view(len(s), *part.mask.shape).permute(1, 2, 0) for x in (scaled, weights))
                grad_e[first:last] += (left @ right.mT) @ part.rows
            else:
                left, right = (x.view(*v.mask.shape, -1) for x in (scaled, weights))
                grad_v += (left @ right.mT) @ v.rows
        if grad_regions:
            grad_v += (ds @ flat_e).view_as(grad_v)
        if grad_words:
            grad_e[first:last] += (ds.T @ flat_v).view_as(part.rows)
    empty = grad_v.new_empty(0)
    return v.grad(grad_v) if grad_regions else empty, e.grad(grad_e) if grad_words else empty.clone()


def _chunks(v: Unit, e: Unit) -> Iterator[tuple[int, int]]:
    """Captions at a time."""
    captions, each = e.rows.shape[:2]
    step = max(1, CHUNK // (v.rows.shape[0] * v.rows.shape[1] * each))
    return ((first, min(first + step, captions)) for first in range(0, captions, step))


def _precision(x: Tensor) -> str:
    """How the kernels' small products are made: float32 as torch's own, full unless the user allowed TF32."""
    return "tf32" if x.dtype != torch.float32 or torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


class _Launch:
    """One direction over the cosines s [n_i * R, n_t * T] of regions v and words e."""

    def __init__(
        self, s: Tensor, v: Unit, e: Unit, scores: Tensor, direction: Direction, leak: float, add: bool, precision: str
    ) -> None:
        images, captions = (*v.mask.shape, s.stride(0), scores.stride(0)), (*e.mask.shape, 1, scores.stride(1))
        context, query = (captions, images) if direction.swapped else (images, captions)
        item, other = (e, v) if direction.swapped else (v, e)
        n_a, c_count, step_c, score_a = context
        n_b, q_count, step_q, score_b = query
        self.grid = (n_a * n_b,)
        masks = (x.mask.to(torch.int8).contiguous() for x in (item, other))
        self.tensors = s, item.rows @ item.rows.mT, *masks, scores
        self.numbers = (
            n_b, c_count, q_count, step_c * c_count, step_q * q_count, step_c, step_q, score_a, score_b,
            direction.weight, direction.temperature, direction.pool or 1.0, leak,
        )  # fmt: skip
        self.constants = constants(c_count, q_count, direction.pool != 0, add, precision)

    def __call__(self, kernel: Any, *outs: Tensor) -> None:
        kernel[self.grid](*self.tensors, *outs, *self.numbers, **self.constants, **options(self.constants))


def constants(c_count: int, q_count: int, lse: bool, add: bool, precision: str) -> dict[str, Any]:
    """The kernels' compile-time arguments."""
    block_c, block_q = (max(16, triton.next_power_of_2(count)) for count in (c_count, q_count))
    return {"ADD": add, "LSE": lse, "BLOCK_C": block_c, "BLOCK_Q": block_q, "PRECISION": precision}


def options(constant: dict[str, Any]) -> dict[str, Any]:
    """The compiler's options."""
    cells = constant["BLOCK_C"] * max(constant["BLOCK_C"], constant["BLOCK_Q"])
    return {"num_warps": 8 if cells > 2048 else 4, "num_stages": 1, "enable_fp_fusion": True}


def variants() -> Iterator[Variant]:
    """Both kernels, over tiles from the smallest to the largest; 64 x 32 and 32 x 64 are 36 regions and 20 words."""
    tiles = ((16, 16), (64, 32), (32, 64), (64, 64))
    for arch, precision, tile in itertools.product(ARCHS, ("tf32", "tf32x3"), tiles):
        for lse in (False, True) if tile == (64, 32) else (False,):
            for backward in (False, True):
                yield _variant(arch, precision, tile, lse, backward)


def _variant(arch: int, precision: str, tile: tuple[int, int], lse: bool, backward: bool) -> Variant:
    kernel = _cross_attention_score_bwd_kernel if backward else _cross_attention_score_fwd_kernel
    types = dict.fromkeys(("s_ptr", "gram_ptr", "score_ptr"), "*fp32")
    types |= dict.fromkeys(("context_ptr", "query_ptr"), "*i8")
    types |= dict.fromkeys(("ds_ptr", "weights_ptr", "scaled_ptr"), "*fp32") if backward else {}
    numbers = ("n_b", "c_count", "q_count", "step_a", "step_b", "step_c", "step_q", "score_a", "score_b")
    types |= dict.fromkeys(numbers, "i32")
    types |= dict.fromkeys(("weight", "temperature", "pool", "leak"), "fp32")
    constant = constants(*tile, lse, True, precision)
    largest = backward and tile == (64, 64)  # spills a little on sm_80 and sm_100
    what = f"{'backward' if backward else 'forward'}{', lse' if lse else ''}"
    return Variant(
        f"cross_attention_score sm_{arch} {precision} {tile[0]} x {tile[1]}: {what}",
        arch,
        kernel,
        types,
        constant,
        options(constant),
        f"{tile[0]} x {tile[1]}",
        384 if largest else STACK_LIMIT,
        aligned=pointers(types),
        guarded=precision == "tf32x3" and tile == (64, 32) and backward and not lse,
    )
