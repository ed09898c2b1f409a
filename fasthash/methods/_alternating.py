"""What DCMH and HiCHNet have in common: one modality's batch learns against the other's code bank, in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fasthash import losses
from fasthash.methods._base import SIDES, Method, Options, Phase, Positive, TrainData, Weight, Widths
from fasthash.methods._networks import sgd_or_adamw, tower, write_unified


class AlternatingOptions(Options):
    """Options of both; defaults are those of the authors' codes."""

    epochs: int = Field(500, ge=1)
    batch_size: int = Field(128, ge=1)
    gamma: Weight = 1.0  # quantisation |B - F|^2
    eta: Weight = 1.0  # balance |F 1|^2
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr_first: Positive  # of the first epoch ...
    lr_last: Positive  # ... and of the last
    weight_decay: Weight = 0.0
    image_hidden: Widths = ()  # feature mode: the hash layers on fixed features
    text_hidden: Widths = (8192,)
    normalize: bool = False  # unit-length centred features before the first layer
    dropout: float = Field(0.0, ge=0, lt=1)
    init_std: float | None = Field(0.01, gt=0)  # None: PyTorch's default initialisation


class Alternating(Method):
    """Banks F, G of the relaxed codes, B = sgn(F + G) after each epoch; in it, the images' steps before the texts'.

    Banks hold the values of the training pass: with dropout, those of the thinned network.
    """

    supervision: ClassVar[Literal["none", "labels", "label tree"]] = "labels"
    learns_codes = True

    options: AlternatingOptions
    image_bank: losses.CodeBank  # F [n, bits], the latest relaxed image codes
    text_bank: losses.CodeBank  # G [n, bits]
    unified: Tensor  # B [n, bits], -1/+1
    row_buffers: ClassVar = ("unified",)

    def __init__(self, train: TrainData, bits: int, options: AlternatingOptions, **text_config: Any) -> None:
        super().__init__(train, bits, options)
        o = options
        config = {"normalize": o.normalize, "dropout": o.dropout, "init_std": o.init_std}
        self.image = tower(train.image, o.image_hidden, bits, **config)
        self.text = tower(train.text, o.text_hidden, bits, **config, **text_config)
        self.add_heads()
        self.shard = train.shard
        self.image_bank = losses.CodeBank(self.shard.randn(bits), self.shard)
        self.text_bank = losses.CodeBank(self.shard.randn(bits), self.shard)
        self.register_buffer("unified", torch.empty(len(self.shard), bits))
        self.quantization, self.balance = losses.Quantization(), losses.CodeBalance()
        self.end_epoch(-1)

    def add_heads(self) -> None:
        """Make further layers: after the towers, before the banks draw their first values."""

    def networks(self, side: str) -> Sequence[nn.Module]:
        """What a modality's optimiser steps."""
        return (getattr(self, side),)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        common = {"lr": o.lr_first, "weight_decay": o.weight_decay, "backbone_scale": o.backbone_scale}
        return {side: sgd_or_adamw(o.optimizer, *self.networks(side), **common) for side in SIDES}

    def learning_rate(self, share: float) -> float:
        """At a share of the epochs, 0 in the first and 1 in the last."""
        raise NotImplementedError

    def learning_rates(self, epoch: int) -> dict[str, float]:
        return dict.fromkeys(SIDES, self.learning_rate(epoch / max(1, self.options.epochs - 1)))

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase(side, (side,), "random", reads=(side,)) for side in SIDES]

    def end_epoch(self, epoch: int) -> None:
        write_unified(self.unified, [self.image_bank.codes, self.text_bank.codes])

    def learned_codes(self) -> Tensor:
        return self.unified

    def common_terms(
        self, h: Tensor, index: Tensor, phase: str, weight: float = 1.0
    ) -> tuple[losses.CodeBank, dict[str, Tensor]]:
        """Write a side's bank; give the other's, and quantisation and balance over the pairs of batch and bank."""
        o = self.options
        own, other = (self.image_bank, self.text_bank) if phase == "image" else (self.text_bank, self.image_bank)
        rest = own.update(index, h)
        mean = 1 / (len(own) * len(index)) * weight
        return other, {
            "quantization": mean * o.gamma * self.quantization(h, self.shard.rows(self.unified, index)),
            "balance": mean * o.eta * self.balance(h, rest),
        }
