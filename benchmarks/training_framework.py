"""What the trainer adds to a step: `fasthash.train` on the smallest networks, against the same arithmetic alone."""

from __future__ import annotations

import numpy as np
import torch
from cases import Case
from goals import Goal
from training_steps import Call

import fasthash
from fasthash import losses, methods
from fasthash.data import PairedDataset, Split

BARE, TRAINER = "the arithmetic alone", "fasthash.train"
BATCH, EPOCHS = 2, 10


def framework_case(quick: bool, *, make: bool = True) -> Case:
    """Seconds of a step."""
    steps = 20 if quick else 200
    name = f"framework, {EPOCHS} epochs of {steps} steps"
    goals = (Goal(TRAINER, BARE, 1e-3, None, "beyond"),)
    calls: dict[str, Call] = {}
    if make:
        data = tiny(steps * BATCH)
        calls = {BARE: lambda: bare(data, steps), TRAINER: lambda: trainer(data)}
    per_step = 1 / (steps * EPOCHS)
    return Case(name, calls, BARE, 0.0, None, goals, times={BARE: per_step, TRAINER: per_step})


def tiny(rows: int) -> PairedDataset:
    """Features of width 1, no labels: nothing to evaluate."""
    x = np.random.default_rng(0).random((rows + 1, 1), dtype=np.float32)
    everything = np.arange(rows + 1)
    return PairedDataset(
        name="tiny", image=x, text=x, split=Split(everything[rows:], everything[:rows], everything[:rows]),
        ids=tuple(map(str, everything)), labels=None, class_names=(), tree=None, notes=(), source="", licence="CC0",
    )  # fmt: skip


def trainer(data: PairedDataset) -> None:
    torch.set_num_threads(1)
    options = {"epochs": EPOCHS, "batch_size": BATCH, "text_hidden": ()}
    fasthash.train("djsrh", data, bits=1, device="cpu", progress=False, **options)


def bare(data: PairedDataset, steps: int) -> None:
    """The same networks, loss and optimisers, without a trainer around them."""
    torch.set_num_threads(1)
    o = methods.get("djsrh").options_type()
    image, text = torch.from_numpy(data.image), torch.from_numpy(data.text)
    nets = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]
    steppers = [
        torch.optim.SGD(net.parameters(), lr=0.01, momentum=o.momentum, weight_decay=o.weight_decay, fused=True)
        for net in nets
    ]
    joint = losses.JointSemantics(beta=o.beta, eta=o.eta, mu=o.mu, lambda1=o.lambda1, lambda2=o.lambda2)
    teacher = joint.teacher(image, text)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(image) - 1).split(BATCH):
            a, b = (torch.tanh(net(x[index])) for net, x in zip(nets, (image, text), strict=True))
            loss = joint(a, b, teacher=teacher, index=index)
            for stepper in steppers:
                stepper.zero_grad()
            loss.backward()
            for stepper in steppers:
                stepper.step()
