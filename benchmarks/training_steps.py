"""Steps of a method on made-up data at a paper's sizes, whole and part by part, for `cases_training`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from fasthash import evaluation, methods
from fasthash._stepper import Stepper
from fasthash.data import PairedDataset, Split
from fasthash.data.tree import LabelTree
from fasthash.methods import Batch, Phase, TrainData
from fasthash.models import FeatureRows, HashModel, feature_rows

Call = Callable[[], object]
WORDS = 6  # of a text, on average
SEED = 0


@dataclass(frozen=True)
class Sizes:
    """A data set's."""

    name: str
    train: int
    queries: int
    database: int  # the training rows are its first
    image: int
    text: int
    classes: tuple[int, ...]  # one number: multi-label; several: the layers of a label tree
    bag: bool = True  # whether texts are bags of words

    def quick(self) -> Sizes:
        small = {"train": 300, "queries": 60, "database": 400, "image": 64, "text": 120 if self.bag else 64}
        return replace(self, **small)  # type: ignore[arg-type]


MIRFLICKR = Sizes("MIRFlickr-25K", 10_000, 2_000, 18_015, 4096, 1386, (24,))
MIRFLICKR_CLIP = Sizes("MIRFlickr-25K, CLIP features", 10_000, 5_000, 19_581, 512, 512, (24,), bag=False)
FASHION_VC = Sizes("FashionVC", 16_862, 3_000, 16_862, 4096, 2685, (8, 27))


@dataclass(frozen=True)
class Data:
    """Rows of the database and, after them, the queries."""

    sizes: Sizes
    image: Tensor  # float32
    text: Tensor  # float32; a bag of words has about six ones a row
    labels: tuple[Tensor, ...]  # uint8 multi-hot, one for each layer

    @classmethod
    def make(cls, sizes: Sizes) -> Data:
        g = torch.Generator().manual_seed(SEED)
        rows = sizes.database + sizes.queries
        image = torch.randn(rows, sizes.image, generator=g).relu_()
        text = _bags(rows, sizes.text, g) if sizes.bag else torch.randn(rows, sizes.text, generator=g)
        if len(sizes.classes) == 1:
            labels = [(torch.rand(rows, sizes.classes[0], generator=g) < 0.16).to(torch.uint8)]
            labels[0][torch.arange(rows), torch.randint(sizes.classes[0], (rows,), generator=g)] = 1
        else:
            ids = [torch.randint(classes, (rows,), generator=g) for classes in sizes.classes]
            labels = [
                torch.nn.functional.one_hot(i, c).to(torch.uint8) for i, c in zip(ids, sizes.classes, strict=True)
            ]
        return cls(sizes, image, text, tuple(labels))

    def train(self, *, labels: bool, entries: bool) -> TrainData:
        n = self.sizes.train
        parts = tuple(layer[:n] for layer in self.labels)
        layers = parts if labels and len(parts) > 1 else ()
        rows_of = feature_rows if entries else FeatureRows
        rows = rows_of(self.image[:n].clone()), rows_of(self.text[:n].clone())
        return TrainData(*rows, parts[-1] if labels else None, layers)

    def paired(self) -> PairedDataset:
        s = self.sizes
        everything = np.arange(s.database + s.queries)
        tree, labels = None, self.labels[-1].numpy()
        classes = tuple(map(str, range(labels.shape[1])))
        if len(self.labels) > 1:
            names = {f"layer{k}": [f"{k}.{c}" for c in x.argmax(1).tolist()] for k, x in enumerate(self.labels)}
            tree = LabelTree.from_names(**names)
            labels, classes = tree.layers[-1].one_hot, tree.layers[-1].classes
        return PairedDataset(
            name="made up", image=self.image.numpy(), text=self.text.numpy(),
            split=Split(everything[s.database :], everything[: s.database], everything[: s.train]),
            ids=tuple(map(str, everything)), labels=labels, class_names=classes, tree=tree, notes=(), source="",
            licence="CC0",
        )  # fmt: skip


def _bags(rows: int, words: int, g: torch.Generator) -> Tensor:
    """Word k occurs in proportion to (k + 1) ** -0.7."""
    chance = torch.arange(1, words + 1).float() ** -0.7
    chosen = torch.multinomial(chance.expand(rows, -1), WORDS, generator=g)
    return torch.zeros(rows, words).scatter_(1, chosen, 1.0)


