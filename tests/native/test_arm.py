"""The kernels on 64-bit Arm: cross-compiled, and run by an emulator where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

CSRC, DRIVER = Path(__file__).parents[2] / "csrc", Path(__file__).parent / "kernels" / "kernels.cpp"
X86 = ("_avx2", "_avx512", "_avx512bf16", "_amx")
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The driver of tests/native/kernels with every source that its searches need, as Arm gets them from setup.py."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"needs {COMPILER} (Debian: g++-aarch64-linux-gnu)")
    sources = [path for path in (CSRC / "cpu").glob("*.cpp") if not path.stem.endswith(X86)]
    out = tmp_path_factory.mktemp("arm") / "kernels"
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", f"-I{CSRC}"]
    command = [COMPILER, *flags, str(DRIVER), *map(str, sorted(sources)), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_the_kernels_compile_for_arm(program):
    assert program.stat().st_size > 0


def test_the_kernels_agree_with_brute_force_on_arm(program):
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"needs {EMULATOR} (Debian: qemu-user)")
    done = subprocess.run([EMULATOR, str(program)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 instruction sets" in done.stdout
