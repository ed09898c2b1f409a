"""DJSRH: unsupervised hashing by reconstructing a joint-semantics affinity.

Su, Zhong, Zhang: Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval,
ICCV 2019. Defaults are those of the authors' released code where paper and code differ.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from fasthash import losses
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
from fasthash.models.teacher import FixedFeatures
from fasthash.ops import JointTeacher
from fasthash.ops._unit_rows import unit_rows


class DJSRHOptions(Options):
    """Values of the released code for MIRFlickr."""

    epochs: int = Field(80, ge=1)
    batch_size: int = Field(32, ge=2)
    beta: Share = 0.9  # weight of the image affinity against the text affinity (paper, equation 3)
    eta: Share = 0.4  # weight of the second-order affinity (equation 5)
    mu: Positive = 1.5  # scale of the reconstruction target (equation 8)
    lambda1: Weight = 0.1  # image-image term
    lambda2: Weight = 0.1  # text-text term
    # affinities as 2S - 1: in the code, not in the paper's formulas; meant for features without negative entries
    # (cosines 0 to 1). Signed ones, such as word vectors, give affinities below -1.
    affine: bool = True
    cross_terms: Literal[1, 2] = 1  # 2: image-text and, equal to it, text-image, as in DJSRH's successor JDSH
    reduction: Literal["mean", "sum"] = "mean"  # over a batch's m x m entries; sum is the paper's norm: rates over m^2
    relaxation: Literal["root", "constant"] = "root"  # codes tanh(alpha h), alpha the root of the epoch, or 1
    lr_image: Positive = 0.001
    lr_text: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: Weight = 5e-4
    trains: Literal["backbone", "fully connected"] = "backbone"  # what of a backbone; the latter for Wiki's AlexNet
    image_hidden: Widths = ()  # feature mode: the hash layer fc_encode on fixed features
    text_hidden: Widths = (4096,)
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer: for histograms, whose entries are tiny


@register
class DJSRH(RelaxedPair):
    """Codes whose cosines, within and across modalities, rebuild mu * S, the fused affinity of the features.

    Kept of n training pairs: up to 16,384 of them their affinity, beyond that a copy of their features at length 1, but
    of features in a file nothing: those of a batch come with it.
    """

    name = "djsrh"
    paper = "Su, Zhong, Zhang: Deep Joint-Semantics Reconstructing Hashing, ICCV 2019"
    supervision = "none"
    options_type = DJSRHOptions
    presets: ClassVar = {
        "mirflickr25k": Preset("released code", {"beta": 0.9, "lambda1": 0.1, "lambda2": 0.1, "epochs": 80}),
        "nus_wide": Preset("released code", {"beta": 0.6, "lambda1": 0.1, "lambda2": 0.1, "epochs": 80}),
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
                "trains": "fully connected",
            },
        ),
    } | {
        data: Preset(
            "fasthash's own: small networks on fixed features, without momentum, so that a step touches the words of"
            f" its texts alone; chosen on a fifth of {data}'s training rows at 64 bits",
            {
                "epochs": epochs,
                "beta": 0.6,
                "momentum": 0.0,
                "lr_image": 0.3,
                "lr_text": 1.5,
                "image_hidden": (256,),
                "text_hidden": (256,),
                "centre": True,
                "normalize": True,
            },
        )
        for data, epochs in (("fashion_products", 10), ("movie_posters", 10), ("emoji", 20))
    }

    options: DJSRHOptions

    def __init__(self, train: TrainData, bits: int, options: DJSRHOptions) -> None:
        super().__init__(train, bits, options)
        o = options
        self.fixed = {"image": FixedFeatures(train.image), "text": FixedFeatures(train.text)}  # before a step is made
        changes = any(f.changes for f in self.fixed.values())
        in_file = changes or not JointTeacher.keeps_affinity(len(train))  # features there are left there
        # sides whose teacher's features come with each batch; where there are none, a teacher of all rows is made once
        self.with_batch = [side for side, f in self.fixed.items() if f.changes or (f.mapped and in_file)]
        self.add_towers(train, bits)
        if o.trains == "fully connected":
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.requires_grad_(False)
        self.joint = losses.JointSemantics(
            beta=o.beta, eta=o.eta, mu=o.mu, lambda1=o.lambda1 / o.cross_terms, lambda2=o.lambda2 / o.cross_terms,
            affine=o.affine,
        )  # fmt: skip
        self.teacher: JointTeacher | None = None

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("image", "text"), "shuffle", drop_last=True)]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        outputs = {"image": self.image(batch.image), "text": self.text(batch.text)}
        given = {"image": batch.image, "text": batch.text}
        return outputs | {f"f_{side}": self.fixed[side].of(given[side]) for side in self.with_batch}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        b_image, b_text = (self.relaxed(outputs, side) for side in SIDES)
        if self.with_batch:
            pairs = ((outputs.get(f"f_{side}"), f) for side, f in self.fixed.items())
            given = (f.all(index.device)[index] if seen is None else seen for seen, f in pairs)
            f_image, f_text = (unit_rows(f.detach())[0] for f in given)  # as a teacher of all rows makes them
            value = self.joint(b_image, b_text, f_image, f_text, unit=True)
        else:
            if self.teacher is None:  # what follows from features that no step changes is made once
                self.teacher = self.joint.teacher(*(f.all(index.device) for f in self.fixed.values()))
                self.fixed.clear()
            value = self.joint(b_image, b_text, teacher=self.teacher, index=index)
        entries = len(index) ** 2 if self.options.reduction == "sum" else 1
        return {"reconstruction": self.options.cross_terms * entries * value}
