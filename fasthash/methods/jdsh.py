"""JDSH: unsupervised hashing by an affinity of both modalities, its extremes weighted by how affinities are spread.

Liu, Qian, Guan, Zhan, Ying: Joint-modal Distribution-based Similarity Hashing for Large-scale Unsupervised Deep
Cross-modal Retrieval, SIGIR 2020, the successor of DJSRH. Defaults are those of its published code.

That code holds the statistics of the affinities as constants, found once on features of its own. Here they are
estimated from the training pairs unless they are given, once, before training: the affinities of the pairs within
`SAMPLE_BATCHES` batches, drawn with a seed of their own. Their peak stands for both locations, as in the published
constants; the scales are the maximum likelihood ones of a normal left and a Laplace distribution right of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses
from fasthash.losses.joint_distribution import AffinityDistribution
from fasthash.methods._base import (
    SIDES,
    Batch,
    Options,
    Outputs,
    Phase,
    Positive,
    Preset,
    Share,
    TrainData,
    Weight,
    Widths,
)
from fasthash.methods._registry import register
from fasthash.methods._relaxed_pair import RelaxedPair
from fasthash.methods._teacher_features import TeacherFeatures

SAMPLE_BATCHES = 64  # 32,000 affinities in batches of 32


class JDSHOptions(Options):
    """Values of the published code."""

    epochs: int = Field(300, ge=1)
    batch_size: int = Field(32, ge=2)
    # the published networks keep AlexNet as it is but for the hash layer; above 0 it is fine-tuned along
    backbone_scale: Weight = 0.0
    alpha: Share = 0.4  # share of the image affinity
    beta: Share = 0.3  # share of the text affinity
    gamma: Share = 0.3  # share of their product, how alike two pairs are by all the others
    mu: Positive = 1.4  # scale of the reconstruction target
    intra: Weight = 0.1  # image-image and text-text term
    pair: Weight = 1.0  # cosine between the codes of a pair, which is made larger
    left_weight: Weight = 0.2  # how far affinities left of the left threshold are pushed down
    right_weight: Weight = 0.2  # ... and those right of the right one up
    left_scales: float = 2.0  # thresholds: so many scales from the peak
    right_scales: float = 4.0
    # of the affinities' distribution; None: estimated from the training pairs
    location_left: float | None = None
    scale_left: Weight | None = None
    location_right: float | None = None
    scale_right: Weight | None = None
    lowest: float | None = None
    highest: float | None = None
    seed_sample: int = Field(0, ge=0)  # of the pairs they are estimated from
    affine: bool = True  # affinities as 2S - 1, as in the code; see djsrh
    relaxation: Literal["root", "constant"] = "root"  # codes tanh(a h), a the root of the epoch, or 1
    lr_image: Positive = 0.01
    lr_text: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: Weight = 5e-4
    image_hidden: Widths = ()  # feature mode: the hash layer on fixed features
    text_hidden: Widths = (4096,)
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer


@register
class JDSH(RelaxedPair):
    """Codes whose cosines rebuild mu w(S) S: see ``fasthash.losses.JointDistribution``.

    Kept of n training pairs: a copy of their features at length 1, but of features in a file nothing.
    """

    name = "jdsh"
    paper = "Liu et al.: Joint-modal Distribution-based Similarity Hashing, SIGIR 2020"
    supervision = "none"
    options_type = JDSHOptions
    presets: ClassVar = {
        "mirflickr25k": Preset(
            "published code; the statistics of its features",
            {
                "alpha": 0.5, "beta": 0.1, "gamma": 0.4, "left_weight": 0.1, "location_left": -0.49,
                "scale_left": 0.019, "location_right": -0.49, "scale_right": 0.088, "lowest": -0.52, "highest": 0.68,
            },
        ),
        "nus_wide": Preset(
            "published code; its statistics of the right side are not published and estimated",
            {"mu": 1.33, "location_left": -0.62, "scale_left": 0.0128, "lowest": -0.64, "highest": 0.75},
        ),
    } | {
        data: Preset(
            "fasthash's own: small networks on fixed features, without momentum, as djsrh's; chosen on a fifth of"
            f" {data}'s training rows at 64 bits",
            {
                "momentum": 0.0, "image_hidden": (256,), "text_hidden": (256,), "centre": True, "normalize": True,
                **values,
            },
        )
        for data, values in (
            ("fashion_products", {"epochs": 10, "lr_image": 0.3, "lr_text": 1.5}),
            ("movie_posters", {"epochs": 10, "lr_image": 0.3, "lr_text": 1.5}),
            ("emoji", {"epochs": 20, "lr_image": 0.3, "lr_text": 1.5}),
            # topics say more of the classes than histograms do
            ("wiki", {"epochs": 50, "lr_image": 0.1, "lr_text": 0.1, "alpha": 0.2, "beta": 0.5}),
        )
    }  # fmt: skip

    options: JDSHOptions

    def __init__(self, train: TrainData, bits: int, options: JDSHOptions) -> None:
        super().__init__(train, bits, options)
        o = options
        self.teacher = TeacherFeatures(train)  # before a step is made
        self.add_towers(train, bits)
        self.joint = losses.JointDistribution(
            alpha=o.alpha, beta=o.beta, gamma=o.gamma, mu=o.mu, intra=o.intra, pair=o.pair, left_weight=o.left_weight,
            right_weight=o.right_weight, left_scales=o.left_scales, right_scales=o.right_scales, affine=o.affine,
        )  # fmt: skip
        self.joint.distribution = self._distribution()

    def _distribution(self) -> AffinityDistribution:
        """What the options say, the rest estimated; a closed form of the training rows, and no part of the state."""
        given = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(AffinityDistribution)}
        known = {name: value for name, value in given.items() if value is not None}
        if len(known) == len(given):
            return AffinityDistribution(**known)
        return dataclasses.replace(self.joint.fit(self._sample()), **known)

    def _sample(self) -> Iterator[tuple[Tensor, Tensor]]:
        n, generator = len(self.teacher), torch.Generator().manual_seed(self.options.seed_sample)
        if n < 2:
            raise ValueError(f"jdsh: needs 2 training pairs or more, got {n}")
        for _ in range(SAMPLE_BATCHES):
            yield self.teacher.at(torch.randperm(n, generator=generator)[: min(n, self.options.batch_size)])

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("image", "text"), "shuffle", drop_last=True)]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        outputs = {"image": self.image(batch.image), "text": self.text(batch.text)}
        return outputs | self.teacher.outputs(batch)

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        b_image, b_text = (self.relaxed(outputs, side) for side in SIDES)
        return self.joint(b_image, b_text, *self.teacher.of(outputs, index))._asdict()
