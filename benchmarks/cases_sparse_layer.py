"""One step of a first layer on bags of words: dense rows against their entries, by the share of entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from cases import Case, Report
from goals import Goal
from torch import Tensor, nn

from fasthash.methods._word_sgd import WordSGD
from fasthash.models import SparseBatch, WordLinear

DENSE, ENTRIES, LAZY = "nn.Linear", "WordLinear", "WordLinear, WordSGD"


@dataclass(frozen=True)
class Point:
    """Sizes of the layer and the batch, and the share of entries that are not zero."""

    words: int
    units: int
    batch: int
    density: float
    asked: bool = False  # whether entries must be faster

    @property
    def name(self) -> str:
        return f"{self.words} words, {self.units} units, batch {self.batch}, {100 * self.density:.3g} % not zero"

    def quick(self) -> Point:
        return replace(self, units=64)

    def case(self) -> Case:
        torch.manual_seed(0)
        linear = nn.Linear(self.words, self.units)
        x = (torch.rand(self.batch, self.words) < self.density).float()
        mean, grad = torch.full((self.words,), self.density), torch.randn(self.batch, self.units)
        layers = {DENSE: linear, ENTRIES: WordLinear(linear), LAZY: WordLinear(linear)}
        calls = {name: step(name, layer, x, mean, grad) for name, layer in layers.items()}
        goals = tuple(Goal(name, DENSE, 1, None) for name in (ENTRIES, LAZY)) if self.asked else ()
        return Case(self.name, calls, DENSE, 0.0, lambda: check(layers, calls), goals)


def step(name: str, layer: nn.Module, x: Tensor, mean: Tensor, grad: Tensor) -> Callable[[], object]:
    settings = {"lr": 1e-3, "weight_decay": 5e-4}
    params = list(layer.parameters())
    optimizer: torch.optim.Optimizer
    if name == LAZY:
        assert isinstance(layer, WordLinear)
        optimizer = WordSGD(params, [layer], **settings)
    else:
        optimizer = torch.optim.SGD(params, fused=True, **settings)  # type: ignore[arg-type]
    batch = SparseBatch.from_dense(x)

    def run() -> None:
        torch.set_num_threads(1)
        optimizer.zero_grad()
        if name == DENSE:
            out = layer(x - mean)
        else:
            fresh = SparseBatch(
                batch.offsets, batch.words, batch.values, batch.width
            )  # nothing kept from the last call
            out = layer(fresh, mean)
        out.backward(grad)
        optimizer.step()

    return run


def check(layers: dict[str, nn.Module], calls: dict[str, Callable[[], object]]) -> None:
    """After as many steps each the layers have the same weights."""
    for call in calls.values():
        call()
    want = layers[DENSE].weight
    for name, layer in layers.items():
        error = float((layer.weight - want).norm() / want.norm())
        if not error <= 1e-5:
            raise AssertionError(f"check: {name} is {error:.1e} from {DENSE}, expected at most 1e-05")


POINTS = (
    Point(1386, 8192, 128, 0.0043, asked=True),
    Point(2685, 8192, 128, 0.0022, asked=True),
    *(Point(1386, 8192, 128, density, asked=density <= 0.05) for density in (0.02, 0.05, 0.1, 0.2)),
    *(Point(words, units, 128, 0.005, asked=words * units >= 1 << 18) for words, units in ((500, 256), (1250, 1024))),
    Point(512, 512, 128, 0.01, asked=True),
)


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def cases() -> Iterator[Case]:
        return (point.case() for point in points.values())

    return Report(
        file="sparse_layer_cpu",
        title="First layers on bags of words",
        unit="step",
        notes=(
            "One step of one layer on centred rows, one thread, float32: forward, gradient of the weights, descent",
            "with decay. The layers are compared after a step before anything is timed.",
            "",
            "- nn.Linear: dense rows, fused SGD;",
            "- WordLinear: the rows' entries, a dense gradient, fused SGD;",
            "- WordLinear, WordSGD: the rows' entries, and only the weights of their words are written.",
        ),
        versions=("torch",),
        cases=cases,
        rounds=3 if quick else 7,
        case=lambda name: points[name].case(),
        names=tuple(points),
    )
