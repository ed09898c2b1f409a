"""Pairwise negative log-likelihood with both gradients; neither theta nor similarity is ever written to memory.

A program owns a tile of rows of one operand x and walks over its share of the other operand y. When all rows of x fit
into one tile, the gradient of y is complete in each program and is written too: one pass. Otherwise a second pass with
the roles swapped makes it. Partial sums go to buffers that are added in a fixed order: no atomics, the same bits every
time. Bound by issue slots (about 45 instructions a pair) and special functions, not by tensor cores or memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

MASKS, IDS, DENSE = 0, 1, 2  # what says whether a pair is similar
MAX_WIDTH = 512


@triton.jit
def _similar(
    lx_ptr, ly_ptr,  # int64 [n, WORDS], [m, WORDS] masks or [n], [m] class ids
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
def _tile(
    x, rows, rows_in,  # the row tile, its indices, which of them exist
    loss, grad_x,  # float32 [BLOCK_N] and [BLOCK_N, BLOCK_D] sums so far
    start,  # first row of y in this tile
    x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, grad_y_ptr, m, d, scale, sim_x, sim_y,
    MASKED: tl.constexpr, LABELS: tl.constexpr, WORDS: tl.constexpr, LOSS: tl.constexpr, GRAD_X: tl.constexpr,
    GRAD_Y: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of pairs: its loss, its share of the gradient of x, and its rows of the gradient of y."""
    cols = start + tl.arange(0, BLOCK_M).to(tl.int64)
    depth = tl.arange(0, BLOCK_D)
    cols_in = cols < m
    at_y = cols[:, None] * d + depth[None, :]
    inside = cols_in[:, None] & (depth[None, :] < d)
    y = tl.load(y_ptr + at_y, mask=inside, other=0.0)
    if BLOCK_K == BLOCK_D:
        theta = scale * tl.dot(x, tl.trans(y), input_precision=PRECISION)
    else:
        theta = tl.zeros((x.shape[0], BLOCK_M), tl.float32)
        for k in range(0, BLOCK_D, BLOCK_K):  # in parts: whole operands would take too many registers
            part = k + tl.arange(0, BLOCK_K)[None, :]
            part_x = tl.load(x_ptr + rows[:, None] * d + part, mask=rows_in[:, None] & (part < d), other=0.0)
            part_y = tl.load(y_ptr + cols[:, None] * d + part, mask=cols_in[:, None] & (part < d), other=0.0)
            theta = tl.dot(part_x, tl.trans(part_y), theta, input_precision=PRECISION)
        theta *= scale
    e = tl.exp2(tl.abs(theta) * -1.4426950408889634)
    inverse = 1.0 / (1.0 + e)
    # where, not maximum: a NaN must stay one
    if LABELS == 2:
        sim = tl.load(sim_ptr + rows[:, None] * sim_x + cols[None, :] * sim_y, mask=rows_in[:, None] & cols_in[None, :],
                      other=0.0)  # fmt: skip
        share = tl.where(theta > 0.0, 1.0 - sim, -sim)  # theta's share and the tail are apart: nothing cancels
        tail = e * inverse
        nll = share * theta + _log1p(e)
        residual = share + tl.where(theta > 0.0, -tail, tail)
    else:
        similar = _similar(lx_ptr, ly_ptr, rows, cols, rows_in, cols_in, LABELS, WORDS)
        z = tl.where(similar, -theta, theta)  # one flip makes loss and residual one-sided
        nll = tl.where(z < 0.0, 0.0, z) + _log1p(e)
        residual = tl.where(z < 0.0, e, 1.0) * inverse
        residual = tl.where(similar, -residual, residual)
    if LOSS:
        if MASKED:
            nll = tl.where(cols_in[None, :], nll, 0.0)
        loss += tl.sum(nll, axis=1)
    weight = residual.to(x.dtype)
    if GRAD_X:
        grad_x = tl.dot(weight, y, grad_x, input_precision=PRECISION)
    if GRAD_Y:
        grad_y = scale * tl.dot(tl.trans(weight), x, input_precision=PRECISION)
        tl.store(grad_y_ptr + at_y, grad_y, mask=inside)
    return loss, grad_x


