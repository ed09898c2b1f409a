"""The plain baseline: two perceptron towers and the pairwise likelihood of a batch, without banks or alternation.

No paper of its own. What a published method adds (banks, proxies, attention, layers) should show against this.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses, ops
from fasthash.methods._base import Batch, Method, Options, Outputs, Phase, Positive, Preset, TrainData, Weight, Widths
from fasthash.methods._networks import groups, tower
from fasthash.methods._registry import register


class TwoTowerOptions(Options):
    """Chosen on a fifth of the training rows of fashion_products and movie_posters at 64 bits."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(128, ge=1)
    gamma: Weight = 0.1  # quantisation |sign(h) - h|^2 per bit of a code
    lr_first: Positive = 1e-3  # along half a cosine ...
    lr_last: Positive = 1e-5  # ... to the last epoch
    weight_decay: Weight = 0.01
    image_hidden: Widths = (1024,)
    text_hidden: Widths = (1024,)
    normalize: bool = True  # unit-length centred features before the first layer
    dropout: float = Field(0.5, ge=0, lt=1)


@register
class TwoTower(Method):
    """Mean over a batch's pairs of softplus(theta) - S theta, theta = h_image h_text' / 2, + gamma quantisation."""

    name = "two_tower"
    paper = "no paper: plain towers with the pairwise likelihood of a batch, fasthash's own baseline"
    supervision = "labels"
    options_type = TwoTowerOptions
    presets: ClassVar = {
        "emoji": Preset(
            "more epochs for fewer pairs; chosen on a fifth of emoji's training rows at 64 bits", {"epochs": 120}
        ),
        # ten topics and ten balanced classes: the default's quantisation and dropout leave a handful of codes
        "wiki": Preset(
            "smaller towers held by weight decay alone; chosen on a fifth of wiki's training rows at 64 bits",
            {
                "epochs": 60, "gamma": 0.0, "dropout": 0.0, "weight_decay": 1.0, "image_hidden": (256,),
                "text_hidden": (256,),
            },
        ),
    }  # fmt: skip

    options: TwoTowerOptions

    def __init__(self, train: TrainData, bits: int, options: TwoTowerOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        config: dict[str, Any] = {"normalize": options.normalize, "dropout": options.dropout}
        self.image = tower(train.image, options.image_hidden, bits, **config)
        self.text = tower(train.text, options.text_hidden, bits, **config)
        self.labels = ops.pack_labels(train.labels)
        self.quantization = losses.Quantization()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        towers = groups(self.image, self.text, backbone_scale=o.backbone_scale)
        return {"towers": torch.optim.AdamW(towers, lr=o.lr_first, weight_decay=o.weight_decay, fused=True)}

    def learning_rates(self, epoch: int) -> dict[str, float]:
        o = self.options
        falling = (1 + math.cos(math.pi * epoch / max(1, o.epochs - 1))) / 2
        return {"towers": o.lr_last + (o.lr_first - o.lr_last) * falling}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("towers",))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {"image": self.image(batch.image), "text": self.text(batch.text)}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        image, text, labels = outputs["image"], outputs["text"], self.labels[index]
        m = len(index)
        distance = self.quantization(image, _sign(image)) + self.quantization(text, _sign(text))
        return {
            "nll": ops.pairwise_nll(image, text, labels, labels, scale=0.5) / (m * m),
            "quantization": self.options.gamma * distance / (m * self.bits),
        }


def _sign(h: Tensor) -> Tensor:
    return torch.where(h.detach() >= 0, 1.0, -1.0)
