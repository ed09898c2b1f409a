"""DCGH: supervised hashing with class proxies, graded pairs, and even distances to all the proxies of a sample.

Chen et al.: Deep Class-guided Hashing for Multi-label Cross-modal Retrieval, arXiv 2410.15387, 2024; Applied Sciences
15(6), 3068, 2025. Defaults are those of the authors' released code.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fasthash import losses, ops
from fasthash.methods._base import (
    Batch,
    Method,
    Options,
    Outputs,
    Phase,
    Positive,
    Share,
    TrainData,
    Weight,
    Widths,
)
from fasthash.methods._bert_adam import BertAdam
from fasthash.methods._networks import groups, tower
from fasthash.methods._proxy_presets import PROXY_PRESETS
from fasthash.methods._registry import register


class DCGHOptions(Options):
    """Values of the released code, the same for all its data sets."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(128, ge=1)
    proxy_weight: Weight = 1.0  # A + N, codes against class proxies; 0: pairs only
    pair_weights: tuple[Weight, Weight] = (0.8, 0.05)  # of dissimilar and of similar pairs; (0, 0): proxies only
    # spread of a sample's distances to its proxies. official: unbiased variance over all classes with the irrelevant
    # ones counted as zeros, as in the code; relevant: over the sample's own classes, as in the text; off: without
    variance: Literal["official", "relevant", "off"] = "official"
    margin: float = 0.0  # cosine that what is dissimilar may have
    code_dropout: float = Field(0.2, ge=0, lt=1)  # of the logits of the bits: a dropped bit is tanh(0) = 0
    lr: Positive = 1e-3  # hash layers, BertAdam: at the top of its schedule
    backbone_scale: Weight = 0.01  # CLIP at 1e-5
    weight_decay: Weight = 0.2
    warmup: Share = 0.1  # of all steps
    clip_norm: Positive | None = 1.0  # gradient of each parameter tensor
    lr_proxies: Positive = 0.02  # SGD
    momentum_proxies: Share = 0.9
    weight_decay_proxies: Weight = 5e-4
    seed_proxies: int | None = Field(0, ge=0)  # None: follows the seed of the run
    image_hidden: Widths = ()  # feature mode: the hash layer on fixed features, as on CLIP's
    text_hidden: Widths = ()
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers, where there are any
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer


@register
class DCGH(Method):
    """A + N + 0.8 n2n + 0.05 p2p + V: see ``fasthash.ops.proxy_pair`` for the terms."""

    name = "dcgh"
    paper = "Chen et al.: Deep Class-guided Hashing for Multi-label Cross-modal Retrieval, arXiv 2410.15387, 2024"
    supervision = "labels"
    options_type = DCGHOptions
    presets = PROXY_PRESETS

    options: DCGHOptions

    def __init__(self, train: TrainData, bits: int, options: DCGHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o = options
        config = {"dropout": o.dropout, "centre": o.centre, "normalize": o.normalize}
        self.image = tower(train.image, o.image_hidden, bits, **config)
        self.text = tower(train.text, o.text_hidden, bits, **config)
        self.code_dropout = nn.Dropout(o.code_dropout)
        self.labels = ops.pack_labels(train.labels)
        self.proxy_pair = self._proxy_pair(train.labels.shape[1])
        self.steps = o.epochs * -(-len(train) // min(o.batch_size, len(train)))

    def _proxy_pair(self, classes: int) -> losses.ProxyPair:
        o = self.options
        negative, positive = o.pair_weights
        with torch.random.fork_rng(enabled=o.seed_proxies is not None):
            if o.seed_proxies is not None:
                torch.manual_seed(o.seed_proxies)
            return losses.ProxyPair(
                classes,
                self.bits,
                threshold=o.margin,
                negative_pairs=negative,
                positive_pairs=positive,
                variance=float(o.variance != "off"),
                variance_form="relevant" if o.variance == "relevant" else "official",
            )

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        networks = groups(self.image, self.text, backbone_scale=o.backbone_scale)
        return {
            "networks": BertAdam(
                networks, o.lr, total_steps=self.steps, warmup=o.warmup, weight_decay=o.weight_decay,
                max_norm=o.clip_norm,
            ),
            "proxies": torch.optim.SGD(
                self.proxy_pair.parameters(), lr=o.lr_proxies, momentum=o.momentum_proxies,
                weight_decay=o.weight_decay_proxies,
            ),
        }  # fmt: skip

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks", "proxies"))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {
            "image": torch.tanh(self.code_dropout(self.image(batch.image))),
            "text": torch.tanh(self.code_dropout(self.text(batch.text))),
        }

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o, x, y, labels = self.options, outputs["image"], outputs["text"], self.labels[index]
        loss, terms = self.proxy_pair(x, y, labels, with_terms=True)
        if o.proxy_weight != 1:
            alone = ops.proxy_pair(
                x, y, self.proxy_pair.proxies, labels, threshold=o.margin, negative_pairs=0.0, positive_pairs=0.0,
                variance=0.0,
            )  # fmt: skip
            loss = loss + (o.proxy_weight - 1) * alone
        # one operation makes the value and the gradient of all terms: the first entry carries them for the others
        negative, positive = o.pair_weights
        pairs = negative * terms.negative_pairs + positive * terms.positive_pairs
        variance = self.proxy_pair.variance * terms.variance
        return {"proxies": loss - pairs - variance, "pairs": pairs, "variance": variance}
