import subprocess
import sys
from pathlib import Path

import cases_losses_gpu
import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


@pytest.mark.skipif(cases_losses_gpu.why_no_device() is None, reason="there is a device")
def test_without_a_device_one_line_says_so():
    done = subprocess.run([sys.executable, str(RUN), "losses_gpu", "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"cases_losses_gpu: needs a CUDA device: {cases_losses_gpu.why_no_device()}\n"
    assert done.stdout == ""


@pytest.mark.gpu
@pytest.mark.skipif(cases_losses_gpu.why_no_device() is not None, reason="no CUDA device")
@pytest.mark.parametrize("point", cases_losses_gpu.POINTS, ids=lambda point: point.name)
def test_contestants_find_the_same(point):
    case = point.quick().case()
    case.check()
    assert case.baseline in case.contestants
    assert all(goal.contestant in case.contestants for goal in case.goals)
