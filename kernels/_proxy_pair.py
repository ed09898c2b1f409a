"""Proxy and pair loss with all gradients in three launches, counts on the device.

The first kernel takes tiles of rows of either modality against all proxies and counts the pairs that share labels; the
second takes the same tiles against all rows of both modalities; the third adds what the first left of each proxy's
gradient, and the terms. Partial sums go to buffers that are added in a fixed order: no atomics, the same bits every
time. Codes are read as they are and cosines scaled by lengths made on the fly. Bound by launches at the sizes of the
papers (m 128).
"""

from __future__ import annotations

import triton
import triton.language as tl
from fasthash._kernels._proxy_pair_tiles import codes, cosines, hinge, row_sizes, shared_labels, through_length


@triton.jit
def _cosines_to_proxies(
    z_ptr, z, inverse, rows, rows_in, p_ptr, labels_ptr, start, classes, d,
    WORDS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Classes from start: their proxies, one over the lengths, cosines, which rows have and which lack them."""
    cls = start + tl.arange(0, BLOCK_C).to(tl.int64)
    cls_in = cls < classes
    p, inverse_p = codes(p_ptr, cls, cls_in, d, BLOCK_D)
    cos = cosines(
        z_ptr, z, inverse, rows, rows_in, p_ptr, p, inverse_p, cls, cls_in, d, BLOCK_D, BLOCK_K, PRECISION
    )  # fmt: skip
    inside = rows_in[:, None] & cls_in[None, :]
    word = tl.load(labels_ptr + rows[:, None] * WORDS + (cls // 64)[None, :], mask=inside, other=0)
    has = ((word >> (cls % 64)[None, :]) & 1) != 0
    return p, inverse_p, cos, has, inside & ~has


@triton.jit(do_not_specialize=["m", "classes", "tiles"])
def proxy_pair_proxies_kernel(
    x_ptr, y_ptr,  # [m, d] codes
    p_ptr,  # [classes, d] proxies, dtype of the codes
    labels_ptr,  # int64 [m, WORDS]
    counts_ptr,  # int64 [2, tiles + 1]: pairs that share labels, pairs that are apart; behind them, has and lacks
    sums_ptr,  # float32 [3, 2 * tiles]: A, N and V, each already over its count
    grad_x_ptr, grad_y_ptr,  # float32 [m, d] by rows of length 1
    by_proxies_ptr,  # float32 [2 * tiles, classes, d] by proxies of length 1
    m, classes, d, tiles, threshold, variance,
    GRADS: tl.constexpr, RELEVANT: tl.constexpr, WORDS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0)
    side = part // tiles
    tile = part % tiles
    rows = tile.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)  # rows * d may pass 2**31
    depth = tl.arange(0, BLOCK_D)
    rows_in = rows < m
    if side == 0:
        own_ptr = x_ptr
        grad_ptr = grad_x_ptr
    else:
        own_ptr = y_ptr
        grad_ptr = grad_y_ptr
    z, inverse = codes(own_ptr, rows, rows_in, d, BLOCK_D)
    size = row_sizes(labels_ptr, rows, rows_in, WORDS)

    positives = tl.zeros((BLOCK_M,), tl.int64)
    for start in range(0, m, BLOCK_M):  # every program counts all labels: they are few
        cols = start + tl.arange(0, BLOCK_M).to(tl.int64)
        positives += row_sizes(labels_ptr, cols, cols < m, WORDS)
    total = tl.sum(positives)
    lacking = m * classes.to(tl.int64) - total
    if part == 0:
        tl.store(counts_ptr + tiles, total)
        tl.store(counts_ptr + 2 * tiles + 1, lacking)
    shared = tl.zeros((BLOCK_N,), tl.int64)
    apart = tl.zeros((BLOCK_N,), tl.int64)
    last = tl.where(side == 0, m, 0)
    for start in range(0, last, BLOCK_M):
        cols = start + tl.arange(0, BLOCK_M).to(tl.int64)
        common = shared_labels(labels_ptr, rows, cols, rows_in, cols < m, WORDS)
        several = (size[:, None] > 1) & (row_sizes(labels_ptr, cols, cols < m, WORDS)[None, :] > 1)
        shared += tl.sum((common > 0).to(tl.int32), axis=1)
        apart += tl.sum(((common == 0) & several).to(tl.int32), axis=1)
    if side == 0:
        tl.store(counts_ptr + tile, tl.sum(shared))
        tl.store(counts_ptr + tiles + 1 + tile, tl.sum(apart))

    distances = tl.zeros((BLOCK_N,), tl.float32)
    for start in range(0, classes, BLOCK_M):
        _, _, cos, has, _ = _cosines_to_proxies(
            own_ptr, z, inverse, rows, rows_in, p_ptr, labels_ptr, start, classes, d, WORDS, BLOCK_M, BLOCK_D, BLOCK_K,
            PRECISION,
        )  # fmt: skip
        distances += tl.sum(tl.where(has, 1.0 - cos, 0.0), axis=1)
    own = size.to(tl.float32)
    everything = classes.to(tl.float32)
    if RELEVANT:
        mean = distances / tl.where(size > 1, own, 1.0)
        weight = tl.where(size > 1, 1.0 / tl.where(size > 1, own, 1.0), 0.0)
        spread = tl.zeros((BLOCK_N,), tl.float32)
    else:
        mean = distances / everything
        others = tl.where(classes > 1, everything - 1.0, 1.0)
        weight = tl.where(rows_in, tl.where(classes > 1, 1.0, 0.0) / others, 0.0)
        spread = (everything - own) * mean * mean
    near = 1.0 / tl.maximum(total, 1).to(tl.float32)
    far = 1.0 / tl.maximum(lacking, 1).to(tl.float32)
    slope = -2.0 * variance * weight / m
    excess = tl.zeros((BLOCK_N,), tl.float32)
    grad = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, classes, BLOCK_M):
        p, inverse_p, cos, has, lacks = _cosines_to_proxies(
            own_ptr, z, inverse, rows, rows_in, p_ptr, labels_ptr, start, classes, d, WORDS, BLOCK_M, BLOCK_D, BLOCK_K,
            PRECISION,
        )  # fmt: skip
        deviation = (1.0 - cos) - mean[:, None]
        gap = cos - threshold
        spread += tl.sum(tl.where(has, deviation * deviation, 0.0), axis=1)
        excess += tl.sum(tl.where(lacks, hinge(gap), 0.0), axis=1)
        if GRADS:
            away = tl.where(lacks & (gap > 0.0), far, 0.0)
            by = tl.where(has, slope[:, None] * deviation - near, away)
            grad = tl.dot(by * inverse_p[None, :], p, grad, input_precision=PRECISION)
            share = tl.dot(tl.trans(by * inverse[:, None]), z, input_precision=PRECISION)
            cls = start + tl.arange(0, BLOCK_M).to(tl.int64)
            at = (part.to(tl.int64) * classes + cls[:, None]) * d + depth[None, :]
            tl.store(by_proxies_ptr + at, share, mask=(cls[:, None] < classes) & (depth[None, :] < d))
    if GRADS:
        at = rows[:, None] * d + depth[None, :]
        tl.store(grad_ptr + at, grad, mask=rows_in[:, None] & (depth[None, :] < d))
    tl.store(sums_ptr + part, tl.sum(distances) * near)
    tl.store(sums_ptr + 2 * tiles + part, tl.sum(excess) * far)
    tl.store(sums_ptr + 4 * tiles + part, tl.sum(spread * weight) / m)


@triton.jit
def _pairs_with(
    z_ptr, z, inverse, rows, rows_in, other_ptr, cols, cols_in, wanted, is_apart, d, threshold, pull, push, missing,
    excess, share, grad,
    GRADS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of pairs with one modality: its share of the sums and of the gradient."""
    other, inverse_other = codes(other_ptr, cols, cols_in, d, BLOCK_D)
    cos = cosines(
        z_ptr, z, inverse, rows, rows_in, other_ptr, other, inverse_other, cols, cols_in, d, BLOCK_D, BLOCK_K, PRECISION
    )  # fmt: skip
    near = wanted > 0.0
    gap = tl.where(near, wanted - cos, cos - threshold)
    part = hinge(gap)
    missing += share * tl.sum(tl.where(near, part, 0.0), axis=1)
    excess += share * tl.sum(tl.where(is_apart, part, 0.0), axis=1)
    if GRADS:
        by = tl.where(near, pull, tl.where(is_apart, push, 0.0))
        by = tl.where(gap > 0.0, by, 0.0) * (2.0 * share) * inverse_other[None, :]
        grad = tl.dot(by, other, grad, input_precision=PRECISION)
    return missing, excess, grad


@triton.jit(do_not_specialize=["m", "tiles"])
def proxy_pair_pairs_kernel(
    x_ptr, y_ptr,  # [m, d] codes
    labels_ptr,  # int64 [m, WORDS]
    counts_ptr,  # int64 [2, tiles + 1], of the first kernel
    sums_ptr,  # float32 [2, 2 * tiles]: p2p and n2n, each already over its count
    grad_x_ptr, grad_y_ptr,  # float32 [m, d]: by rows of length 1 from the first kernel, becomes that of the codes
    m, d, tiles, threshold, positive_pairs, negative_pairs,
    GRADS: tl.constexpr, WORDS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0)
    side = part // tiles
    rows = (part % tiles).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_D)
    rows_in = rows < m
    if side == 0:
        own_ptr = x_ptr
        grad_ptr = grad_x_ptr
    else:
        own_ptr = y_ptr
        grad_ptr = grad_y_ptr
    z, inverse = codes(own_ptr, rows, rows_in, d, BLOCK_D)
    size = row_sizes(labels_ptr, rows, rows_in, WORDS)
    root = 1.0 / tl.sqrt(tl.maximum(size, 1).to(tl.float32))

    shared = tl.zeros((BLOCK_M,), tl.int64)
    apart = tl.zeros((BLOCK_M,), tl.int64)
    for start in range(0, tiles, BLOCK_M):
        at = start + tl.arange(0, BLOCK_M)
        shared += tl.load(counts_ptr + at, mask=at < tiles, other=0)
        apart += tl.load(counts_ptr + tiles + 1 + at, mask=at < tiles, other=0)
    of_near = 1.0 / tl.maximum(tl.sum(shared), 1).to(tl.float32)
    of_far = 1.0 / tl.maximum(tl.sum(apart), 1).to(tl.float32)
    pull = -positive_pairs * of_near
    push = negative_pairs * of_far

    missing = tl.zeros((BLOCK_N,), tl.float32)
    excess = tl.zeros((BLOCK_N,), tl.float32)
    grad = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    # a pair of one modality is met from both its rows, and so is one of both: half of its value each time
    share_x = tl.where(side == 0, 1.0, 0.5)
    share_y = tl.where(side == 0, 0.5, 1.0)
    for start in range(0, m, BLOCK_M):
        cols = start + tl.arange(0, BLOCK_M).to(tl.int64)
        cols_in = cols < m
        others = row_sizes(labels_ptr, cols, cols_in, WORDS)
        common = shared_labels(labels_ptr, rows, cols, rows_in, cols_in, WORDS)
        other_root = 1.0 / tl.sqrt(tl.maximum(others, 1).to(tl.float32))
        wanted = common.to(tl.float32) * root[:, None] * other_root[None, :]  # cosines of labels
        is_apart = (common == 0) & (size[:, None] > 1) & (others[None, :] > 1)
        missing, excess, grad = _pairs_with(
            own_ptr, z, inverse, rows, rows_in, x_ptr, cols, cols_in, wanted, is_apart, d, threshold, pull, push,
            missing, excess, share_x, grad, GRADS, BLOCK_D, BLOCK_K, PRECISION,
        )  # fmt: skip
        missing, excess, grad = _pairs_with(
            own_ptr, z, inverse, rows, rows_in, y_ptr, cols, cols_in, wanted, is_apart, d, threshold, pull, push,
            missing, excess, share_y, grad, GRADS, BLOCK_D, BLOCK_K, PRECISION,
        )  # fmt: skip
    tl.store(sums_ptr + part, tl.sum(missing) * of_near)
    tl.store(sums_ptr + 2 * tiles + part, tl.sum(excess) * of_far)
    if GRADS:
        at = rows[:, None] * d + depth[None, :]
        inside = rows_in[:, None] & (depth[None, :] < d)
        grad += tl.load(grad_ptr + at, mask=inside, other=0.0)
        tl.store(grad_ptr + at, through_length(grad, z, inverse), mask=inside)


