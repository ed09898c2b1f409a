"""Timing that survives a noisy machine: the contestants take turns, and ratios are taken within a round."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MIN_SAMPLE = 0.01  # seconds: shorter calls are repeated and averaged


@dataclass(frozen=True)
class Timing:
    """One contestant of an interleaved run."""

    median: float  # seconds a call
    ratio: float  # median over the rounds of baseline time / this time: above 1 is faster than the baseline
    spread: tuple[float, float]  # first and third quartile of that ratio: a wide one says the machine was busy
    samples: tuple[float, ...]  # seconds a call, by round


def interleave(
    contestants: Mapping[str, Callable[[], object]], *, baseline: str, rounds: int = 7, seed: int = 0
) -> dict[str, Timing]:
    """Time every contestant once a round, in a new order each round, after one call each that does not count.

    Args:
        contestants: name to a call without arguments that does the whole work (and waits for a GPU, if it uses one).
        baseline: the contestant that ratios refer to.
        rounds: at least 3.
    Raises:
        ValueError: the baseline is no contestant, or too few rounds.
    """
    if baseline not in contestants:
        raise ValueError(f"interleave: baseline must be one of {', '.join(contestants)}, got {baseline!r}")
    if rounds < 3:
        raise ValueError(f"interleave: rounds must be at least 3, got {rounds}")
    repeats = {name: _repeats(call) for name, call in contestants.items()}
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(seed).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            samples[name].append(_time(contestants[name], repeats[name]))
    return {name: timing(samples[baseline], times) for name, times in samples.items()}


def timing(base: Sequence[float], own: Sequence[float]) -> Timing:
    """From the seconds of the baseline and of one contestant, round by round."""
    ratios = [b / o for b, o in zip(base, own, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Timing(statistics.median(own), middle, (low, high), tuple(own))


def _time(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _repeats(call: Callable[[], object]) -> int:
    if _time(call, 1) > 100 * MIN_SAMPLE:  # whatever was made at the first call, the next is long enough as well
        return 1
    return max(1, int(MIN_SAMPLE / max(_time(call, 1), 1e-7)))
