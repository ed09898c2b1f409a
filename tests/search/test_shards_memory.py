"""A folder of shards larger than the memory that a process may take: written, searched and scored within it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 2_500_000  # of 64 bytes: 152 MiB
ROOM = 110  # MiB of its own that the process may take: 50 are two threads' scratch, a shard has 18

PROCESS = f"""
import re, resource, sys
import numpy as np
from fasthash import metrics
from fasthash.search import load, write_shards

used = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + ({ROOM} << 20), resource.RLIM_INFINITY))

try:
    np.ones({ROWS} * 64, np.uint8)
    sys.exit("there is no limit")
except MemoryError:
    pass

def rows():
    block = np.full((1 << 18, 64), 255, np.uint8)
    for start in range(0, {ROWS}, 1 << 18):
        yield block[: {ROWS} - start]

folder = sys.argv[1]
write_shards(folder, rows(), 512, rows_per_shard=1 << 18)
shards = load(folder)
queries = np.full((2, 64), 255, np.uint8)
queries[1, :3] = 0
print(*(x.tolist() for x in shards.search(queries, 2, threads=2)))
allow = np.zeros(({ROWS} + 7) // 8, np.uint8)
allow[-1] = 1
print(*(x.tolist() for x in shards.search(queries, 1, allow, threads=2)))
labels = np.lib.format.open_memmap(folder + "/labels.npy", "w+", np.uint8, ({ROWS}, 20))
found = metrics.evaluate(queries, shards, np.ones((2, 20), np.uint8), labels, bits=512, threads=2)
print(found.nb, found.unlabelled_items, np.flatnonzero(found.histograms.counts[1]).tolist())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is read from Linux's /proc")
def test_larger_than_the_memory_it_may_take(tmp_path):
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[[0, 0], [24, 24]] [[0, 1], [0, 1]]",
        f"[[0], [24]] [[{ROWS - 1}], [{ROWS - 1}]]",
        f"{ROWS} {ROWS} [24]",
    ]
