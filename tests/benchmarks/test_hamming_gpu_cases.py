import subprocess
import sys
from pathlib import Path

import cases_hamming_gpu
import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


@pytest.mark.skipif(cases_hamming_gpu.why_no_device() is None, reason="there is a device")
def test_without_a_device_one_line_says_so():
    done = subprocess.run([sys.executable, str(RUN), "hamming_gpu", "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"cases_hamming_gpu: needs a CUDA device: {cases_hamming_gpu.why_no_device()}\n"
    assert done.stdout == ""


@pytest.mark.gpu
@pytest.mark.skipif(cases_hamming_gpu.why_no_device() is not None, reason="no CUDA device")
@pytest.mark.parametrize("nq", [1, 20])
def test_a_case_finds_the_same_by_every_kernel(nq):
    case = cases_hamming_gpu.case(cases_hamming_gpu.Point(64, nq, 100_000))
    case.check()
    assert case.baseline in case.contestants
    assert all(goal.contestant in case.contestants for goal in case.goals)
