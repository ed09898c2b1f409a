"""State and steps of one training run: epochs, agreements of its processes, checkpoints and what comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from fasthash import evaluation, methods
from fasthash._finished import Run, finish, model_of
from fasthash._interrupt import StopSignal
from fasthash._machine import now
from fasthash._passes import Pass, batches, generator_of, losses
from fasthash._progress import TrainingProgress
from fasthash._run_folder import RunFolder
from fasthash._stepper import Stepper
from fasthash._train_data import train_data
from fasthash.data import PairedDataset
from fasthash.distributed import gather_rows
from fasthash.distributed._bank_state import own_state, whole_state
from fasthash.distributed._random_state import of_all, random_states, set_random_states
from fasthash.losses import Shard
from fasthash.models import HashModel
from fasthash.models.learned import LearnedCodes
from fasthash.models.pictures import announced

CHECKPOINT_SECONDS = 60.0  # also at every evaluation and on interruption
GPU_CHECK_STEPS = 50  # between looks at a loss on a GPU, each of which waits for it
STOP_CHECK_STEPS = 16  # between agreements of several processes on whether to stop


@dataclass
class Position:
    """Where the next step stands."""

    epoch: int = 0
    phase: int = 0
    step: int = 0


class Loop:
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
        accumulate: int = 1,
        compile: bool = False,
    ) -> None:
        self.fabric, self.data, self.seed, self.options = fabric, data, seed, options
        self.eval_every, self.folder = eval_every, folder
        # compiled networks take dense rows: the number of entries changes from batch to batch
        self.train_data = train_data(
            data,
            fabric.device,
            options,
            seed,
            supervision=kind.supervision,
            local=kind.takes_local,
            entries=not compile,
            shard=Shard(len(data.split.train), fabric.global_rank, fabric.world_size),
        )
        self.method = kind(self.train_data, bits, options).to(fabric.device)
        self.optimizers = self.method.optimizers()
        self.stepper = Stepper(
            fabric, self.method, self.train_data, self.optimizers, accumulate=accumulate, compile=compile
        )
        self.at = Position()
        self.history: list[dict[str, Any]] = []
        self.passes: dict[int, Pass] = {}  # by position in the epoch under way
        self.steps = 0  # of this sitting
        self.seconds = 0.0
        self.began = now()
        self.saved = 0.0  # when the last checkpoint was written
        if fabric.global_rank > 0:
            torch.manual_seed(seed + fabric.global_rank)  # all start from one network, and drop units out on their own
        if folder is not None:
            self._restore(folder.load_checkpoint(mapped=fabric.world_size > 1))

    @property
    def _writes(self) -> bool:
        return self.folder is not None and self.fabric.is_global_zero

    def run(self, bar: TrainingProgress) -> Run:
        """Train to the end and score; a request to stop is met at the next step, or right after the scores."""
        started = time.monotonic() - self.seconds
        self.saved = time.monotonic()
        if self._writes:
            assert self.folder is not None
            self.folder.begin()
        bar.advance_to(self.at.epoch, self.history)
        with StopSignal(active=self.folder is not None) as stop:
            while self.at.epoch < self.options.epochs:
                self.method.train()
                self.method.begin_epoch(self.at.epoch)
                self.train_data.begin_epoch(self.at.epoch)
                rates = self.method.learning_rates(self.at.epoch)
                for position, phase in enumerate(self.method.phases(self.at.epoch)):
                    if position < self.at.phase:
                        continue
                    if not self._rising(phase):
                        self.stepper.set_rates(phase, rates)
                        self._sweep(phase, stop, started)
                    self.at = Position(self.at.epoch, position + 1)
                self._end_epoch(bar, started)
            result = self._result()
            if stop.requested:
                assert self.folder is not None
                raise KeyboardInterrupt(f"stopped; the run in {self.folder.folder} is finished")
            return result

    def _sweep(self, phase: methods.Phase, stop: StopSignal, started: float) -> None:
        """The remaining steps of one pass over the training rows."""
        done = self.passes.setdefault(self.at.phase, Pass(phase.name, phase.group))
        for index in announced(self._batches(phase), partial(self.stepper.announce, phase)):
            done.add(self.stepper.step(phase, index))
            self.at.step += 1
            self.steps += 1
            if self.fabric.device.type == "cpu" or self.at.step % GPU_CHECK_STEPS == 0:
                self._check_finite(done)
            self.seconds = time.monotonic() - started
            stops, due = self._agreed(stop.requested, time.monotonic() - self.saved > CHECKPOINT_SECONDS)
            if stops or due:
                self._save()
            if stops:
                raise KeyboardInterrupt(self._stopped_line())
        self._check_finite(done)

    def _rising(self, phase: methods.Phase) -> bool:
        """Whether the passes of the phase's group have ended: the last one's loss was above that before it."""
        if phase.group is None or self.at.step:
            return False
        means = [done.mean for done in self.passes.values() if done.group == phase.group]
        rising = len(means) >= 2 and means[-1] > means[-2]
        if self.fabric.world_size > 1:  # one answer for all: a last digit may differ between devices
            rising = self.fabric.broadcast(rising)
        return rising

    def _check_finite(self, done: Pass) -> None:
        if not np.isfinite(done.total):
            at = f"epoch {self.at.epoch + 1}, phase {done.name}, step {self.at.step}"
            raise FloatingPointError(
                f"{self.method.name}: the loss is not finite by {at} ({done.worst()}); try a smaller learning rate"
            )

    def _agreed(self, *wanted: bool) -> list[bool]:
        """What any process wants, told to all at the same step."""
        if self.fabric.world_size == 1:
            return list(wanted)
        if self.steps % STOP_CHECK_STEPS:
            return [False] * len(wanted)
        told: Any = self.fabric.all_reduce(torch.tensor(wanted, dtype=torch.float32), reduce_op="sum")
        return [bool(count > 0) for count in told]

    def _batches(self, phase: methods.Phase) -> Iterator[Tensor]:
        """Row indices of the phase's remaining steps."""
        n = len(self.train_data)
        generator = generator_of(self.seed, self.at.epoch, self.at.phase)
        return islice(batches(phase, n, min(self.options.batch_size, n), generator), self.at.step, None)

    def _end_epoch(self, bar: TrainingProgress, started: float) -> None:
        self.stepper.settle()
        self.method.end_epoch(self.at.epoch)
        entry: dict[str, Any] = {"epoch": self.at.epoch + 1, **losses(list(self.passes.values()))}
        last = self.at.epoch + 1 == self.options.epochs  # its scores come with the result
        due = self.data.labels is not None and (self.at.epoch + 1) % self.eval_every == 0 and not last
        if due:
            entry |= self._scores()
        self.seconds = time.monotonic() - started
        entry["seconds"] = round(self.seconds, 3)
        self.history.append(entry)
        self.at, self.passes = Position(self.at.epoch + 1), {}
        bar.epoch_done(entry)
        if self.folder is not None:
            if self._writes and not last:
                self.folder.log(self.history)
            if due or last:
                self._save()

    def _scores(self) -> dict[str, float]:
        """Of the model as it is, told to every process by the first."""
        found = {}
        if self.fabric.is_global_zero:
            scores = evaluation.evaluate(self._model(), self.data, ("map_all",))
            found = {"i2t": scores.i2t, "t2i": scores.t2i}
        return self.fabric.broadcast(found) if self.fabric.world_size > 1 else found

    def _save(self) -> None:
        """Write the checkpoint; every process takes part, the first one writes."""
        if self.folder is None:
            return
        state = {
            "method": whole_state(self.method),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            **random_states(self.fabric.device),
            "at": [self.at.epoch, self.at.phase, self.at.step],
            "history": self.history,
            "passes": {position: done.state() for position, done in self.passes.items()},
            "seconds": self.seconds,
            "scaler": self.stepper.scaler.state_dict() if self.stepper.scaler is not None else {},
        }
        if self._writes:
            self.folder.save_checkpoint(state)
        self.fabric.barrier()  # nobody leaves, and is missed, before the file is there
        self.saved = time.monotonic()

    def _restore(self, state: dict[str, Any] | None) -> None:
        self._check_same_place(state)
        if state is None:
            return
        self.method.load_state_dict(own_state(self.method, state["method"]))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.stepper.scaler is not None:
            self.stepper.scaler.load_state_dict(state["scaler"])
        fabric = self.fabric
        set_random_states(state, fabric.device, fabric.global_rank, fabric.world_size)
        self.at = Position(*state["at"])
        self.history, self.seconds = state["history"], state["seconds"]
        self.passes = {position: Pass(**values) for position, values in state["passes"].items()}

    def _check_same_place(self, state: dict[str, Any] | None) -> None:
        """ValueError where the processes do not find one and the same checkpoint: on each of them, so none waits."""
        found = [-1, 0, 0] if state is None else state["at"]
        places = of_all(torch.tensor(found), self.fabric.device).tolist()
        if any(place != places[0] for place in places):
            assert self.folder is not None
            raise ValueError(f"train: out {self.folder.folder} must be one folder that all machines see, it is not")

    def _stopped_line(self) -> str:
        assert self.folder is not None
        where = f"epoch {self.at.epoch + 1} of {self.options.epochs}"
        return f"stopped in {where}; checkpoint in {self.folder.folder}, go on with resume (--resume)"

    def _model(self) -> HashModel:
        method = self.method
        given = type(method), method.image, method.text, self.data, self.options, self.seed
        return model_of(*given, method.model_type, **method.model_parts())

    def _learned_codes(self) -> Tensor | None:
        """Of all training pairs, [n, bits]."""
        values, shard = self.method.learned_codes(), self.train_data.shard
        if values is None or len(values) == shard.n:
            return values
        return gather_rows(torch.where(values >= 0, 1, -1).to(torch.int8), rows=shard.counts)

    def _result(self) -> Run:
        model = self._model().cpu().eval()
        for encoder in (model.image, model.text):
            encoder.take_dense()  # so that its codes are, bit for bit, those of the model that is saved
        values = self._learned_codes()
        learned = None if values is None else LearnedCodes.of(values.cpu().numpy(), self.data.split.train)
        run = finish(
            model, learned, self.data, self.options, self.history, seconds=self.seconds, began=self.began,
            device=self.fabric.device.type, folder=self.folder, writes=self._writes,
        )  # fmt: skip
        self.fabric.barrier()  # nobody leaves, and ends the group, before the files are there
        return run
