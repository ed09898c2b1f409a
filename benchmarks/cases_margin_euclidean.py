"""The margin loss of Euclidean distances, with both gradients: fasthash against torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from cases import Case, Report
from goals import Goal
from torch import Tensor

from fasthash import _native
from fasthash.ops import PackedLabels, margin_euclidean, margin_for, pack_labels, use_backend

Call = Callable[[], tuple[Tensor, ...]]

EAGER, COMPILED, CLOSED = "torch eager (cdist)", "torch.compile (cdist)", "torch.compile, closed form"
NAMES = {"scalar": "fasthash, 128-bit", "avx2": "fasthash, AVX2", "avx512": "fasthash, AVX-512"}
WIDE = NAMES["avx512"]
CLASSES = 24
EVERY = torch.get_num_threads()


@dataclass(frozen=True)
class Inputs:
    """Pairs of probabilities for each bit, as of a softmax head, labels as 0/1 floats and packed."""

    a: Tensor
    b: Tensor
    labels_a: Tensor
    labels_b: Tensor
    packed_a: PackedLabels
    packed_b: PackedLabels
    margin: float


def make_inputs(n: int, m: int, bits: int, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    a, b = (
        torch.randn(rows, bits, 2, generator=g).mul(2).softmax(dim=2).flatten(1).requires_grad_() for rows in (n, m)
    )
    labels = [(torch.rand(rows, CLASSES, generator=g) < 0.16).float() for rows in (n, m)]
    # half of the paper's margin: then some dissimilar rows are far enough
    return Inputs(a, b, *labels, *(pack_labels(x) for x in labels), margin_for(bits, 0.5) / 2)


def loss_of(a: Tensor, b: Tensor, labels_a: Tensor, labels_b: Tensor, margin: float) -> Tensor:
    """As public code has it."""
    sim = (labels_a @ labels_b.T > 0).float()
    distance = torch.cdist(a, b)
    pull = (sim * distance).square().mean()
    push = ((1 - sim) * margin - ((1 - sim) * distance).clamp(max=margin)).square().mean()
    return pull + push


def by_autograd(call: Callable[..., Tensor], x: Inputs) -> Call:
    def run() -> tuple[Tensor, ...]:
        loss = call(x.a, x.b, x.labels_a, x.labels_b, x.margin)
        return loss.detach(), *torch.autograd.grad(loss, (x.a, x.b))

    return run


def closed_form(a: Tensor, b: Tensor, mask_a: Tensor, mask_b: Tensor, margin: float) -> tuple[Tensor, ...]:
    """Distances by an inner product, gradients by formula, labels as masks: the best there is to compile."""
    squares = (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1)[None, :]
    square = (squares - 2 * (a @ b.T)).clamp_min(0)
    similar = (mask_a & mask_b.T) != 0
    distance = square.sqrt()
    lack = (margin - distance).clamp_min(0)
    loss = torch.where(similar, square, lack * lack).sum()
    pull = torch.where(similar, 2.0, -2 * lack / distance.clamp_min(1e-12))
    size = pull.numel()
    grad_a = a * pull.sum(dim=1, keepdim=True) - pull @ b
    grad_b = b * pull.sum(dim=0)[:, None] - pull.T @ a
    return loss / size, grad_a / size, grad_b / size


def by_fasthash(x: Inputs, isa: str) -> Call:
    def run() -> tuple[Tensor, ...]:
        with use_backend("cpp"), _native.use_isa(isa):
            loss = margin_euclidean(x.a, x.b, x.packed_a, x.packed_b, margin=x.margin)
        return loss.detach(), *torch.autograd.grad(loss, (x.a, x.b))

    return run


@dataclass(frozen=True)
class Point:
    """A size, and the times as fast that are asked there, by (contestant, peer)."""

    n: int
    m: int
    bits: int  # codes have twice as many entries
    threads: int = 1
    asked: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return f"{self.n:,} x {self.m:,}, {self.bits} bits, {self.threads} thread{'s' * (self.threads > 1)}"

    def quick(self) -> Point:
        return replace(self, n=min(self.n, 100), m=min(self.m, 400))

    def case(self) -> Case:
        found = contestants(make_inputs(self.n, self.m, self.bits))
        calls = {name: on_threads(self.threads, call) for name, call in found.items()}
        goals = tuple(Goal(own, peer, least, None) for (own, peer), least in self.asked.items())
        return Case(self.name, calls, EAGER, self.n * self.m, lambda: check(calls), goals)


def on_threads(threads: int, call: Call) -> Call:
    def run() -> tuple[Tensor, ...]:
        torch.set_num_threads(threads)
        return call()

    return run


def contestants(x: Inputs) -> dict[str, Call]:
    """name -> loss and gradients."""
    found = {EAGER: by_autograd(loss_of, x)}
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads that its first call had
        found[COMPILED] = by_autograd(torch.compile(loss_of), x)
        compiled = torch.compile(closed_form)
        args = (x.a.detach(), x.b.detach(), x.packed_a.words, x.packed_b.words, x.margin)
        found[CLOSED] = lambda: compiled(*args)
    isas = tuple(isa for isa in ("avx512", "avx2") if isa in _native.isa_names()) or ("scalar",)
    return found | {NAMES[isa]: by_fasthash(x, isa) for isa in isas}


def check(calls: Mapping[str, Call]) -> None:
    """Every contestant finds the same."""
    results = [call() for call in calls.values()]
    for other in results[1:]:
        for got, wanted in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


POINTS = (
    Point(128, 128, 64, asked={(WIDE, EAGER): 1}),
    Point(256, 256, 64, asked={(WIDE, EAGER): 1.5}),
    Point(128, 16_862, 64, asked={(WIDE, EAGER): 3}),
    Point(4096, 4096, 32, asked={(WIDE, EAGER): 8}),
    *([Point(4096, 4096, 32, threads=EVERY, asked={(WIDE, EAGER): 8})] if EVERY > 1 else []),
)


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="margin_euclidean_cpu",
        title="Margin loss of Euclidean distances, with both gradients, on the CPU",
        unit="pair",
        notes=(
            f"Loss and gradients in float32, {CLASSES} classes, about half of the pairs similar; codes are two",
            "probabilities for each bit, side by side.",
            "",
            "- torch eager (cdist): distances by torch.cdist, similarity by a label product, autograd;",
            "- torch.compile (cdist): the same, compiled, forward and backward;",
            "- torch.compile, closed form: distances by a product, label masks, gradients by formula, no autograd;",
            "- fasthash: `margin_euclidean` and autograd, labels packed beforehand; compared before timing.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 9,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
