"""The cases of evaluation and of the training losses, a group for each size, every peer beside fasthash.

The ratios that count come from the interleaved form: `python benchmarks/run.py TOPIC`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cases import Case
from run import load_report

TOPICS = (
    "evaluate", "evaluate_all", "pairwise_nll", "joint_semantics", "cosine_reconstruction", "margin_euclidean",
    "proxy_pair", "cross_attention",
)  # fmt: skip


def contestants() -> Iterator[Any]:
    """(topic, case, contestant); their names are those of the quick form, which is made in a moment."""
    for topic in TOPICS:
        names = load_report(topic, quick=False).names
        for name, small in zip(names, load_report(topic, quick=True).cases(), strict=False):
            for contestant in small.contestants:
                yield pytest.param(topic, name, contestant, id=f"{topic}: {name}: {contestant}")


@functools.lru_cache(1)
def made(topic: str, name: str) -> Case:
    case = load_report(topic, quick=False).case
    assert case is not None
    return case(name)


@pytest.mark.parametrize(("topic", "name", "contestant"), contestants())
def bench_case(benchmark: Callable, topic: str, name: str, contestant: str) -> None:
    call = made(topic, name).contestants.get(contestant)
    if call is None:
        pytest.skip("not at this size")
    benchmark.group = f"{topic}: {name}"  # type: ignore[attr-defined]
    benchmark(call)
