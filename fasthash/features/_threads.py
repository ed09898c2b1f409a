"""Batches in threads, results in order: the machine is kept busy, memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fasthash.features._progress import Progress, progress_bar

T = TypeVar("T")
R = TypeVar("R")
DEVICE_WORKERS = 4  # threads that decode for a GPU


@contextmanager
def batch_workers(torch: Any, device: str, workers: int | None = None) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that decode and run whole batches, by default as many as torch would use, each with one thread inside.

    The feature maps are small: sharing every layer between threads costs more in barriers than it brings, and on a busy
    machine each barrier waits for the slowest.
    """
    before = torch.get_num_threads()
    count = workers or (before if device == "cpu" else DEVICE_WORKERS)
    one = partial(torch.set_num_threads, 1) if device == "cpu" else None
    try:
        with ThreadPoolExecutor(count, thread_name_prefix="fasthash-batch", initializer=one) as pool:
            try:
                yield pool, count
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    finally:
        torch.set_num_threads(before)  # a worker's call is the default of threads to come


def in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], window: int) -> Iterator[R]:
    """Results in the order of the items; at most ``window`` of them are under way or wait, so memory stays bounded."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def gathered(
    blocks: Generator[NDArray[np.float32], None, None], rows: int, width: int, title: str, progress: Progress
) -> NDArray[np.float32]:
    """The blocks [m, width] one under the other, float32 [rows, width], with a bar; ends the threads behind them."""
    out = np.empty((rows, width), np.float32)
    with progress_bar(title, rows, progress) as report, closing(blocks):
        done = 0
        for block in blocks:
            out[done : done + len(block)] = block
            done += len(block)
            report(done)
    return out
