"""Joint semantics of up to 128 rows: loss and both gradients in one launch, the affinity of features in another.

A program owns a tile of rows against all columns, so every gradient is complete in its program and only the loss is
added afterwards: two launches, one where there is one program. Nothing m x m but the affinity is in memory. What is
projected out of a gradient through the normalisation, g . u = sum_j R_ij cos_ij, is known before the gradient is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from fasthash._kernels._variant import ARCHS, STACK_LIMIT, Variant, pointers
from torch import Tensor


@triton.jit
def _tile(ptr, rows, rows_in, k, width, BLOCK_K: tl.constexpr):
    """Columns k .. k + BLOCK_K of some rows in float32, 0 outside."""
    columns = k + tl.arange(0, BLOCK_K)
    inside = rows_in[:, None] & (columns[None, :] < width)
    return tl.load(ptr + rows[:, None] * width + columns[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _inverse_length(ptr, rows, rows_in, width, BLOCK: tl.constexpr, BLOCK_K: tl.constexpr):
    """1 / length of each row, 0 where it is below 1e-12: no direction, and no gradient."""
    squares = tl.zeros((BLOCK,), tl.float32)
    for k in range(0, width, BLOCK_K):
        x = _tile(ptr, rows, rows_in, k, width, BLOCK_K)
        squares += tl.sum(x * x, axis=1)
    length = tl.sqrt(squares)
    short = length < 1e-12  # false for a NaN, which must stay one
    return tl.where(short, 0.0, 1.0 / tl.where(short, 1.0, length))


@triton.jit
def _one_side(
    x_ptr, y_ptr, grad_ptr,  # codes [m, d] of this modality and of the other, gradient float32 [m, d] of this one
    target, rows, rows_in, cols, cols_in, m, d, weight, mean, x_all, y_all,
    CROSS: tl.constexpr, GRAD: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The tile's share of weight (cos(x, x) - T)^2 (CROSS: and (cos(x, y) - T)^2) by rows, and its rows of grad."""
    inverse = _inverse_length(x_ptr, rows, rows_in, d, BLOCK_I, BLOCK_K)
    own = tl.zeros((BLOCK_I, BLOCK_M), tl.float32)
    cross = tl.zeros((BLOCK_I, BLOCK_M), tl.float32)
    for k in range(0, d, BLOCK_K):
        x = _tile(x_ptr, rows, rows_in, k, d, BLOCK_K)
        own = tl.dot(x, tl.trans(_tile(x_ptr, cols, cols_in, k, d, BLOCK_K)), own, input_precision=PRECISION)
        cross = tl.dot(x, tl.trans(_tile(y_ptr, cols, cols_in, k, d, BLOCK_K)), cross, input_precision=PRECISION)
    own *= inverse[:, None] * x_all[None, :]
    cross *= inverse[:, None] * y_all[None, :]
    own_miss, cross_miss = own - target, cross - target
    share = weight * own_miss * own_miss
    if CROSS:
        share += cross_miss * cross_miss
    loss = tl.sum(share, axis=1)
    if GRAD:
        own_miss *= 4.0 * weight * mean
        cross_miss *= 2.0 * mean
        along = tl.sum(own_miss * own + cross_miss * cross, axis=1)
        along *= inverse
        own_miss *= x_all[None, :]
        cross_miss *= y_all[None, :]
        for k in range(0, d, BLOCK_K):
            columns = k + tl.arange(0, BLOCK_K)
            grad = tl.dot(own_miss, _tile(x_ptr, cols, cols_in, k, d, BLOCK_K), input_precision=PRECISION)
            grad = tl.dot(cross_miss, _tile(y_ptr, cols, cols_in, k, d, BLOCK_K), grad, input_precision=PRECISION)
            grad = inverse[:, None] * (grad - along[:, None] * _tile(x_ptr, rows, rows_in, k, d, BLOCK_K))
            inside = rows_in[:, None] & (columns[None, :] < d)
            tl.store(grad_ptr + rows[:, None] * d + columns[None, :], grad, mask=inside)
    return loss


