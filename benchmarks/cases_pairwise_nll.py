"""Pairwise likelihood with gradients: fasthash against torch, as public code has it and as well as torch can do it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from cases import Case, Report
from torch import Tensor

from fasthash import _native
from fasthash.ops import PackedLabels, pack_labels, pairwise_nll, use_backend

EAGER = "torch eager"
CLASSES, BANK = 24, 16_862


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


def make_inputs(n: int, m: int, bits: int, *, bank_gradient: bool = True, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.tanh(torch.randn(rows, bits, generator=g)) for rows in (n, m))
    labels = [(torch.rand(rows, CLASSES, generator=g) < 0.16).float() for rows in (n, m)]
    packed = [pack_labels(x) for x in labels]
    return Inputs(a.requires_grad_(), b.requires_grad_(bank_gradient), labels[0], labels[1], packed[0], packed[1])


def eager(x: Inputs) -> tuple[Tensor, ...]:
    """As public code has it, in a form that does not overflow."""
    theta = 0.5 * x.a @ x.b.T
    sim = (x.labels_a @ x.labels_b.T > 0).float()
    loss = (F.softplus(theta) - sim * theta).sum()
    return loss.detach(), *torch.autograd.grad(loss, x.wanted())


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


def contestants(x: Inputs) -> dict[str, Callable[[], object]]:
    """name -> loss and gradients, every one with the threads torch has now."""
    found: dict[str, Callable[[], object]] = {EAGER: lambda: eager(x)}
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads it was made for
        compiled = torch.compile(closed_form)
        args = (x.a.detach(), x.b.detach(), x.packed_a.words, x.packed_b.words, x.b.requires_grad)
        found["torch.compile, closed form"] = lambda: compiled(*args)
    found["torch, matrix products alone"] = matrix_products(x)
    names = {"scalar": "fasthash, 128-bit", "avx2": "fasthash, AVX2", "avx512": "fasthash, AVX-512"}
    found |= {names[isa]: by_fasthash(x, isa) for isa in _native.isa_names()[1:] or ("scalar",)}
    return found


def check(calls: dict[str, Callable[[], object]]) -> None:
    """Every contestant that computes the loss finds the same."""
    results = [call() for name, call in calls.items() if "alone" not in name]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=2e-3)


def cases() -> Iterator[Case]:
    every = torch.get_num_threads()
    sizes = [(128, BANK, bits, True, 1) for bits in (16, 64, 128)]
    sizes += [(128, BANK, 64, False, 1)]
    sizes += [(128, BANK, 64, True, every), (4096, 4096, 64, True, every)] if every > 1 else [(4096, 4096, 64, True, 1)]
    for n, m, bits, bank_gradient, threads in sizes:
        torch.set_num_threads(threads)
        x = make_inputs(n, m, bits, bank_gradient=bank_gradient)
        which = "both gradients" if bank_gradient else "gradient of the batch"
        name = f"{n:,} x {m:,}, d {bits}, {which}, {threads} thread{'s' * (threads > 1)}"
        calls = contestants(x)
        yield Case(name, calls, EAGER, n * m, lambda calls=calls: check(calls))
    torch.set_num_threads(every)


def report() -> Report:
    return Report(
        file="pairwise_nll_cpu",
        title="Pairwise likelihood with gradients on the CPU",
        unit="pair",
        notes=(
            f"Loss and gradients in float32, {CLASSES} classes, about half of the pairs similar.",
            "The batch is 128 rows against a bank of 16,862, or all pairs of 4,096 rows.",
            "",
            "- torch eager: theta, similarity by a label product, softplus, autograd;",
            "- torch.compile, closed form: label masks and gradients by formula, compiled, no autograd around it;",
            "- matrix products alone: the two or three float32 products, nothing else;",
            "- fasthash: `pairwise_nll` and autograd, labels packed beforehand; results are compared before timing.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=9,
    )
