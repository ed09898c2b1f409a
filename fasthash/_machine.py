"""What something was measured on, with and when: the record that every result file carries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fasthash

PACKAGES = ("torch", "numpy", "triton", "lightning-fabric", "transformers")  # those that can change a number


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def now() -> str:
    """The time in UTC, to the second: "2026-05-04T09:30:00+00:00"."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def provenance(*, started: str, seconds: float | None, **about: Any) -> dict[str, Any]:
    """The record, JSON-able; ``about`` comes first.

    Args:
        started: `now` at the beginning; of work in several sittings, of the last one.
        seconds: how long the work took, over all sittings; None where that is not known.
        about: what was measured: data and its checksums, seed, options, threads, device.
    """
    return {
        **about,
        "started": started,
        "seconds": None if seconds is None else round(seconds, 3),
        "hardware": {"processor": cpu_name(), "cores": core_count(), "machine": platform.machine()},
        "versions": {"fasthash": fasthash.__version__, "python": platform.python_version(), **_versions()},
        "system": platform.platform(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
