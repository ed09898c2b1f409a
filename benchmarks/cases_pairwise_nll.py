"""Pairwise likelihood with gradients: fasthash against torch, as public code has it and as well as torch can do it."""

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
from fasthash.ops import PackedLabels, pack_labels, pairwise_nll, use_backend

Call = Callable[[], object]

EAGER, COMPILED, CHUNKED = "torch eager", "torch.compile, closed form", "torch, row blocks"
PRODUCTS = "torch, matrix products alone"
NAMES = {"scalar": "fasthash, 128-bit", "avx2": "fasthash, AVX2", "avx512": "fasthash, AVX-512"}
HALF, AUTOCAST = "fasthash, bfloat16 codes", "torch eager, autocast to bfloat16"
CLASSES, BANK = 24, 16_862
LAYERS, LAYER_WEIGHTS = (8, 27), (0.2, 0.8)  # classes of a label tree's layers, and their weights
EVERY = torch.get_num_threads()


@dataclass(frozen=True)
class Inputs:
    """Codes as of a tanh layer, labels as 0/1 floats and packed; about half of the pairs are similar."""

    a: Tensor
    b: Tensor
    labels_a: Tensor
    labels_b: Tensor
    packed_a: PackedLabels
    packed_b: PackedLabels

    def wanted(self) -> list[Tensor]:
        return [x for x in (self.a, self.b) if x.requires_grad]


@dataclass(frozen=True)
class TreeInputs:
    """Codes of two layers side by side and a class id for each layer."""

    a: Tensor
    b: Tensor
    ids_a: Tensor
    ids_b: Tensor


def make_inputs(n: int, m: int, bits: int, *, bank_gradient: bool = True, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.tanh(torch.randn(rows, bits, generator=g)) for rows in (n, m))
    labels = [(torch.rand(rows, CLASSES, generator=g) < 0.16).float() for rows in (n, m)]
    packed = [pack_labels(x) for x in labels]
    return Inputs(a.requires_grad_(), b.requires_grad_(bank_gradient), labels[0], labels[1], packed[0], packed[1])


def make_tree_inputs(n: int, m: int, bits: int, seed: int = 0) -> TreeInputs:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.tanh(torch.randn(rows, bits, generator=g)).requires_grad_() for rows in (n, m))
    ids = [torch.stack([torch.randint(c, (rows,), generator=g) for c in LAYERS], dim=1) for rows in (n, m)]
    return TreeInputs(a, b, *ids)


def eager(x: Inputs) -> tuple[Tensor, ...]:
    """As public code has it, in a form that does not overflow."""
    theta = 0.5 * x.a @ x.b.T
    sim = (x.labels_a @ x.labels_b.T > 0).float()
    loss = (F.softplus(theta) - sim * theta).sum()
    return loss.detach(), *torch.autograd.grad(loss, x.wanted())


def eager_in_half(x: Inputs) -> tuple[Tensor, ...]:
    """The products in bfloat16, all else in float32."""
    with torch.autocast("cpu", torch.bfloat16):
        theta = (0.5 * x.a @ x.b.T).float()
        sim = (x.labels_a @ x.labels_b.T > 0).float()
        loss = (F.softplus(theta) - sim * theta).sum()
    return loss.detach(), *torch.autograd.grad(loss, x.wanted())


def in_half(x: Inputs) -> Inputs:
    a, b = (t.detach().bfloat16().requires_grad_(t.requires_grad) for t in (x.a, x.b))
    return replace(x, a=a, b=b)


def eager_tree(x: TreeInputs) -> tuple[Tensor, ...]:
    loss = x.a.new_zeros(())
    width = x.a.shape[1] // len(LAYERS)
    for layer, (classes, weight) in enumerate(zip(LAYERS, LAYER_WEIGHTS, strict=True)):
        part = slice(layer * width, (layer + 1) * width)
        theta = 0.5 * x.a[:, part] @ x.b[:, part].T
        sim = F.one_hot(x.ids_a[:, layer], classes).float() @ F.one_hot(x.ids_b[:, layer], classes).float().T
        loss = loss + weight * (F.softplus(theta) - sim * theta).sum()
    return loss.detach(), *torch.autograd.grad(loss, (x.a, x.b))


