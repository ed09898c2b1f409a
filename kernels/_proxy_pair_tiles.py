"""What the kernels of the proxy and pair loss do with a tile of rows: labels, lengths, cosines."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def count_bits(x):
    """Set bits of each int64."""
    x = x - ((x >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
    x += x >> 8
    x += x >> 16
    x += x >> 32
    return (x & 0x7F).to(tl.int32)


@triton.jit
def row_sizes(labels_ptr, rows, rows_in, WORDS: tl.constexpr):
    """Labels of each row."""
    size = count_bits(tl.load(labels_ptr + rows * WORDS, mask=rows_in, other=0))
    for word in tl.static_range(1, WORDS):
        size += count_bits(tl.load(labels_ptr + rows * WORDS + word, mask=rows_in, other=0))
    return size


@triton.jit
def shared_labels(labels_ptr, rows, cols, rows_in, cols_in, WORDS: tl.constexpr):
    """Labels that rows and columns have in common, int32; 0 outside."""
    x = tl.load(labels_ptr + rows * WORDS, mask=rows_in, other=0)
    y = tl.load(labels_ptr + cols * WORDS, mask=cols_in, other=0)
    shared = count_bits(x[:, None] & y[None, :])
    for word in tl.static_range(1, WORDS):
        x = tl.load(labels_ptr + rows * WORDS + word, mask=rows_in, other=0)
        y = tl.load(labels_ptr + cols * WORDS + word, mask=cols_in, other=0)
        shared += count_bits(x[:, None] & y[None, :])
    return shared


@triton.jit
def codes(ptr, rows, rows_in, d, BLOCK_D: tl.constexpr):
    """Rows in float32, zeros outside, and one over their lengths, 0 where they have no direction."""
    depth = tl.arange(0, BLOCK_D)
    inside = rows_in[:, None] & (depth[None, :] < d)
    z = tl.load(ptr + rows[:, None] * d + depth[None, :], mask=inside, other=0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(z * z, axis=1))
    short = length < 1e-12  # false for NaN, which must reach the loss
    return z, tl.where(short, 0.0, 1.0 / tl.where(short, 1.0, length))


@triton.jit
def cosines(
    x_ptr, x, inverse_x, rows, rows_in, y_ptr, y, inverse_y, cols, cols_in, d,
    BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Cosines of rows x of x_ptr and y of y_ptr."""
    if BLOCK_K == BLOCK_D:
        inner = tl.dot(x, tl.trans(y), input_precision=PRECISION)
    else:
        inner = tl.zeros((x.shape[0], y.shape[0]), tl.float32)
        for k in range(0, BLOCK_D, BLOCK_K):  # in parts: whole operands would take too many registers
            part = k + tl.arange(0, BLOCK_K)[None, :]
            part_x = tl.load(x_ptr + rows[:, None] * d + part, mask=rows_in[:, None] & (part < d), other=0.0)
            part_y = tl.load(y_ptr + cols[:, None] * d + part, mask=cols_in[:, None] & (part < d), other=0.0)
            part_x, part_y = part_x.to(tl.float32), part_y.to(tl.float32)
            inner = tl.dot(part_x, tl.trans(part_y), inner, input_precision=PRECISION)
    return inner * inverse_x[:, None] * inverse_y[None, :]


@triton.jit
def hinge(gap):
    return tl.where(gap < 0.0, 0.0, gap)  # not maximum: a NaN must stay one


@triton.jit
def through_length(grad, z, inverse):
    """The gradient of rows from that of rows of length 1: what changes the length alone does not count."""
    unit = z * inverse[:, None]
    return (grad - unit * tl.sum(grad * unit, axis=1)[:, None]) * inverse[:, None]
