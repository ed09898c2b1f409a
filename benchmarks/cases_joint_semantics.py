"""Joint semantics with gradients: fasthash against the authors' listing written afresh, compiled, and on a kept S."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from cases import Case, Report
from goals import Goal
from torch import Tensor

from fasthash.ops import JointTeacher, joint_semantics_loss, use_backend

EAGER, COMPILED, KEPT = "torch eager", "torch.compile", "torch eager, S kept"
DIRECT, GRAPH = "fasthash, one call", "fasthash, with autograd"
FEATURES, EXACT, KNOWN = "fasthash, features", "fasthash, S kept", "fasthash, S and traces kept"
LOW_RANK, TARGET = "fasthash, low rank, traces kept", "fasthash, T kept"
BITS, P_IMAGE, P_TEXT, ROWS = 64, 4096, 1386, 5000
BETA, WEIGHTS = 0.6, {"eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.1}
Results = tuple[Tensor, ...]


@dataclass(frozen=True)
class Point:
    """A batch of m rows out of n, or all n of them."""

    m: int
    n: int
    threads: int
    p_image: int = P_IMAGE
    p_text: int = P_TEXT
    goals: tuple[Goal, ...] = ()

    @property
    def name(self) -> str:
        which = "all rows" if self.m == self.n else f"of {self.n:,}"
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"m {self.m:,} {which}, d {BITS}, p {self.p_image:,} + {self.p_text:,}, {threads}"

    def quick(self) -> Point:
        n = 300 if self.m == self.n else 400
        return replace(self, m=n if self.m == self.n else min(self.m, 200), n=n, p_image=60, p_text=40)

    def case(self) -> Case:
        torch.set_num_threads(self.threads)
        if self.m == self.n:
            found = every_row(self)
        else:
            found = small(self) if self.m <= 128 else middle(self)
        goals = tuple(goal for goal in self.goals if {goal.contestant, goal.against} <= found.keys())
        return Case(self.name, found, EAGER, check=lambda: check(found), goals=goals)


def points(quick: bool) -> dict[str, Point]:
    two = min(2, torch.get_num_threads())
    found = [
        Point(32, ROWS, 1, goals=(Goal(DIRECT, EAGER, 20, None), Goal(DIRECT, COMPILED, 15, None))),
        Point(128, ROWS, 1, goals=(Goal(DIRECT, EAGER, 9, None),)),
        Point(1024, ROWS, 1, goals=(Goal(KNOWN, EAGER, 7, None), Goal(EXACT, EAGER, 4, None))),
        Point(4096, 4096, two, goals=(Goal(LOW_RANK, EAGER, 15, None), Goal(TARGET, EAGER, 60, None))),
    ]
    made = [point.quick() for point in found] if quick else found
    return {point.name: point for point in made}


@dataclass(frozen=True)
class Inputs:
    """Codes as of a tanh layer, features without negative entries; the batch's and all."""

    codes: tuple[Tensor, Tensor]
    features: tuple[Tensor, Tensor]  # of the batch
    every: tuple[Tensor, Tensor]
    index: Tensor


