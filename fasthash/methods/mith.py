"""MITH: codes of the whole and of the parts of an item, which teach each other, over concepts that modalities share.

Liu, Wu, Zhang, Zhang, Lu: Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval, ACM
Multimedia 2023. Defaults are those of the authors' released code.

There the tokens of CLIP come through CLIP's own projection; here a linear layer is learned in its place, which also
takes the parts of other backbones. On fixed features an item has one token, its features: what models encode is rows of
features with nothing beside them, so that features of regions and words take no part in training either.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from fasthash import losses, ops
from fasthash.methods._base import (
    SIDES,
    Batch,
    Method,
    Options,
    Outputs,
    Phase,
    Positive,
    Preset,
    Share,
    TrainData,
    Weight,
)
from fasthash.methods._bert_adam import BertAdam
from fasthash.methods._networks import groups, signs_of_sum
from fasthash.methods._registry import register
from fasthash.models import Rows
from fasthash.models.concept_tower import ConceptTower, ConceptTowerConfig
from fasthash.models.concepts import Concepts
from fasthash.ops.labels import share_label

SPACE = 512  # where the modalities' features are of different widths: CLIP's
HEAD = 64  # width of a transformer's head, as in CLIP


class MITHOptions(Options):
    """Values of the released code, the same for all its data sets."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(128, ge=1)
    backbone_scale: Weight = 0.002  # CLIP at 2e-6
    within: Weight = 1.0  # likelihood of codes of tokens, within a modality
    across: Weight = 10.0  # likelihood of codes of wholes, across modalities
    quantization: Weight = 8.0
    contrast: Weight = 50.0  # pairs of wholes against the others of a batch
    concept_contrast: Weight = 0.01  # concepts against the others of a pair, as a share of `contrast`
    distillation: Weight = 1.0  # codes of tokens drawn to those of wholes
    distillation_back: Weight = 0.1  # and the other way round, as a share of it
    temperature: Positive = 0.07  # of both contrasts
    mixing: Share = 0.99  # share of the wholes' codes in the binary codes of a batch
    # the released code cuts inner products of codes to -64..64, and with them the gradient of what lies beyond, which
    # its logarithm of 1 + exp needs; None: not cut
    clamp: Positive | None = None
    # of the vectors whose concepts are told; None: the width of both modalities' features, without a layer before, and
    # 512 behind a linear layer where they differ
    space: int | None = Field(None, ge=1)
    token_space: int | None = Field(None, ge=1)  # within the token branch; None: as space
    heads: int | None = Field(None, ge=1)  # None: one for each 64 of token_space, or the next fewer that divide it
    blocks: int = Field(2, ge=0)  # residual blocks of the concept module
    layers: int = Field(2, ge=1)  # of the transformer
    top: int = Field(8, ge=1)  # concepts that a token may hold
    dropout: float = Field(0.0, ge=0, lt=1)
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer
    lr: Positive = 1e-3  # BertAdam: at the top of its schedule
    weight_decay: Weight = 0.01
    warmup: Share = 0.05  # of all steps
    clip_norm: Positive | None = 1.0  # gradient of each parameter tensor

    @model_validator(mode="after")
    def _whole_heads(self) -> MITHOptions:
        if self.token_space and self.heads and self.token_space % self.heads:
            raise ValueError(f"token_space must be a multiple of the {self.heads} heads, got {self.token_space}")
        return self


