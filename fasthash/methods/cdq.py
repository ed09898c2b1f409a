"""CDQ: supervised quantisation; both modalities' vectors share a codebook, and queries stay real vectors.

Cao, Long, Wang, Liu: Collective Deep Quantization for Efficient Cross-Modal Retrieval, AAAI 2017. Defaults are those of
the authors' released code, but for its clipped inner products: see `CDQOptions.likelihood`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

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
    TrainData,
    Weight,
    Widths,
)
from fasthash.methods._networks import groups, tower_of
from fasthash.methods._registry import register
from fasthash.models import QuantizedModel
from fasthash.models.bounded_tower import BoundedTower
from fasthash.models.codebook import CENTRES, assign, fit_centres, reconstruct, start_by_slices
from fasthash.ops.labels import share_label

CLIP = 15.0  # of the official likelihood


class CDQOptions(Options):
    """Values of the released code."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    width: int = Field(128, ge=1)  # of the vectors
    alpha: Positive = 1.0  # factor of their inner products
    # official: alpha u'v is cut off at -15 and 15, and with it the gradient beyond, as in the released code, whose
    # log(1 + exp) would not stay finite else
    likelihood: Literal["stable", "official"] = "stable"
    quantization: Weight = 0.003  # lambda; 0 in the first epoch, after which there are centres
    ridge: Positive = 1e-3  # of the codebook
    sweeps: int = Field(1, ge=1)  # over the sub-codebooks, when codes are looked for
    lr_image: Positive = 0.002
    lr_text: Positive = 0.2
    last_layer: Positive = 10.0  # rate of the images' last layer as a multiple of the rest of their network's
    lr_halves: int = Field(15, ge=1)  # epochs after which rates are halved, again and again
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: Weight = 0.0
    init_std: Positive | None = 0.01  # of new layers; None: PyTorch's default initialisation
    image_hidden: Widths = ()  # feature mode: the last layer on fixed features
    text_hidden: Widths = (4096,)
    dropout: float = Field(0.5, ge=0, lt=1)  # of hidden layers
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer


