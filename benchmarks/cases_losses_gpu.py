"""The training losses on a CUDA device: Triton kernels against torch, in full, TF32, half precision. Needs a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cases_joint_semantics as joint
import cases_pairwise_nll as nll
import torch
from cases import Case, Report
from goals import Goal

from fasthash.ops import JointTeacher, pairwise_nll, use_backend

Call = Callable[[], Any]

FULL, TF32, HALF = "fasthash, float32", "fasthash, TF32", "fasthash, bfloat16"
LARGEST = 20_000  # rows: beyond, a matrix of all pairs and its like do not fit
# Times of torch's row blocks that are asked of the kernel at 100,000 x 100,000. Bound there: two passes of 1.0 to 1.5
# picoseconds a pair, 20 to 30 ms on an H100; the page shows the time itself.
BLOCKS = 5.0


def why_no_device() -> str | None:
    """Why nothing can run on a CUDA device, in one line; None where it can."""
    return None if torch.cuda.is_available() else "torch.cuda.is_available() is False"


def waited(call: Call) -> Call:
    """Called, it returns when the device is done."""

    def run() -> Any:
        done = call()
        torch.cuda.synchronize()
        return done

    return run


def with_tf32(call: Call) -> Call:
    def run() -> Any:
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        try:
            return call()
        finally:
            torch.backends.cuda.matmul.fp32_precision = before

    return run


@dataclass(frozen=True)
class NllPoint:
    """A batch against a bank, or all pairs."""

    n: int
    m: int
    bits: int = 64

    @property
    def name(self) -> str:
        return f"pairwise_nll {self.n:,} x {self.m:,}, d {self.bits}, both gradients"

    def quick(self) -> NllPoint:
        return replace(self, n=min(self.n, 300), m=min(self.m, 700))

    def case(self) -> Case:
        x = nll.make_inputs(self.n, self.m, self.bits)
        a, b = (t.detach().cuda().requires_grad_() for t in (x.a, x.b))
        packed = [labels.to("cuda") for labels in (x.packed_a, x.packed_b)]
        there = replace(x, a=a, b=b, labels_a=x.labels_a.cuda(), labels_b=x.labels_b.cuda(), packed_a=packed[0],
                        packed_b=packed[1])  # fmt: skip

        def ours(dtype: torch.dtype) -> Call:
            u, v = (t.detach().to(dtype).requires_grad_() for t in (a, b))

            def run() -> tuple[torch.Tensor, ...]:
                with use_backend("triton"):
                    loss = pairwise_nll(u, v, *packed)
                return loss.detach(), *torch.autograd.grad(loss, (u, v))

            return run

        calls: dict[str, Call] = {nll.CHUNKED: nll.in_row_blocks(there)}
        if max(self.n, self.m) <= LARGEST:
            calls[nll.EAGER] = lambda: nll.eager(there)
            compiled = torch.compile(nll.closed_form)
            args = (a.detach(), b.detach(), packed[0].words, packed[1].words, True)
            calls[nll.COMPILED] = lambda: compiled(*args)
        calls[FULL], calls[TF32] = ours(torch.float32), with_tf32(ours(torch.float32))
        calls[HALF] = ours(torch.bfloat16)
        goals = () if max(self.n, self.m) <= LARGEST else (Goal(TF32, nll.CHUNKED, BLOCKS, None),)
        calls = {name: waited(call) for name, call in calls.items()}
        baseline = nll.EAGER if nll.EAGER in calls else nll.CHUNKED
        return Case(self.name, calls, baseline, self.n * self.m, lambda: check(calls), goals)


@dataclass(frozen=True)
class JointPoint:
    """A batch of m rows of a teacher of n."""

    m: int
    n: int

    @property
    def name(self) -> str:
        return f"joint_semantics_loss m {self.m:,} of {self.n:,}, d {joint.BITS}, p {joint.P_IMAGE} + {joint.P_TEXT}"

    def quick(self) -> JointPoint:
        return replace(self, m=min(self.m, 128), n=min(self.n, 300))

    def case(self) -> Case:
        x = joint.make_inputs(joint.Point(self.m, self.n, 1))
        codes = tuple(code.detach().cuda().requires_grad_() for code in x.codes)
        there = joint.Inputs(codes, *(tuple(f.cuda() for f in part) for part in (x.features, x.every)), x.index.cuda())
        teacher = JointTeacher(*there.every, beta=joint.BETA)
        index = None if self.m == self.n else there.index
        compiled = torch.compile(joint.listing)
        calls: dict[str, Call] = {
            joint.EAGER: joint.with_gradients(lambda: joint.listing(*codes, *there.features), codes),
            joint.COMPILED: joint.with_gradients(lambda: compiled(*codes, *there.features), codes),
            FULL: lambda: teacher.loss_and_gradients(*codes, index, **joint.WEIGHTS),
        }
        calls[TF32] = with_tf32(calls[FULL])
        calls = {name: waited(call) for name, call in calls.items()}
        return Case(self.name, calls, joint.EAGER, self.m**2, lambda: check(calls))


def check(calls: dict[str, Call]) -> None:
    """Losses and gradients agree: to rounding in float32, to the precision of the products elsewhere."""
    want = calls[FULL]()
    for name, call in calls.items():
        limit = {TF32: 2e-3, HALF: 5e-3}.get(name, 1e-4)
        for got, full in zip(call(), want, strict=True):
            error = float((got.double() - full.double()).norm() / full.double().norm())
            if not error <= limit:
                raise AssertionError(f"check: {name} is {error:.1e} from float32, expected at most {limit:.0e}")


POINTS: tuple[NllPoint | JointPoint, ...] = (
    *(NllPoint(128, nll.BANK, bits) for bits in (16, 64, 128)),
    NllPoint(4096, 4096),
    NllPoint(20_000, 20_000),
    NllPoint(100_000, 100_000),
    JointPoint(32, 5000),
    JointPoint(128, 5000),
    JointPoint(4096, 4096),
)


def report(quick: bool = False) -> Report:
    why = why_no_device()
    if why is not None:
        raise SystemExit(f"cases_losses_gpu: needs a CUDA device: {why}")
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    notes = (
        f"Device: {torch.cuda.get_device_name()}. Inputs and results stay on it; a call ends when it is done.",
        "float32 has full precision (three TF32 products); errors of TF32 and bfloat16 are checked before timing.",
    )
    return Report("losses_gpu", "Training losses on a GPU", "pair", notes, ("torch", "triton"), cases)