@register
class MITH(Method):
    """Likelihoods against banks of all codes, quantisation, two contrasts, and distillation between the two codes.

    Kept of n training pairs: four banks of codes, 16 n bits bytes.
    """

    name = "mith"
    paper = "Liu et al.: Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval, MM 2023"
    supervision = "labels"
    options_type = MITHOptions
    presets: ClassVar = {
        data: Preset(
            "fasthash's own: small networks on features, whose one token may hold every concept, and more of the"
            f" likelihood than of the contrast, which knows no classes; chosen on a fifth of {data}'s training rows at"
            " 64 bits",
            {
                "centre": True, "normalize": True, "space": 128, "token_space": 16, "blocks": 1, "layers": 1,
                "top": 128, "contrast": 5.0, "dropout": 0.1, "batch_size": 64,
                **values,
            },
        )
        for data, values in (
            ("fashion_products", {"epochs": 5, "batch_size": 128, "across": 50.0, "within": 5.0, "lr": 6e-3}),
            ("movie_posters", {"epochs": 8, "across": 20.0, "within": 2.0, "lr": 3e-3}),
            ("emoji", {"epochs": 20, "across": 50.0, "within": 5.0, "lr": 6e-3}),
            (
                "wiki",
                {
                    "epochs": 12, "across": 50.0, "within": 5.0, "lr": 6e-3, "contrast": 1.0, "token_space": 8,
                    "dropout": 0.0,
                },
            ),
        )
    }  # fmt: skip

    options: MITHOptions
    image: ConceptTower  # type: ignore[assignment]
    text: ConceptTower  # type: ignore[assignment]

    def __init__(self, train: TrainData, bits: int, options: MITHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o = options
        widths = {train.image.width, train.text.width}
        space = o.space or (widths.pop() if len(widths) == 1 else SPACE)
        token_space = o.token_space or space
        shared = Concepts(space, bits, o.blocks, o.dropout)
        self.image = self._tower(train.image, shared, space, token_space)
        self.text = self._tower(train.text, shared, space, token_space)
        # what concepts of both modalities are compared in; no part of a model
        self.aligned = nn.ModuleDict({side: nn.Linear(token_space, token_space) for side in SIDES})
        self.labels = ops.pack_labels(train.labels)
        # each bank draws codes of its own
        shard, names = train.shard, [f"{side}_{kind}" for kind in ("whole", "tokens") for side in SIDES]
        self.banks = nn.ModuleDict({name: losses.CodeBank(shard.randn(bits), shard) for name in names})
        self.quantizer, self.contrast = losses.Quantization(), losses.InfoNCE(o.temperature)
        self.steps = o.epochs * -(-len(train) // min(o.batch_size, len(train)))

    def _tower(self, rows: Rows, shared: Concepts, space: int, token_space: int) -> ConceptTower:
        o = self.options
        heads = o.heads or _heads(token_space)
        config = ConceptTowerConfig(
            rows.width, self.bits, space, stem=o.space is not None or rows.width != space, token_space=token_space,
            token_stem=token_space != space, blocks=o.blocks, top=o.top, layers=o.layers, heads=heads,
            dropout=o.dropout, centre=o.centre, normalize=o.normalize,
        )  # fmt: skip
        made = ConceptTower(config, getattr(rows, "backbone", None), shared)
        mean = rows.mean() if o.centre else None
        if mean is not None:
            made.fit_mean(mean)
        return made

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        networks = groups(self.image, self.text, self.aligned, backbone_scale=o.backbone_scale)
        return {
            "networks": BertAdam(
                networks, o.lr, total_steps=self.steps, warmup=o.warmup, weight_decay=o.weight_decay,
                max_norm=o.clip_norm,
            )
        }  # fmt: skip

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks",))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        made: Outputs = {}
        for side in SIDES:
            views = getattr(self, side).views(getattr(batch, side))
            made |= {f"{side}_f": views.whole, f"{side}_whole": views.h_whole, f"{side}_tokens": views.h_tokens}
            if self._contrasts_concepts:
                made[f"{side}_concepts"] = self.aligned[side](views.concepts)
        return made

    @property
    def _contrasts_concepts(self) -> bool:
        return self.options.contrast > 0 and self.options.concept_contrast > 0

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o = self.options
        for name, bank in self.banks.items():
            bank.update(index, outputs[name])  # type: ignore[operator]
        own = [self._nll(outputs[f"{side}_tokens"], f"{side}_tokens", index) for side in SIDES]
        other = [
            self._nll(outputs["image_whole"], "text_whole", index),
            self._nll(outputs["text_whole"], "image_whole", index),
        ]
        contrast = self.contrast(outputs["image_f"], outputs["text_f"])
        if self._contrasts_concepts:
            concepts = (outputs[f"{side}_concepts"] for side in SIDES)
            contrast = contrast + o.concept_contrast * self.contrast(*concepts)
        return {
            "within": o.within * torch.stack(own).sum(),
            "across": o.across * torch.stack(other).sum(),
            "quantization": o.quantization * self._quantization(outputs),
            "contrast": o.contrast * contrast,
            "distillation": o.distillation * self._distillation(outputs),
        }

    def _nll(self, h: Tensor, bank: str, index: Tensor) -> Tensor:
        """Mean likelihood of the batch's labels being shared or not with those of all pairs, by codes in a bank."""
        rows, clamp = self.banks[bank], self.options.clamp
        assert isinstance(rows, losses.CodeBank)
        loss = partial(ops.pairwise_nll, reduction="mean") if clamp is None else partial(_clamped, clamp)
        return rows.pairs(loss, h, self.labels[index], self.labels, mean=True)

    def _quantization(self, outputs: Outputs) -> Tensor:
        mixing = self.options.mixing
        codes = [(outputs[f"{side}_whole"], outputs[f"{side}_tokens"]) for side in SIDES]
        target = signs_of_sum([mixing * a + (1 - mixing) * b for a, b in codes])
        return torch.stack([self.quantizer((a + b) / 2, target) for a, b in codes]).sum() / target.numel()

    def _distillation(self, outputs: Outputs) -> Tensor:
        misses = []
        for side in SIDES:
            whole, tokens = outputs[f"{side}_whole"], outputs[f"{side}_tokens"]
            misses.append((whole.detach() - tokens).square().sum())
            misses.append(self.options.distillation_back * (whole - tokens.detach()).square().sum())
        return torch.stack(misses).sum() / len(outputs["image_f"])


def _clamped(clamp: float, h: Tensor, codes: Tensor, labels: ops.PackedLabels, all_labels: ops.PackedLabels) -> Tensor:
    """Mean likelihood with inner products that are cut off."""
    theta = 0.5 * (h @ codes.T).clamp(-clamp, clamp)
    return (functional.softplus(theta) - share_label(labels.words, all_labels.words) * theta).mean()


def _heads(width: int) -> int:
    return next(heads for heads in range(max(1, width // HEAD), 0, -1) if width % heads == 0)
