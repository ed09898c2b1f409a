"""The one training loop: every method runs on it; it owns devices, seeds, steps, checkpoints and logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from fasthash import data as datasets
from fasthash import evaluation, methods
from fasthash._interrupt import StopSignal
from fasthash._progress import TrainingProgress
from fasthash._run_folder import RunFolder
from fasthash.codes import check_bits
from fasthash.data import PairedDataset
from fasthash.models import HashModel

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
CHECKPOINT_SECONDS = 60.0  # also at every evaluation and on interruption


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    method: str
    options: methods.Options
    seed: int
    model: HashModel
    scores: evaluation.Evaluation | None  # None for data without labels
    history: list[dict[str, Any]]  # one entry an epoch: epoch, seconds, loss of each phase, map at intervals
    seconds: float  # training time, evaluations included, over all sittings
    folder: Path | None


def train(
    method: str,
    data: PairedDataset | str,
    *,
    bits: int = 64,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    eval_every: int | None = None,
    device: str = "auto",
    precision: str = "32-true",
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train a method on a data set.

    Args:
        method: a name of `fasthash.methods.names()`.
        data: a data set, or the name of one.
        bits: code length.
        seed: initialisation, shuffles and dropout follow from it; the same seed gives the same codes, bit for bit, on
            one machine with one number of threads.
        out: folder for model, scores, history, TensorBoard log and checkpoint; None keeps everything in memory.
        resume: go on in ``out`` from its checkpoint; the result equals that of an uninterrupted run. Starts from the
            beginning when there is none, and returns a finished run at once.
        eval_every: epochs between evaluations on the query split; default a tenth of the epochs. For watching only:
            the model of the last epoch is what is kept.
        device: auto, cpu, cuda or mps.
        precision: 32-true, bf16-mixed or 16-mixed (the last on CUDA only).
        progress: show a progress bar.
        options: the method's; default the paper's, changed by the data set's preset where the method has one.
    Returns:
        Run with model, scores and history.
    Raises:
        ValueError: unknown method or option, data that lacks what the method needs, an ``out`` that holds another run.
        FloatingPointError: the loss is not finite.
        KeyboardInterrupt: stopped by Ctrl-C; with ``out`` the checkpoint is written first.
    """
    kind = methods.get(method)
    if isinstance(data, str):
        methods.resolve_options(kind, data, options)  # a misspelt option is told before features are computed
        data = datasets.load(data)
    elif not isinstance(data, PairedDataset):
        raise TypeError(f"train: data must be a PairedDataset or the name of one, got {type(data).__name__}")
    data.require(labels=kind.supervision != "none", tree=kind.supervision == "label tree", op=method, rows="train")
    resolved = methods.resolve_options(kind, data.base_name, options)
    bits = check_bits(bits, "train")
    seed = _whole("seed", seed, 0, 2**32 - 1)
    every = max(1, resolved.epochs // 10) if eval_every is None else _whole("eval_every", eval_every, 1, 2**31)
    fabric = _fabric(device, precision)
    folder = None
    if out is not None:
        request = {
            "method": method,
            "data": data.name,
            "data_options": dict(data.options),
            "data_checksum": data.checksum(),
            "bits": bits,
            "seed": seed,
        }
        request |= {"eval_every": every, "device": fabric.device.type, "precision": precision}
        request |= {"options": resolved.model_dump()}
        folder = RunFolder(out, request, resume=resume)
        if folder.finished:
            return _finished_run(folder, resolved, data)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loop = _Loop(fabric, kind, data, bits, seed, resolved, every, folder)
        with TrainingProgress(f"{method} {bits} bits on {data.name}", resolved.epochs, show=progress) as bar:
            return loop.run(bar)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"train: {name} must be a whole number from {low} to {high}, got {value!r}")
    return int(value)


