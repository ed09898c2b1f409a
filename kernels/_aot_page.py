"""The page of what the compiled kernels need: written, read again, and compared with."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import triton
from fasthash._kernels._variant import SHARED_LIMIT, STACK_LIMIT, WIDE_STACK_LIMIT, Variant

# How much more than on the page a kernel may need when another release of Triton compiles it.
REGISTERS_TOLERANCE = 24
SHARED_TOLERANCE = 4 * 1024  # bytes
COLUMNS = "| kernel | tile | warps | registers | stack, bytes | shared, KiB | instructions |"


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


@dataclass(frozen=True)
class Page:
    """Rows by the variant's name."""

    triton: str  # the release that compiled them
    rows: dict[str, str]  # lines of the table

    def usage(self, name: str) -> Usage:
        registers, stack, shared, instructions = _cells(self.rows[name])[3:]
        return Usage(int(registers), int(stack), round(float(shared) * 1024), int(instructions.replace(",", "")))

    def grown(self, variant: Variant, used: Usage) -> str | None:
        """Why a variant compiled now needs more than this page says, or None. Stack may never grow."""
        if variant.name not in self.rows:
            return f"{variant.name}: not on the page; make it again"
        before = self.usage(variant.name)
        same = self.triton == triton.__version__
        limits = (
            ("registers", used.registers, before.registers, 0 if same else REGISTERS_TOLERANCE),
            ("bytes of stack", used.stack, before.stack, 0),
            # the page rounds to a tenth of a KiB
            ("bytes of shared memory", used.shared, before.shared + 52, 0 if same else SHARED_TOLERANCE),
        )
        for what, now, then, tolerance in limits:
            if now > then + tolerance:
                return f"{variant.name}: {now} {what}, {then} on the page"
        return None


def row(variant: Variant, used: Usage) -> str:
    """A line of the table."""
    return (
        f"| {variant.name} | {variant.tile} | {variant.options['num_warps']} | {used.registers} | {used.stack} | "
        f"{used.shared / 1024:.1f} | {used.instructions:,} |"
    )


def text(variants: Iterable[Variant], rows: dict[str, str]) -> str:
    """A Markdown page with a section for each operation; variants without a row are left out."""
    shared = ", ".join(f"{limit // 1024} KiB on sm_{arch}" for arch, limit in SHARED_LIMIT.items())
    lines = [
        "# Triton kernels, compiled ahead of time",
        "",
        f"Made by `python -m fasthash._kernels.aot` with Triton {triton.__version__}; no GPU is involved. Limits: "
        f"{STACK_LIMIT} bytes of stack a thread ({WIDE_STACK_LIMIT} for d 512), shared memory {shared}. Products: half "
        "(bfloat16, float16), tf32, tf32x3 (float32, full precision). Tile: rows x rows, depth. d is a multiple of 16.",
    ]
    section = None
    for variant in variants:
        if variant.name not in rows:
            continue
        if variant.operation != section:
            section = variant.operation
            lines += ["", f"## {section}", "", COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|"]
        lines.append(rows[variant.name])
    return "\n".join([*lines, ""])


def read(path: Path) -> Page:
    """A page written by ``write``.

    Raises:
        ValueError: it is none.
    """
    content = path.read_text()
    release = re.search(r"with Triton (\S+);", content)
    if release is None:
        raise ValueError(f"aot: {path} is no page of compiled kernels")
    lines = [line for line in content.splitlines() if re.match(r"\| \w+ sm_\d+ ", line)]
    return Page(release[1], {_cells(line)[0]: line for line in lines})


def write(path: Path, content: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
