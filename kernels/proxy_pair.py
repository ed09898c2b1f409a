"""Launches of the proxy and pair loss, and its variants for compiling ahead of time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
from fasthash._kernels._pairs_launch import product_for
from fasthash._kernels._proxy_pair import proxy_pair_finish_kernel, proxy_pair_pairs_kernel, proxy_pair_proxies_kernel
from fasthash._kernels._variant import ARCHS, STACK_LIMIT, WIDE_STACK_LIMIT, Variant, pointers
from torch import Tensor


@dataclass(frozen=True)
class Tiles:
    """Rows of a program, rows or classes at a time, depth of cosines at a time, warps."""

    n: int
    m: int
    k: int
    warps: int

    def __str__(self) -> str:
        return f"{self.n} x {self.m}, {self.k}"


# By width: what compiles without spilling registers on every architecture, see benchmarks/results/triton_aot.md
_TILES = {
    16: Tiles(16, 16, 16, 4), 32: Tiles(16, 16, 32, 4), 64: Tiles(16, 32, 64, 8), 128: Tiles(16, 32, 32, 8),
    256: Tiles(16, 32, 32, 8), 512: Tiles(16, 16, 32, 8),
}  # fmt: skip


def tiles_for(width: int) -> Tiles:
    """Sizes for codes of a power-of-two width."""
    return _TILES[width]


def _precision(dtype: torch.dtype) -> str:
    """How products are made, always from float32: TF32 holds what half-precision codes hold."""
    product = product_for(dtype)
    return "tf32" if product == "half" else product


def _constants(width: int, words: int, grads: bool, precision: str) -> dict[str, object]:
    """Compile-time arguments of the first two kernels."""
    tiles = tiles_for(width)
    return {
        "GRADS": grads, "WORDS": words, "BLOCK_N": tiles.n, "BLOCK_M": tiles.m, "BLOCK_D": width,
        "BLOCK_K": tiles.k, "PRECISION": precision,
    }  # fmt: skip


def _options(width: int) -> dict[str, object]:
    """Fused multiply-add is said aloud because its default differs between Triton releases."""
    return {"num_warps": tiles_for(width).warps, "num_stages": 1, "enable_fp_fusion": True}


def proxy_pair_fwd(
    x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor, threshold: float, negative_pairs: float,
    positive_pairs: float, variance: float, relevant: bool, grads: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Loss [], terms [5] and, where wanted, gradients like x, y and proxies, all float32; arguments as the op's."""
    x, y, proxies, labels = (t.contiguous() for t in (x, y, proxies, labels))
    (m, d), classes, words = x.shape, len(proxies), labels.shape[1]
    width = max(16, triton.next_power_of_2(d))
    tiles = triton.cdiv(m, tiles_for(width).n)
    constants, options = _constants(width, words, grads, _precision(x.dtype)), _options(width)

    def floats(*shape: int) -> Tensor:
        return x.new_empty(shape if grads else (0,), dtype=torch.float32)

    counts = labels.new_empty((2, tiles + 1))
    sums = x.new_empty((5, 2 * tiles), dtype=torch.float32)
    loss, terms = x.new_empty((), dtype=torch.float32), x.new_empty((5,), dtype=torch.float32)
    out_x, out_y, out = floats(m, d), floats(m, d), floats(classes, d)
    by_proxies = floats(2 * tiles, classes, d)
    proxy_pair_proxies_kernel[(2 * tiles,)](
        x, y, proxies, labels, counts, sums, out_x, out_y, by_proxies, m, classes, d, tiles, threshold,
        variance, RELEVANT=relevant, **constants, **options,
    )  # fmt: skip
    proxy_pair_pairs_kernel[(2 * tiles,)](
        x, y, labels, counts, sums[3:], out_x, out_y, m, d, tiles, threshold, positive_pairs, negative_pairs,
        **constants, **options,
    )  # fmt: skip
    rows = tiles_for(width).n
    proxy_pair_finish_kernel[(triton.cdiv(classes, rows) if grads else 1,)](
        proxies, by_proxies, sums, terms, loss, out, classes, d, 2 * tiles, positive_pairs, negative_pairs, variance,
        GRADS=grads, BLOCK_N=rows, BLOCK_D=width, **options,
    )  # fmt: skip
    return loss, terms, out_x, out_y, out


def variants() -> Iterator[Variant]:
    """All three kernels at every architecture, precision and width; at width 64 also two label words, and no gradients.

    The codes' dtype changes the loads alone: half precision is compiled at width 64.
    """
    for arch, product, width in itertools.product(ARCHS, ("tf32", "tf32x3"), (16, 32, 64, 128, 256, 512)):
        guarded = (arch, width) in ((80, 64), (90, 64), (100, 128)) and product == "tf32x3"
        yield from _launch(arch, product, width, 1, True, guarded=guarded)
        if width == 64:
            yield from _launch(arch, product, width, 2, True)
            yield from _launch(arch, product, width, 1, False)
    for arch in ARCHS:
        yield from _launch(arch, "half", 64, 1, True)


def _launch(
    arch: int, product: str, width: int, words: int, grads: bool, *, guarded: bool = False
) -> Iterator[Variant]:
    codes = "*bf16" if product == "half" else "*fp32"
    constants = _constants(width, words, grads, "tf32" if product == "half" else product)
    sizes = dict.fromkeys(("m", "classes", "d", "tiles", "parts"), "i32")
    numbers = dict.fromkeys(("threshold", "positive_pairs", "negative_pairs", "variance"), "fp32")
    floats = ("sums_ptr", "grad_ptr", "grad_x_ptr", "grad_y_ptr", "by_proxies_ptr", "terms_ptr", "loss_ptr")
    types = dict.fromkeys(("x_ptr", "y_ptr", "p_ptr"), codes) | dict.fromkeys(floats, "*fp32") | sizes | numbers
    types |= {"labels_ptr": "*i64", "counts_ptr": "*i64"}
    last = {"GRADS": grads, "BLOCK_N": tiles_for(width).n, "BLOCK_D": width}
    kernels = {
        "proxies": (proxy_pair_proxies_kernel, constants | {"RELEVANT": False}),
        "pairs": (proxy_pair_pairs_kernel, constants),
        "finish": (proxy_pair_finish_kernel, last),
    }
    made = "loss + gradients" if grads else "loss"
    for name, (kernel, fixed) in kernels.items():
        own = {key: value for key, value in types.items() if key in kernel.arg_names}
        yield Variant(
            name=f"proxy_pair sm_{arch} {product} d {width} {name}{f' x{words}' * (words > 1)}: {made}",
            arch=arch,
            kernel=kernel,
            types=own,
            constants=fixed,
            options=_options(width),
            tile=str(tiles_for(width)),
            stack_limit=WIDE_STACK_LIMIT if width > 256 else STACK_LIMIT,
            aligned=(*pointers(own), "d"),
            guarded=guarded,
        )