@triton.jit
def _items(index_ptr, at, inside, n, INDEXED: tl.constexpr):
    """Rows of the teacher, and which of them do not exist."""
    if INDEXED:
        item = tl.load(index_ptr + at, mask=inside, other=0)
        wrong = (item < 0) | (item >= n)
        return tl.where(wrong, 0, item), wrong & inside
    return at, at < 0


@triton.jit
def _joint_semantics_fwd_kernel(
    image_ptr, text_ptr,  # [m, d] contiguous codes, one dtype
    affinity_ptr,  # float32 [n, n]
    index_ptr,  # int64 [m], with INDEXED
    loss_ptr,  # float32 [programs]
    grad_image_ptr, grad_text_ptr,  # float32 [m, d]
    m, n, d, first, second, lambda1, lambda2, mean,  # T = first S + second S S; mean: 1 / m^2
    INDEXED: tl.constexpr, SECOND: tl.constexpr, GRAD_IMAGE: tl.constexpr, GRAD_TEXT: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_I + tl.arange(0, BLOCK_I).to(tl.int64)
    cols = tl.arange(0, BLOCK_M).to(tl.int64)
    rows_in, cols_in = rows < m, cols < m
    row_items, _row_wrong = _items(index_ptr, rows, rows_in, n, INDEXED)
    col_items, col_wrong = _items(index_ptr, cols, cols_in, n, INDEXED)
    inside = rows_in[:, None] & cols_in[None, :]
    target = first * tl.load(affinity_ptr + row_items[:, None] * n + col_items[None, :], mask=inside, other=0.0)
    if SECOND:
        squared = tl.zeros((BLOCK_I, BLOCK_M), tl.float32)
        for k in range(0, m, BLOCK_K):
            middle = k + tl.arange(0, BLOCK_K).to(tl.int64)
            middle_in = middle < m
            middle_items, _middle_wrong = _items(index_ptr, middle, middle_in, n, INDEXED)
            left = tl.load(affinity_ptr + row_items[:, None] * n + middle_items[None, :],
                           mask=rows_in[:, None] & middle_in[None, :], other=0.0)  # fmt: skip
            right = tl.load(affinity_ptr + middle_items[:, None] * n + col_items[None, :],
                            mask=middle_in[:, None] & cols_in[None, :], other=0.0)  # fmt: skip
            squared = tl.dot(left, right, squared, input_precision=PRECISION)
        target += second * squared
    image_all = _inverse_length(image_ptr, cols, cols_in, d, BLOCK_M, BLOCK_K)
    text_all = _inverse_length(text_ptr, cols, cols_in, d, BLOCK_M, BLOCK_K)
    loss = _one_side(
        image_ptr, text_ptr, grad_image_ptr, target, rows, rows_in, cols, cols_in, m, d, lambda1, mean, image_all,
        text_all, True, GRAD_IMAGE, BLOCK_I, BLOCK_M, BLOCK_K, PRECISION,
    )  # fmt: skip
    loss += _one_side(
        text_ptr, image_ptr, grad_text_ptr, target, rows, rows_in, cols, cols_in, m, d, lambda2, mean, text_all,
        image_all, False, GRAD_TEXT, BLOCK_I, BLOCK_M, BLOCK_K, PRECISION,
    )  # fmt: skip
    total = tl.sum(tl.where(rows_in, loss, 0.0))
    if INDEXED:
        total = tl.where(tl.sum(col_wrong.to(tl.int32)) > 0, float("nan"), total)
    tl.store(loss_ptr + tl.program_id(0), mean * total)


@triton.jit
def _cosine_tile(
    ptr, row_items, rows_in, col_items, cols_in, width,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    products = tl.zeros((BLOCK, BLOCK), tl.float32)
    row_squares = tl.zeros((BLOCK,), tl.float32)
    col_squares = tl.zeros((BLOCK,), tl.float32)
    for k in range(0, width, BLOCK_K):
        x = _tile(ptr, row_items, rows_in, k, width, BLOCK_K)
        y = _tile(ptr, col_items, cols_in, k, width, BLOCK_K)
        products = tl.dot(x, tl.trans(y), products, input_precision=PRECISION)
        row_squares += tl.sum(x * x, axis=1)
        col_squares += tl.sum(y * y, axis=1)
    rows, cols = tl.sqrt(row_squares), tl.sqrt(col_squares)
    rows, cols = tl.where(rows < 1e-12, 1e-12, rows), tl.where(cols < 1e-12, 1e-12, cols)
    return products / rows[:, None] / cols[None, :]


@triton.jit
def _joint_affinity_fwd_kernel(
    image_ptr, text_ptr,  # [n, p_image], [n, p_text] contiguous features
    index_ptr,  # int64 [m], with INDEXED
    out_ptr,  # float32 [m, m]
    m, n, p_image, p_text, weight_image, weight_text, shift,
    INDEXED: tl.constexpr, BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    rows_in, cols_in = rows < m, cols < m
    row_items, row_wrong = _items(index_ptr, rows, rows_in, n, INDEXED)
    col_items, col_wrong = _items(index_ptr, cols, cols_in, n, INDEXED)
    image = _cosine_tile(image_ptr, row_items, rows_in, col_items, cols_in, p_image, BLOCK, BLOCK_K, PRECISION)
    text = _cosine_tile(text_ptr, row_items, rows_in, col_items, cols_in, p_text, BLOCK, BLOCK_K, PRECISION)
    s = weight_image * image + weight_text * text - shift
    if INDEXED:
        s = tl.where(row_wrong[:, None] | col_wrong[None, :], float("nan"), s)
    tl.store(out_ptr + rows[:, None] * m + cols[None, :], s, mask=rows_in[:, None] & cols_in[None, :])


def product_for(dtype: torch.dtype) -> str:
    """How products are made: float32 as torch's own, which keep full precision unless the user allowed TF32."""
    if dtype != torch.float32:
        return "tf32"  # as many digits as the codes have
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


@dataclass(frozen=True)
class Tiles:
    """Sizes of a program: rows, columns of codes, features or the affinity at a time, warps."""

    rows: int
    depth: int
    warps: int


def tiles_for(product: str, m: int) -> Tiles:
    """Sizes that compile without spilling registers, or next to: three products for one take more of them."""
    if product == "tf32":
        return Tiles(32, 32, 8 if m > 64 else 4)
    return Tiles(16, 32, 8) if m > 64 else Tiles(16, 16, 8 if m > 32 else 4)


def affinity_tiles(product: str) -> Tiles:
    return Tiles(32, 64, 4) if product == "tf32" else Tiles(16, 32, 4)


def loss_fwd(
    b_image: Tensor, b_text: Tensor, affinity: Tensor, index: Tensor | None, eta: float, mu: float, lambda1: float,
    lambda2: float, grad_image: bool, grad_text: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Loss [] and gradients [m, d] in float32 (empty where not wanted) of up to 128 rows; arguments as the op's."""
    b_image, b_text = b_image.contiguous(), b_text.contiguous()
    affinity = affinity.to(torch.float32).contiguous()
    m, d = b_image.shape
    product = product_for(b_image.dtype)
    programs = triton.cdiv(m, tiles_for(product, m).rows)
    loss = b_image.new_empty(programs, dtype=torch.float32)
    out_image = b_image.new_empty((m, d) if grad_image else (0,), dtype=torch.float32)
    out_text = b_text.new_empty((m, d) if grad_text else (0,), dtype=torch.float32)
    _joint_semantics_fwd_kernel[(programs,)](
        b_image, b_text, affinity, affinity if index is None else index.contiguous(), loss, out_image, out_text,
        m, len(affinity), d, mu * (1 - eta), mu * eta / m, lambda1, lambda2, 1 / (m * m),
        **constants(m, product, index is not None, eta != 0, grad_image, grad_text), **options(tiles_for(product, m)),
    )  # fmt: skip
    return loss.sum() if programs > 1 else loss.reshape(()), out_image, out_text


def affinity_fwd(f_image: Tensor, f_text: Tensor, index: Tensor | None, beta: float, affine: bool) -> Tensor:
    """S [m, m] of some rows' features in float32, one launch."""
    f_image, f_text = f_image.contiguous(), f_text.contiguous()
    n, m = len(f_image), len(f_image) if index is None else len(index)
    out = f_image.new_empty(m, m, dtype=torch.float32)
    scale, product = 2.0 if affine else 1.0, product_for(torch.promote_types(f_image.dtype, f_text.dtype))
    tiles = affinity_tiles(product)
    _joint_affinity_fwd_kernel[(triton.cdiv(m, tiles.rows),) * 2](
        f_image, f_text, f_image if index is None else index.contiguous(), out, m, n, f_image.shape[1],
        f_text.shape[1], scale * beta, scale * (1 - beta), 1.0 if affine else 0.0,
        **affinity_constants(product, index is not None), **options(tiles),
    )  # fmt: skip
    return out


def constants(
    m: int, product: str, indexed: bool, second: bool, grad_image: bool, grad_text: bool
) -> dict[str, object]:
    """The loss kernel's compile-time arguments."""
    tiles = tiles_for(product, m)
    return {
        "INDEXED": indexed, "SECOND": second, "GRAD_IMAGE": grad_image, "GRAD_TEXT": grad_text, "BLOCK_I": tiles.rows,
        "BLOCK_M": max(32, triton.next_power_of_2(m)), "BLOCK_K": tiles.depth, "PRECISION": product,
    }  # fmt: skip


def affinity_constants(product: str, indexed: bool) -> dict[str, object]:
    """The affinity kernel's compile-time arguments."""
    tiles = affinity_tiles(product)
    return {"INDEXED": indexed, "BLOCK": tiles.rows, "BLOCK_K": tiles.depth, "PRECISION": product}


def options(tiles: Tiles) -> dict[str, object]:
    """The compiler's options; fused multiply-add is said aloud because its default differs between Triton releases."""
    return {"num_warps": tiles.warps, "num_stages": 1, "enable_fp_fusion": True}


def variants() -> Iterator[Variant]:
    """Every architecture and product at 32, 64 and 128 rows, gathered; single gradients and all rows at 32."""
    for arch, product, m in itertools.product(ARCHS, ("tf32", "tf32x3"), (32, 64, 128)):
        wanted = [(True, True, True, True)]
        if m == 32:
            wanted += [(False, True, True, True), (True, False, True, True), (True, True, True, False)]
        for which in wanted:
            yield _loss_variant(arch, product, m, which)
    for arch, product in itertools.product(ARCHS, ("tf32", "tf32x3")):
        types = {"image_ptr": "*fp32", "text_ptr": "*fp32", "index_ptr": "*i64", "out_ptr": "*fp32"}
        types |= dict.fromkeys(("m", "n", "p_image", "p_text"), "i32")
        types |= dict.fromkeys(("weight_image", "weight_text", "shift"), "fp32")
        tiles = affinity_tiles(product)
        yield Variant(
            f"joint_semantics_affinity sm_{arch} {product} gathered", arch, _joint_affinity_fwd_kernel, types,
            affinity_constants(product, True), options(tiles), f"{tiles.rows} x {tiles.rows}, {tiles.depth}",
            aligned=(*pointers(types), "p_image"), guarded=product == "tf32",
        )  # fmt: skip


def _loss_variant(arch: int, product: str, m: int, which: tuple[bool, bool, bool, bool]) -> Variant:
    types = {"image_ptr": "*fp32", "text_ptr": "*fp32", "affinity_ptr": "*fp32", "index_ptr": "*i64"}
    types |= dict.fromkeys(("loss_ptr", "grad_image_ptr", "grad_text_ptr"), "*fp32")
    types |= dict.fromkeys(("m", "n", "d"), "i32")
    types |= dict.fromkeys(("first", "second", "lambda1", "lambda2", "mean"), "fp32")
    indexed, second, grad_image, grad_text = which
    tiles = tiles_for(product, m)
    parts = ["gathered" if indexed else "all", *([] if second else ["eta 0"])]
    made = ["loss", *(["dimage"] if grad_image else []), *(["dtext"] if grad_text else [])]
    return Variant(
        f"joint_semantics_loss sm_{arch} {product} m {m} {', '.join(parts)}: {' + '.join(made)}", arch,
        _joint_semantics_fwd_kernel, types, constants(m, product, *which), options(tiles),
        f"{tiles.rows} x {m}, {tiles.depth}", 64 if product == "tf32x3" and m > 64 else STACK_LIMIT,
        aligned=(*pointers(types), "d"), guarded=m == 128 and all(which),
    )  # fmt: skip
