"""The native code under the sanitizers of g++: python tests/sanitize/run.py (make sanitize). Needs no GPU.

address, undefined   ``fasthash._C`` built with both beside the installed one; the tests of everything native, and the
                     fuzzers with more examples than usual (FASTHASH_FUZZ, times the ordinary number)
thread               tests/sanitize/threads.cpp with csrc/cpu/: searches and evaluations of many threads at once

Each sanitizer is first shown an error made on purpose, which it must find: one that is not there finds nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "sanitize"
BUILD = ROOT / "build" / "sanitize"
TESTS = [
    "tests/search",
    "tests/native/test_hamming_kernels.py",
    "tests/native/test_histogram_kernels.py",
    "tests/native/test_pair_kernels.py",
    "tests/native/test_pair_bf16.py",
    "tests/metrics",
    "--ignore=tests/metrics/test_metrics_peers.py",  # another library's native code, which frees what it made by new[]
]
LOSSES = [
    "tests/ops/test_cosine_reconstruction.py",
    "tests/ops/test_cross_attention.py",
    "tests/ops/test_joint_semantics.py",
    "tests/ops/test_margin_euclidean.py",
    "tests/ops/test_pairwise_nll_weights.py",
    "tests/ops/test_proxy_pair.py",
]
# Fails when the sanitizer is at work: reads one row behind an array.
OVERRUN = """
import numpy as np
from fasthash.search import knn
rows = np.zeros((1000, 8), np.uint8)
knn(rows[:1], np.lib.stride_tricks.as_strided(rows, (1064, 8)), 1)
"""


def run(command: list[str | Path], **variables: str) -> int:
    """The exit status; the command is shown first."""
    print("$", " ".join(map(str, command)), flush=True)
    return subprocess.run([str(word) for word in command], cwd=ROOT, env={**os.environ, **variables}).returncode


def must_find(sanitizer: str, command: list[str | Path], **variables: str) -> None:
    """The command does something wrong on purpose, and ends when the sanitizer says so."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode == 0 or sanitizer not in done.stderr:
        raise SystemExit(f"{sanitizer} did not find an error made on purpose: {done.stderr or done.stdout}")


def compiler() -> str:
    """g++: the sanitizers' libraries have other names elsewhere."""
    found = os.environ.get("CXX") or shutil.which("g++")
    if not found:
        raise SystemExit("make sanitize needs g++ (Debian: apt-get install g++), or CXX naming one")
    return found


def build(name: str, flags: str) -> Path:
    """csrc/ compiled with these flags into a folder of its own."""
    folder = BUILD / name
    setup = [sys.executable, "setup.py", "build_ext", "--build-temp", folder, "--build-lib", folder / "lib"]
    flags += " -O1 -fno-omit-frame-pointer -g1"  # -O3 takes minutes for a file full of checks
    if status := run(setup, CXX=compiler(), FASTHASH_CXXFLAGS=flags, FASTHASH_CUDA="off"):
        raise SystemExit(status)
    return folder


def library(name: str) -> str:
    """The full path of a library of the compiler."""
    asked = [*compiler().split(), f"-print-file-name={name}"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(path):
        raise SystemExit(f"make sanitize needs {name}, which {compiler()} does not have")
    return path


def address(arguments: list[str]) -> None:
    folder = build("address", "-fsanitize=address,undefined -fno-sanitize-recover=undefined")
    module = next((folder / "lib" / "fasthash").glob("_C.*"))
    # First in the process, and libstdc++ beside it: it must be there when the sanitizer looks for what throws.
    preload = " ".join(library(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so"))
    variables = {
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python keeps much until it ends
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(HERE),
        "FASTHASH_SANITIZED": str(module),
        "FASTHASH_FUZZ": os.environ.get("FASTHASH_FUZZ", "2"),
    }
    overrun = f"import sanitized_native; sanitized_native.pytest_configure(){OVERRUN}"
    must_find("AddressSanitizer", [sys.executable, "-c", overrun], **variables)
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", "-p", "sanitized_native", "-p", "no:cacheprovider"]
    for chosen in [arguments] if arguments else [TESTS, [*LOSSES, "-k", "cpp"]]:
        if status := run([*tests, *chosen], **variables):
            raise SystemExit(status)


def thread() -> None:
    folder = build("thread", "-fsanitize=thread")
    program = folder / "threads"
    command = [*compiler().split(), "-fsanitize=thread", "-g1", "-O1", "-std=c++17", "-pthread", f"-I{ROOT / 'csrc'}"]
    objects = sorted(folder.glob("cpu_*.o"))
    if status := run([*command, HERE / "threads.cpp", *objects, "-ldl", "-o", program]):
        raise SystemExit(status)
    # Older sanitizers do not start where addresses are spread over more bits than they know.
    still = ["setarch", platform.machine(), "-R"] if run(["setarch", platform.machine(), "-R", "true"]) == 0 else []
    must_find("ThreadSanitizer", [*still, program, "race"])
    if status := run([*still, program]):
        raise SystemExit(status)


if __name__ == "__main__":
    thread()
    address(sys.argv[1:])
    print("sanitizers: nothing found")
