"""The steps of ``scale_model`` at one size, on files that are read from the disk and in a process of little memory."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scale_model import BATCHES, COLD, EVALUATE, EVALUATED, FITTED, MANY, OPEN, OPEN_MANY, WRITE, Row

from fasthash import metrics
from fasthash.codes import packed_width
from fasthash.search import Shards, load, write_shards

K = 10
CLASSES = 16
BLOCK = 1 << 22
ROOM = 512 << 20  # bytes of its own that the process that searches may take beyond what it has when it begins


def measure(folder: Path, codes: int, bits: int, rounds: int, report: Callable[[str], None]) -> list[Row]:
    """Every step at this size; ``folder`` is empty and is left with the files."""
    rounds_of_writing = 3 if codes <= max(FITTED) else 1
    seconds = {WRITE: min(_write(folder, codes, bits, report) for _ in range(rounds_of_writing))}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds |= pool.apply(_search, (folder, bits, rounds))
    for step, value in seconds.items():
        report(f"{codes:,} x {bits} bits: {step} {value:.4g} s")
    return [Row(bits, codes, step, value) for step, value in seconds.items()]


def measure_open(folder: Path, bits: int, rounds: int) -> Row:
    """Opening a folder of ``MANY`` tiny shards, none of it in memory."""
    codes = np.zeros((MANY, packed_width(bits)), np.uint8)
    write_shards(folder / "shards", [codes], bits, rows_per_shard=1)
    seconds: list[float] = []
    for _ in range(rounds):
        forget(folder)
        _timed(seconds, lambda: load(folder / "shards"))
    return Row(bits, MANY, OPEN_MANY, min(seconds))


def _write(folder: Path, codes: int, bits: int, report: Callable[[str], None]) -> float:
    """Uniform random codes and class ids as labels; seconds of writing the shards alone."""
    rng = np.random.default_rng(codes)
    made = 0.0
    labels = np.lib.format.open_memmap(folder / "labels.npy", "w+", np.uint8, (codes,))

    def rows() -> Iterator[NDArray[np.uint8]]:
        nonlocal made
        for start in range(0, codes, BLOCK):
            began, count = time.perf_counter(), min(BLOCK, codes - start)
            block = rng.integers(0, 256, (count, packed_width(bits)), np.uint8)
            labels[start : start + count] = rng.integers(0, CLASSES, count, np.uint8)
            made += time.perf_counter() - began
            yield block

    said = 0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            report(f"{codes:,} x {bits} bits: {10 * said}% written")

    began = time.perf_counter()
    shown = progress if codes > 10 * BLOCK else None
    write_shards(folder / "shards", rows(), bits, overwrite=True, count=codes, progress=shown)
    seconds = time.perf_counter() - began - made
    labels.flush()
    return seconds


def _search(folder: Path, bits: int, rounds: int) -> dict[str, float]:
    """The other steps, in a process of its own."""
    limit_to(ROOM)
    rng = np.random.default_rng(1)
    batches = {batch: rng.integers(0, 256, (batch, packed_width(bits)), np.uint8) for batch in BATCHES}
    found: dict[str, list[float]] = {OPEN: [], COLD: [], EVALUATE: []}
    for _ in range(rounds):
        shards = None  # what is mapped and was read stays in memory
        forget(folder)
        shards = _timed(found[OPEN], lambda: load(folder / "shards"))
        _timed(found[COLD], lambda shards=shards: shards.search(batches[1], K))
    for batch, queries in batches.items():
        shards.search(queries[:1], K)  # all codes are in memory again, where there is room for them
        found[f"batch {batch}"] = own = []
        for _ in range(rounds):
            _timed(own, lambda queries=queries: shards.search(queries, K))
    for _ in range(min(rounds, 3)):
        shards = None
        forget(folder)
        shards = load(folder / "shards")
        _timed(found[EVALUATE], lambda shards=shards: _evaluate(shards, folder, rng))
    return {step: min(seconds) for step, seconds in found.items()}  # other load only ever adds


def _evaluate(shards: Shards, folder: Path, rng: np.random.Generator) -> Any:
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    queries = rng.integers(0, 256, (EVALUATED, packed_width(shards.bits)), np.uint8)
    wanted = rng.integers(0, CLASSES, EVALUATED)
    return metrics.evaluate(queries, shards, wanted, labels, bits=shards.bits)


def _timed(seconds: list[float], call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = call()
    seconds.append(time.perf_counter() - began)
    return result


def limit_to(room: int) -> None:
    """Give this process that much more memory of its own; mapped files do not count."""
    status = Path("/proc/self/status")
    if status.exists():
        used = re.search(r"VmData:\s+(\d+)", status.read_text())
        assert used is not None
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(used[1]) + room, resource.RLIM_INFINITY))


def forget(folder: Path) -> None:
    """Write what is not yet on the disk, and have the system drop these files from its memory."""
    if sys.platform != "linux":
        raise RuntimeError("scale: files can be dropped from memory on Linux alone")
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
