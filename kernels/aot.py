"""Compile every Triton kernel ahead of time, without a GPU, and show what the compiled kernels need.

    python -m fasthash._kernels.aot [--only TEXT] [--guarded] [--write FILE | --check FILE]

A kernel that spills registers is slow, one that asks for more shared memory than a GPU has cannot start; this finds
both without a GPU. Needs the compiler itself: TRITON_INTERPRET must not be set.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import triton
from fasthash._kernels import INTERPRETED, _aot_page
from fasthash._kernels._aot_page import Usage
from fasthash._kernels._variant import Variant
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

MODULES = (
    "pairwise_nll",
    "cosine_reconstruction",
    "margin_euclidean",
    "cross_attention",
    "proxy_pair",
    "joint_semantics",
)  # every module with kernels; each has variants()


def variants() -> Iterator[Variant]:
    """Those of all kernels, operation by operation."""
    for name in MODULES:
        yield from importlib.import_module(f"fasthash._kernels.{name}").variants()


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


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compile every Triton kernel and show what it needs.")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help='variants whose name holds this: "sm_90 tf32 d 64"; repeatable'
    )
    parser.add_argument("--guarded", action="store_true", help="the few of every operation that the tests compile")
    page = parser.add_mutually_exclusive_group()
    page.add_argument(
        "--write", type=Path, metavar="FILE", help="write the page; rows of a page that stands there are kept"
    )
    page.add_argument("--check", type=Path, metavar="FILE", help="fail where a kernel needs more than this page says")
    return parser


def main() -> int:
    parser = _arguments()
    options = parser.parse_args()
    every = list(variants())
    chosen = [v for v in every if options.only is None or any(text in v.name for text in options.only)]
    chosen = [v for v in chosen if v.guarded or not options.guarded]
    if not chosen:
        parser.exit(1, f"aot: no variant has {' or '.join(options.only or ())} in its name\n")
    partly = options.write if options.write and len(chosen) < len(every) and options.write.exists() else None
    page = _aot_page.read(partly or options.check) if partly or options.check else None
    if partly and page is not None and page.triton != triton.__version__:
        parser.exit(1, f"aot: {partly} was made with Triton {page.triton}, not {triton.__version__}: make all of it\n")
    rows: dict[str, str] = {}
    problems = []
    for variant in chosen:
        used = compile_variant(variant)
        rows[variant.name] = _aot_page.row(variant, used)
        print(f"{variant.name}: {used.registers} registers, {used.stack} B stack, {used.shared} B shared", flush=True)
        found = used.problem(variant) or (page.grown(variant, used) if page is not None and options.check else None)
        problems += [found] if found else []
    for problem in problems:
        print(f"too much: {problem}")
    if options.write and not problems:
        others = _aot_page.read(partly).rows if partly else {}  # again: it may have been written meanwhile
        _aot_page.write(options.write, _aot_page.text(every, others | rows))
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
