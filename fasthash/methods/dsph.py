"""DSPH: supervised hashing with class proxies, and pairs of samples with several labels each.

Huo et al.: Deep Semantic-aware Proxy Hashing for Multi-label Cross-modal Retrieval, IEEE TCSVT 2024. Defaults are those
of the authors' released code.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from fasthash import losses, ops
from fasthash.methods._base import Batch, Method, Outputs, Phase, TrainData, Weight
from fasthash.methods._clip_line import ProxyOptions, bert_adam, proxy_sgd, towers
from fasthash.methods._proxy_presets import PROXY_PRESETS
from fasthash.methods._registry import register
from fasthash.models import Tower


class DSPHOptions(ProxyOptions):
    """Values of the released code, the same for all its data sets."""

    pair_weight: Weight = 0.8  # of dissimilar pairs whose two samples have several labels each
    # cosine that dissimilar codes, and codes and proxies of other classes, may have; None: what the best known linear
    # codes reach, see losses.dsph_threshold: 16, 32, 64 or 128 bits and 2 to 128 classes
    margin: float | None = Field(None, ge=-1, le=1)


@register
class DSPH(Method):
    """A + N + 0.8 n2n of ``fasthash.ops.proxy_pair``, with a threshold from coding theory."""

    name = "dsph"
    paper = "Huo et al.: Deep Semantic-aware Proxy Hashing for Multi-label Cross-modal Retrieval, IEEE TCSVT 2024"
    supervision = "labels"
    options_type = DSPHOptions
    presets = PROXY_PRESETS

    options: DSPHOptions

    def __init__(self, train: TrainData, bits: int, options: DSPHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o, classes = options, train.labels.shape[1]
        self.image, self.text = towers(Tower, train, bits, o)
        self.code_dropout = nn.Dropout(o.code_dropout)
        self.labels = ops.pack_labels(train.labels)
        self.proxy_pair = losses.ProxyPair(
            classes, bits, threshold=_threshold(o.margin, bits, classes), negative_pairs=o.pair_weight,
            positive_pairs=0.0, variance=0.0, tanh=False,
        )  # fmt: skip
        self.rows = len(train)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        networks = bert_adam(self.options, self.rows, self.image, self.text)
        return {"networks": networks, "proxies": proxy_sgd(self.options, self.proxy_pair)}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks", "proxies"))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {
            "image": torch.tanh(self.code_dropout(self.image(batch.image))),
            "text": torch.tanh(self.code_dropout(self.text(batch.text))),
        }

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        loss, terms = self.proxy_pair(outputs["image"], outputs["text"], self.labels[index], with_terms=True)
        # one operation makes the value and the gradient of both terms: the first entry carries it for the second
        pairs = self.options.pair_weight * terms.negative_pairs
        return {"proxies": loss - pairs, "pairs": pairs}


def _threshold(margin: float | None, bits: int, classes: int) -> float:
    if margin is not None:
        return margin
    try:
        return losses.dsph_threshold(bits, classes)
    except ValueError as error:
        raise ValueError(f"dsph: option margin must be a number here: {error}") from None
