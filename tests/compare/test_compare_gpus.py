"""Workers on several GPUs, tried out without one: which process sees which device."""

import subprocess
import sys

import pytest
import torch

from fasthash.compare import workers
from fasthash.compare.cells import Cell

ANSWERS = """
import json, os, sys
for line in sys.stdin:
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    print(json.dumps({"state": "done", "result": {"gpu": seen, "process": os.getpid()}}), flush=True)
"""


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Run cells on processes that answer with what they see; {cell's seed: (device, process)}."""
    real = subprocess.Popen

    def start(command, **rest):
        return real([sys.executable, "-c", ANSWERS], **rest)

    monkeypatch.setattr(workers.subprocess, "Popen", start)

    def run(*, gpus, device="cuda", jobs=None, cells=8, visible=None):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        found = {}

        def report(cell, answer):
            found[cell.seed] = answer["result"]["gpu"], answer["result"]["process"]

        todo = [Cell("wiki", "0", "dcmh", {}, 8, seed, device) for seed in range(cells)]
        assert workers.run_cells(todo, tmp_path, report, jobs=jobs, threads=1)
        assert set(found) == set(range(cells))
        return found

    return run


def devices(found):
    """Devices that were seen, and by how many processes each."""
    owners = {}
    for gpu, process in found.values():
        owners.setdefault(gpu, set()).add(process)
    return {gpu: len(processes) for gpu, processes in owners.items()}


def test_one_process_for_each_gpu_by_default(seen):
    assert set(devices(seen(gpus=4, cells=40))) <= {"0", "1", "2", "3"}
    assert all(count == 1 for count in devices(seen(gpus=4, cells=40)).values())


def test_each_process_keeps_its_gpu(seen):
    found = seen(gpus=2, jobs=2, cells=20)
    owner = {process: gpu for gpu, process in found.values()}
    assert all(owner[process] == gpu for gpu, process in found.values())


def test_places_are_dealt_in_turn(monkeypatch, seen):
    placed = []
    start = workers._Pool.start
    monkeypatch.setattr(workers._Pool, "start", lambda self, log, gpu: placed.append(gpu) or start(self, log, gpu))
    threads = []
    worker = workers._Worker.__init__

    def note(self, pool, gpu=None):
        threads.append(gpu)
        worker(self, pool, gpu)

    monkeypatch.setattr(workers._Worker, "__init__", note)
    seen(gpus=3, jobs=5)
    assert threads == ["0", "1", "2", "0", "1"], "more jobs than devices share them"
    threads.clear()
    seen(gpus=3, jobs=2)
    assert threads == ["0", "1"]
    threads.clear()
    seen(gpus=2, visible="5,GPU-aa")
    assert threads == ["5", "GPU-aa"], "the devices that this process may use, by the names they were given"
    assert set(placed) <= {"0", "1", "2", "5", "GPU-aa"}


def test_one_gpu_or_none_changes_nothing(seen):
    assert set(devices(seen(gpus=1))) == {None}
    assert set(devices(seen(gpus=1, visible="3"))) == {"3"}
    assert set(devices(seen(gpus=4, device="cpu", jobs=2))) == {None}
    assert devices(seen(gpus=0, device="cpu")) == {None: 1}, "one process by default"
