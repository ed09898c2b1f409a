"""Losses that are sums over all pairs of two sets of codes, with both gradients; no [n, m] matrix is ever written.

A program owns a tile of rows of one operand x and walks over its share of the other operand y. What a pair costs, and
the derivative with respect to its inner product, comes from an epilogue of the loss. When all rows of x fit into one
tile, the gradient of y is complete in each program and is written too: one pass. Otherwise a second pass with the roles
swapped makes it. Partial sums go to buffers that are added in a fixed order: no atomics, the same bits every time.
Bound by issue slots (about 45 instructions a pair) and special functions, not by tensor cores or memory.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def similar(
    lx_ptr, ly_ptr,  # int64 [n, WORDS], [m, WORDS] masks or class ids, of which the first counts
    rows, cols, rows_in, cols_in,  # int64 [BLOCK_N], [BLOCK_M] and which of them exist
    LABELS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """Boolean [BLOCK_N, BLOCK_M]."""
    x = tl.load(lx_ptr + rows * WORDS, mask=rows_in, other=0)
    y = tl.load(ly_ptr + cols * WORDS, mask=cols_in, other=0)
    if LABELS == 1:
        return x[:, None] == y[None, :]
    shared = x[:, None] & y[None, :]
    for word in tl.static_range(1, WORDS):
        x = tl.load(lx_ptr + rows * WORDS + word, mask=rows_in, other=0)
        y = tl.load(ly_ptr + cols * WORDS + word, mask=cols_in, other=0)
        shared |= x[:, None] & y[None, :]
    return shared != 0


@triton.jit
def dense(
    ptr, stride_x, stride_y,  # float32, element (i, j) at i * stride_x + j * stride_y
    rows, cols, rows_in, cols_in,
):  # fmt: skip
    """float32 [BLOCK_N, BLOCK_M], 0 outside."""
    at = rows[:, None] * stride_x + cols[None, :] * stride_y
    return tl.load(ptr + at, mask=rows_in[:, None] & cols_in[None, :], other=0.0)


@triton.jit
def _tile(
    x, rows, rows_in,  # the row tile, its indices, which of them exist
    loss, grad_x, sum_x,  # float32 [BLOCK_N], [BLOCK_N, BLOCK_D], [BLOCK_N] so far
    start,  # first row of y in this tile
    x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr, each_y_ptr, pair_ptr, grad_y_ptr, sum_y_ptr, m, d, pitch,
    pitch_y, scale, factor, sim_x, sim_y, pair_x, pair_y,
    MASKED: tl.constexpr, EPILOGUE: tl.constexpr, LABELS: tl.constexpr, WORDS: tl.constexpr, EACH: tl.constexpr,
    PAIR: tl.constexpr, SUMS: tl.constexpr, LOSS: tl.constexpr, GRAD_X: tl.constexpr, GRAD_Y: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of pairs: its loss, its share of the gradient of x, and its rows of the gradient of y."""
    cols = start + tl.arange(0, BLOCK_M).to(tl.int64)
    depth = tl.arange(0, BLOCK_D)
    cols_in = cols < m
    inside = cols_in[:, None] & (depth[None, :] < d)
    y = tl.load(y_ptr + cols[:, None] * pitch + depth[None, :], mask=inside, other=0.0)
    if BLOCK_K == BLOCK_D:
        inner = tl.dot(x, tl.trans(y), input_precision=PRECISION)
    else:
        inner = tl.zeros((x.shape[0], BLOCK_M), tl.float32)
        for k in range(0, BLOCK_D, BLOCK_K):  # in parts: whole operands would take too many registers
            part = k + tl.arange(0, BLOCK_K)[None, :]
            part_x = tl.load(x_ptr + rows[:, None] * pitch + part, mask=rows_in[:, None] & (part < d), other=0.0)
            part_y = tl.load(y_ptr + cols[:, None] * pitch + part, mask=cols_in[:, None] & (part < d), other=0.0)
            inner = tl.dot(part_x, tl.trans(part_y), inner, input_precision=PRECISION)
    cost, residual = EPILOGUE(inner, rows, cols, rows_in, cols_in, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr,
                              each_y_ptr, pair_ptr, d, pitch, scale, sim_x, sim_y, pair_x, pair_y, LABELS, WORDS, EACH,
                              PAIR)  # fmt: skip
    if LOSS:
        if MASKED:
            cost = tl.where(cols_in[None, :], cost, 0.0)
        loss += tl.sum(cost, axis=1)
    if SUMS:
        residual = tl.where(rows_in[:, None] & cols_in[None, :], residual, 0.0)
        if GRAD_X:
            sum_x += tl.sum(residual, axis=1)
        if GRAD_Y:
            tl.store(sum_y_ptr + cols, tl.sum(residual, axis=0), mask=cols_in)
    weight = residual.to(x.dtype)
    if GRAD_X:
        grad_x = tl.dot(weight, y, grad_x, input_precision=PRECISION)
    if GRAD_Y:
        grad_y = tl.dot(tl.trans(weight), x, input_precision=PRECISION)
        tl.store(grad_y_ptr + cols[:, None] * pitch_y + depth[None, :], factor * grad_y, mask=inside)
    return loss, grad_x, sum_x


