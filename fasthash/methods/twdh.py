"""TwDH: long codes drawn to fixed class centres, and a fixed matrix that shortens them.

Tu et al.: Two-Step Discrete Hashing for Cross-Modal Retrieval, IEEE Transactions on Multimedia, 2024. Defaults are
those of the authors' released code.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses
from fasthash.methods._base import SIDES, Batch, Method, Outputs, Phase, Positive, Preset, TrainData, Weight
from fasthash.methods._clip_line import ClipLineOptions, bert_adam, towers
from fasthash.methods._code_transform import centre_loss, learn_transform, spread_loss
from fasthash.methods._registry import register
from fasthash.models import ShortenedTower


class TwDHOptions(ClipLineOptions):
    """Values of the released code, the same for all its data sets."""

    long_bits: int = Field(512, ge=1)  # of the code that is trained, shortened afterwards
    head_width: int = Field(128, ge=1)  # of the hidden layer before the pairs of logits
    # of the head's layers. official: Kaiming uniform by fan-out, which is 2 for a bit's own layer: for features of
    # CLIP's length; default: torch's
    head_init: Literal["official", "default"] = "official"
    quantization: Weight = 0.5  # 1 - the mean of (2 u - 1)^2
    short_weight: Weight = 0.0  # the same two terms of the short code
    lr_transform: Positive = 1e-3  # of the matrix, which is learned before anything else, from the labels alone
    steps_transform: int = Field(5000, ge=1)  # at most; it is done when all classes have their short centres
    sparsity: Weight = 1e-3  # of the matrix


@register
class TwDH(Method):
    """Cross-entropy of the long code's pairs against the centre of the row's labels + 0.5 (1 - mean (2 u - 1)^2)."""

    name = "twdh"
    paper = "Tu et al.: Two-Step Discrete Hashing for Cross-Modal Retrieval, IEEE Transactions on Multimedia, 2024"
    supervision = "labels"
    options_type = TwDHOptions
    presets: ClassVar = {
        data: Preset(
            "fasthash's own: the head alone on features, smaller weights at the start, and a matrix that is learned"
            f" faster; chosen on a fifth of {data}'s training rows at 64 bits",
            {
                "centre": True, "normalize": True, "head_init": "default", "head_width": 256, "lr": 3e-3,
                "lr_transform": 1e-2, "steps_transform": 300, **values,
            },
        )
        for data, values in (
            ("wiki", {"epochs": 40, "dropout": 0.2}),
            ("fashion_products", {"epochs": 15, "dropout": 0.2}),
            ("movie_posters", {"epochs": 20, "dropout": 0.5, "lr": 2e-3}),
            ("emoji", {"epochs": 40, "dropout": 0.3, "batch_size": 64}),
        )
    }  # fmt: skip

    options: TwDHOptions
    image: ShortenedTower
    text: ShortenedTower

    def __init__(self, train: TrainData, bits: int, options: TwDHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o, classes = options, train.labels.shape[1]
        head = {"long_bits": o.long_bits, "by_fan_out": o.head_init == "official"}
        self.image, self.text = towers(ShortenedTower, train, bits, o, (o.head_width,), **head)
        self.long = losses.HashCentres(classes, o.long_bits)
        self.short = losses.HashCentres(classes, bits)
        transform = learn_transform(
            self.long, self.short, train.labels.cpu(), steps=o.steps_transform, lr=o.lr_transform, sparsity=o.sparsity
        )
        for tower in (self.image, self.text):
            tower.transform.copy_(transform)
        self.labels = train.labels
        self.rows = len(train)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"networks": bert_adam(self.options, self.rows, self.image, self.text)}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks",))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {"image": self.image.long(batch.image), "text": self.text.long(batch.text)}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o, labels = self.options, self.labels[index]
        long = [outputs[side] for side in SIDES]
        terms = {
            "centres": _mean([centre_loss(h, self.long(labels)) for h in long]),
            "quantization": o.quantization * _mean([spread_loss(h) for h in long]),
        }
        if o.short_weight:
            short = [getattr(self, side).shorten(outputs[side]) for side in SIDES]
            value = _mean([centre_loss(h, self.short(labels)) + spread_loss(h) for h in short])
            terms["short"] = o.short_weight * value
        return terms


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
