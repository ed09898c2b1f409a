"""Ray Data's pipeline: work in, reports out, while actors that die are started again."""

from __future__ import annotations

import json
import logging
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fasthash.distributed.encoding._sources import Block, Reader
from fasthash.distributed.encoding._worker import BatchWorker, BlockWorker, Job
from fasthash.features._packages import require

_TASKS = 2000  # of Ray at most: each costs the driver about a millisecond, and progress comes task by task
_CAUSE = re.compile(r"[A-Za-z.]*(Error|Exception): ")  # the end of a stack, which says most
_ERRORS: dict[str, type[Exception]] = {
    "FileNotFoundError": FileNotFoundError, "ValueError": ValueError, "TypeError": TypeError, "OSError": OSError,
    "RuntimeError": RuntimeError,
}  # fmt: skip


def start_ray() -> Any:
    """The module ray, connected: to the cluster that RAY_ADDRESS names, or to one of this process alone."""
    ray = require("ray", "ray[data]", "ray", "encode")
    require("ray.data", "ray[data]", "ray", "encode")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    return ray


def actor_count(concurrency: int | None, gpus: float, *, reads: bool) -> int:
    """Actors to run: as many as asked for, or as the cluster has room for.

    Args:
        gpus: of an actor. reads: whether Ray needs a CPU beside the actors, to read a dataset.
    """
    if concurrency is not None:
        return concurrency
    there = require("ray", "ray[data]", "ray", "encode").cluster_resources()
    cpus = there.get("CPU", 0) - reads
    if cpus < 1:
        raise RuntimeError(f"encode: Ray must have {1 + reads} CPUs or more, it has {there.get('CPU', 0):g}")
    return max(1, int(min(there.get("GPU", 0) / gpus, cpus) if gpus else cpus))


def gpu_share(gpus: float | None) -> float:
    """GPUs of an actor: 1 where the cluster has some, unless it is said."""
    there = require("ray", "ray[data]", "ray", "encode").cluster_resources().get("GPU", 0)
    if gpus is not None and gpus > there:
        raise RuntimeError(f"encode: gpus must be at most what Ray has, {there:g}, got {gpus:g}")
    return (1.0 if there >= 1 else 0.0) if gpus is None else float(gpus)


def run_blocks(job: Job, reader: Reader, blocks: Sequence[Block], actors: int, gpus: float) -> Iterator[dict[str, Any]]:
    """A report of each block, as they are done. Raises what a worker reports, or RuntimeError where Ray fails."""
    if not blocks:
        return
    data = require("ray.data", "ray[data]", "ray", "encode")
    tasks = min(len(blocks), max(_TASKS, actors))
    with quiet(data):
        work = data.from_items([{"block": pickle.dumps(block)} for block in blocks], override_num_blocks=tasks)
        made = work.map_batches(
            BlockWorker, batch_size=1, fn_constructor_args=(job, reader), **_actors(min(actors, tasks), gpus)
        )
        yield from _reports(made)


def run_dataset(
    job: Job, dataset: Any, column: str, id_column: str, done: Any, rows: int, actors: int, gpus: float
) -> Iterator[dict[str, Any]]:
    """A report of each batch of at most ``rows`` rows, as `run_blocks`."""
    with quiet(require("ray.data", "ray[data]", "ray", "encode")):
        made = dataset.select_columns(list(dict.fromkeys([column, id_column]))).map_batches(
            BatchWorker, batch_size=rows, batch_format="numpy",
            fn_constructor_args=(job, column, id_column, done), **_actors(actors, gpus),
        )  # fmt: skip
        yield from _reports(made)


def _actors(count: int, gpus: float) -> dict[str, Any]:
    about = {"concurrency": count, "num_cpus": 1}  # Ray Data starts an actor that died again, and tries its task again
    return about | ({"num_gpus": gpus} if gpus else {})


def _reports(made: Any) -> Iterator[dict[str, Any]]:
    ray = require("ray", "ray[data]", "ray", "encode")
    try:
        for batch in made.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
            for text in batch["report"]:
                yield _checked(json.loads(text))
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        line = next((line for line in reversed(lines) if _CAUSE.match(line)), lines[0])
        raise RuntimeError(f"encode: Ray failed: {line} (what is done is kept, the same call goes on)") from None


def _checked(report: dict[str, Any]) -> dict[str, Any]:
    """A report of what was made; the error where it tells of one."""
    if "error" in report:
        kind, said = report["kind"], report["error"]
        raise _ERRORS.get(kind, RuntimeError)(said if kind in _ERRORS else f"{kind}: {said}")
    return report


@contextmanager
def quiet(data: Any) -> Iterator[None]:
    """Ray Data's own bars and messages off: there is one bar, of rows."""
    context, logger = data.DataContext.get_current(), logging.getLogger("ray.data")
    names = ("enable_progress_bars", "print_on_execution_start", "enable_auto_log_stats")
    before = {name: getattr(context, name) for name in names if hasattr(context, name)}
    level = logger.level
    try:
        for name in before:
            setattr(context, name, False)
        logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