@register
class CDQ(Method):
    """<softplus(t_ij) - S_ij t_ij> + lambda (<|u - C b_u|^2> + <|v - C b_v|^2>), t = alpha u'v, u and v in (-1, 1).

    The codebook C has bits / 8 sub-codebooks of 256 centres, shared by both modalities. After the first epoch it is
    made of k-means centres of slices of the vectors; after each other one the codes b are looked for, and C is solved
    for. The vectors are those of the epoch's own steps, which a bank keeps: 2 width floats a training pair.
    """

    name = "cdq"
    paper = "Cao, Long, Wang, Liu: Collective Deep Quantization for Efficient Cross-Modal Retrieval, AAAI 2017"
    supervision = "labels"
    options_type = CDQOptions
    presets: ClassVar = {
        data: Preset(
            f"fasthash's own: one hidden layer, one rate for all layers; chosen on a fifth of {data}'s training rows"
            " at 64 bits",
            {
                "epochs": epochs, "lr_halves": 10, "image_hidden": (width,), "text_hidden": (width,), "centre": True,
                "normalize": True, "init_std": None, "last_layer": 1.0, "lr_image": lr, "lr_text": lr,
                "batch_size": batch, "dropout": dropout,
            },
        )
        for data, epochs, batch, width, lr, dropout in (
            ("wiki", 20, 64, 256, 0.03, 0.2),
            ("fashion_products", 8, 64, 256, 0.02, 0.5),
            ("movie_posters", 10, 64, 256, 0.03, 0.3),
            # larger steps or smaller batches let one side's vectors collapse with some seeds
            ("emoji", 20, 64, 512, 0.05, 0.2),
        )
    }  # fmt: skip
    model_type = QuantizedModel

    options: CDQOptions
    image: BoundedTower
    text: BoundedTower
    vectors: Tensor  # u and v, [2, n, width]
    codes: Tensor  # b_u and b_v, uint8 [2, n, bits / 8]
    codebook: Tensor  # C [bits / 8, 256, width]
    seed: Tensor  # int64 [], of the draws between epochs

    def __init__(self, train: TrainData, bits: int, options: CDQOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o = options
        if bits % 8 or bits > 8 * o.width:
            raise ValueError(f"cdq: bits must be a multiple of 8, at most 8 * width = {8 * o.width}, got {bits}")
        config: dict[str, Any] = {"centre": o.centre, "normalize": o.normalize, "dropout": o.dropout}
        self.image = tower_of(BoundedTower, train.image, o.image_hidden, o.width, init_std=o.init_std, **config)
        self.text = tower_of(BoundedTower, train.text, o.text_hidden, o.width, init_std=o.init_std, **config)
        self.labels = ops.pack_labels(train.labels)
        self.distance = losses.Quantization()
        n, parts = len(train), bits // 8
        self.register_buffer("vectors", torch.zeros(2, n, o.width))
        self.register_buffer("codes", torch.zeros(2, n, parts, dtype=torch.uint8))
        self.register_buffer("codebook", torch.zeros(parts, CENTRES, o.width))
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.quantization = 0.0
        self.shard = train.shard

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        settings: dict[str, Any] = {"momentum": o.momentum, "weight_decay": o.weight_decay, "fused": True}
        image = groups(self.image, backbone_scale=o.backbone_scale)
        last = list(self.image.layers[-1].parameters())
        taken = {id(p) for p in last}
        image[0]["params"] = [p for p in image[0]["params"] if id(p) not in taken]
        image.append({"params": last, "lr_scale": o.last_layer})
        text = groups(self.text, backbone_scale=o.backbone_scale)
        return {
            "image": torch.optim.SGD([group for group in image if group["params"]], lr=o.lr_image, **settings),
            "text": torch.optim.SGD(text, lr=o.lr_text, **settings),
        }

    def learning_rates(self, epoch: int) -> dict[str, float]:
        o = self.options
        share = 0.5 ** (epoch // o.lr_halves)
        return {"image": share * o.lr_image, "text": share * o.lr_text}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("image", "text"))]

    def begin_epoch(self, epoch: int) -> None:
        self.quantization = self.options.quantization if epoch else 0.0

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Update codes and codebook; the same on every process, whatever each has drawn for its dropout."""
        o, parts = self.options, len(self.codebook)
        generator = torch.Generator().manual_seed(int(self.seed) * 1_000_003 + epoch)
        vectors = self.vectors.flatten(0, 1)
        if epoch == 0:
            self.codebook.copy_(start_by_slices(vectors, parts, generator))
        order = torch.randperm(parts, generator=generator).tolist()
        codes = assign(self.codebook, vectors, order, o.sweeps)
        self.codes.copy_(codes.view_as(self.codes))
        if epoch:
            self.codebook.copy_(fit_centres(vectors, codes, o.ridge))
        self.shard.same(self.codes)
        self.shard.same(self.codebook)

    def model_parts(self) -> dict[str, Any]:
        return {"codebook": self.codebook, "sweeps": self.options.sweeps}

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {"image": self.image(batch.image), "text": self.text(batch.text)}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        far = []
        for side, (bank, codes) in enumerate(zip(self.vectors, self.codes, strict=True)):
            made = outputs[SIDES[side]]
            bank.index_copy_(0, index, made.detach())
            far.append(self.distance(made, reconstruct(self.codebook, codes[index])))
        return {"nll": self._nll(outputs, index), "quantization": self.quantization * sum(far) / len(index)}

    def _nll(self, outputs: Outputs, index: Tensor) -> Tensor:
        """Mean over all pairs of an image and a text of the batch."""
        o, u, v, labels = self.options, outputs["image"], outputs["text"], self.labels[index]
        if o.likelihood == "stable":
            return ops.pairwise_nll(u, v, labels, labels, scale=o.alpha, reduction="mean")
        theta = (o.alpha * u @ v.T).clamp(-CLIP, CLIP)
        return (softplus(theta) - share_label(labels.words, labels.words) * theta).mean()