@dataclass
class Ours:
    """A method of fasthash at work: `step`, and the parts of one as calls of their own, on the same rows.

    Args:
        steps: that a call takes in each phase of an epoch.
    """

    name: str
    data: Data
    bits: int
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    entries: bool = True  # sparse rows are handled entry by entry

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        kind = methods.get(self.name)
        self.train = self.data.train(labels=kind.supervision != "none", entries=self.entries)
        self.method = kind(self.train, self.bits, kind.options_type(**self.options))
        self.optimizers = self.method.optimizers()
        fabric = Fabric(accelerator="cpu", devices=1)
        self.stepper = Stepper(fabric, self.method, self.train, self.optimizers, accumulate=1, compile=False)
        self.method.train()
        self.method.begin_epoch(0)
        self.phases = self.method.phases(0)
        g = torch.Generator().manual_seed(SEED)
        m = min(self.method.options.batch_size, len(self.train))
        self.rows = [torch.randperm(len(self.train), generator=g)[:m] for _ in range(self.steps)]

    @property
    def epoch(self) -> float:
        """Calls of `step` in an epoch."""
        m = len(self.rows[0])
        whole = all(phase.sampler == "random" or phase.drop_last for phase in self.phases)
        return (len(self.train) // m if whole else -(-len(self.train) // m)) / self.steps

    def step(self) -> None:
        torch.set_num_threads(1)
        rates = self.method.learning_rates(0)
        for phase in self.phases:
            self.stepper.set_rates(phase, rates)
            for index in self.rows:
                self.stepper.step(phase, index)

    def parts(self) -> dict[str, Call]:
        """name -> call; together they do the work of `step`, with what goes from one to the next made beforehand.

        That is made at the first call: where memory is measured, nothing of it must be there before.
        """

        def every(part: str) -> Call:
            def run() -> None:
                torch.set_num_threads(1)
                for one in self._work:
                    getattr(one, part)()

            return run

        return {part: every(part) for part in ("take", "network", "loss", "optimise")}

    @cached_property
    def _work(self) -> list[_Work]:
        return [
            _Work(self, each, index)
            for phase in self.phases
            for each in ([] if phase.before is None else [phase.before]) + [phase]
            for index in self.rows
        ]

    @cached_property
    def _model_and_data(self) -> tuple[HashModel, PairedDataset]:
        return HashModel(self.method.image, self.method.text), self.data.paired()

    def evaluate(self) -> None:
        torch.set_num_threads(1)
        evaluation.evaluate(*self._model_and_data, ("map_all",))
        self.method.train()


class _Work:
    """One step of one phase, cut into its parts."""

    def __init__(self, ours: Ours, phase: Phase, index: Tensor) -> None:
        self.ours, self.phase, self.index = ours, phase, index
        self.optimizers = [ours.optimizers[name] for name in phase.optimizers]
        self.batch: Batch = ours.train.batch(index)
        made = self._encode()
        self.outputs = {name: x.detach().requires_grad_(x.requires_grad) for name, x in made.items()}
        self.loss()
        self.gradients = {name: x.grad for name, x in self.outputs.items() if x.grad is not None}
        self.network()
        # what the optimisers find: gradients of layers on sparse rows may be kept in parts, see `WordSGD`
        self.received = [list(lazy.pending) for lazy in self._lazy()]
        params = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
        self.grads = [(p, None if p.grad is None else p.grad.clone()) for p in params]
        self._clear()

    def _lazy(self) -> list[Any]:
        return [lazy for optimizer in self.optimizers for lazy in getattr(optimizer, "lazy", {}).values()]

    def _clear(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def _encode(self) -> dict[str, Tensor]:
        return self.ours.method.encode(self.batch, self.phase.name)

    def take(self) -> None:
        self.ours.train.batch(self.index)

    def network(self) -> None:
        self._clear()
        made = self._encode()
        pairs = [(x, self.gradients[name]) for name, x in made.items() if x.requires_grad and name in self.gradients]
        if pairs:
            torch.autograd.backward([x for x, _ in pairs], [grad for _, grad in pairs])

    def loss(self) -> None:
        for x in self.outputs.values():
            x.grad = None
        terms = self.ours.method.loss(self.outputs, self.index, self.phase.name)
        torch.stack(tuple(terms.values())).sum().backward()

    def optimise(self) -> None:
        for lazy, received in zip(self._lazy(), self.received, strict=True):
            lazy.pending = list(received)
        for p, grad in self.grads:
            p.grad = grad
        for optimizer in self.optimizers:
            optimizer.step()
