"""Cells on several processes: who runs what next, and how they are stopped."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import fasthash
from fasthash._interrupt import StopSignal
from fasthash.compare.cells import Cell

Report = Callable[[Cell, dict[str, Any]], None]  # cell -> its answer: state done, failed or stopped
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read once, when a library is loaded


class _Worker(threading.Thread):
    """A thread that keeps one process busy until no cell is left; a process that dies is replaced."""

    def __init__(self, pool: _Pool, gpu: str | None = None) -> None:
        super().__init__(daemon=True)
        self.pool, self.gpu = pool, gpu
        self.process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        try:
            with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
                while (cell := self.pool.following()) is not None:
                    self.pool.answers.put((cell, self._ask(cell, log)))
                self.close()
        finally:
            self.pool.answers.put(None)  # whatever happened: the caller waits for it

    def _ask(self, cell: Cell, log: Any) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self.process = self.pool.start(log, self.gpu)
        if self.pool.stopping:  # asked after the process is there for all to see: it is signalled, or this is seen
            return {"state": "stopped"}
        task = {"do": self.pool.do, "cell": cell.to_dict(), "folder": str(self.pool.folder)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except (BrokenPipeError, ValueError, OSError):
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self.process.wait()
        if self.pool.stopping:
            return {"state": "stopped"}
        return {"state": "failed", "error": _why(code, log)}

    def close(self) -> None:
        """Let the process end by itself: its input is over."""
        if self.process is not None:
            assert self.process.stdin is not None
            with contextlib.suppress(OSError):  # what a dead process has not read is written once more, in vain
                self.process.stdin.close()
            self.process.wait()


class _Pool:
    def __init__(self, cells: Sequence[Cell], folder: Path, threads: int, do: str = "run") -> None:
        self.left = deque(cells)
        self.folder, self.threads, self.do = folder, threads, do
        self.answers: queue.Queue[tuple[Cell, dict[str, Any]] | None] = queue.Queue()
        self.stopping = False
        self._lock = threading.Lock()

    def following(self) -> Cell | None:
        with self._lock:
            return None if self.stopping or not self.left else self.left.popleft()

    def start(self, log: Any, gpu: str | None = None) -> subprocess.Popen[str]:
        package = str(Path(fasthash.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | dict.fromkeys(_POOLS, str(self.threads)) | {"PYTHONPATH": path}
        environment |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        # a session of its own: a Ctrl-C in the terminal reaches this process alone, which asks each worker once
        return subprocess.Popen(
            [sys.executable, "-m", "fasthash.compare._worker", str(self.threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8", env=environment,
            start_new_session=True,
        )  # fmt: skip


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    report: Report,
    *,
    jobs: int | None,
    threads: int,
    tick: Callable[[], None] = lambda: None,
    do: str = "run",
) -> bool:
    """Run cells on ``jobs`` processes of ``threads`` threads each, begun in the order given.

    Where cells are trained on CUDA and several devices are visible, process i sees device i modulo their number alone:
    as many jobs as devices give each cell a device to itself, more jobs share them. A cell that fails is reported and
    the rest goes on. The first SIGINT or SIGTERM lets every training write its checkpoint, and no cell begins after
    it; a second one ends the processes at once.

    Args:
        jobs: how many processes in all; None: one for each CUDA device that is trained on, or one.
        do: "run", or "curves" for what `cells.add_curves` makes.
        report: gets each cell with its answer, in the caller's thread.
        tick: called in the caller's thread while it waits, a few times a second.
    Returns:
        Whether all cells were run; False after a stop.
    """
    pool = _Pool(cells, folder, threads, do)
    gpus = visible_gpus() if do == "run" and any(cell.device == "cuda" for cell in cells) else []
    count = max(1, min(jobs or len(gpus), len(cells)))
    workers = [_Worker(pool, gpus[place % len(gpus)] if len(gpus) > 1 else None) for place in range(count)]
    running = len(workers)
    with StopSignal() as stop:
        for worker in workers:
            worker.start()
        try:
            while running:
                if stop.requested and not pool.stopping:
                    pool.stopping = True
                    _signal(workers, signal.SIGINT)
                try:
                    answer = pool.answers.get(timeout=0.2)
                except queue.Empty:
                    tick()
                    continue
                if answer is None:
                    running -= 1
                else:
                    report(*answer)
        except BaseException:
            pool.stopping = True
            _signal(workers, signal.SIGKILL)
            raise
    return not pool.stopping


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in listed.split(",")][:count] if listed else [str(place) for place in range(count)]


def _signal(workers: Sequence[_Worker], number: signal.Signals) -> None:
    for worker in workers:
        if worker.process is not None and worker.process.poll() is None:
            worker.process.send_signal(number)


def _why(code: int, log: Any) -> str:
    """Why a process ended without an answer, in a line."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return f"its process ended with exit code {code}" + (f": {lines[-1]}" if lines else "")