@triton.jit
def _pairwise_nll_fwd_kernel(
    x_ptr, y_ptr,  # [n, d] and [m, d] contiguous codes, one dtype
    lx_ptr, ly_ptr,  # int64 [n, WORDS] and [m, WORDS] masks, or [n] and [m] class ids
    sim_ptr,  # float32, element (i, j) at i * sim_x + j * sim_y
    loss_ptr,  # float32 [splits, cdiv(n, BLOCK_N)]
    grad_x_ptr,  # float32 [splits, n, d]
    grad_y_ptr,  # float32 [m, d]; only with one row tile
    n, m, d, scale, sim_x, sim_y,
    span,  # rows of y of each split, a multiple of BLOCK_M
    LABELS: tl.constexpr, WORDS: tl.constexpr, LOSS: tl.constexpr, GRAD_X: tl.constexpr, GRAD_Y: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    tile, split = tl.program_id(0), tl.program_id(1)
    rows = tile.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)  # rows * d may pass 2**31
    depth = tl.arange(0, BLOCK_D)
    rows_in = rows < n
    inside = rows_in[:, None] & (depth[None, :] < d)
    x = tl.load(x_ptr + rows[:, None] * d + depth[None, :], mask=inside, other=0.0)
    loss = tl.zeros((BLOCK_N,), tl.float32)
    grad_x = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    first = split * span
    last = tl.minimum(first + span, m)
    whole = first + (last - first) // BLOCK_M * BLOCK_M
    for start in range(first, whole, BLOCK_M):
        loss, grad_x = _tile(x, rows, rows_in, loss, grad_x, start, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, grad_y_ptr,
                             m, d, scale, sim_x, sim_y, False, LABELS, WORDS, LOSS, GRAD_X, GRAD_Y, BLOCK_M, BLOCK_D,
                             BLOCK_K, PRECISION)  # fmt: skip
    if whole < last:
        loss, grad_x = _tile(x, rows, rows_in, loss, grad_x, whole, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, grad_y_ptr,
                             m, d, scale, sim_x, sim_y, True, LABELS, WORDS, LOSS, GRAD_X, GRAD_Y, BLOCK_M, BLOCK_D,
                             BLOCK_K, PRECISION)  # fmt: skip
    if LOSS:
        tl.store(loss_ptr + split * tl.num_programs(0) + tile, tl.sum(tl.where(rows_in, loss, 0.0)))
    if GRAD_X:
        at_x = (split.to(tl.int64) * n + rows[:, None]) * d + depth[None, :]
        tl.store(grad_x_ptr + at_x, scale * grad_x, mask=inside)


@dataclass(frozen=True)
class Tiles:
    """Sizes of a program: rows of x and y and depth of theta's products at a time, warps, pipeline stages."""

    n: int
    m: int
    k: int
    warps: int
    stages: int


# By product ("half", "tf32", "tf32x3") and width: large tiles that compile without spilling registers, see
# benchmarks/results/triton_aot.md. _HOPPER and _BLACKWELL are for the tensor cores of sm_90 and sm_100, _AMPERE for all
# others, _DENSE for a similarity that is read from memory: its values take registers too.
_AMPERE = {
    "half": {64: Tiles(64, 64, 64, 8, 2), 128: Tiles(64, 32, 64, 8, 2), 256: Tiles(32, 32, 64, 8, 1),
             512: Tiles(16, 32, 64, 8, 1)},
    "tf32": {64: Tiles(64, 32, 32, 4, 2), 128: Tiles(64, 32, 32, 8, 2), 256: Tiles(16, 32, 32, 8, 1),
             512: Tiles(16, 16, 32, 8, 1)},
    "tf32x3": {64: Tiles(32, 32, 16, 8, 2), 128: Tiles(16, 32, 16, 8, 2), 256: Tiles(16, 32, 16, 8, 1),
               512: Tiles(16, 16, 16, 8, 1)},
}  # fmt: skip
_HOPPER = {
    "half": {**_AMPERE["half"], 64: Tiles(128, 64, 64, 8, 2), 128: Tiles(64, 64, 128, 8, 2)},
    "tf32": {**_AMPERE["tf32"], 64: Tiles(128, 64, 64, 8, 2), 128: Tiles(64, 64, 32, 8, 2)},
    "tf32x3": {**_AMPERE["tf32x3"], 64: Tiles(64, 32, 16, 8, 2)},
}
_BLACKWELL = {**_HOPPER, "tf32": {**_HOPPER["tf32"], 64: Tiles(64, 64, 32, 8, 2)}}
_DENSE = {
    "half": {**_AMPERE["half"], 64: Tiles(64, 32, 64, 8, 2), 128: Tiles(32, 32, 64, 8, 2)},
    "tf32": {**_AMPERE["tf32"], 64: Tiles(32, 32, 32, 8, 2), 128: Tiles(32, 32, 32, 8, 2)},
    "tf32x3": _AMPERE["tf32x3"],
}


def tiles_for(width: int, product: str, kind: int, capability: int) -> Tiles:
    """Sizes for codes of a power-of-two width on a GPU of this major compute capability."""
    table = _DENSE if kind == DENSE else {9: _HOPPER, 10: _BLACKWELL}.get(capability, _AMPERE)
    tiles = table[product][max(64, width)]
    return Tiles(tiles.n, tiles.m, min(tiles.k, width), tiles.warps, tiles.stages)


