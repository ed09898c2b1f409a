"""Every CUDA kernel compiles without a GPU, spills nothing, and stands in the committed table."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "benchmarks" / "results" / "cuda_ptxas.md"


@pytest.fixture(scope="module")
def cuda_report():
    spec = importlib.util.spec_from_file_location("cuda_report", ROOT / "benchmarks" / "cuda_report.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["cuda_report"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["cuda_report"]


def rows_of(page):
    """(file, kernel) -> registers by architecture."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    return {(row[0], row[1]): row[2:-1] for row in cells if row[0].endswith(".cu")}


def test_kernels_compile_within_the_limits(cuda_report):
    nvcc = cuda_report.find_nvcc()
    if nvcc is None:
        pytest.skip("needs nvcc")
    version = cuda_report.version_of(nvcc)
    if f"with {version};" not in TABLE.read_text():
        pytest.skip(f"the limits were met by another compiler, this is {version}")
    uses = cuda_report.compile_all(nvcc)
    assert cuda_report.problems(uses) == []
    committed, now = rows_of(TABLE.read_text()), rows_of(cuda_report.table(uses, version))
    assert committed.keys() == now.keys(), "make the table again: python benchmarks/cuda_report.py --write FILE"


def test_the_committed_table_holds_every_kernel(cuda_report):
    rows = rows_of(TABLE.read_text())
    assert {re.sub("<.*", "", kernel) for _, kernel in rows} == cuda_report.declared_kernels()
    for registers in rows.values():
        assert len(registers) == len(cuda_report.ARCHS)
        assert all(0 < int(n) <= cuda_report.REGISTER_LIMIT for n in registers)


PTXAS = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN8fasthash11scan_kernelIjLi4EEEvi' for 'sm_90a'
ptxas info    : Function properties for _ZN8fasthash11scan_kernelIjLi4EEEvi
    {stack} bytes stack frame, {spills} bytes spill stores, 20 bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, 16 bytes smem
ptxas info    : Compile time = 5.9 ms
"""


def test_what_ptxas_says_is_read(cuda_report):
    (use,) = cuda_report.parse("a.cu", PTXAS.format(stack=8, spills=12, registers=99))
    assert use == cuda_report.Usage("a.cu", "scan_kernel<unsigned int, 4>", "90a", 99, 8, 32, 16)
    assert "32 bytes of spills" in use.problem()


def test_the_limits_bite(cuda_report):
    usage = {"source": "a.cu", "kernel": "clear_kernel", "arch": "80", "stack": 0, "spills": 0, "shared": 0}
    assert cuda_report.Usage(registers=cuda_report.REGISTER_LIMIT, **usage).problem() is None
    assert "129 registers" in cuda_report.Usage(registers=129, **usage).problem()
    assert "8 bytes of stack" in cuda_report.Usage(registers=9, **{**usage, "stack": 8}).problem()
    missing = cuda_report.problems([cuda_report.Usage(registers=9, **usage)])
    assert "select_kernel: declared in csrc/cuda, but not in the report" in missing
    assert not any(line.startswith("clear_kernel") for line in missing)
