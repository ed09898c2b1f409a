"""DCHMT: each bit selected by the larger of two logits, and clipped Euclidean distances of the probabilities.

Tu et al.: Differentiable Cross-modal Hashing via Multimodal Transformers, ACM Multimedia 2022. Defaults are those of
the authors' released code.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses, ops
from fasthash.methods._base import Batch, Method, Outputs, Phase, Preset, TrainData, Weight
from fasthash.methods._clip_line import ClipLineOptions, bert_adam, towers
from fasthash.methods._registry import register
from fasthash.models import PairTower, Tower
from fasthash.models.pair_tower import pairs


class DCHMTOptions(ClipLineOptions):
    """Values of the released code; its command line for MS-COCO has threshold=0.75."""

    batch_size: int = Field(256, ge=1)
    # select: two logits for each bit, of which the larger one counts; tanh: tanh of one, and a quantisation term
    head: Literal["select", "tanh"] = "select"
    head_width: int = Field(128, ge=1)  # of the hidden layer that belongs to the select head
    # of the select head's layers. official: Kaiming uniform by fan-out, which is 2 for a bit's own layer: for features
    # of CLIP's length; default: torch's
    head_init: Literal["official", "default"] = "official"
    threshold: float = Field(0.5, gt=0, le=1)  # share of bits in which dissimilar codes need to differ
    quantization: Weight = 0.5  # of the tanh head


@register
class DCHMT(Method):
    """Mean of (S delta)^2 + ((1 - S) tau - min((1 - S) delta, tau))^2 of pairs (image, text), (image, image), (text,
    text), delta the Euclidean distance of codes, tau = sqrt(2 bits threshold): see ``fasthash.ops.margin_euclidean``.
    """

    name = "dchmt"
    paper = "Tu et al.: Differentiable Cross-modal Hashing via Multimodal Transformers, ACM Multimedia 2022"
    supervision = "labels"
    options_type = DCHMTOptions
    presets: ClassVar = {
        data: Preset(
            "fasthash's own: the head alone on features, smaller weights at the start, and codes of single labels a"
            f" quarter of the bits apart; chosen on a fifth of {data}'s training rows at 64 bits",
            {
                "centre": True, "normalize": True, "head_init": "default", "head_width": 256, "batch_size": 128,
                "lr": 3e-3, **values,
            },
        )
        for data, values in (
            ("wiki", {"epochs": 60, "dropout": 0.2, "threshold": 0.25}),
            ("fashion_products", {"epochs": 20, "dropout": 0.2, "threshold": 0.25}),
            ("movie_posters", {"epochs": 30, "dropout": 0.5, "lr": 2e-3}),
            ("emoji", {"epochs": 60, "dropout": 0.3, "threshold": 0.25, "batch_size": 64}),
        )
    }  # fmt: skip

    options: DCHMTOptions

    def __init__(self, train: TrainData, bits: int, options: DCHMTOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o = options
        self.image: Tower
        self.text: Tower
        if o.head == "select":
            by_fan_out = o.head_init == "official"
            self.image, self.text = towers(PairTower, train, bits, o, (o.head_width,), by_fan_out=by_fan_out)
        else:
            self.image, self.text = towers(Tower, train, bits, o)
        self.labels = ops.pack_labels(train.labels)
        self.distances = losses.MarginEuclidean(ops.margin_for(bits, o.threshold))
        self.rows = len(train)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"networks": bert_adam(self.options, self.rows, self.image, self.text)}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks",))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        relax = pairs if self.options.head == "select" else torch.tanh
        return {"image": relax(self.image(batch.image)), "text": relax(self.text(batch.text))}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        labels = self.labels[index]
        sides = {"across": ("image", "text"), "image": ("image", "image"), "text": ("text", "text")}
        terms = {name: self.distances(outputs[a], outputs[b], labels, labels) for name, (a, b) in sides.items()}
        if self.options.head == "tanh":
            off = [_to_signs(outputs[side]) for side in ("image", "text")]
            terms["quantization"] = self.options.quantization * (off[0] + off[1]) / 2
        return terms


def _to_signs(u: Tensor) -> Tensor:
    """Mean distance of codes [m, bits] to their signs."""
    return torch.linalg.vector_norm(torch.where(u.detach() >= 0, 1.0, -1.0) - u, dim=1).mean()