@triton.jit
def _sum_of(ptr, n, BLOCK: tl.constexpr):
    """The sum of n floats."""
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(ptr + at, mask=at < n, other=0.0)
    return tl.sum(total)


@triton.jit(do_not_specialize=["classes", "parts"])
def proxy_pair_finish_kernel(
    p_ptr,  # [classes, d] proxies
    by_proxies_ptr,  # float32 [parts, classes, d] of the first kernel
    sums_ptr,  # float32 [5, parts]: A, N, V, p2p, n2n
    terms_ptr, loss_ptr,  # float32 [5]: A, N, p2p, n2n, V; []
    grad_ptr,  # float32 [classes, d]
    classes, d, parts, positive_pairs, negative_pairs, variance,
    GRADS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    if program == 0:
        near = _sum_of(sums_ptr, parts, 128)
        far = _sum_of(sums_ptr + parts, parts, 128)
        spread = _sum_of(sums_ptr + 2 * parts, parts, 128)
        pull = _sum_of(sums_ptr + 3 * parts, parts, 128)
        push = _sum_of(sums_ptr + 4 * parts, parts, 128)
        tl.store(terms_ptr, near)
        tl.store(terms_ptr + 1, far)
        tl.store(terms_ptr + 2, pull)
        tl.store(terms_ptr + 3, push)
        tl.store(terms_ptr + 4, spread)
        tl.store(loss_ptr, near + far + positive_pairs * pull + negative_pairs * push + variance * spread)
    if GRADS:
        cls = program.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
        depth = tl.arange(0, BLOCK_D)
        cls_in = cls < classes
        inside = cls_in[:, None] & (depth[None, :] < d)
        p, inverse = codes(p_ptr, cls, cls_in, d, BLOCK_D)
        at = cls[:, None] * d + depth[None, :]
        grad = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
        source = by_proxies_ptr + at
        for _ in range(parts):
            grad += tl.load(source, mask=inside, other=0.0)
            source += classes * d
        tl.store(grad_ptr + at, through_length(grad, p, inverse), mask=inside)
