"""Launches of the kernel over pairs: sizes of its tiles, one pass or two, and where the results go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import triton
from fasthash._kernels._pairs import pairs_fwd_kernel
from fasthash._kernels._variant import STACK_LIMIT, WIDE_STACK_LIMIT, Variant, pointers
from torch import Tensor

MASKS, IDS, DENSE = 0, 1, 2  # what says whether a pair is similar
Results = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Tiles:
    """Sizes of a program: rows of x and y and depth of the inner products at a time, warps, pipeline stages."""

    n: int
    m: int
    k: int
    warps: int
    stages: int

    def __str__(self) -> str:
        return f"{self.n} x {self.m}, {self.k}"


# By product ("half", "tf32", "tf32x3") and width: large tiles that compile without spilling registers, see
# benchmarks/results/triton_aot.md. _HOPPER and _BLACKWELL are for the tensor cores of sm_90 and sm_100, _AMPERE for all
# others, _DENSE where a matrix is read from memory for each pair: its values take registers too.
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


_TWO_MATRICES = {**_DENSE, "half": {**_DENSE["half"], 64: Tiles(32, 32, 64, 8, 2)}}
# ... and where the epilogue itself needs more registers still
_DEMANDING = {"tf32x3": {**_AMPERE["tf32x3"], 64: Tiles(16, 32, 16, 8, 2)}}


def tiles_for(width: int, product: str, capability: int, *, matrices: int = 0, demanding: bool = False) -> Tiles:
    """Sizes for codes of a power-of-two width on a GPU of this major compute capability.

    Args:
        matrices: how many are read for each pair.
        demanding: the epilogue needs many registers.
    """
    plain = {9: _HOPPER, 10: _BLACKWELL}.get(capability, _AMPERE)
    table = _DEMANDING if demanding else (plain, _DENSE, _TWO_MATRICES)[matrices]
    tiles = table[product][max(64, width)]
    return replace(tiles, k=min(tiles.k, width))


def product_for(dtype: torch.dtype) -> str:
    """How products are made: float32 as torch's own, which keep full precision unless the user allowed TF32."""
    if dtype != torch.float32:
        return "half"
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


@dataclass(frozen=True)
class Loss:
    """What a loss compiles into the kernel."""

    epilogue: Any  # a triton.jit function
    kind: int  # MASKS, IDS or DENSE
    words: int = 1  # masks of a row, or class ids of which the first counts
    each: bool = False  # a number for each row
    pair: bool = False  # a weight for each pair
    differences: bool = False  # it is of x - y: the gradient of x is residual y - (row sums of residual) x
    demanding: bool = False  # its epilogue needs many registers

    def constants(
        self, width: int, product: str, tiles: Tiles, wanted: tuple[bool, bool, bool]
    ) -> dict[str, object]:  # fmt: skip
        """The kernel's compile-time arguments; wanted: loss, gradient of x, gradient of y."""
        return {
            "EPILOGUE": self.epilogue, "LABELS": self.kind, "WORDS": self.words, "EACH": self.each, "PAIR": self.pair,
            "SUMS": self.differences, "LOSS": wanted[0], "GRAD_X": wanted[1], "GRAD_Y": wanted[2],
            "BLOCK_N": tiles.n, "BLOCK_M": tiles.m, "BLOCK_D": width, "BLOCK_K": tiles.k,
            "PRECISION": "ieee" if product == "half" else product,
        }  # fmt: skip

    def tiles(self, width: int, product: str, capability: int) -> Tiles:
        matrices = int(self.kind == DENSE) + int(self.pair)
        return tiles_for(width, product, capability, matrices=matrices, demanding=self.demanding)


def options(tiles: Tiles) -> dict[str, object]:
    """The compiler's options; fused multiply-add is said aloud because its default differs between Triton releases."""
    return {"num_warps": tiles.warps, "num_stages": tiles.stages, "enable_fp_fusion": True}


@dataclass(frozen=True)
class Side:
    """One operand: codes [n, d], perhaps columns of wider rows, and what belongs to each of its rows."""

    codes: Tensor
    labels: Tensor | None = None  # int64 [n, words], or [n] (perhaps a column)
    each: Tensor | None = None  # float32 [n]


