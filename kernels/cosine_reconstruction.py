"""Squared differences between cosines and a target, with both gradients; the cosines are never written to memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from fasthash._kernels._pairs import dense
from fasthash._kernels._pairs_launch import DENSE, Loss, Pairs, Results, Side, outputs, product_for, results, variant
from fasthash._kernels._variant import ARCHS, Variant
from torch import Tensor


@triton.jit
def _epilogue(
    inner, rows, cols, rows_in, cols_in, x_ptr, y_ptr, lx_ptr, ly_ptr, sim_ptr, each_x_ptr, each_y_ptr, pair_ptr, d,
    pitch, scale, sim_x, sim_y, pair_x, pair_y,
    LABELS: tl.constexpr, WORDS: tl.constexpr, EACH: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    miss = inner - dense(sim_ptr, sim_x, sim_y, rows, cols, rows_in, cols_in)
    return miss * miss, 2.0 * miss


def cosine_reconstruction_fwd(
    u: Tensor, v: Tensor, target: Tensor, dtype: torch.dtype, grad_u: bool, grad_v: bool
) -> Results:
    """Loss [] and gradients of rows of length 1, float32 [n, d] and [m, d]; dtype: that of the codes they were."""
    # half-precision codes: unit rows are float32, and TF32 keeps as many of their digits as float16 does
    product = product_for(torch.float32) if dtype == torch.float32 else "tf32"
    u, v = u.contiguous(), v.contiguous()
    out_u, out_v = outputs(u, v, grad_u, grad_v)
    pairs = Pairs(Loss(_epilogue, DENSE), product, Side(u), Side(v), target.to(torch.float32))
    return results(pairs.forward(out_u, out_v), out_u, out_v)


def variants() -> Iterator[Variant]:
    """Every architecture, product and width with everything wanted; at width 64 also single gradients."""
    for arch, product, width in itertools.product(ARCHS, ("tf32", "tf32x3"), (16, 32, 64, 128, 256, 512)):
        sizes = {"arch": arch, "product": product, "width": width, "text": "target"}
        wanted = [(True, True, True)] + ([(True, True, False), (False, True, False)] if width == 64 else [])
        for which in wanted:
            guarded = width == 64 and all(which)
            yield variant("cosine_reconstruction", Loss(_epilogue, DENSE), **sizes, wanted=which, guarded=guarded)
