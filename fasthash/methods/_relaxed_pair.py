"""What the unsupervised methods that rebuild affinities share: two towers by SGD and codes tanh(a h), a growing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fasthash.methods._base import Method, Outputs, TrainData
from fasthash.methods._networks import sgd, tower


class RelaxedPair(Method):
    """Options it reads: those of the towers (image_hidden, text_hidden, dropout, centre, normalize), of the optimisers
    (lr_image, lr_text, momentum, weight_decay) and `relaxation`: a is the root of the epoch, or 1.
    """

    options: Any
    sharpness = 1.0  # a

    def add_towers(self, train: TrainData, bits: int) -> None:
        o = self.options
        config = {"dropout": o.dropout, "centre": o.centre, "normalize": o.normalize}
        self.image = tower(train.image, o.image_hidden, bits, **config)
        self.text = tower(train.text, o.text_hidden, bits, **config)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        settings = {"momentum": o.momentum, "weight_decay": o.weight_decay, "backbone_scale": o.backbone_scale}
        return {
            "image": sgd(self.image, lr=o.lr_image, **settings),
            "text": sgd(self.text, lr=o.lr_text, **settings),
        }

    def begin_epoch(self, epoch: int) -> None:
        self.sharpness = math.sqrt(epoch + 1) if self.options.relaxation == "root" else 1.0

    def relaxed(self, outputs: Outputs, side: str) -> Tensor:
        """[m, bits] of a batch, between -1 and 1."""
        return torch.tanh(self.sharpness * outputs[side])
