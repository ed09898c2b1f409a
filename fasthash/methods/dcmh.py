"""DCMH: supervised hashing by the pairwise likelihood between one modality's batch and the other's code bank.

Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017. Defaults are those of the authors' MATLAB code, with banks that start
from N(0, 1) (a bank of zeros makes the first unified code meaningless), features centred by the training mean, and the
images' steps of an epoch before the texts'.
"""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from fasthash import ops
from fasthash.methods._alternating import Alternating, AlternatingOptions
from fasthash.methods._base import Batch, Outputs, Positive, Preset, TrainData, Weight
from fasthash.methods._registry import register


class DCMHOptions(AlternatingOptions):
    """Values of the authors' MATLAB code."""

    lr_first: Positive = 10**-1.5  # geometric from the first epoch ...
    lr_last: Positive = 1e-3  # ... to the last
    weight_decay: Weight = 5e-4


_FEATURES = {  # of towers on fixed features, in place of a fine-tuned network
    "batch_size": 64, "eta": 0.0, "optimizer": "adamw", "lr_first": 1e-3, "lr_last": 1e-4, "weight_decay": 0.01,
    "image_hidden": (512,), "text_hidden": (512,), "normalize": True, "dropout": 0.5, "init_std": None,
}  # fmt: skip


@register
class DCMH(Alternating):
    """Sum of softplus(theta) - S theta, theta = F G^T / 2, + gamma quantisation + eta balance; F, G, B alternate."""

    name = "dcmh"
    paper = "Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017"
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
        "wiki": Preset(
            "fasthash's own: two-layer towers, AdamW; as movie_posters', looked at on a fifth of the training rows at"
            " 64 bits",
            _FEATURES | {"epochs": 15},
        ),
    }

    options: DCMHOptions

    def __init__(self, train: TrainData, bits: int, options: DCMHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        self.labels = ops.pack_labels(train.labels)

    def learning_rate(self, share: float) -> float:
        o = self.options
        return math.exp((1 - share) * math.log(o.lr_first) + share * math.log(o.lr_last))

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {"h": self.image(batch.image) if phase == "image" else self.text(batch.text)}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        h = outputs["h"]
        bank, terms = self.common_terms(h, index, phase)
        nll = bank.pairs(ops.pairwise_nll, h, self.labels[index], self.labels)
        return {"nll": nll / (len(bank) * len(index)), **terms}
