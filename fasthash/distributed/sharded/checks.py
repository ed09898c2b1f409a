"""Checks of the options of an index."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fasthash._arguments import thread_count, whole_number

_MOST = 65536  # shards, replicas


class Options(NamedTuple):
    """Those of every index, checked."""

    replicas: int
    threads: int | None
    num_cpus: float
    timeout: float | None


def check_options(shards: Any, replicas: Any, threads: Any, num_cpus: Any, timeout: Any, op: str) -> Options:
    """TypeError or ValueError names the argument."""
    whole_number(shards, 1, _MOST, op, "shards")
    count = whole_number(replicas, 1, _MOST, op, "replicas")
    own = None if threads is None else thread_count(threads, op)
    return Options(count, own, _cpus(num_cpus, op), seconds(timeout, op))


def seconds(value: Any, op: str) -> float | None:
    """A time to wait, or None."""
    return value if value is None else _positive(value, op, "timeout", "seconds or None")


def _cpus(value: Any, op: str) -> float:
    """CPUs to reserve, 0 for none."""
    return 0.0 if value == 0 and not isinstance(value, bool) else _positive(value, op, "num_cpus", "0 or more")


def _positive(value: Any, op: str, name: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{op}: {name} must be a number, {what}, got {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{op}: {name} must be {what}, got {value}")
    return float(value)