def closed_form(a: Tensor, b: Tensor, mask_a: Tensor, mask_b: Tensor, bank_gradient: bool) -> tuple[Tensor, ...]:
    """Gradients by formula and labels as masks: the best there is to compile."""
    theta = 0.5 * (a @ b.T)
    similar = (mask_a & mask_b.T) != 0
    z = torch.where(similar, -theta, theta)
    e = torch.exp(-z.abs())
    loss = (z.clamp_min(0) + torch.log1p(e)).sum()
    tail = torch.where(z >= 0, 1.0, e) / (1 + e)
    residual = 0.5 * torch.where(similar, -tail, tail)
    return (loss, residual @ b, residual.T @ a) if bank_gradient else (loss, residual @ b)


def in_row_blocks(x: Inputs, rows: int = 128) -> Callable[[], tuple[Tensor, ...]]:
    """The formula a block of rows at a time, in memory that is there: what careful torch code would do."""
    a, b, n, m = x.a.detach(), x.b.detach(), len(x.a), len(x.b)
    theta, z, e = (torch.empty(rows, m) for _ in range(3))
    out_a, out_b = torch.empty_like(a), torch.empty_like(b)

    def run() -> tuple[Tensor, ...]:
        loss = torch.zeros((), dtype=torch.float64)
        out_b.zero_()
        for start in range(0, n, rows):
            part = a[start : start + rows]
            t, v, tail = (buffer[: len(part)] for buffer in (theta, z, e))
            torch.mm(part, b.T, out=t).mul_(0.5)
            sign = (x.packed_a.words[start : start + rows] & x.packed_b.words.T != 0).float().mul_(-2).add_(1)
            torch.mul(t, sign, out=v)
            torch.abs(v, out=tail).neg_().exp_()
            loss += v.clamp_min(0).sum(dtype=torch.float64) + torch.log1p(tail).sum(dtype=torch.float64)
            torch.sigmoid(v, out=tail).mul_(sign).mul_(0.5)
            torch.mm(tail, b, out=out_a[start : start + rows])
            if x.b.requires_grad:
                out_b.addmm_(tail.T, part)
        return (loss, out_a, out_b) if x.b.requires_grad else (loss, out_a)

    return run


def matrix_products(x: Inputs) -> Callable[[], None]:
    """The products alone, into memory that is there: what the rest of the loss is added to."""
    a, b = x.a.detach(), x.b.detach()
    theta, out_a, out_b = torch.empty(len(a), len(b)), torch.empty_like(a), torch.empty_like(b)

    def run() -> None:
        torch.mm(a, b.T, out=theta)
        torch.mm(theta, b, out=out_a)
        if x.b.requires_grad:
            torch.mm(theta.T, a, out=out_b)

    return run


def by_fasthash(x: Inputs, isa: str) -> Callable[[], tuple[Tensor, ...]]:
    def run() -> tuple[Tensor, ...]:
        with use_backend("cpp"), _native.use_isa(isa):
            loss = pairwise_nll(x.a, x.b, x.packed_a, x.packed_b)
        return loss.detach(), *torch.autograd.grad(loss, x.wanted())

    return run


def tree_by_fasthash(x: TreeInputs, isa: str) -> Callable[[], tuple[Tensor, ...]]:
    def run() -> tuple[Tensor, ...]:
        with use_backend("cpp"), _native.use_isa(isa):
            loss = pairwise_nll(x.a, x.b, x.ids_a, x.ids_b, layer_weights=LAYER_WEIGHTS)
        return loss.detach(), *torch.autograd.grad(loss, (x.a, x.b))

    return run


def vector_sets() -> tuple[str, ...]:
    """The instruction sets of this machine that are compared, the widest first."""
    return tuple(isa for isa in ("avx512", "avx2") if isa in _native.isa_names()) or ("scalar",)


