"""SSAH: image and text networks learn to imitate a network that has seen the labels.

Li, Deng, Li, Liu, Gao, Tao: Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval, CVPR 2018. Defaults
are the paper's objective on the schedule of the authors' code. The code departs from the paper in four places, which
``compat="official"`` brings back: see `SSAHOptions.compat`. Features are centred by the training mean in either form.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fasthash import losses
from fasthash.methods._base import Outputs, Phase, Positive, Preset, TrainData, Weight, Widths
from fasthash.methods._label_guided import LabelGuided, LabelGuidedOptions
from fasthash.methods._registry import register

# fasthash's own settings for fixed features: one wide layer in front of the heads, one pass of each network an epoch.
# A bag's columns stand in alphabetical order, so averages of neighbours (text_scales) say nothing: they are left out.
_FEATURE_MODE = {
    "image_hidden": (), "text_hidden": (), "label_hidden": (256,), "text_scales": (), "channel_norm": False,
    "normalize": True, "dropout": 0.5, "init_std": None, "weight_decay": 0.01, "reduction": "mean", "alpha": 0.01,
    "beta": 0.1, "adversary": 0.003, "discriminator_passes": (1,), "image_passes": (1,), "text_passes": (1,),
    "lr_image": 1e-3, "lr_text": 1e-3,
}  # fmt: skip
_SOURCE = "fasthash's own, for fixed features; chosen on a fifth of the training rows at 64 bits"


class SSAHOptions(LabelGuidedOptions):
    """The paper's objective, the code's networks and schedule."""

    epochs: int = Field(10, ge=1)  # the code's 500 are over by then: each divides the rates by the root of 10
    batch_size: int = Field(128, ge=1)
    # paper: the likelihood, S of 0 and 1, an adversary that the networks feel, unified codes as quantisation's target.
    # official: the squared difference of S theta and softplus(theta) with S = 0.999; the adversarial term, cut off from
    # the networks, trains the discriminators to take their features for the label network's; each network's own signs
    # are the target of its codes; all weights are 1 unless given, also by a
    # preset: on its data sets say alpha=1, eta=1, beta=1, adversary=1, reduction=sum.
    compat: Literal["paper", "official"] = "paper"
    alpha: Weight = 1.0  # pairwise term of the features
    gamma: Weight = 1.0  # pairwise term of the codes
    eta: Weight | None = None  # quantisation; None: the paper's 1e-4
    beta: Weight | None = None  # label regression; None: the paper's 1e-4
    adversary: Weight = 1.0  # delta; 0: no discriminators
    # sum: the paper's and the code's. mean: each term over its number of entries, so that weights mean the same for any
    # number of pairs; beside sums over all pairs, an adversary of weight 1 is hardly felt.
    reduction: Literal["sum", "mean"] = "sum"
    text_scales: Widths = (50, 30, 15, 10, 5)  # those wider than the text's features are left out
    channel_norm: bool = True
    init_std: float | None = Field(0.01, gt=0)
    # at each rate in turn so many passes, ended by one whose loss is above the one before; () leaves a network alone
    label_passes: Widths = (10, 5)
    discriminator_passes: Widths = (1, 1)
    image_passes: Widths = (15, 7, 5)
    text_passes: Widths = (15, 7, 5)
    lr_label: Positive = 10**-2.0
    lr_discriminator: Positive = 10**-3.0
    lr_image: Positive = 10**-4.5
    lr_text: Positive = 10**-3.5
    lr_decay: Positive = 10**-0.5  # from one epoch to the next, and from one rate of a network's passes to the next


@register
class SSAH(LabelGuided):
    """alpha NLL(features) + gamma NLL(codes) + eta |B - H|^2 + beta |Y - L|^2 for each network, against the label
    network's banks, + the adversarial term; then B = sgn(H + F + G)."""

    name = "ssah"
    paper = "Li et al.: Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval, CVPR 2018"
    options_type = SSAHOptions
    presets: ClassVar = {
        "movie_posters": Preset(
            _SOURCE,
            _FEATURE_MODE
            | {"epochs": 10, "batch_size": 64, "eta": 0.3, "label_passes": (1,), "lr_label": 1e-3, "lr_decay": 0.8},
        ),
        # Rows of one label each: a label network without a hidden layer tells the classes apart within a pass or two;
        # one with it gives most of them the same code for hundreds of steps
        "fashion_products": Preset(
            _SOURCE,
            _FEATURE_MODE
            | {
                "epochs": 5,
                "batch_size": 64,
                "width": 256,
                "label_hidden": (),
                "dropout": 0.1,
                "eta": 1.0,
                "beta": 1.0,
                "label_passes": (5,),
                "lr_label": 1e-3,
                "lr_decay": 0.65,
            },
        ),
        # ten topics of a text say little: weight decay holds the towers, for dropout leaves too few of them
        "wiki": Preset(
            _SOURCE,
            _FEATURE_MODE
            | {
                "epochs": 10,
                "batch_size": 64,
                "width": 256,
                "label_hidden": (),
                "dropout": 0.0,
                "weight_decay": 1.0,
                "eta": 1.0,
                "beta": 1.0,
                "label_passes": (5,),
                "lr_label": 1e-3,
                "lr_decay": 0.8,
            },
        ),
        "emoji": Preset(
            _SOURCE,
            _FEATURE_MODE
            | {
                "epochs": 30,
                "batch_size": 32,
                "label_hidden": (),
                "discriminator_hidden": (128,),
                "eta": 0.5,
                "label_passes": (15,),
                "lr_label": 1e-3,
                "lr_decay": 0.93,
            },
        ),
    }

    options: SSAHOptions

    def __init__(self, train: TrainData, bits: int, options: SSAHOptions) -> None:
        scales = tuple(window for window in options.text_scales if window <= train.text.width)
        super().__init__(train, bits, options, adversary=options.adversary > 0, scales=scales)
        self.official = options.compat == "official"
        self.squared = losses.PairwiseSquared(scale=0.5, similar=0.999)
        small = 1.0 if self.official else 1e-4
        eta, beta = (small if weight is None else weight for weight in (options.eta, options.beta))
        self.weights = {"feature": options.alpha, "code": options.gamma, "quantization": eta, "label": beta}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        made = {}
        for side in self.heads:
            # official: the optimiser was not told which parameters to step, and steps the discriminator's as well
            judge = [self.judges[side]] if self.official and side in self.judges else []
            made[side] = self._adam(getattr(o, f"lr_{side}"), self.network(side), self.heads[side], *judge)
        if self.judges:
            made["discriminator"] = self._adam(o.lr_discriminator, self.judges)
        return made

    def phases(self, epoch: int) -> list[Phase]:
        o = self.options
        made = []
        for name in ("label", "discriminator", "image", "text"):
            if name not in self.heads and not (name == "discriminator" and self.judges):
                continue
            reads = tuple(side for side in ("image", "text") if name in (side, "discriminator"))
            for k, passes in enumerate(getattr(o, f"{name}_passes")):
                rate = getattr(o, f"lr_{name}") * o.lr_decay ** (epoch + k)
                made += [Phase(name, (name,), "random", lr=rate, group=f"{name} {k}", reads=reads)] * passes
        return made

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        if phase == "discriminator":
            return self.discriminator_loss(outputs, index)
        mean = self.options.reduction == "mean"
        terms = self.network_terms(phase, outputs, index, self.weights, mean=mean)
        if phase in self.judges:
            scale = self.options.adversary * (1 if mean else len(index))
            terms["adversary"] = scale * self.adversarial_term(phase, outputs)
        return terms

    def pairs(self, a: Tensor, bank: losses.CodeBank, index: Tensor) -> Tensor:
        if self.official:
            return bank.pairs(self.squared, a, self.labels[index], self.labels)
        return super().pairs(a, bank, index)

    def squares(self, x: Tensor, target: Tensor) -> Tensor:
        return super().squares(x, target) / (2 if self.official else 1)  # TensorFlow's l2_loss is half of it

    def target_codes(self, h: Tensor, index: Tensor) -> Tensor:
        return torch.where(h.detach() >= 0, 1.0, -1.0) if self.official else super().target_codes(h, index)

    def adversarial_term(self, side: str, outputs: Outputs) -> Tensor:
        if self.official:  # the features went in through a placeholder: what is left is a loss of the discriminator
            return functional.softplus(-self.judge(side)(outputs[f"{side}_f"].detach())).mean()
        return super().adversarial_term(side, outputs)
