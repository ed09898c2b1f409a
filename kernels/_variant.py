"""What a kernel module says of its kernels, so that they can be compiled ahead of time; see ``aot``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ARCHS = (80, 90, 100)
# Bytes of shared memory a block may have. The tiles for sm_80 also run on sm_86, sm_89 and sm_120, which have less.
SHARED_LIMIT = {80: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}
STACK_LIMIT = 32  # bytes a thread keeps outside registers ...
WIDE_STACK_LIMIT = 352  # ... and with codes of more than 256 entries, which are rare


@dataclass(frozen=True)
class Variant:
    """One kernel for one GPU, as the launcher would ask for it; a kernel module's ``variants()`` yields all of its."""

    name: str  # begins with the operation: "pairwise_nll sm_90 tf32 d 64 masks: loss + dx"
    arch: int  # of ARCHS
    kernel: Any  # decorated with triton.jit
    types: dict[str, str]  # of the run-time arguments: {"x_ptr": "*fp32", "n": "i32", "scale": "fp32"}
    constants: dict[str, Any]  # all others, constexpr
    options: dict[str, Any]  # num_warps, num_stages, ...
    tile: str  # what one program does, in words of the table: "64 x 32, 16"
    stack_limit: int = STACK_LIMIT
    aligned: tuple[str, ...] = ()  # arguments that are multiples of 16 in practice
    guarded: bool = False  # compiled anew by the tests; a few of every operation and architecture

    @property
    def operation(self) -> str:
        return self.name.partition(" ")[0]


def pointers(types: dict[str, str]) -> tuple[str, ...]:
    """The names of the pointers, which are always aligned."""
    return tuple(name for name, kind in types.items() if kind.startswith("*"))
