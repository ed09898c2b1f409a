"""The benchmarks are scripts beside each other: their folder goes on the path, as when one of them is run."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))


@pytest.fixture
def script():
    """script("run.py", "hamming", ...) -> the finished process."""

    def run(name, *arguments):
        command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run