@dataclass(frozen=True)
class Point:
    """A size, and the times as fast that are asked there, by (contestant, peer)."""

    n: int
    m: int
    bits: int
    bank_gradient: bool = True
    threads: int = 1
    tree: bool = False
    asked: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        which = "both gradients" if self.bank_gradient else "gradient of the batch"
        layers = ", two layers of class ids" if self.tree else ""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.n:,} x {self.m:,}, d {self.bits}{layers}, {which}, {threads}"

    @property
    def goals(self) -> tuple[Goal, ...]:
        found = [Goal(own, peer, least, None) for (own, peer), least in self.asked.items()]
        if self.bits <= 64 and not self.tree:
            found.append(Goal(NAMES["avx512"], PRODUCTS, 1.15, None, "time"))
        return tuple(found)

    def quick(self) -> Point:
        return replace(self, n=min(self.n, 100), m=self.m // 40)

    def case(self) -> Case:
        if self.tree:
            tree = make_tree_inputs(self.n, self.m, self.bits)
            calls: dict[str, Call] = {EAGER: lambda: eager_tree(tree)}
            calls |= {NAMES[isa]: tree_by_fasthash(tree, isa) for isa in vector_sets()}
        else:
            calls = contestants(make_inputs(self.n, self.m, self.bits, bank_gradient=self.bank_gradient))
        calls = {name: on_threads(self.threads, call) for name, call in calls.items()}
        rounds = 3 if self.n * self.m > 10**8 else None  # half a minute a round
        return Case(self.name, calls, EAGER, self.n * self.m, lambda: check(calls), self.goals, rounds)


def on_threads(threads: int, call: Call) -> Call:
    def run() -> object:
        torch.set_num_threads(threads)
        return call()

    return run


def contestants(x: Inputs) -> dict[str, Call]:
    """name -> loss and gradients."""
    found: dict[str, Call] = {EAGER: lambda: eager(x)}
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads that its first call had
        compiled = torch.compile(closed_form)
        args = (x.a.detach(), x.b.detach(), x.packed_a.words, x.packed_b.words, x.b.requires_grad)
        found[COMPILED] = lambda: compiled(*args)
    found |= {CHUNKED: in_row_blocks(x), PRODUCTS: matrix_products(x)}
    found |= {NAMES[isa]: by_fasthash(x, isa) for isa in vector_sets()}
    if _native.bf16() != "none":
        found |= {AUTOCAST: lambda: eager_in_half(x), HALF: by_fasthash(in_half(x), vector_sets()[0])}
    return found


def check(calls: dict[str, Call]) -> None:
    """Every contestant that computes the loss finds the same, to the precision of its products."""
    want = calls[EAGER]()
    for name, call in calls.items():
        if name == PRODUCTS:
            continue
        limit = 2e-2 if name in (HALF, AUTOCAST) else 1e-5
        for got, full in zip(call(), want, strict=True):  # type: ignore[call-overload]
            error = float((got.double() - full.double()).norm() / full.double().norm())
            if not error <= limit:
                raise AssertionError(f"check: {name} is {error:.1e} from {EAGER}, expected at most {limit:.0e}")


WIDE = NAMES["avx512"]
POINTS = (
    Point(128, BANK, 64, asked={(WIDE, EAGER): 3, (WIDE, COMPILED): 1.6}),
    Point(128, BANK, 64, bank_gradient=False, asked={(WIDE, EAGER): 4}),
    Point(128, BANK, 16, asked={(WIDE, EAGER): 6}),
    Point(128, BANK, 128, asked={(WIDE, EAGER): 2.2}),
    Point(128, BANK, 64, tree=True),
    Point(4096, 4096, 64, asked={(WIDE, EAGER): 7}),
    *([Point(128, BANK, 64, threads=EVERY), Point(20_000, 20_000, 64, threads=EVERY, asked={(WIDE, EAGER): 8})]
      if EVERY > 1 else []),
)  # fmt: skip


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="pairwise_nll_cpu",
        title="Pairwise likelihood with gradients on the CPU",
        unit="pair",
        notes=(
            f"Loss and gradients, in float32 unless said, {CLASSES} classes, about half of the pairs similar.",
            "The batch is 128 rows against a bank of 16,862, or all pairs of one set with another of its size.",
            "",
            "- torch eager: theta, similarity by a label product, softplus, autograd;",
            "- torch.compile, closed form: label masks and gradients by formula, compiled, no autograd around it;",
            "- torch, row blocks: the formula for 128 rows at a time, in preallocated memory, no autograd around it;",
            "- matrix products alone: the two or three float32 products, nothing else;",
            "- fasthash: `pairwise_nll` and autograd, labels packed beforehand; results are compared before timing;",
            "- autocast, bfloat16 codes: products of bfloat16 numbers, sums and everything else in float32.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 9,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
