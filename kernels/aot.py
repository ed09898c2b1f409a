"""Compile every Triton kernel ahead of time, without a GPU, and show what the compiled kernels need.

    python -m fasthash._kernels.aot [--write benchmarks/results/triton_aot.md]

A kernel that spills registers is slow, one that asks for more shared memory than a GPU has cannot start; this finds
both without a GPU. Needs the compiler itself: TRITON_INTERPRET must not be set.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triton
from fasthash._kernels import INTERPRETED, pairwise_nll
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ARCHS = (80, 90, 100)
# Bytes of shared memory a block may have. The tiles for sm_80 also run on sm_86, sm_89 and sm_120, which have less.
SHARED_LIMIT = {80: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}
STACK_LIMIT = 32  # bytes a thread keeps outside registers ...
WIDE_STACK_LIMIT = 256  # ... and with codes of more than 256 entries, which are rare


@dataclass(frozen=True)
class Variant:
    """One kernel for one GPU, as the launcher would ask for it."""

    name: str
    arch: int
    kernel: Any
    types: dict[str, str]  # of the run-time arguments
    constants: dict[str, Any]
    options: dict[str, Any]
    stack_limit: int
    aligned: tuple[str, ...] = field(default=())  # arguments that are multiples of 16 in practice


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel needs."""

    registers: int
    stack: int  # bytes a thread
    shared: int  # bytes a block
    instructions: int

    def problem(self, variant: Variant) -> str | None:
        """Why it is not good enough, or None."""
        if self.stack > variant.stack_limit:
            return f"{variant.name}: {self.stack} bytes of stack, at most {variant.stack_limit}"
        if self.shared > SHARED_LIMIT[variant.arch]:
            return f"{variant.name}: {self.shared} bytes of shared memory, at most {SHARED_LIMIT[variant.arch]}"
        return None


def variants() -> Iterator[Variant]:
    """Every architecture, product and width with everything wanted; at width 64 also what else a launch may want."""
    k = pairwise_nll
    both = (True, True, True)  # loss, gradient of x, gradient of y
    for arch, product, width in itertools.product(ARCHS, ("half", "tf32", "tf32x3"), (16, 32, 64, 128, 256, 512)):
        yield _pairwise_nll(arch, product, width, k.MASKS, 1, both)
        if width >= 64:
            yield _pairwise_nll(arch, product, width, k.DENSE, 1, both)
        if width == 64:
            yield _pairwise_nll(arch, product, width, k.MASKS, 2, both)
            yield _pairwise_nll(arch, product, width, k.IDS, 1, both)
            for wanted in ((True, False, False), (True, True, False), (False, True, False)):
                yield _pairwise_nll(arch, product, width, k.MASKS, 1, wanted)


def _pairwise_nll(
    arch: int, product: str, width: int, kind: int, words: int, wanted: tuple[bool, bool, bool]
) -> Variant:
    tiles = pairwise_nll.tiles_for(width, product, kind, arch // 10)
    codes = "*bf16" if product == "half" else "*fp32"
    types = {"x_ptr": codes, "y_ptr": codes, "lx_ptr": "*i64", "ly_ptr": "*i64"}
    types |= dict.fromkeys(("sim_ptr", "loss_ptr", "grad_x_ptr", "grad_y_ptr"), "*fp32")
    types |= dict.fromkeys(("n", "m", "d", "sim_x", "sim_y", "span"), "i32") | {"scale": "fp32"}
    labels = ("masks", "ids", "dense")[kind] + (f" x{words}" if words > 1 else "")
    made = " + ".join(part for part, on in zip(("loss", "dx", "dy"), wanted, strict=True) if on)
    return Variant(
        f"pairwise_nll sm_{arch} {product} d {width} {labels}: {made}",
        arch,
        pairwise_nll._pairwise_nll_fwd_kernel,
        types,
        pairwise_nll.constants(width, product, tiles, kind, words, *wanted),
        pairwise_nll.options(tiles),
        WIDE_STACK_LIMIT if width > 256 else STACK_LIMIT,
        (*(name for name, kind_of in types.items() if kind_of.startswith("*")), "d", "span"),
    )


def compile_variant(variant: Variant) -> Usage:
    """Compile for the variant's architecture and read the resources from the machine code.

    Raises:
        RuntimeError: Triton runs as an interpreter.
    """
    if INTERPRETED:
        raise RuntimeError("aot: TRITON_INTERPRET is set, nothing would be compiled; unset it")
    names = variant.kernel.arg_names
    source = ASTSource(
        fn=variant.kernel,
        signature={name: variant.types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in variant.constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in variant.aligned},
    )
    done = triton.compile(source, target=GPUTarget("cuda", variant.arch, 32), options=variant.options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(done.asm["cubin"])
        tool = triton.knobs.nvidia.cuobjdump.path
        text = subprocess.run([tool, "-res-usage", "-sass", str(cubin)], capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    if found is None:
        raise RuntimeError(f"aot: cuobjdump said nothing about {variant.name}")
    registers, stack, local = (int(x) for x in found.groups())
    lines = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/", text, flags=re.MULTILINE)
    return Usage(registers, stack + local, done.metadata.shared, len(lines))


def tile(variant: Variant) -> str:
    """Rows of both operands and depth of a program's tile."""
    c = variant.constants
    return f"{c['BLOCK_N']} x {c['BLOCK_M']}, {c['BLOCK_K']}"


def table(rows: list[tuple[Variant, Usage]]) -> str:
    """A Markdown page."""
    shared = ", ".join(f"{limit // 1024} KiB on sm_{arch}" for arch, limit in SHARED_LIMIT.items())
    lines = [
        "# Triton kernels, compiled ahead of time",
        "",
        f"Made by `python -m fasthash._kernels.aot` with Triton {triton.__version__}; no GPU is involved. Limits: "
        f"{STACK_LIMIT} bytes of stack a thread ({WIDE_STACK_LIMIT} for d 512), shared memory {shared}. Products: half "
        "(bfloat16, float16), tf32, tf32x3 (float32, full precision). Tile: rows x rows, depth. d is a multiple of 16.",
        "",
        "| kernel | tile | warps | registers | stack, bytes | shared, KiB | instructions |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, used in rows:
        lines.append(
            f"| {variant.name} | {tile(variant)} | {variant.options['num_warps']} | {used.registers} | {used.stack} | "
            f"{used.shared / 1024:.1f} | {used.instructions:,} |"
        )
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile every Triton kernel and show what it needs.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help='variants whose name holds this: "sm_90 tf32 d 64"; repeatable'
    )
    options = parser.parse_args()
    chosen = [v for v in variants() if options.only is None or any(text in v.name for text in options.only)]
    if not chosen:
        parser.exit(1, f"aot: no variant has {' or '.join(options.only)} in its name\n")
    rows, problems = [], []
    for variant in chosen:
        used = compile_variant(variant)
        rows.append((variant, used))
        print(f"{variant.name}: {used.registers} registers, {used.stack} B stack, {used.shared} B shared", flush=True)
        problems += [problem] if (problem := used.problem(variant)) else []
    for problem in problems:
        print(f"too much: {problem}")
    if options.write and not problems:
        write(options.write, table(rows))
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