def make_inputs(point: Point, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    codes = [torch.tanh(torch.randn(point.m, BITS, generator=g)).requires_grad_() for _ in range(2)]
    every = [torch.randn(point.n, p, generator=g).clamp_min_(0) for p in (point.p_image, point.p_text)]
    index = torch.arange(point.n) if point.m == point.n else torch.randperm(point.n, generator=g)[: point.m]
    features = every if point.m == point.n else [f[index] for f in every]
    return Inputs(tuple(codes), tuple(features), tuple(every), index)


def fused_affinity(f_image: Tensor, f_text: Tensor) -> Tensor:
    image, text = F.normalize(f_image), F.normalize(f_text)
    s_image, s_text = image @ image.T, text @ text.T
    return BETA * (2 * s_image - 1) + (1 - BETA) * (2 * s_text - 1)


def reconstruction(b_image: Tensor, b_text: Tensor, s: Tensor) -> Tensor:
    eta, mu, lambda1, lambda2 = WEIGHTS.values()
    target = mu * ((1 - eta) * s + eta * (s @ s.T) / len(s))
    u, v = F.normalize(b_image), F.normalize(b_text)
    loss = F.mse_loss(u @ v.T, target) + lambda1 * F.mse_loss(u @ u.T, target)
    return loss + lambda2 * F.mse_loss(v @ v.T, target)


def listing(b_image: Tensor, b_text: Tensor, f_image: Tensor, f_text: Tensor) -> Tensor:
    """As the authors' code has it: everything from the features at every step."""
    return reconstruction(b_image, b_text, fused_affinity(f_image, f_text))


def with_gradients(loss: Callable[[], Tensor], codes: tuple[Tensor, Tensor]) -> Callable[[], Results]:
    def run() -> Results:
        value = loss()
        return value.detach(), *torch.autograd.grad(value, codes)

    return run


def native(run: Callable[[], Results]) -> Callable[[], Results]:
    def call() -> Results:
        with use_backend("cpp"):
            return run()

    return call


def peers(x: Inputs) -> dict[str, Callable[[], object]]:
    return {EAGER: with_gradients(lambda: listing(*x.codes, *x.features), x.codes)}


def small(point: Point) -> dict[str, Callable[[], object]]:
    """A batch: one call on rows of a kept S, beside the same through autograd and from features."""
    x = make_inputs(point)
    found = peers(x)
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads it was made for
        compiled = torch.compile(listing)
        found[COMPILED] = with_gradients(lambda: compiled(*x.codes, *x.features), x.codes)
    teacher = JointTeacher(*x.every, beta=BETA)
    s, index = fused_affinity(*x.every), x.index
    found[KEPT] = with_gradients(lambda: reconstruction(*x.codes, s[index[:, None], index]), x.codes)
    found[DIRECT] = lambda: teacher.loss_and_gradients(*x.codes, index, **WEIGHTS)
    found[GRAPH] = with_gradients(lambda: teacher.loss(*x.codes, index, **WEIGHTS), x.codes)
    found[FEATURES] = with_gradients(lambda: joint_semantics_loss(*x.codes, *x.features, beta=BETA, **WEIGHTS), x.codes)
    return found


def middle(point: Point) -> dict[str, Callable[[], object]]:
    """The same, and with the traces of the batch's own S known, as of a batch that comes back."""
    x = make_inputs(point)
    found = small(point)
    del found[GRAPH]
    found[EXACT] = found.pop(DIRECT)
    with use_backend("cpp"):
        batch = JointTeacher(*x.features, beta=BETA, max_bytes=0)  # a kept T would be multiplied once, not twice
        s = torch.ops.fasthash.joint_semantics_affinity(*x.features, None, BETA, 0.0, 1.0, True, False)
        traces = torch.ops.fasthash.joint_semantics_moments(None, None, s, None, BETA, True, True, True)
    op = functools.partial(torch.ops.fasthash.joint_semantics_loss, *(c.detach() for c in x.codes))
    weights = (BETA, True, True, *WEIGHTS.values(), True, True)
    found[KNOWN] = native(lambda: op(None, None, s, None, traces, *weights))
    found[LOW_RANK] = native(lambda: batch.loss_and_gradients(*x.codes, **WEIGHTS))
    return found


def every_row(point: Point) -> dict[str, Callable[[], object]]:
    """All rows at once: what depends on the teacher alone is made in the first call, which is not timed."""
    x = make_inputs(point)
    features = JointTeacher(*x.every, beta=BETA, max_bytes=0)
    found = peers(x)
    found[LOW_RANK] = native(lambda: features.loss_and_gradients(*x.codes, **WEIGHTS))
    if point.n <= 8192:
        affinity = JointTeacher(*x.every, beta=BETA)
        found[TARGET] = native(lambda: affinity.loss_and_gradients(*x.codes, **WEIGHTS))
    return found


def check(calls: dict[str, Callable[[], object]]) -> None:
    """Every contestant finds the same loss and gradients."""
    want, *others = (call() for call in calls.values())
    for other in others:
        torch.testing.assert_close(other[0], want[0], rtol=1e-4, atol=0)
        for got, expected in zip(other[1:], want[1:], strict=True):
            error = float((got - expected).norm() / expected.norm())
            if error > 1e-4:
                raise AssertionError(f"joint semantics: a gradient is off by {error:.1e}")


def report(quick: bool = False) -> Report:
    made = points(quick)

    def cases() -> Iterator[Case]:
        before = torch.get_num_threads()
        for point in made.values():
            yield point.case()
        torch.set_num_threads(before)

    return Report(
        file="joint_semantics_cpu",
        title="Joint semantics with gradients on the CPU",
        unit="pair",
        notes=(
            "Loss and gradients of both codes in float32. The peers start from the batch's raw features, as the",
            "authors' code does; keeping what depends on them alone is part of the gain.",
            "",
            "- torch eager: the authors' listing written afresh, autograd; torch.compile: the same, compiled;",
            "- torch eager, S kept: the same on rows and columns of an S that was made before;",
            "- fasthash, one call: `JointTeacher.loss_and_gradients` on a kept S; with autograd: `JointTeacher.loss`;",
            "- fasthash, features: `joint_semantics_loss`; S kept: exact loss, so S S is made for its norm;",
            "- traces kept, T kept: the teacher's constants were made by an earlier call; the loss is exact as well.",
            "",
            "More rows, up to 100,000, are in loss_scaling.md: the listing takes minutes there.",
            "",
            "Results are compared before timing.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 5,
        case=lambda name: made[name].case(),
        names=tuple(made),
    )
