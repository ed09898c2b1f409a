"""The examples run as their first lines say, and learn."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# Threads of torch's gloo backend may abort a process that has done all its work and leaves, under any script that uses
# DistributedDataParallel: they drop a tensor while the interpreter already shuts down.
LEAVING = "terminate called without an active exception"


def run(*command):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0 or LEAVING in done.stderr, done.stderr
    return done.stdout


def losses_of(output):
    return [float(value) for value in re.findall(r"loss (\S+)", output)]


def test_own_training_loop():
    output = run(EXAMPLES / "own_training_loop.py")
    found = losses_of(output)
    assert len(found) == 10
    assert found[-1] < 0.6 * found[0]
    assert float(output.split()[-1]) > 0.8  # codes at random: 0.34


@pytest.mark.parametrize("ranks", [2, 3])
def test_distributed_training_equals_one_process(ranks):
    script = EXAMPLES / "distributed_training.py"
    alone = losses_of(run(script))
    together = losses_of(run("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", script))
    assert len(alone) == 5
    assert alone[-1] < alone[0]
    assert together == pytest.approx(alone, rel=2e-3)  # printed to four digits; Adam turns rounding into small steps


def test_codes_into_other_systems():
    for package in ("faiss", "usearch", "lancedb", "pyarrow"):
        pytest.importorskip(package)
    lines = run(EXAMPLES / "codes_into_other_systems.py").splitlines()
    assert len(lines) == 6
    assert all("codes and ids equal" in line for line in lines)
    exact = [line for line in lines if line.startswith(("FAISS flat", "LanceDB", "Parquet"))]
    assert [line.split()[-2] for line in exact] == ["100.0%"] * 3


def test_sharded_search():
    pytest.importorskip("ray")
    lines = run(EXAMPLES / "sharded_search.py").splitlines()
    assert "as one index: True" in lines
    assert "after a loss: True" in lines
    assert "restarts: [0, 1]" in lines
    assert "loaded: 99995 codes in 2 shards" in lines
    assert "nearest is now the second: True" in lines
