"""The loss of proxies and label pairs (DCGH) with gradients: fasthash against torch, also as good as torch can do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from cases import Case, Report
from goals import Goal
from torch import Tensor

from fasthash import _native
from fasthash.ops import PackedLabels, pack_labels, proxy_pair, use_backend

OFFICIAL, BEST, COMPILED = "torch, as public code", "torch, best form", "torch.compile, best form"
NAMES = {"scalar": "fasthash, 128-bit", "avx2": "fasthash, AVX2", "avx512": "fasthash, AVX-512"}
NEGATIVE, POSITIVE = 0.8, 0.05  # weights of the pairs in DCGH
Results = tuple[Tensor, ...]


@dataclass(frozen=True)
class Inputs:
    """Codes as of a tanh layer and proxies with gradients; two to three labels a row, as 0/1 floats and packed."""

    x: Tensor
    y: Tensor
    proxies: Tensor
    labels: Tensor
    packed: PackedLabels

    def wanted(self) -> list[Tensor]:
        return [self.x, self.y, self.proxies]


def make_inputs(m: int, classes: int, bits: int, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    x, y, p = (torch.tanh(torch.randn(rows, bits, generator=g)).requires_grad_() for rows in (m, m, classes))
    labels = (torch.rand(m, classes, generator=g) < 2.5 / classes).float()
    labels[:, 0][labels.sum(1) == 0] = 1  # every row of the papers' data has one
    return Inputs(x, y, p, labels, pack_labels(labels))


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a) @ F.normalize(b).T


def mean_where(values: Tensor, mask: Tensor) -> Tensor | float:
    """The sum over the number of entries, which the host asks for."""
    count = len(mask.nonzero())
    return values[mask].sum() / count if count else 0.0


def public_code(x: Inputs) -> Results:
    """As public code has it: boolean indexing and lengths of nonzero(), which wait for a GPU."""
    has = x.labels == 1
    loss = torch.zeros(())
    for codes in (x.x, x.y):
        cos = cosines(codes, x.proxies)
        loss = loss + mean_where(1 - cos, has) + mean_where(F.relu(cos), ~has)
        loss = loss + (x.labels * (1 - cos)).var(dim=1).mean()
    target = cosines(x.labels, x.labels)
    several = x.labels.sum(dim=1) > 1
    alike = x.labels[several] @ x.labels[several].T
    for a, b in ((x.x, x.x), (x.y, x.y), (x.x, x.y)):
        loss = loss + POSITIVE * mean_where(F.relu(target - cosines(a, b)), target > 0)
        if several.any():
            loss = loss + NEGATIVE * mean_where(F.relu(cosines(a[several], b[several])), alike == 0)
    return loss.detach(), *torch.autograd.grad(loss, x.wanted())


def best_loss(x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor) -> Tensor:
    """Both modalities in one product, masks and counts as matrices and sums: nothing waits, everything compiles."""
    m = len(x)
    codes, p = F.normalize(torch.cat([x, y])), F.normalize(proxies)
    twice = torch.cat([labels, labels])
    cos = codes @ p.T
    distance = twice * (1 - cos)
    loss = distance.sum() / labels.sum().clamp(min=1)
    loss = loss + ((1 - twice) * F.relu(cos)).sum() / (1 - labels).sum().clamp(min=1)
    loss = loss + distance.var(dim=1).sum() / m
    target = F.normalize(labels) @ F.normalize(labels).T
    several = (labels.sum(dim=1) > 1).to(cos.dtype)
    shared = (target > 0).to(cos.dtype)
    apart = (1 - shared) * several[:, None] * several
    near, far = POSITIVE / shared.sum().clamp(min=1), NEGATIVE / apart.sum().clamp(min=1)
    all_pairs = codes @ codes.T
    for pairs in (all_pairs[:m, :m], all_pairs[m:, m:], all_pairs[:m, m:]):
        loss = loss + near * (shared * F.relu(target - pairs)).sum() + far * (apart * F.relu(pairs)).sum()
    return loss


def best_form(x: Inputs, loss: Callable[..., Tensor]) -> Results:
    value = loss(*x.wanted(), x.labels)
    return value.detach(), *torch.autograd.grad(value, x.wanted())


def by_fasthash(x: Inputs, isa: str) -> Callable[[], Results]:
    def run() -> Results:
        with use_backend("cpp"), _native.use_isa(isa):
            loss = proxy_pair(*x.wanted(), x.packed)
        return loss.detach(), *torch.autograd.grad(loss, x.wanted())

    return run


def contestants(x: Inputs) -> dict[str, Callable[[], object]]:
    """name -> loss and all three gradients, every one with the threads torch has now."""
    found: dict[str, Callable[[], object]] = {
        OFFICIAL: lambda: public_code(x),
        BEST: lambda: best_form(x, best_loss),
    }
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads it was made for
        compiled = torch.compile(best_loss, dynamic=False)
        found[COMPILED] = lambda: best_form(x, compiled)
    return found | {NAMES[isa]: by_fasthash(x, isa) for isa in _native.isa_names()[1:] or ("scalar",) if isa in NAMES}


def check(calls: dict[str, Callable[[], object]]) -> None:
    """Every contestant finds the same."""
    results = [call() for call in calls.values()]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class Point:
    """A size, and the times as fast as public code and as the compiled best form that are asked of AVX-512."""

    m: int
    classes: int
    bits: int
    threads: int
    public: tuple[float, float]  # at least, aim
    compiled: tuple[float, float]

    @property
    def name(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"m {self.m:,}, {self.classes} classes, d {self.bits}, {threads}"

    def case(self) -> Case:
        torch.set_num_threads(self.threads)
        calls = contestants(make_inputs(self.m, self.classes, self.bits))
        own = NAMES["avx512"]
        goals = [Goal(own, OFFICIAL, *self.public), Goal(own, COMPILED, *self.compiled)]
        kept = tuple(goal for goal in goals if goal.contestant in calls and goal.against in calls)
        return Case(self.name, calls, OFFICIAL, check=lambda: check(calls), goals=kept)


def points(quick: bool) -> dict[str, Point]:
    every = torch.get_num_threads()
    if quick:
        found = [Point(32, 24, 16, 1, (1, 2), (1, 2))]
    else:
        found = [
            Point(128, 24, 16, 1, (6, 10), (2, 3)),
            Point(128, 24, 64, 1, (6, 10), (2, 3)),
            Point(128, 80, 64, 1, (6, 10), (2, 3)),
            Point(128, 24, 64, every, (6, 10), (2, 3)),
            Point(1024, 24, 16, 1, (4, 8), (1.5, 2)),
            Point(1024, 80, 64, 1, (4, 8), (1.5, 2)),
            Point(1024, 80, 64, every, (4, 8), (1.5, 2)),
        ]
    return {point.name: point for point in found}


def report(quick: bool = False) -> Report:
    chosen = points(quick)
    before = torch.get_num_threads()

    def cases() -> Iterator[Case]:
        for point in chosen.values():
            yield point.case()
        torch.set_num_threads(before)

    return Report(
        file="proxy_pair_cpu",
        title="Proxies and pairs of labels, with gradients, on the CPU",
        unit="call",
        notes=(
            "The loss of DCGH (proxy positive, proxy negative, soft positive pairs, negative pairs of multi-label",
            "rows, variance) with the gradients of both modalities' codes and of the proxies, in float32; two to",
            "three labels a row. m 128 is the batch of the papers.",
            "",
            "- as public code: boolean indexing, counts by the length of nonzero(), written afresh;",
            "- best form: both modalities in one product, masks and counts as matrices, autograd; also compiled;",
            "- fasthash: `proxy_pair` and autograd, labels packed beforehand; results are compared before timing.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 9,
        case=lambda name: chosen[name].case(),
        names=tuple(chosen),
    )
