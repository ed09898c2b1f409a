"""UDSPH: a label network and two discriminators guide image and text networks, whose local parts attend to each other.

Lu et al.: self-supervised deep semantics-preserving hashing, J. Tsinghua Univ. (Sci. Technol.) 62(9), 2022. Neither its
full text nor code is public: what the abstract says (two hashing networks, attention between local parts of both
modalities, labels that guide by self-supervised adversarial learning) is put into formulas here after the works it
cites, SSAH for the networks and the game, SCAN for the attention. So every number below is fasthash's own.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fasthash import losses
from fasthash.methods._base import Batch, Outputs, Phase, Positive, Preset, TrainData, Weight
from fasthash.methods._label_guided import SIDES, LabelGuided, LabelGuidedOptions
from fasthash.methods._registry import register
from fasthash.models.local import LocalVectors, words_of_rows

_FEATURE_MODE = {
    "image_hidden": (), "text_hidden": (), "label_hidden": (256,), "normalize": True, "dropout": 0.5,
    "weight_decay": 0.01, "alpha": 0.01, "eta": 0.1, "adversary": 0.003, "local_width": 64, "batch_size": 64,
    "lr": 1e-3, "lr_label": 1e-3,
}  # fmt: skip
# Rows of one label each: without a hidden layer, the label network tells the classes apart from its first passes on
_ONE_LABEL = {"label_hidden": (), "lr_label_first": 3e-3, "beta": 1.0, "eta": 1.0, "regions": 4, "words": 8}
_SOURCE = "for fixed features; chosen on a fifth of the training rows at 64 bits"


class UDSPHOptions(LabelGuidedOptions):
    """fasthash's reconstruction; see above."""

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(128, ge=1)
    backbone_scale: Weight = 0.1  # 1e-5 beside the heads' 1e-4
    alpha: Weight = 1.0  # pairwise term of the features, a mean over pairs like all terms
    gamma: Weight = 1.0  # pairwise term of the codes
    beta: Weight = 1e-2  # quantisation
    eta: Weight = 1e-1  # label regression
    attention: Weight = 0.1  # lambda_a; 0: no local parts
    adversary: Weight = 0.1  # lambda_d; 0: no discriminators
    margin: Weight = 0.2
    local_width: int = Field(512, ge=1)  # of the unit vectors of regions and words
    regions: int = Field(36, ge=1)  # of a picture that comes as one feature: learned linear views of f
    words: int = Field(32, ge=1)  # of a text at most
    # f takes part in every local vector. Fixed features have no layers in common with regions and words but this one:
    # without it the attention moves nothing that hashes.
    local_context: bool = True
    label_first: int = Field(5, ge=0)  # passes of the label network alone before the first epoch
    lr_label_first: Positive = 1e-3
    lr_label: Positive = 1e-4
    lr: Positive = 1e-4  # image and text networks
    lr_discriminator: Positive = 1e-4
    lr_decay: Positive = 1.0  # from one epoch to the next
    clip_norm: Positive = 5.0