def product_for(dtype: torch.dtype) -> str:
    """How products are made: float32 as torch's own, which keep full precision unless the user allowed TF32."""
    if dtype != torch.float32:
        return "half"
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


def pairwise_nll_fwd(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, scale: float,
    grad_a: bool, grad_b: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Loss [] and gradients [n, d], [m, d] in float32 (empty where not wanted); arguments as the op's."""
    a, b = a.contiguous(), b.contiguous()
    labels_a, labels_b = (None if x is None else x.contiguous() for x in (labels_a, labels_b))
    dense = None if sim is None else sim.to(torch.float32)
    ab = _Pass(a, b, labels_a, labels_b, dense, scale)
    ba = _Pass(b, a, labels_b, labels_a, None if dense is None else dense.T, scale)
    if grad_a and grad_b and ab.row_tiles == 1:
        return ab.run(True, True, True)
    if grad_b and (ba.row_tiles == 1 or not grad_a):
        loss, out_b, out_a = ba.run(True, True, grad_a)
        return loss, out_a, out_b
    loss, out_a, _ = ab.run(True, grad_a, False)
    return loss, out_a, ba.run(False, True, False)[1] if grad_b else b.new_empty(0, dtype=torch.float32)


class _Pass:
    """The kernel over tiles of rows of x, walking over y."""

    def __init__(
        self, x: Tensor, y: Tensor, labels_x: Tensor | None, labels_y: Tensor | None, sim: Tensor | None, scale: float
    ) -> None:
        self.x, self.y, self.scale = x, y, scale
        self.labels_x = labels_x if labels_x is not None else x  # without labels: a pointer that is never read
        self.labels_y = labels_y if labels_y is not None else y
        self.sim = sim if sim is not None else x
        self.kind = DENSE if sim is not None else IDS if self.labels_x.ndim == 1 else MASKS
        self.words = self.labels_x.shape[1] if self.kind == MASKS else 1
        self.width = max(16, triton.next_power_of_2(x.shape[1]))
        self.product = product_for(x.dtype)
        on_gpu = x.is_cuda  # else interpreted
        capability = torch.cuda.get_device_capability(x.device)[0] if on_gpu else 9
        self.processors = torch.cuda.get_device_properties(x.device).multi_processor_count if on_gpu else 2
        self.tiles = tiles_for(self.width, self.product, self.kind, capability)
        self.row_tiles = triton.cdiv(len(x), self.tiles.n)

    def run(self, loss: bool, grad_x: bool, grad_y: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, gradient of x, gradient of y), empty where not wanted; that of y only from one row tile."""
        x, y, tiles = self.x, self.y, self.tiles
        # one wave of a batch against a bank; a few waves of a square, so that the last one is nearly full
        programs = self.processors if self.row_tiles == 1 else 4 * self.processors
        bank_tiles = triton.cdiv(len(y), tiles.m)
        span = triton.cdiv(bank_tiles, min(triton.cdiv(programs, self.row_tiles), bank_tiles)) * tiles.m
        splits = triton.cdiv(len(y), span)
        sums = x.new_empty((splits, self.row_tiles) if loss else (1,), dtype=torch.float32)
        out_x = x.new_empty((splits, *x.shape) if grad_x else (1, 0), dtype=torch.float32)
        out_y = y.new_empty(y.shape if grad_y else (0,), dtype=torch.float32)
        _pairwise_nll_fwd_kernel[(self.row_tiles, splits)](
            x, y, self.labels_x, self.labels_y, self.sim, sums, out_x, out_y,
            len(x), len(y), x.shape[1], self.scale, *(self.sim.stride() if self.kind == DENSE else (0, 0)), span,
            **constants(self.width, self.product, tiles, self.kind, self.words, loss, grad_x, grad_y), **options(tiles),
        )  # fmt: skip
        return sums.sum(dtype=torch.float64).to(torch.float32), out_x.sum(dim=0), out_y


def constants(
    width: int, product: str, tiles: Tiles, kind: int, words: int, loss: bool, grad_x: bool, grad_y: bool
) -> dict[str, object]:
    """The kernel's compile-time arguments."""
    return {
        "LABELS": kind, "WORDS": words, "LOSS": loss, "GRAD_X": grad_x, "GRAD_Y": grad_y,
        "BLOCK_N": tiles.n, "BLOCK_M": tiles.m, "BLOCK_D": width, "BLOCK_K": tiles.k,
        "PRECISION": "ieee" if product == "half" else product,
    }  # fmt: skip


def options(tiles: Tiles) -> dict[str, object]:
    """The compiler's options; fused multiply-add is said aloud because its default differs between Triton releases."""
    return {"num_warps": tiles.warps, "num_stages": tiles.stages, "enable_fp_fusion": True}
