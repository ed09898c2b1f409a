"""Threads of the native code where starting one fails or the calling one waits: a program of its own, run once."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_threads(tmp_path):
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    sources = [ROOT / "tests/native/threads/threads.cpp"]
    sources += [ROOT / "csrc/cpu" / name for name in ("hamming_threads.cpp", "run_on_threads.cpp")]
    flags = ["-std=c++17", "-O1", "-pthread", f"-I{ROOT / 'csrc'}"]
    program = tmp_path / "threads"
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(program), "-ldl"], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