@register
class UDSPH(LabelGuided):
    """L_lab; then L_img + L_txt + lambda_a L_att + lambda_d L_adv, with a step of the discriminators before each."""

    name = "udsph"
    paper = "Lu et al.: Self-supervised deep semantics-preserving hashing, J. Tsinghua Univ. 62(9), 2022"
    options_type = UDSPHOptions
    takes_local = True
    presets: ClassVar = {
        "movie_posters": Preset(
            _SOURCE, _FEATURE_MODE | {"epochs": 10, "beta": 0.1, "regions": 8, "words": 16, "lr_decay": 0.8}
        ),
        "fashion_products": Preset(
            _SOURCE,
            _FEATURE_MODE
            | _ONE_LABEL
            | {"epochs": 7, "width": 256, "dropout": 0.1, "label_first": 8, "lr_decay": 0.65},
        ),
        "wiki": Preset(
            _SOURCE,
            _FEATURE_MODE
            | _ONE_LABEL
            | {
                "epochs": 10,
                "width": 256,
                "dropout": 0.0,
                "weight_decay": 1.0,
                "label_first": 8,
                "lr_decay": 0.8,
            },
        ),
        "emoji": Preset(
            _SOURCE,
            _FEATURE_MODE
            | _ONE_LABEL
            | {
                "epochs": 25,
                "batch_size": 32,
                "dropout": 0.3,
                "adversary": 0.001,
                "discriminator_hidden": (128,),
                "label_first": 80,
                "lr_label": 3e-3,
                "lr_decay": 0.93,
            },
        ),
    }

    options: UDSPHOptions
    text_words: Tensor  # int64 [n, words], columns of the bag of words; `is_word` says which of them there are
    is_word: Tensor  # bool [n, words]

    def __init__(self, train: TrainData, bits: int, options: UDSPHOptions) -> None:
        super().__init__(train, bits, options, adversary=options.adversary > 0)
        o = options
        self.weights = {"feature": o.alpha, "code": o.gamma, "quantization": o.beta, "label": o.eta}
        self.attention = losses.CrossAttention(o.margin, reduction="mean") if o.attention else None
        if self.attention is not None:
            self._build_local(train)

    def _build_local(self, train: TrainData) -> None:
        """Regions and words: from the data or the backbones, else slots of f and the words of the bag."""
        o = self.options
        f = o.width if o.local_context else 0
        made = {}
        for side, given in (("image", train.image_local), ("text", train.text_local)):
            backbone = self.network(side).backbone
            if given is not None:
                made[side] = LocalVectors(o.local_width, parts=given.shape[2], f=f)
            elif backbone is not None:
                made[side] = LocalVectors(o.local_width, parts=backbone.local_shape[1], f=f)
        if "text" not in made:
            words, is_word = words_of_rows(train.text, o.words, self.hot.device)
            self.register_buffer("text_words", words, persistent=False)
            self.register_buffer("is_word", is_word, persistent=False)
            made["text"] = LocalVectors(o.local_width, table=train.text.width, f=f)
        self.local = nn.ModuleDict({"image": LocalVectors(o.local_width, slots=o.regions, f=o.width)} | made)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        local = [] if self.attention is None else [self.local]
        heads = (self.heads[side] for side in SIDES)
        made = {"joint": self._adam(o.lr, self.image, self.text, *heads, *local)}
        if self.label is not None:
            made["label"] = self._adam(o.lr_label, self.label, self.heads["label"])
        if self.judges:
            made["discriminator"] = self._adam(o.lr_discriminator, self.judges, betas=(0.5, 0.999))
        return made

    def learning_rates(self, epoch: int) -> dict[str, float]:
        o = self.options
        rates = {"joint": o.lr, "label": o.lr_label, "discriminator": o.lr_discriminator}
        return {name: rate * o.lr_decay**epoch for name, rate in rates.items()}

    def phases(self, epoch: int) -> list[Phase]:
        o = self.options
        made = []
        if self.label is not None:
            if epoch == 0:
                label = Phase("label", ("label",), lr=o.lr_label_first, clip_norm=o.clip_norm, reads=())
                made += [label] * o.label_first
            made.append(Phase("label", ("label",), clip_norm=o.clip_norm, reads=()))
        judge = Phase("discriminator", ("discriminator",), clip_norm=o.clip_norm) if self.judges else None
        return [*made, Phase("joint", ("joint",), clip_norm=o.clip_norm, before=judge)]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        if phase != "joint" or self.attention is None:
            return super().encode(batch, phase)
        made: Outputs = {}
        for side in SIDES:
            f, own, there = self._whole_and_parts(side, batch)
            made |= self.outputs(side, f)
            made[f"{side}_parts"] = self.local[side](own, f)
            if there is not None:
                made[f"{side}_mask"] = there.to(f.dtype)
        return made

    def _whole_and_parts(self, side: str, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """f, what there is of the parts themselves, and which of them there are (None: all)."""
        net = self.network(side)
        own = batch.image_local if side == "image" else batch.text_local
        if own is not None:
            return self.trunk(side, batch), own, (own != 0).any(dim=2)
        if net.backbone is not None:
            x = getattr(batch, side)
            features, own = net.backbone.both(x)
            tokenizer = getattr(net.backbone, "tokenizer", None)  # of tokens: how many of them are the text's
            return net.trunk_of(features), own, None if tokenizer is None else tokenizer.mask(x)
        if side == "text":
            return self.trunk(side, batch), self.text_words[batch.index], self.is_word[batch.index]
        return self.trunk(side, batch), None, None

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o = self.options
        if phase == "discriminator":
            return self.discriminator_loss(outputs, index)
        terms: dict[str, Tensor] = {}
        for side in SIDES if phase == "joint" else (phase,):
            own = self.network_terms(side, outputs, index, self.weights, mean=True)
            terms |= {f"{side}_{name}": term for name, term in own.items()}
            if side in self.judges:
                terms[f"{side}_adversary"] = o.adversary * self.adversarial_term(side, outputs)
        if phase == "joint" and self.attention is not None:
            parts = [outputs[f"{side}_parts"] for side in SIDES]
            masks = [outputs.get(f"{side}_mask") for side in ("text", "image")]
            terms["attention"] = o.attention * self.attention(*parts, self.labels[index], *masks)
        return terms

    def target_codes(self, h: Tensor, index: Tensor) -> Tensor:
        """The unified codes; none in the first epoch: early signs would keep the label network's codes together."""
        return h.detach() if self.is_first else self.unified_rows(index)
