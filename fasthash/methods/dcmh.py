"""DCMH: supervised hashing by the pairwise likelihood between one modality's batch and the other's code bank.

Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017. Defaults are those of the authors' MATLAB code, with banks that start
from N(0, 1) (a bank of zeros makes the first unified code meaningless), features centred by the training mean, and the
images' steps of an epoch before the texts'.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses, ops
from fasthash.methods._base import Batch, Method, Options, Outputs, Phase, Positive, Preset, TrainData, Widths
from fasthash.methods._networks import sgd_or_adamw, tower
from fasthash.methods._registry import register


class DCMHOptions(Options):
    """Values of the authors' MATLAB code."""

    epochs: int = Field(500, ge=1)
    batch_size: int = Field(128, ge=1)
    gamma: float = Field(1.0, ge=0)  # quantisation |B - F|^2
    eta: float = Field(1.0, ge=0)  # balance |F 1|^2
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr_first: Positive = 10**-1.5  # geometric from the first epoch ...
    lr_last: Positive = 1e-3  # ... to the last
    weight_decay: float = Field(5e-4, ge=0)
    image_hidden: Widths = ()  # feature mode: the hash layer fc8 on fixed features
    text_hidden: Widths = (8192,)
    normalize: bool = False  # unit-length centred features before the first layer
    dropout: float = Field(0.0, ge=0, lt=1)
    init_std: float | None = Field(0.01, gt=0)  # None: PyTorch's default initialisation


_FEATURES = {  # of towers on fixed features, in place of a fine-tuned network
    "batch_size": 64, "eta": 0.0, "optimizer": "adamw", "lr_first": 1e-3, "lr_last": 1e-4, "weight_decay": 0.01,
    "image_hidden": (512,), "text_hidden": (512,), "normalize": True, "dropout": 0.5, "init_std": None,
}  # fmt: skip


@register
class DCMH(Method):
    """Sum of softplus(theta) - S theta, theta = F G^T / 2, + gamma quantisation + eta balance; F, G, B alternate.

    Banks hold the values of the training pass: with dropout, those of the thinned network.
    """

    name = "dcmh"
    paper = "Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017"
    supervision = "labels"
    options_type = DCMHOptions
    presets: ClassVar = {
        # The balance term is off: with emoji's 58 classes of few pairs a weight of 0.001 already costs .05 mAP, and the
        # paper's 1 leaves codes that are no better than random.
        "emoji": Preset(
            "fasthash's own: two-layer towers, AdamW; chosen on a fifth of emoji's training rows at 64 bits",
            _FEATURES | {"epochs": 100, "image_hidden": (1024,), "text_hidden": (1024,)},
        ),
        # The likelihood alone lets codes grow far beyond 1 and small classes collapse: strong quantisation holds them
        "fashion_products": Preset(
            "fasthash's own: two-layer towers, AdamW; chosen on a fifth of the training rows at 64 bits",
            _FEATURES | {"epochs": 32, "batch_size": 128, "gamma": 300.0, "lr_first": 3e-3, "dropout": 0.3},
        ),
        "movie_posters": Preset(
            "fasthash's own: two-layer towers, AdamW; as emoji's, looked at on a fifth of the training rows at 64 bits",
            _FEATURES | {"epochs": 15},
        ),
    }

    options: DCMHOptions
    image_bank: losses.CodeBank  # F [n, bits], the latest relaxed image codes
    text_bank: losses.CodeBank  # G [n, bits]
    unified: Tensor  # B [n, bits], -1/+1

    def __init__(self, train: TrainData, bits: int, options: DCMHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o = options
        config = {"normalize": o.normalize, "dropout": o.dropout, "init_std": o.init_std}
        self.image = tower(train.image, o.image_hidden, bits, **config)
        self.text = tower(train.text, o.text_hidden, bits, **config)
        self.image_bank = losses.CodeBank(torch.randn(len(train), bits))
        self.text_bank = losses.CodeBank(torch.randn(len(train), bits))
        self.register_buffer("unified", torch.empty(len(train), bits))
        self.labels = ops.pack_labels(train.labels)
        self.quantization, self.balance = losses.Quantization(), losses.CodeBalance()
        self._update_unified()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        common = {"lr": o.lr_first, "weight_decay": o.weight_decay, "backbone_scale": o.backbone_scale}
        return {side: sgd_or_adamw(o.optimizer, getattr(self, side), **common) for side in ("image", "text")}

    def learning_rates(self, epoch: int) -> dict[str, float]:
        o = self.options
        t = epoch / max(1, o.epochs - 1)
        lr = math.exp((1 - t) * math.log(o.lr_first) + t * math.log(o.lr_last))
        return {"image": lr, "text": lr}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase(side, (side,), "random", reads=(side,)) for side in ("image", "text")]

    def end_epoch(self, epoch: int) -> None:
        self._update_unified()

    def _update_unified(self) -> None:
        self.unified.copy_(torch.where(self.image_bank.codes + self.text_bank.codes >= 0, 1.0, -1.0))

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {"h": self.image(batch.image) if phase == "image" else self.text(batch.text)}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o, h = self.options, outputs["h"]
        own, other = (self.image_bank, self.text_bank) if phase == "image" else (self.text_bank, self.image_bank)
        rest = own.update(index, h)
        mean = 1 / (len(own) * len(index))
        return {
            "nll": mean * ops.pairwise_nll(h, other.codes, self.labels[index], self.labels, scale=0.5),
            "quantization": mean * o.gamma * self.quantization(h, self.unified[index]),
            "balance": mean * o.eta * self.balance(h, rest),
        }
