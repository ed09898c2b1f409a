"""The lines of a page that say where and with what it was measured."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import fasthash
from fasthash._arguments import thread_count
from fasthash._machine import cpu_name
from fasthash._native import isa_names


def described(distributions: Sequence[str]) -> list[str]:
    """Machine, versions of fasthash, of the distributions and of Python, and the command that is running."""
    versions = [f"fasthash {fasthash.__version__}"]
    versions += [f"{name} {importlib.metadata.version(name)}" for name in distributions]
    script = Path(sys.argv[0]).name
    return [
        f"- machine: {cpu_name()}, {thread_count(None, 'benchmark')} cores; {', '.join(isa_names())}",
        f"- versions: {', '.join(versions)}, Python {platform.python_version()}",
        f"- command: `python benchmarks/{' '.join([script, *sys.argv[1:]])}`",
    ]
