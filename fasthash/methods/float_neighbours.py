"""Codes that keep the neighbours of a float search: fasthash's own method, from embeddings alone, without labels.

What is distilled is not the embeddings but who is near whom, as in stochastic neighbour embedding: for each row of a
batch, the distribution of its neighbours by the cosines of the codes is drawn to that by the cosines of the embeddings,
within each modality by the embeddings as they come, and across modalities in a joint space. The relaxed codes are their
own signs with a straight-through gradient (Bengio, Leonard, Courville, arXiv 1308.3432), so that what is trained is
what is searched; the temperatures of the codes' distributions are learned with them, since how far apart codes of some
length can lie is not known beforehand, and a temperature set too low makes them collapse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fasthash import losses
from fasthash.losses.neighbours import temperature_of
from fasthash.methods._base import (
    SIDES,
    Batch,
    Method,
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
from fasthash.methods._networks import groups, tower
from fasthash.methods._registry import register
from fasthash.methods._teacher_features import device_of
from fasthash.models.joint_space import JointSpace
from fasthash.models.teacher import BATCH, FixedFeatures
from fasthash.ops._unit_rows import unit_rows

STUDENT_TEMPERATURE = 0.1  # where learning starts
BETAS = (0.85, 0.999)  # of AdamW: a shorter memory than usual keeps more neighbours at large steps
TEMPERATURE_SCALE = 10.0  # its learning rate as a multiple of the networks': logarithms have far to go


class FloatNeighboursOptions(Options):
    """fasthash's own values, chosen on a fifth of the training rows of two data sets at 64 bits."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(512, ge=3)
    # how pictures and texts are compared before there are codes; cca: canonical correlation analysis of the training
    # pairs; shared: by their own cosines, as of two encoders trained together such as CLIP's: features of one width
    space: Literal["cca", "shared"] = "cca"
    ridge: Positive = 1.0  # of cca, as a multiple of each modality's mean variance
    across: Weight = 1.0  # neighbours in the other modality
    within: Weight = 1.0  # neighbours in the own modality, by the features' own cosines
    perplexity: float = Field(5.0, gt=1)  # how many of a batch's rows count as neighbours of a row
    image_hidden: Widths = (1024,)
    text_hidden: Widths = (1024,)
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers
    centre: bool = True  # subtract the training mean before the first layer
    normalize: bool = True  # then scale rows to unit length
    lr: Positive = 3e-3  # falls to 0 along a cosine
    warmup: Weight = 2.0  # epochs in which it rises first: full steps from the beginning cost a tenth of the recall
    weight_decay: Share = 0.0

    @model_validator(mode="after")
    def _something_to_learn(self) -> FloatNeighboursOptions:
        if not (self.across or self.within):
            raise ValueError("across and within must not both be 0")
        return self


