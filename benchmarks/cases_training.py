"""Epochs of each method at its paper's sizes, against the published code's form, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cases import Case, Report
from goals import Goal
from training_eager import EAGER
from training_framework import BARE, TRAINER, framework_case
from training_steps import FASHION_VC, MIRFLICKR, MIRFLICKR_CLIP, Call, Data, Ours, Sizes

PUBLISHED, DENSE, OURS = "published form, eager", "fasthash, dense rows", "fasthash"
PARTS = {"take": "its data", "network": "its networks", "loss": "its loss and bookkeeping", "optimise": "its optimiser"}
EVALUATION = "its evaluation, spread over the epochs"
TITLES = {"djsrh": "DJSRH", "dcmh": "DCMH", "hichnet": "HiCHNet", "ssah": "SSAH", "udsph": "UDSPH", "dcgh": "DCGH"}
ONE_PASS = dict.fromkeys(("label_passes", "discriminator_passes", "image_passes", "text_passes"), (1,))


@dataclass(frozen=True)
class Point:
    """A method at some sizes."""

    method: str
    sizes: Sizes
    bits: int
    batch: int
    steps: int = 2  # of each phase in a call
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    note: str = ""
    share: float = 1.0  # of an epoch's passes that the options leave; an evaluation counts for as much
    faster: float = 3  # how many times as fast as the published form it must be

    @property
    def name(self) -> str:
        more = f", {self.note}" if self.note else ""
        return f"{TITLES[self.method]}, {self.sizes.name}, {self.bits} bits, batch {self.batch}{more}"

    @property
    def goals(self) -> tuple[Goal, ...]:
        return (
            Goal(OURS, PUBLISHED, self.faster, None),
            *([Goal(PARTS["loss"], DENSE, 0.08, None, "of")] if self.sizes.bag else []),
            Goal(PARTS["loss"], OURS, 0.08, None, "of"),
            Goal(EVALUATION, OURS, 0.1, None, "of"),
        )

    def quick(self) -> Point:
        options = {name: 16 if name == "batch_size" else value for name, value in self.options.items()}
        small = {"text_hidden": (32,)} if self.sizes.bag else {}
        return replace(self, sizes=self.sizes.quick(), batch=16, steps=1, options={**options, **small})

    def case(self) -> Case:
        data = Data.make(self.sizes)
        settings = {"batch_size": self.batch, **self.options}
        ours = Ours(self.method, data, self.bits, self.steps, settings)
        options = ours.method.options
        calls: dict[str, Call] = {}
        times: dict[str, float] = {}
        if self.method in EAGER:
            eager = EAGER[self.method](data, self.bits, self.steps, self.batch)
            calls[PUBLISHED], times[PUBLISHED] = eager.step, ours.epoch
        if self.sizes.bag:
            calls[DENSE] = Ours(self.method, data, self.bits, self.steps, settings, entries=False).step
        calls[OURS] = ours.step
        calls |= {PARTS[part]: call for part, call in ours.parts().items()}
        times |= dict.fromkeys(calls, ours.epoch)
        calls[EVALUATION], times[EVALUATION] = ours.evaluate, self.share / max(1, options.epochs // 10)
        first = next(iter(calls))
        return Case(self.name, calls, first, 0.0, None, self.goals, times=times)


POINTS = (
    Point("djsrh", MIRFLICKR, 64, 32, steps=8),
    Point("dcmh", MIRFLICKR, 64, 128),
    Point("hichnet", FASHION_VC, 64, 128, options={"layer_weights": (0.2, 0.8)}),
    Point("dcgh", MIRFLICKR_CLIP, 64, 128, steps=8),
    Point("ssah", MIRFLICKR, 64, 128, steps=1, options=ONE_PASS, note="one pass of each network", share=4 / 71),
    Point("udsph", MIRFLICKR, 64, 128, steps=1, options={"label_first": 0}),
)


def report(quick: bool = False) -> Report:
    points = {point.name: point for point in (entry.quick() if quick else entry for entry in POINTS)}

    def case(name: str) -> Case:
        return points[name].case() if name in points else framework_case(quick)

    framework = framework_case(quick, make=False).name

    def cases() -> Iterator[Case]:
        return (case(name) for name in (*points, framework))

    return Report(
        file="training",
        title="Training: seconds of an epoch, and where they go",
        unit="epoch",
        notes=(
            "Feature mode, on made-up data of the papers' sizes: images of 4096 features, texts of six words out of",
            "the data set's vocabulary, one thread, float32. Every figure is seconds of an epoch: some steps of each",
            "of its phases, timed together and multiplied; of the evaluation its share at the default interval.",
            "",
            f"- {PUBLISHED}: the released code's formulas, written afresh; similarities, likelihoods and balance as",
            "  matrices over all pairs of the batch and the bank, dense layers, plain optimisers; without the",
            "  objective over all n x n pairs that it computes after each epoch;",
            f"- {DENSE}: the trainer's steps with texts as dense rows;",
            "- fasthash: the trainer's steps as they are; below it their parts by themselves: taking the rows of the",
            "  batch, networks forward and backward, loss with its gradient and the banks, optimisers; they need not",
            "  add up, as each finds the caches as it left them;",
            "- evaluation: queries and database encoded, and mAP over all in both directions;",
            "- framework: all of `fasthash.train` on networks of one weight, batches of two, against the arithmetic",
            "  of the same steps alone.",
        ),
        versions=("torch", "lightning-fabric"),
        cases=cases,
        rounds=3 if quick else 5,
        case=case,
        names=(*points, framework),
        without_memory=(*PARTS.values(), EVALUATION, BARE, TRAINER),
    )
