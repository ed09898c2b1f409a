"""A shallow method on a data set: fitted to all training rows at once, then finished like a trained one."""

from __future__ import annotations

import os
import time
from typing import Any

from fasthash import methods
from fasthash._finished import Run, finish, model_of
from fasthash._machine import now
from fasthash._progress import TrainingProgress
from fasthash._run_folder import RunFolder
from fasthash.data import PairedDataset
from fasthash.models.learned import LearnedCodes


def check_plain(method: str, asked: dict[str, tuple[Any, tuple[Any, ...]]]) -> None:
    """ValueError where something is asked of a fit that training in batches alone knows.

    Args:
        asked: arguments of `train`: name -> (value, values that ask for nothing).
    """
    for name, (value, plain) in asked.items():
        if value not in plain:
            raise ValueError(f"{method}: is fitted in float64 on the CPU, {name} must be {plain[0]}, got {value!r}")


def check_fit(
    kind: type[methods.ClosedForm],
    data: PairedDataset,
    options: methods.ClosedFormOptions,
    bits: int,
) -> None:
    """ValueError unless the method can be fitted to the data's features."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ValueError(f"{kind.name}: is fitted by one process; start it as one, got {processes}")
    widths = [data.features(side, op=kind.name).shape[1] for side in ("image", "text")]
    kind(options).check((widths[0], widths[1]), bits)


def fit(
    kind: type[methods.ClosedForm],
    data: PairedDataset,
    bits: int,
    seed: int,
    options: methods.ClosedFormOptions,
    folder: RunFolder | None,
    *,
    progress: bool,
) -> Run:
    """Fit, score, write. Nothing is written before the fit has ended."""
    began, started = now(), time.monotonic()
    rows, history = data.split.train, list[dict[str, Any]]()
    if folder is not None:
        folder.begin()
    with TrainingProgress(f"{kind.name} {bits} bits on {data.name}", 1, show=progress, unit="iterations") as bar:

        def report(done: int, total: int, objective: float | None) -> None:
            entry: dict[str, Any] = {"epoch": done, "seconds": round(time.monotonic() - started, 3)}
            history.append(entry if objective is None else entry | {"loss_objective": objective})
            bar.epoch_done(history[-1], total)

        image, text = (data.features(side, op=kind.name)[rows] for side in ("image", "text"))
        labels = None if kind.supervision == "none" or data.labels is None else data.labels[rows]
        pairs = methods.Pairs.of(image, text, labels)
        del image, text
        solution = kind(options).fit(pairs, bits, seed, report)
        del pairs
    seconds = time.monotonic() - started
    if not history:
        history.append({"epoch": 1, "seconds": round(seconds, 3)})
    history[-1]["seconds"] = round(seconds, 3)
    model = model_of(kind, solution.image, solution.text, data, options, seed).eval()
    learned = None if solution.learned is None else LearnedCodes.of(solution.learned, rows)
    return finish(
        model, learned, data, options, history, seconds=seconds, began=began, device="cpu", folder=folder, writes=True
    )