@register
class FloatNeighbours(Method):
    """KL(p | q) of neighbour distributions: across modalities in a joint space, within each by the features' cosines.

    Kept of n training pairs: their features where they are in memory anyway, of features in a file nothing.
    """

    name = "float_neighbours"
    paper = "fasthash's own: neighbour distributions (Hinton and Roweis, NIPS 2002) of embeddings, distilled into codes"
    supervision = "none"
    options_type = FloatNeighboursOptions
    presets: ClassVar = {
        data: Preset(
            "fasthash's own, chosen on a fifth of the training rows at 64 bits: ridge of cca by how often a text finds"
            " its own picture among the first 10 and the other way round, the rest by recall@10 of the float search",
            values,
        )
        for data, values in {
            "fashion_products": {"ridge": 0.1},
            "movie_posters": {"ridge": 3.0, "batch_size": 256, "epochs": 40, "lr": 1e-3},
        }.items()
    }

    options: FloatNeighboursOptions

    def __init__(self, train: TrainData, bits: int, options: FloatNeighboursOptions) -> None:
        super().__init__(train, bits, options)
        o = options
        if o.space == "shared" and train.image.width != train.text.width:
            raise ValueError(
                "float_neighbours: space=shared needs features of one width, "
                f"got {train.image.width} of images and {train.text.width} of texts"
            )
        # before a step is made: of a backbone, its features as they are now
        self.fixed = {"image": FixedFeatures(train.image), "text": FixedFeatures(train.text)}
        # sides whose features come with each batch
        self.with_batch = [side for side, f in self.fixed.items() if f.changes or f.mapped]
        self._devices = {"image": device_of(train.image), "text": device_of(train.text)}
        self._fit_teacher(train)
        config = {"dropout": o.dropout, "centre": o.centre, "normalize": o.normalize}
        self.image = tower(train.image, o.image_hidden, bits, **config)
        self.text = tower(train.text, o.text_hidden, bits, **config)
        self.divergence = losses.NeighbourDivergence()
        start = math.log(STUDENT_TEMPERATURE)
        self.log_temperature = nn.ParameterDict({kind: torch.tensor(start) for kind in self.weights})

    def _fit_teacher(self, train: TrainData) -> None:
        """The joint space, and temperatures at which rows have the neighbours that are asked for.

        Closed forms of the training rows: made anew where a run is resumed, and no part of its state.
        """
        o = self.options
        self.weights = {"across": o.across, "image": o.within / 2, "text": o.within / 2}
        self.weights = {kind: weight for kind, weight in self.weights.items() if weight}
        self.space: JointSpace | None = None
        if o.space == "cca" and o.across:
            self.space = JointSpace.fit(self._parts(train), ridge=o.ridge)
        n = len(train)
        if n < 3:
            raise ValueError(f"float_neighbours: needs 3 training pairs or more, got {n}")
        sample = torch.linspace(0, n - 1, min(o.batch_size, n)).long()
        cosines = self._teacher({side: self._features(train, side, sample) for side in SIDES})
        self.temperatures = {kind: temperature_of(x, o.perplexity) for kind, x in cosines.items()}

    def _parts(self, train: TrainData) -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.arange(len(train)).split(16 * BATCH):
            yield self._features(train, "image", index), self._features(train, "text", index)

    def _features(self, train: TrainData, side: str, index: Tensor) -> Tensor:
        """[m, p] of training rows ``index`` int64 [m], on the training device."""
        fixed = self.fixed[side]
        if fixed.mapped:
            return fixed.of(getattr(train, side).take(index))
        every = fixed.all(self._devices[side])
        return every[index.to(every.device)]

    def _teacher(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cosines [m, m] of the rows' features: across, in the joint space, and of image and text by themselves."""
        cosines = {}
        if "across" in self.weights:
            image, text = features["image"], features["text"]
            if self.space is not None:
                image, text = self.space.image(image), self.space.text(text)
            cosines["across"] = unit_rows(image)[0] @ unit_rows(text)[0].T
        for side in SIDES:
            if side in self.weights:
                unit, _ = unit_rows(features[side])
                cosines[side] = unit @ unit.T
        return cosines

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        params = groups(self.image, self.text, backbone_scale=o.backbone_scale)
        params.append({"params": [*self.log_temperature.values()], "lr_scale": TEMPERATURE_SCALE, "weight_decay": 0.0})
        return {"towers": torch.optim.AdamW(params, o.lr, BETAS, weight_decay=o.weight_decay, fused=True)}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("towers",), "shuffle", drop_last=True)]

    def learning_rates(self, epoch: int) -> dict[str, float]:
        o, at = self.options, epoch + 0.5
        rise = min(1.0, at / o.warmup) if o.warmup else 1.0
        return {"towers": o.lr * rise * (1 + math.cos(math.pi * at / o.epochs)) / 2}

    def encode(self, batch: Batch, phase: str) -> Outputs:
        outputs = {"image": self.image(batch.image), "text": self.text(batch.text)}
        given = {"image": batch.image, "text": batch.text}
        return outputs | {f"f_{side}": self.fixed[side].of(given[side]) for side in self.with_batch}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        features = {
            side: outputs[f"f_{side}"].float() if side in self.with_batch else self.fixed[side].all(index.device)[index]
            for side in SIDES
        }
        image, text = (_sign_straight_through(outputs[side]) for side in SIDES)
        codes = {"across": (image, text), "image": (image, image), "text": (text, text)}
        terms = {}
        for kind, teacher in self._teacher(features).items():
            a, b = codes[kind]
            settings = self.temperatures[kind], self.log_temperature[kind].exp()
            student = a @ b.T / self.bits
            value = self.divergence(teacher, student, *settings)
            if kind == "across":  # from either side
                value = (value + self.divergence(teacher.T, student.T, *settings)) / 2
            terms[kind] = self.weights[kind] * value
        return terms


def _sign_straight_through(h: Tensor) -> Tensor:
    """Signs -1/+1 of h, sign(0) = +1, with the gradient of h clipped to -1..1."""
    clipped = h.clamp(-1, 1)
    return clipped + (torch.where(h >= 0, 1.0, -1.0) - clipped).detach()
