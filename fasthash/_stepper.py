"""One optimisation step, whose loss and gradient are those of the whole batch however its rows are split.

The networks may see the rows in parts, one after the other (gradient accumulation) or on several processes; the loss
always sees the outputs of all of them. So losses over pairs of rows, hardest negatives and code banks keep their
meaning, which adding up the losses of small batches would change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fasthash.distributed import gather_rows
from fasthash.methods import Batch, Method, Outputs, Phase, TrainData
from fasthash.methods._word_sgd import WordSGD
from fasthash.models import WordLinear

Terms = dict[str, Tensor]


class Stepper:
    """Steps of a method on its training rows.

    Args:
        fabric: devices, precision and processes.
        accumulate: parts that a process's rows go through the networks in; their activations are never alive together.
            Each part is computed twice: for its outputs, and again for its gradient.
        compile: whether ``torch.compile`` makes the networks' code.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        data: TrainData,
        optimizers: dict[str, torch.optim.Optimizer],
        *,
        accumulate: int,
        compile: bool,
    ) -> None:
        self.fabric, self.method, self.data, self.parts = fabric, method, data, accumulate
        self.optimizers = optimizers
        # 16-mixed: torch's own scaler, once a step for all optimisers; Fabric would update it after each of them
        self.scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        self.encode: Callable[[Batch, str], Outputs] = torch.compile(method.encode) if compile else method.encode
        # a group's own rate, before schedules
        self.rates = {name: [group["lr"] for group in o.param_groups] for name, o in optimizers.items()}

    def set_rates(self, phase: Phase, scheduled: dict[str, float]) -> None:
        """Learning rates of a phase's optimisers: the phase's, else those of the schedule, else the optimisers' own."""
        if phase.before is not None:
            self.set_rates(phase.before, scheduled)
        for name in phase.optimizers:
            lr = phase.lr if phase.lr is not None else scheduled.get(name)
            for group, own in zip(self.optimizers[name].param_groups, self.rates[name], strict=True):
                group["lr"] = (own if lr is None else lr) * group.get("lr_scale", 1.0)

    def settle(self) -> None:
        """Bring up to date what optimisers have put off: before networks are read, always at the same places."""
        for optimizer in self.optimizers.values():
            if isinstance(optimizer, WordSGD):
                optimizer.settle()

    def step(self, phase: Phase, index: Tensor) -> Terms:
        """One step on rows int64 [m], on the CPU, of all processes; the loss's weighted terms, without gradient."""
        if phase.before is not None:
            self.step(phase.before, index)
        for name in phase.optimizers:
            self.optimizers[name].zero_grad(set_to_none=True)
        shares = index.tensor_split(self.fabric.world_size)
        terms = self._whole(phase, index, shares) if self.parts == 1 else self._in_parts(phase, index, shares)
        terms = self._average(terms, phase.optimizers)
        for name in phase.optimizers:
            self._descend(self.optimizers[name], phase.clip_norm)
        if self.scaler is not None:
            self.scaler.update()
        return terms

    def _descend(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if clip_norm is not None:
            if isinstance(optimizer, WordSGD):
                optimizer.gather_gradients()
            # gradients that are not finite pass: the loss of the next step tells of them, a scaler skips this one
            torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
        if self.scaler is not None:
            self.scaler.step(optimizer)
        else:
            optimizer.step()

    def announce(self, phase: Phase, index: Tensor) -> None:
        """Rows int64 [m] of all processes that a coming step will be given."""
        own = self._own(index.tensor_split(self.fabric.world_size))
        self.data.announce(own if len(own) else index[:1], phase.reads)

    def _own(self, shares: Sequence[Tensor]) -> Tensor:
        """This process's rows of a batch; none where there are fewer of them than processes."""
        return shares[self.fabric.global_rank]

    def _whole(self, phase: Phase, index: Tensor, shares: Sequence[Tensor]) -> Terms:
        return self._backward(self._encode(self._own(shares), phase, index), phase, index, shares)

    def _in_parts(self, phase: Phase, index: Tensor, shares: Sequence[Tensor]) -> Terms:
        """Outputs of all parts without a graph, the loss's gradient for them, then each part again with a graph."""
        local = self._own(shares)
        parts = [part for part in local.tensor_split(self.parts) if len(part)] or [local]
        states, made = [], []
        for part in parts:
            states.append(_random_state(self.fabric.device))
            with torch.no_grad():
                made.append(self._encode(part, phase, index))
        after = _random_state(self.fabric.device)
        outputs = {name: torch.cat([each[name] for each in made]).requires_grad_() for name in made[0]}
        terms = self._backward(outputs, phase, index, shares)
        start = 0
        for part, state in zip(parts, states, strict=True):
            _set_random_state(state, self.fabric.device)  # the same dropout as the first time
            again = self._encode(part, phase, index)
            rows = slice(start, start + len(part))
            pairs = [(again[name], x.grad[rows]) for name, x in outputs.items() if x.grad is not None]
            pairs = [(x, grad) for x, grad in pairs if x.requires_grad]
            if not pairs:  # a phase that trains nothing in front of the loss
                break
            torch.autograd.backward([x for x, _ in pairs], [grad for _, grad in pairs])
            start += len(part)
        _set_random_state(after, self.fabric.device)
        return terms

    def _encode(self, index: Tensor, phase: Phase, whole: Tensor) -> Outputs:
        """What the networks make of rows int64 [m], on the CPU, of a batch ``whole``."""
        if len(index) == 0:  # few networks take no rows at all: one goes through, and nothing of it comes out
            return {name: x[:0] for name, x in self._encode(whole[:1], phase, whole).items()}
        batch = self.data.batch(index.to(self.fabric.device), phase.reads, index)
        with self.fabric.autocast():
            outputs = self.encode(batch, phase.name)
        half = (torch.float16, torch.bfloat16)
        return {name: x.float() if x.dtype in half else x for name, x in outputs.items()}

    def _backward(self, outputs: Outputs, phase: Phase, index: Tensor, shares: Sequence[Tensor]) -> Terms:
        if self.fabric.world_size > 1:
            counts = [len(share) for share in shares]
            outputs = {name: gather_rows(x, rows=counts) for name, x in outputs.items()}
        terms = self.method.loss(outputs, index.to(self.fabric.device), phase.name)
        self.fabric.backward(_sum(tuple(terms.values())))
        return {name: term.detach() for name, term in terms.items()}

    def _average(self, terms: Terms, optimizers: Sequence[str]) -> Terms:
        """The means over processes, of gradients in their place and of the terms.

        Each process has computed its share of the loss or the whole of it, either way what the mean is made of, and got
        the sum over processes of its own rows' gradients. One exchange after the backward passes:
        DistributedDataParallel starts it during them, but counts on one forward and one backward through all its
        parameters, which phases and parts do not keep to.
        """
        if self.fabric.world_size == 1:
            return terms
        groups = [group for name in optimizers for group in self.optimizers[name].param_groups]
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        parts = [*gradients, *(term.float() for term in terms.values())]
        mean: Any = self.fabric.all_reduce(torch.cat([x.reshape(-1) for x in parts]), reduce_op="mean")
        *means, told = mean.split([*(g.numel() for g in gradients), len(terms)])
        for gradient, part in zip(gradients, means, strict=True):
            gradient.copy_(part.view_as(gradient))
        for layer in self.method.modules():
            if isinstance(layer, WordLinear):
                layer.gradient_was_written()
        return dict(zip(terms, told.unbind(), strict=True))


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
