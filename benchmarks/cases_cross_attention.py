"""Stacked cross attention with gradients: fasthash against torch, as public code has it and as well as it can."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from cases import Case, Report
from goals import Goal
from torch import Tensor

from fasthash import _native
from fasthash.losses import CrossAttention
from fasthash.ops import cross_attention_score, use_backend

LOOP = "torch, loop over captions"
VECTORS = "torch, all attended vectors"
GRAM = "torch, Gram matrices"
COMPILED = "torch.compile, Gram matrices"
NAMES = {"avx512": "fasthash, AVX-512", "avx2": "fasthash, AVX2", "scalar": "fasthash, 128-bit"}
TEMPERATURE, LEAK, MARGIN, EPS = 9.0, 0.1, 0.2, 1e-8
EVERY = torch.get_num_threads()


@dataclass(frozen=True)
class Point:
    """A batch of m images and m captions, and what is asked of AVX-512 there, against each peer: (at least, aim)."""

    m: int
    d: int
    threads: int
    loss: bool = False  # the hinge loss over both directions instead of all pairs' gradients in one
    loop: tuple[float, float] | None = None
    compiled: tuple[float, float] | None = None
    regions: int = 36
    words: int = 20

    @property
    def name(self) -> str:
        what = "hinge loss, both directions" if self.loss else "t2i"
        return f"m {self.m}, D {self.d}, {what}, {self.threads} thread{'s' * (self.threads > 1)}"

    @property
    def goals(self) -> tuple[Goal, ...]:
        asked = ((LOOP, self.loop), (COMPILED, self.compiled))
        return tuple(Goal(NAMES["avx512"], peer, *bounds) for peer, bounds in asked if bounds is not None)

    def quick(self) -> Point:
        """The same at a size that takes a moment; distinct points stay distinct."""
        return replace(self, m=self.m // 16, d=self.d // 8, regions=9, words=5)

    def case(self) -> Case:
        torch.set_num_threads(self.threads)
        g = torch.Generator().manual_seed(0)
        regions, words = (
            torch.randn(self.m, each, self.d, generator=g).requires_grad_() for each in (self.regions, self.words)
        )
        calls = contestants(regions, words, torch.randn(self.m, self.m, generator=g), self.loss)
        return Case(self.name, calls, LOOP, self.m**2, lambda: check(calls), self.goals)


POINTS = (
    Point(32, 512, 1, loop=(4, 6), compiled=(1.2, 1.5)),
    Point(32, 128, 1, loop=(4, 6), compiled=(1.5, 2)),
    Point(128, 512, EVERY, loop=(4, 6), compiled=(1.2, 1.5)),
    Point(128, 128, EVERY, loop=(4, 6), compiled=(1.5, 2)),
    Point(32, 512, 1, loss=True, loop=(15, 25), compiled=(3, 4)),
    Point(128, 512, EVERY, loss=True, loop=(15, 25), compiled=(3, 4)),
)


def attention(s: Tensor, temperature: float) -> Tensor:
    """Softmax over dimension -2 of similarities normalised over dimension -1."""
    b = F.leaky_relu(s, LEAK)
    return (temperature * b * (b.square().sum(-1, keepdim=True) + EPS).rsqrt()).softmax(-2)


def one_caption(regions: Tensor, caption: Tensor) -> Tensor:
    """Scores [n_i] of a caption [T, D] with unit regions [n_i, R, D], by attended vectors."""
    weights = attention(regions @ caption.T, TEMPERATURE)
    attended = weights.mT @ regions
    return F.cosine_similarity(attended, caption, dim=-1).mean(-1)


def by_loop(regions: Tensor, words: Tensor) -> Tensor:
    """As public code has it: every image at once, one caption after the other."""
    regions, words = F.normalize(regions, dim=-1), F.normalize(words, dim=-1)
    return torch.stack([one_caption(regions, caption) for caption in words], 1)


def by_vectors(regions: Tensor, words: Tensor) -> Tensor:
    """All pairs at once, with a tensor [n_i, n_t, T, D] of attended vectors."""
    regions, words = F.normalize(regions, dim=-1), F.normalize(words, dim=-1)
    weights = attention(torch.einsum("ird,twd->itrw", regions, words), TEMPERATURE)
    attended = torch.einsum("itrw,ird->itwd", weights, regions)
    return F.cosine_similarity(attended, words[None], dim=-1).mean(-1)


def by_gram(regions: Tensor, words: Tensor) -> Tensor:
    """All pairs at once, without attended vectors: the best there is to compile."""
    regions, words = F.normalize(regions, dim=-1), F.normalize(words, dim=-1)
    s = torch.einsum("ird,twd->itrw", regions, words)
    weights = attention(s, TEMPERATURE)
    squares = (weights * ((regions @ regions.mT)[:, None] @ weights)).sum(-2)
    return ((weights * s).sum(-2) * squares.clamp(min=1e-12).rsqrt()).mean(-1)


def hinge(scores: Tensor) -> Tensor:
    """Hardest negatives of each row and column."""
    own, same = scores.diagonal(), torch.eye(len(scores), dtype=torch.bool)
    rows = (MARGIN - own[:, None] + scores).clamp(min=0).masked_fill(same, 0)
    columns = (MARGIN - own[None] + scores).clamp(min=0).masked_fill(same, 0)
    return rows.amax(1).sum() + columns.amax(0).sum()


def with_torch(score: Callable[[Tensor, Tensor], Tensor], loss: bool) -> Callable[..., Tensor]:
    """What a peer makes: the weighted sum of all scores, or the loss; temperatures alike in both directions."""

    def run(regions: Tensor, words: Tensor, grad: Tensor) -> Tensor:
        if loss:
            return hinge((score(regions, words) + score(words, regions).T) / 2)
        return (grad * score(regions, words)).sum()

    return run


def with_fasthash(isa: str, loss: bool) -> Callable[..., Tensor]:
    module = CrossAttention(MARGIN, temperature=TEMPERATURE, leak=LEAK)

    def run(regions: Tensor, words: Tensor, grad: Tensor) -> Tensor:
        with use_backend("cpp"), _native.use_isa(isa):
            if loss:
                return module(regions, words)
            return (grad * cross_attention_score(regions, words, temperature=TEMPERATURE, leak=LEAK)).sum()

    return run


def contestants(regions: Tensor, words: Tensor, grad: Tensor, loss: bool) -> dict[str, Callable[[], object]]:
    """name -> value and both gradients, every one with the threads torch has now."""
    forms = {LOOP: with_torch(by_loop, loss)}
    if len(regions) <= 32:  # at 128 its temporaries take gigabytes
        forms[VECTORS] = with_torch(by_vectors, loss)
    forms[GRAM] = with_torch(by_gram, loss)
    if importlib.util.find_spec("torch._inductor") is not None:
        torch.compiler.reset()  # compiled code keeps the number of threads it was made for
        forms[COMPILED] = torch.compile(with_torch(by_gram, loss))
    forms |= {NAMES[isa]: with_fasthash(isa, loss) for isa in _native.isa_names()[1:] or ("scalar",)}
    return {name: gradients(form, regions, words, grad) for name, form in forms.items()}


def gradients(form: Callable[..., Tensor], regions: Tensor, words: Tensor, grad: Tensor) -> Callable[[], object]:
    def call() -> tuple[Tensor, ...]:
        value = form(regions, words, grad)
        return value.detach(), *torch.autograd.grad(value, (regions, words))

    return call


def check(calls: dict[str, Callable[[], object]]) -> None:
    """Every contestant finds the same."""
    first, *others = (call() for call in calls.values())
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-5)


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        for point in points.values():
            yield point.case()
        torch.set_num_threads(EVERY)

    return Report(
        file="cross_attention_cpu",
        title="Stacked cross attention with gradients on the CPU",
        unit="pair",
        notes=(
            "m images of 36 regions against m captions of 20 words, float32, random vectors; a pair is an image and a",
            "caption. t2i: all scores and their gradients for an upstream gradient without zeros. Hinge loss: scores",
            "of both directions, hardest negatives, gradients; almost all pairs then have the upstream gradient 0.",
            "",
            "- loop over captions: as public code has it, one caption against all images, with attended vectors;",
            "- all attended vectors: all pairs at once; left out where it takes gigabytes;",
            "- Gram matrices: all pairs at once, without attended vectors, plain and under torch.compile;",
            "- fasthash: `cross_attention_score`, or `losses.CrossAttention`; results are compared before timing.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 7,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
