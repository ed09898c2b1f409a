"""Exact search on a CUDA device: each kernel by name, and one query against a copy of as many bytes. Needs a device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cases import Case, Report
from goals import Goal

from fasthash import _hamming_cuda, _native

if TYPE_CHECKING:
    from torch import Tensor

KERNELS = ("count", "popcount", "mma", "wgmma")  # of csrc/cuda/hamming_topk.h
CHOSEN, COPY = "as chosen", "device copy"
SHARE = 0.8  # of the speed of a copy, aimed at by one query
MAX_COUNTED = 64  # queries: more take the two passes of counting too long


@dataclass(frozen=True)
class Point:
    """A size; one query is compared with a copy, more queries with the popcount kernel."""

    bits: int
    nq: int
    nb: int
    k: int = 10

    @property
    def name(self) -> str:
        return f"{self.bits} bits, N {self.nb:,}, Q {self.nq}, k {self.k}"


POINTS = (
    *(Point(bits, 1, 6_400_000_000 // bits) for bits in (64, 128, 256, 512)),
    *(Point(bits, nq, 4_000_000) for bits in (64, 128, 256, 512) for nq in (4, 16, 64, 256, 1024, 4096)),
    *(Point(64, 1024, 4_000_000, k) for k in (1, 100, 1000)),
)


def why_no_device() -> str | None:
    """Why no search can run on a CUDA device, in one line; None where it can."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "torch.cuda.is_available() is False"
    return _native.cuda_reason()


def make_codes(point: Point) -> tuple[Tensor, Tensor]:
    import torch

    torch.manual_seed(0)
    shapes = ((n, point.bits // 8) for n in (point.nq, point.nb))
    queries, database = (torch.randint(256, shape, dtype=torch.uint8, device="cuda") for shape in shapes)
    return queries, database


def search(queries: Tensor, database: Tensor, k: int, kernel: str) -> Callable[[], Any]:
    """Called, it returns when the device is done."""
    import torch

    def call() -> Any:
        hits = _hamming_cuda.topk_on_device(queries, database, None, k, 8 * queries.shape[1], kernel)
        torch.cuda.synchronize()
        return hits

    return call


def copy_of(database: Tensor) -> Callable[[], Any]:
    """A copy that moves as many bytes as one reading of the database: half of them are read and written."""
    import torch

    source = database.view(-1)[: database.numel() // 2]
    target = torch.empty_like(source)

    def call() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return call


def kernels_of(queries: Tensor, database: Tensor) -> list[str]:
    """Those that this device and build can run and whose time is worth waiting for."""
    found = []
    for kernel in KERNELS if len(queries) <= MAX_COUNTED else KERNELS[1:]:
        try:
            search(queries[:1], database[:1], 1, kernel)()
        except ValueError as error:
            print(f"cases_hamming_gpu: without {kernel}: {error}", file=sys.stderr)
        else:
            found.append(kernel)
    return found


def check(searches: dict[str, Callable[[], Any]]) -> None:
    """Raises unless all find the same, to the bit."""
    import torch

    first, *others = searches
    want = searches[first]()
    for name in others:
        if not all(torch.equal(a, b) for a, b in zip(searches[name](), want, strict=True)):
            raise AssertionError(f"check: {name} finds other codes than {first}")


def case(point: Point) -> Case:
    queries, database = make_codes(point)
    searches = {CHOSEN: search(queries, database, point.k, "")}
    searches |= {name: search(queries, database, point.k, name) for name in kernels_of(queries, database)}
    work = point.nq * point.nb
    if point.nq > 1:
        return Case(point.name, searches, "popcount", work, lambda: check(searches))
    goal = Goal(CHOSEN, COPY, None, SHARE, "share")
    return Case(point.name, searches | {COPY: copy_of(database)}, COPY, work, lambda: check(searches), (goal,))


def report(quick: bool = False) -> Report:
    why = why_no_device()
    if why is not None:
        raise SystemExit(f"cases_hamming_gpu: needs a CUDA device: {why}")
    import torch

    points = [replace(p, nq=min(p.nq, 64), nb=p.nb // 50) for p in POINTS] if quick else list(POINTS)
    notes = (
        f"Device: {torch.cuda.get_device_name()}. Codes (random) and results stay on it; a call ends when it is done.",
        "The copy moves as many bytes as one reading of the database.",
    )

    def cases() -> Iterator[Case]:
        for point in dict.fromkeys(points):
            yield case(point)

    return Report("hamming_gpu", "Exact Hamming search on a GPU", "pair", notes, ("torch",), cases)
