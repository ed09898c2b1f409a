"""What it costs to start: a fresh interpreter that imports one thing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

IMPORTS = ["sys", "numpy", "fasthash", "fasthash.search", "fasthash.metrics", "faiss", "torch"]


@pytest.mark.parametrize("module", IMPORTS)
def bench_import(benchmark: Any, module: str) -> None:
    benchmark.group = "import in a fresh interpreter"
    benchmark.pedantic(subprocess.run, ([sys.executable, "-c", f"import {module}"],), {"check": True}, rounds=7)