@dataclass(frozen=True)
class Pairs:
    """The kernel over all pairs of two sides."""

    loss: Loss
    product: str
    x: Side
    y: Side
    sim: Tensor | None = None  # float32 [n, m], any strides
    weights: Tensor | None = None  # float32 [n, m], any strides
    scale: float = 1.0
    factor: float = 1.0

    @cached_property
    def width(self) -> int:
        return max(16, triton.next_power_of_2(self.x.codes.shape[1]))

    @cached_property
    def tiles(self) -> Tiles:
        codes = self.x.codes
        capability = torch.cuda.get_device_capability(codes.device)[0] if codes.is_cuda else 9  # else interpreted
        return self.loss.tiles(self.width, self.product, capability)

    @cached_property
    def row_tiles(self) -> int:
        return triton.cdiv(len(self.x.codes), self.tiles.n)

    def _splits(self) -> tuple[int, int]:
        """Shares of y, and how many rows each has."""
        codes = self.x.codes
        processors = torch.cuda.get_device_properties(codes.device).multi_processor_count if codes.is_cuda else 2
        # one wave of a batch against a bank; a few waves of a square, so that the last one is nearly full
        programs = processors if self.row_tiles == 1 else 4 * processors
        tiles = triton.cdiv(len(self.y.codes), self.tiles.m)
        span = triton.cdiv(tiles, min(triton.cdiv(programs, self.row_tiles), tiles)) * self.tiles.m
        return triton.cdiv(len(self.y.codes), span), span

    def swapped(self) -> Pairs:
        """The same pairs with the roles of the operands swapped."""
        sim, weights = (None if matrix is None else matrix.T for matrix in (self.sim, self.weights))
        return replace(self, x=self.y, y=self.x, sim=sim, weights=weights)

    def forward(self, out_x: Tensor | None, out_y: Tensor | None) -> Tensor:
        """The loss [], and the wanted gradients into float32 [n, d] and [m, d], rows of which may lie apart."""
        other = self.swapped()
        if out_x is not None and out_y is not None and self.row_tiles == 1:
            return self._pass(True, out_x, out_y)
        if out_y is not None and (other.row_tiles == 1 or out_x is None):
            return other._pass(True, out_y, out_x)
        loss = self._pass(True, out_x, None)
        if out_y is not None:
            other._pass(False, out_y, None)
        return loss

    def _pass(self, loss: bool, out_x: Tensor | None, out_y: Tensor | None) -> Tensor:
        """One launch; the gradient of y only from one row tile."""
        x, y = self.x.codes, self.y.codes
        splits, span = self._splits()
        sums = x.new_empty((splits, self.row_tiles) if loss else (1,), dtype=torch.float32)
        part_x, sum_x, sum_y = out_x, sums, sums
        if out_x is not None and splits > 1:
            part_x = x.new_empty((splits, *x.shape), dtype=torch.float32)
        if self.loss.differences:
            sum_x, sum_y = (x.new_empty(shape, dtype=torch.float32) for shape in ((splits, len(x)), (len(y),)))
        wanted = loss, out_x is not None, out_y is not None
        pairs_fwd_kernel[(self.row_tiles, splits)](
            x, y, *self._pointers(), sums, sums if part_x is None else part_x, sums if out_y is None else out_y, sum_x,
            sum_y, len(x), len(y), x.shape[1], self._pitch(), _pitch(part_x), _pitch(out_y), self.scale, self.factor,
            *_strides(self.sim), *_strides(self.weights), span,
            **self.loss.constants(self.width, self.product, self.tiles, wanted), **options(self.tiles),
        )  # fmt: skip
        if out_x is not None and part_x is not None and part_x is not out_x:
            torch.sum(part_x, dim=0, out=out_x)
        if self.loss.differences:
            for out, residuals, codes in ((out_x, sum_x.sum(dim=0), x), (out_y, sum_y, y)):
                if out is not None:
                    out.addcmul_(residuals[:, None], codes, value=-self.factor)
        return sums.sum(dtype=torch.float64).to(torch.float32)

    def _pitch(self) -> int:
        """Entries from row to row, the same on both sides; the stride of a single row may be anything."""
        return (self.x if len(self.x.codes) > 1 else self.y).codes.stride(0)

    def _pointers(self) -> tuple[Tensor, ...]:
        """Labels, similarity, numbers of rows, weights of pairs; for what is not there a pointer that is never read."""
        found = (self.x.labels, self.y.labels, self.sim, self.x.each, self.y.each, self.weights)
        return tuple(self.x.codes if tensor is None else tensor for tensor in found)


def _strides(matrix: Tensor | None) -> tuple[int, int]:
    return (0, 0) if matrix is None else (matrix.stride(0), matrix.stride(1))


def _pitch(rows: Tensor | None) -> int:
    return 0 if rows is None else rows.stride(-2)


def outputs(a: Tensor, b: Tensor, grad_a: bool, grad_b: bool) -> tuple[Tensor | None, Tensor | None]:
    """Memory for the wanted gradients, float32."""
    pairs = ((a, grad_a), (b, grad_b))
    found = [torch.empty_like(x, dtype=torch.float32) if wanted else None for x, wanted in pairs]
    return found[0], found[1]


def results(loss: Tensor, out_a: Tensor | None, out_b: Tensor | None) -> Results:
    """As the ops return them: empty where not wanted."""
    grad_a, grad_b = (loss.new_empty(0) if x is None else x for x in (out_a, out_b))
    return loss, grad_a, grad_b


def variant(
    operation: str, loss: Loss, *, arch: int, product: str, width: int, text: str, wanted: tuple[bool, bool, bool],
    guarded: bool = False,
) -> Variant:  # fmt: skip
    """The kernel as this loss launches it; text: what tells it from others of the operation."""
    tiles = loss.tiles(width, product, arch // 10)
    codes = "*bf16" if product == "half" else "*fp32"
    types = {"x_ptr": codes, "y_ptr": codes, "lx_ptr": "*i64", "ly_ptr": "*i64"}
    read, written = ("sim", "each_x", "each_y", "pair"), ("loss", "grad_x", "grad_y", "sum_x", "sum_y")
    types |= {f"{name}_ptr": "*fp32" for name in (*read, *written)} | {"scale": "fp32", "factor": "fp32"}
    sizes = ("n", "m", "d", "pitch", "pitch_x", "pitch_y", "sim_x", "sim_y", "pair_x", "pair_y", "span")
    types |= dict.fromkeys(sizes, "i32")
    made = " + ".join(part for part, on in zip(("loss", "dx", "dy"), wanted, strict=True) if on)
    return Variant(
        name=f"{operation} sm_{arch} {product} d {width} {text}: {made}",
        arch=arch,
        kernel=pairs_fwd_kernel,
        types=types,
        constants=loss.constants(width, product, tiles, wanted),
        options=options(tiles),
        tile=str(tiles),
        stack_limit=WIDE_STACK_LIMIT if width > 256 else STACK_LIMIT,
        aligned=(*pointers(types), "d", "pitch", "pitch_x", "pitch_y", "span"),
        guarded=guarded,
    )