def _fabric(device: str, precision: str) -> Fabric:
    """One device; the model's weights stay float32 whatever the precision, because banks and codes do."""
    if device not in DEVICES:
        raise ValueError(f"train: device must be one of {', '.join(DEVICES)}, got {device!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"train: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train: device cuda was asked for, but torch.cuda.is_available() is False")
    return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]


@dataclass
class _Position:
    """Where the next step stands."""

    epoch: int = 0
    phase: int = 0
    step: int = 0


class _Loop:
    """State of one run: everything that `save` writes and `_restore` reads back."""

    def __init__(
        self,
        fabric: Fabric,
        kind: type[methods.Method],
        data: PairedDataset,
        bits: int,
        seed: int,
        options: methods.Options,
        eval_every: int,
        folder: RunFolder | None,
    ) -> None:
        self.fabric, self.data, self.seed, self.options = fabric, data, seed, options
        self.eval_every, self.folder = eval_every, folder
        self.train_data = _train_data(data, fabric.device, labels=kind.supervision != "none")
        self.method = kind(self.train_data, bits, options).to(fabric.device)
        self.optimizers = self.method.optimizers()
        self.network = fabric.setup_module(self.method)
        wrapped = fabric.setup_optimizers(*self.optimizers.values())
        wrapped = wrapped if isinstance(wrapped, (list, tuple)) else (wrapped,)
        self.steppers = dict(zip(self.optimizers, wrapped, strict=True))
        self.at = _Position()
        self.history: list[dict[str, Any]] = []
        self.sums: dict[str, list[float]] = {}  # phase -> [sum of losses, steps] of the epoch under way
        self.seconds = 0.0
        self.saved = 0.0  # when the last checkpoint was written
        if folder is not None:
            self._restore(folder.load_checkpoint())

    def run(self, bar: TrainingProgress) -> Run:
        """Train to the end and score; a request to stop is met at the next step, or right after the scores."""
        started = time.monotonic() - self.seconds
        self.saved = time.monotonic()
        if self.folder is not None:
            self.folder.begin()
        bar.advance_to(self.at.epoch, self.history)
        with StopSignal(active=self.folder is not None) as stop:
            while self.at.epoch < self.options.epochs:
                self._set_epoch()
                for phase_index, phase in enumerate(self.method.phases(self.at.epoch)):
                    if phase_index < self.at.phase:
                        continue
                    for index in self._batches(phase):
                        self._step(phase, index)
                        self.seconds = time.monotonic() - started
                        if stop.requested:
                            self._save()
                            raise KeyboardInterrupt(self._stopped_line())
                        if self.folder is not None and time.monotonic() - self.saved > CHECKPOINT_SECONDS:
                            self._save()
                    self.at = _Position(self.at.epoch, phase_index + 1)
                self._end_epoch(bar, started)
            result = self._result()
            if stop.requested:
                assert self.folder is not None
                raise KeyboardInterrupt(f"stopped; the run in {self.folder.folder} is finished")
            return result

    def _set_epoch(self) -> None:
        self.method.train()
        self.method.begin_epoch(self.at.epoch)
        for name, lr in self.method.learning_rates(self.at.epoch).items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = lr

    def _batches(self, phase: methods.Phase) -> Iterator[Tensor]:
        """Row indices of the phase's remaining steps: drawn from (seed, epoch, phase) alone, so they can be redrawn."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.at.epoch) * 64 + self.at.phase)
        n = len(self.train_data)
        size = min(self.options.batch_size, n)
        if phase.sampler == "shuffle":
            parts = list(torch.randperm(n, generator=generator).split(size))
            if phase.drop_last and len(parts[-1]) < size:
                parts.pop()
            yield from parts[self.at.step :]
        else:
            for step in range(max(1, n // size)):
                index = torch.randperm(n, generator=generator)[:size]
                if step >= self.at.step:
                    yield index

    def _step(self, phase: methods.Phase, index: Tensor) -> None:
        index = index.to(self.fabric.device)
        batch = methods.Batch(index, self.train_data.image[index], self.train_data.text[index])
        loss = self.network(batch, phase.name)
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            at = f"epoch {self.at.epoch + 1}, phase {phase.name}, step {self.at.step + 1}"
            raise FloatingPointError(f"{self.method.name}: loss is {value} at {at}; try a smaller learning rate")
        for name in phase.optimizers:
            self.steppers[name].zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        for name in phase.optimizers:
            self.steppers[name].step()
        total = self.sums.setdefault(phase.name, [0.0, 0.0])
        total[0] += value
        total[1] += 1
        self.at.step += 1

    def _end_epoch(self, bar: TrainingProgress, started: float) -> None:
        self.method.end_epoch(self.at.epoch)
        entry: dict[str, Any] = {"epoch": self.at.epoch + 1}
        entry |= {f"loss_{name}": total / count for name, (total, count) in self.sums.items()}
        last = self.at.epoch + 1 == self.options.epochs
        if self.data.labels is not None and ((self.at.epoch + 1) % self.eval_every == 0 or last):
            scores = evaluation.evaluate(self._model(), self.data, ("map_all",))
            entry |= {"i2t": scores.i2t, "t2i": scores.t2i}
        self.seconds = time.monotonic() - started
        entry["seconds"] = round(self.seconds, 3)
        self.history.append(entry)
        self.at, self.sums = _Position(self.at.epoch + 1), {}
        bar.epoch_done(entry)
        if self.folder is not None:
            self.folder.log(self.history)
            if "i2t" in entry or last:
                self._save()

    def _save(self) -> None:
        assert self.folder is not None
        state = {
            "method": self.method.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "at": [self.at.epoch, self.at.phase, self.at.step],
            "history": self.history,
            "sums": self.sums,
            "seconds": self.seconds,
        }
        self.folder.save_checkpoint(self.fabric, state)
        self.saved = time.monotonic()

    def _restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.at = _Position(*state["at"])
        self.history, self.sums, self.seconds = state["history"], state["sums"], state["seconds"]

    def _stopped_line(self) -> str:
        assert self.folder is not None
        where = f"epoch {self.at.epoch + 1} of {self.options.epochs}"
        return f"stopped in {where}; checkpoint in {self.folder.folder}, go on with resume (--resume)"

    def _model(self) -> HashModel:
        info = {"method": self.method.name, "paper": self.method.paper, "data": self.data.name, "seed": self.seed}
        info |= {"options": self.options.model_dump(), "data_options": dict(self.data.options)}
        info |= {"data_checksum": self.data.checksum()}
        extractors = {"image_extractor": self.data.image_extractor, "text_extractor": self.data.text_extractor}
        return HashModel(self.method.image, self.method.text, info=info, **extractors)

    def _result(self) -> Run:
        model = self._model().cpu().eval()
        folder = None
        if self.folder is not None:
            folder = self.folder.folder
            model.save(folder)
        scores = None if self.data.labels is None else evaluation.evaluate(model, self.data)
        if self.folder is not None:
            self.folder.write_json("scores.json", None if scores is None else scores.to_dict())
            self.folder.drop_checkpoint()
            self.folder.close()
        name = self.method.name
        return Run(name, self.options, self.seed, model, scores, self.history, self.seconds, folder)


def _train_data(data: PairedDataset, device: torch.device, *, labels: bool) -> methods.TrainData:
    rows = data.split.train

    def part(values: Any, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(values[rows]).to(device, dtype)

    wanted = part(data.labels, torch.uint8) if labels else None
    return methods.TrainData(part(data.image, torch.float32), part(data.text, torch.float32), wanted)


def _finished_run(folder: RunFolder, options: methods.Options, data: PairedDataset) -> Run:
    history = folder.read_history()
    model = HashModel.load(folder.folder)
    scores = None if data.labels is None else evaluation.evaluate(model, data)
    seconds = history[-1]["seconds"] if history else 0.0
    return Run(model.info["method"], options, model.info["seed"], model, scores, history, seconds, folder.folder)
