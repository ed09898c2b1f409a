"""Reconstruction of an affinity by cosines, with both gradients: fasthash against torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from cases import Case, Report
from goals import Goal
from torch import Tensor

from fasthash import _native
from fasthash.ops import cosine_reconstruction, use_backend

Call = Callable[[], tuple[Tensor, ...]]

EAGER, COMPILED, CLOSED = "torch eager", "torch.compile", "torch, closed form"
NAMES = {"scalar": "fasthash, 128-bit", "avx2": "fasthash, AVX2", "avx512": "fasthash, AVX-512"}
WIDE = NAMES["avx512"]
EVERY = torch.get_num_threads()


def loss_of(a: Tensor, b: Tensor, target: Tensor) -> Tensor:
    """As public code has it."""
    return F.mse_loss(F.normalize(a) @ F.normalize(b).T, target)


def by_autograd(call: Callable[[Tensor, Tensor, Tensor], Tensor], a: Tensor, b: Tensor, target: Tensor) -> Call:
    def run() -> tuple[Tensor, ...]:
        loss = call(a, b, target)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    return run


def closed_form(a: Tensor, b: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Gradients by formula in as few passes over the matrix as torch can."""
    length_a, length_b = (x.norm(dim=1, keepdim=True).clamp_min(1e-12) for x in (a, b))
    u, v = a / length_a, b / length_b
    miss = torch.addmm(target, u, v.T, beta=-1)
    loss = torch.dot(miss.view(-1), miss.view(-1)) / miss.numel()
    grads = []
    for grad, unit, length in ((miss @ v, u, length_a), (miss.T @ u, v, length_b)):
        along = (grad * unit).sum(dim=1, keepdim=True)
        grads.append((grad - along * unit) * (2 / miss.numel()) / length)
    return loss, *grads


def by_fasthash(a: Tensor, b: Tensor, target: Tensor, isa: str) -> Call:
    def run() -> tuple[Tensor, ...]:
        with use_backend("cpp"), _native.use_isa(isa):
            loss = cosine_reconstruction(a, b, target)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    return run


@dataclass(frozen=True)
class Point:
    """A size, and the times as fast that are asked there, by (contestant, peer)."""

    n: int
    m: int
    bits: int
    threads: int = 1
    asked: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return f"{self.n:,} x {self.m:,}, d {self.bits}, {self.threads} thread{'s' * (self.threads > 1)}"

    def quick(self) -> Point:
        return replace(self, n=min(self.n, 100), m=min(self.m, 400))

    def case(self) -> Case:
        g = torch.Generator().manual_seed(0)
        a, b = (torch.tanh(torch.randn(rows, self.bits, generator=g)).requires_grad_() for rows in (self.n, self.m))
        target = 2 * torch.rand(self.n, self.m, generator=g) - 1
        calls = {name: on_threads(self.threads, call) for name, call in contestants(a, b, target).items()}
        goals = tuple(Goal(own, peer, least, None) for (own, peer), least in self.asked.items())
        return Case(self.name, calls, EAGER, self.n * self.m, lambda: check(calls), goals)


def on_threads(threads: int, call: Call) -> Call:
    def run() -> tuple[Tensor, ...]:
        torch.set_num_threads(threads)
        return call()

    return run


def contestants(a: Tensor, b: Tensor, target: Tensor) -> dict[str, Call]:
    """name -> loss and gradients."""
    found = {EAGER: by_autograd(loss_of, a, b, target)}
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads that its first call had
        found[COMPILED] = by_autograd(torch.compile(loss_of), a, b, target)
    found[CLOSED] = lambda: closed_form(a.detach(), b.detach(), target)
    isas = tuple(isa for isa in ("avx512", "avx2") if isa in _native.isa_names()) or ("scalar",)
    return found | {NAMES[isa]: by_fasthash(a, b, target, isa) for isa in isas}


def check(calls: Mapping[str, Call]) -> None:
    """Every contestant finds the same; torch's dot product of millions of squares keeps three digits."""
    results = [call() for call in calls.values()]
    for other in results[1:]:
        for got, wanted in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))


POINTS = (
    Point(128, 16_862, 64, asked={(WIDE, EAGER): 2}),
    Point(1024, 1024, 64, asked={(WIDE, EAGER): 2}),
    Point(4096, 4096, 64, asked={(WIDE, EAGER): 3}),
    *([Point(4096, 4096, 64, threads=EVERY, asked={(WIDE, EAGER): 3})] if EVERY > 1 else []),
)


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="cosine_reconstruction_cpu",
        title="Reconstruction of an affinity by cosines, with both gradients, on the CPU",
        unit="pair",
        notes=(
            "Mean of (cos(a, b) - target)^2 over all pairs and its gradients in float32; the target is given.",
            "",
            "- torch eager: normalised codes, their product, mse_loss, autograd;",
            "- torch.compile: the same, compiled, forward and backward;",
            "- torch, closed form: gradients by formula, as few passes over the matrix as torch can, no autograd;",
            "- fasthash: `cosine_reconstruction` and autograd; results are compared before timing.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 9,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
