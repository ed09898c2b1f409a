"""DJSRH: unsupervised hashing by reconstructing a joint-semantics affinity.

Su, Zhong, Zhang: Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval,
ICCV 2019. Defaults are those of the authors' released code where paper and code differ.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses
from fasthash.methods._base import Batch, Method, Options, Phase, Positive, Preset, Share, TrainData, Widths
from fasthash.methods._registry import register
from fasthash.models import Tower, TowerConfig


class DJSRHOptions(Options):
    """Values of the released code for MIRFlickr."""

    epochs: int = Field(80, ge=1)
    batch_size: int = Field(32, ge=2)
    beta: Share = 0.9  # weight of the image affinity against the text affinity (paper, equation 3)
    eta: Share = 0.4  # weight of the second-order affinity (equation 5)
    mu: Positive = 1.5  # scale of the reconstruction target (equation 8)
    lambda1: float = Field(0.1, ge=0)  # image-image term
    lambda2: float = Field(0.1, ge=0)  # text-text term
    # affinities as 2S - 1: in the code, not in the paper's formulas; meant for features without negative entries
    # (cosines 0 to 1). Signed ones, such as word vectors, give affinities below -1.
    affine: bool = True
    lr_image: Positive = 0.001
    lr_text: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: float = Field(5e-4, ge=0)
    image_hidden: Widths = ()  # feature mode: the hash layer fc_encode on fixed features
    text_hidden: Widths = (4096,)
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer: for histograms, whose entries are tiny


@register
class DJSRH(Method):
    """Codes whose cosines, within and across modalities, rebuild mu * S, the fused affinity of the features."""

    name = "djsrh"
    paper = "Su, Zhong, Zhang: Deep Joint-Semantics Reconstructing Hashing, ICCV 2019"
    supervision = "none"
    options_type = DJSRHOptions
    presets: ClassVar = {
        "emoji": Preset(
            "released code's settings for MIRFlickr with larger steps and a smaller text network, for features in place"
            " of a fine-tuned network; chosen on a fifth of emoji's training rows at 64 bits",
            {"epochs": 60, "lr_image": 0.01, "lr_text": 0.05, "text_hidden": (1024,)},
        ),
        "wiki": Preset(
            "released code's settings for Wiki; one hidden layer stands for the trainable classifier part of its image"
            " network; histograms at unit length, chosen on a fifth of the training rows at 64 bits",
            {
                "epochs": 200,
                "beta": 0.3,
                "lambda1": 0.3,
                "lambda2": 0.3,
                "lr_image": 0.01,
                "lr_text": 0.01,
                "image_hidden": (4096,),
                "normalize": True,
            },
        ),
    }

    options: DJSRHOptions

    def __init__(self, train: TrainData, bits: int, options: DJSRHOptions) -> None:
        super().__init__(train, bits, options)
        o = options
        self.image = self._tower(train.image, o.image_hidden)
        self.text = self._tower(train.text, o.text_hidden)
        self.joint = losses.JointSemantics(
            beta=o.beta, eta=o.eta, mu=o.mu, lambda1=o.lambda1, lambda2=o.lambda2, affine=o.affine
        )
        # feature mode: the frozen teacher network is the features themselves, and no step changes them
        self.teacher = self.joint.teacher(train.image, train.text)
        self.alpha = 1.0

    def _tower(self, features: Tensor, hidden: tuple[int, ...]) -> Tower:
        o = self.options
        tower = Tower(TowerConfig(features.shape[1], hidden, self.bits, centre=o.centre, normalize=o.normalize))
        tower.fit_mean(features.cpu())
        return tower

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        towers = {"image": (self.image, o.lr_image), "text": (self.text, o.lr_text)}
        return {
            side: torch.optim.SGD(
                tower.parameters(), lr=lr, momentum=o.momentum, weight_decay=o.weight_decay, fused=True
            )
            for side, (tower, lr) in towers.items()
        }

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("image", "text"), "shuffle", drop_last=True)]

    def begin_epoch(self, epoch: int) -> None:
        self.alpha = math.sqrt(epoch + 1)  # the relaxation tanh(alpha h) hardens with time

    def forward(self, batch: Batch, phase: str) -> Tensor:
        b_image = torch.tanh(self.alpha * self.image(batch.image))
        b_text = torch.tanh(self.alpha * self.text(batch.text))
        return self.joint(b_image, b_text, teacher=self.teacher, index=batch.index)