@triton.jit
def pairs_fwd_kernel(
    x_ptr, y_ptr,  # [n, d] and [m, d] codes of one dtype, rows `pitch` entries apart
    lx_ptr, ly_ptr,  # int64 [n, WORDS] and [m, WORDS] masks, or class ids of the rows, WORDS entries apart
    sim_ptr,  # float32, element (i, j) at i * sim_x + j * sim_y
    each_x_ptr, each_y_ptr,  # float32 [n] and [m], a number for each row: weights or squared lengths
    pair_ptr,  # float32 weights, element (i, j) at i * pair_x + j * pair_y
    loss_ptr,  # float32 [splits, cdiv(n, BLOCK_N)]
    grad_x_ptr,  # float32 [splits, n, d], rows `pitch_x` apart
    grad_y_ptr,  # float32 [m, d], rows `pitch_y` apart; only with one row tile
    sum_x_ptr, sum_y_ptr,  # float32 [splits, n] and [m]
    n, m, d, pitch, pitch_x, pitch_y,
    scale,  # of the epilogue
    factor,  # of the gradients
    sim_x, sim_y, pair_x, pair_y,
    span,  # rows of y of each split, a multiple of BLOCK_M
    EPILOGUE: tl.constexpr,  # inner products and where they are -> cost and its derivative, both float32
    LABELS: tl.constexpr, WORDS: tl.constexpr, EACH: tl.constexpr, PAIR: tl.constexpr,
    SUMS: tl.constexpr,  # sums of the derivatives over the pairs of each row are wanted, too
    LOSS: tl.constexpr, GRAD_X: tl.constexpr, GRAD_Y: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    tile, split = tl.program_id(0), tl.program_id(1)
    rows = tile.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)  # rows * pitch may pass 2**31
    depth = tl.arange(0, BLOCK_D)
    rows_in = rows < n
    inside = rows_in[:, None] & (depth[None, :] < d)
    x = tl.load(x_ptr + rows[:, None] * pitch + depth[None, :], mask=inside, other=0.0)
    loss = tl.zeros((BLOCK_N,), tl.float32)
    sum_x = tl.zeros((BLOCK_N,), tl.float32)
    grad_x = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    first = split * span
    last = tl.minimum(first + span, m)
    whole = first + (last - first) // BLOCK_M * BLOCK_M
    for start in range(first, whole, BLOCK_M):
        loss, grad_x, sum_x = _tile(
            x, rows, rows_in, loss, grad_x, sum_x, start, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr, each_y_ptr,
            pair_ptr, grad_y_ptr, sum_y_ptr, m, d, pitch, pitch_y, scale, factor, sim_x, sim_y, pair_x, pair_y, False,
            EPILOGUE, LABELS, WORDS, EACH, PAIR, SUMS, LOSS, GRAD_X, GRAD_Y, BLOCK_M, BLOCK_D, BLOCK_K, PRECISION,
        )  # fmt: skip
    if whole < last:
        loss, grad_x, sum_x = _tile(
            x, rows, rows_in, loss, grad_x, sum_x, whole, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr, each_y_ptr,
            pair_ptr, grad_y_ptr, sum_y_ptr, m, d, pitch, pitch_y, scale, factor, sim_x, sim_y, pair_x, pair_y, True,
            EPILOGUE, LABELS, WORDS, EACH, PAIR, SUMS, LOSS, GRAD_X, GRAD_Y, BLOCK_M, BLOCK_D, BLOCK_K, PRECISION,
        )  # fmt: skip
    if LOSS:
        tl.store(loss_ptr + split * tl.num_programs(0) + tile, tl.sum(tl.where(rows_in, loss, 0.0)))
    if GRAD_X:
        at_x = split.to(tl.int64) * n + rows
        tl.store(grad_x_ptr + at_x[:, None] * pitch_x + depth[None, :], factor * grad_x, mask=inside)
        if SUMS:
            tl.store(sum_x_ptr + at_x, sum_x, mask=rows_in)
