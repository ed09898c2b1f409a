"""Sweeps over the training rows: which rows each step takes, and the losses that the history of a run is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fasthash.methods import Phase


class Pass:
    """Losses of one sweep over the training rows, kept on the device."""

    def __init__(self, name: str, group: str | None, steps: int = 0, terms: dict[str, float] | None = None) -> None:
        self.name, self.group, self.steps = name, group, steps
        self.terms: dict[str, Any] = dict(terms or {})  # sums over steps; float64 scalars once a step was taken

    def add(self, terms: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value.double()

    @property
    def total(self) -> float:
        return sum(float(value) for value in self.terms.values())

    @property
    def mean(self) -> float:
        return self.total / self.steps

    def worst(self) -> str:
        return ", ".join(f"{name} {float(value)}" for name, value in self.terms.items())

    def state(self) -> dict[str, Any]:
        terms = {name: float(value) for name, value in self.terms.items()}
        return {"name": self.name, "group": self.group, "steps": self.steps, "terms": terms}


def losses(passes: list[Pass]) -> dict[str, float]:
    """Mean loss of each phase of an epoch over all its steps, and of each term where there are several."""
    out: dict[str, float] = {}
    for name in dict.fromkeys(done.name for done in passes):
        same = [done for done in passes if done.name == name]
        steps = sum(done.steps for done in same)
        out[f"loss_{name}"] = sum(done.total for done in same) / steps
        terms = dict.fromkeys(term for done in same for term in done.terms)
        if len(terms) > 1:
            sums = {term: sum(float(done.terms.get(term, 0.0)) for done in same) for term in terms}
            out |= {f"term_{name}_{term}": value / steps for term, value in sums.items()}
    return out


def generator_of(seed: int, epoch: int, position: int) -> torch.Generator:
    """Of the draws of one phase: the same in every sitting, whatever was drawn before."""
    high, low = divmod(position, 64)
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) * 64 + low + (high << 58))


def batches(phase: Phase, n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of each step of a sweep over ``n`` of them: int64 [size], the last of a shuffle what is left over."""
    if phase.sampler == "shuffle":
        for index in torch.randperm(n, generator=generator).split(size):
            if len(index) == size or not phase.drop_last:
                yield index
    else:
        for _ in range(max(1, n // size)):
            yield torch.randperm(n, generator=generator)[:size]
