"""HiCHNet: hierarchical hashing, with a hash layer and a classifier for each layer of a label tree.

Sun, Song, Feng, Zhao, Zhang, Nie: Supervised Hierarchical Cross-Modal Hashing, SIGIR 2019. Defaults are those of the
authors' code, but for its text heads (``compat``) and for lengths that the layers do not divide: what is left
over goes to the finest. Features are centred by the training mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from fasthash import losses, ops
from fasthash.methods._alternating import Alternating, AlternatingOptions
from fasthash.methods._base import Batch, Outputs, Positive, Preset, Share, TrainData, Weight
from fasthash.methods._layers import class_ids, layer_widths, of_layers
from fasthash.methods._registry import register


class HiCHNetOptions(AlternatingOptions):
    """Values of the authors' code for FashionVC, which has two layers."""

    # confidences rho_k of the similarities and eta_k of the classifications, coarse to fine: (0.2, 0.8) in the code.
    # None: 0.8 for the finest layer, 0.2 shared by the others
    layer_weights: tuple[Weight, ...] | None = None
    # bits of the layers relative to each other; None: equal (what is left over goes to the finest)
    layer_shares: tuple[Positive, ...] | None = None
    length: Literal["total", "per_layer"] = "total"  # what ``bits`` counts; the paper leaves it open
    lam: Share = 0.5  # lambda: 2 (lambda regularised similarity + (1 - lambda) classification); the code's is 1/2
    # HiCHNet-flat: one hash layer and one classifier, blind to the hierarchy; weights and shares of layers play no part
    flat: bool = False
    flat_similarity: Literal["finest", "any"] = "finest"  # of HiCHNet-flat alone: a common finest label, or any
    # official: the text network of the code, without tanh on its first head and with tanh(tanh(W f) + b) on its second
    compat: Literal["paper", "official"] = "paper"
    lr_first: Positive = 0.1  # linear from the first epoch ...
    lr_last: Positive = 1e-5  # ... to the last

    @model_validator(mode="after")
    def _fits(self) -> HiCHNetOptions:
        if self.flat and (self.compat == "official" or self.length == "per_layer"):
            raise ValueError("flat has one head: it goes with compat paper and length total")
        return self


_FEATURES = {  # of towers on fixed features, in place of a fine-tuned network
    "eta": 0.0, "optimizer": "adamw", "lr_first": 3e-3, "lr_last": 1e-5, "weight_decay": 0.01, "image_hidden": (512,),
    "text_hidden": (512,), "normalize": True, "dropout": 0.3, "init_std": None,
}  # fmt: skip


@register
class HiCHNet(Alternating):
    """Sum over layers k of rho_k (likelihood of S^k + classification), + quantisation + balance; F, G, B alternate.

    The codes b^1 .. b^K of the layers, coarse to fine, stand side by side.
    """

    name = "hichnet"
    paper = "Sun, Song, Feng, Zhao, Zhang, Nie: Supervised Hierarchical Cross-Modal Hashing, SIGIR 2019"
    supervision = "label tree"
    options_type = HiCHNetOptions
    presets: ClassVar = {
        "fashion_vc": Preset("the authors' code, which was written for FashionVC", {"layer_weights": (0.2, 0.8)}),
        "ssense": Preset(
            "the authors' code for FashionVC; no settings for Ssense are known", {"layer_weights": (0.2, 0.8)}
        ),
        # Most bits to the finest layer: the likelihood lets small classes collapse onto one code where bits are few,
        # and the balance term makes that worse. A small lambda, for the classifiers keep small classes apart.
        "fashion_products": Preset(
            "fasthash's own: two-layer towers, AdamW; chosen on a fifth of the training rows at 32 and 64 bits",
            _FEATURES | {"epochs": 30, "lam": 0.003, "layer_shares": (1, 1, 14)},
        ),
        "emoji": Preset(
            "fasthash's own: two-layer towers, AdamW; looked at on a fifth of the training rows at 64 bits",
            _FEATURES | {"epochs": 40, "batch_size": 64, "lam": 0.01, "layer_shares": (1, 3)},
        ),
    }

    options: HiCHNetOptions

    def __init__(self, train: TrainData, bits: int, options: HiCHNetOptions) -> None:
        o = options
        classes = [layer.shape[1] for layer in train.layers]
        ids = class_ids("hichnet", train.layers)
        self._any = ops.pack_labels(torch.cat(train.layers, dim=1)) if o.flat and o.flat_similarity == "any" else None
        if o.flat:
            classes, ids = classes[-1:], ids[:, -1:]
        if o.compat == "official" and len(classes) != 2:
            raise ValueError(f"hichnet: compat official has two layers, the data has {len(classes)}")
        layers = len(classes)
        weights = shares = None
        if not o.flat:
            weights = of_layers("hichnet", "layer_weights", o.layer_weights, layers)
            shares = of_layers("hichnet", "layer_shares", o.layer_shares, layers)
        self.weights = weights or ([0.2 / (layers - 1)] * (layers - 1) + [0.8] if layers > 1 else [1.0])
        self.layer_bits = layer_widths("hichnet", bits * layers if o.length == "per_layer" else bits, layers, shares)
        self.ids = ids  # int64 [n, layers]
        self.classes = classes
        slip = self.layer_bits[-1] if o.compat == "official" else 0
        super().__init__(train, sum(self.layer_bits), o, inner_tanh=slip)
        self.nll = losses.PairwiseNLL(layer_weights=self.weights, layer_bits=self.layer_bits)

    def add_heads(self) -> None:
        self.image_classifiers, self.text_classifiers = self._classifiers(), self._classifiers()

    def _classifiers(self) -> nn.ModuleList:
        made = nn.ModuleList(nn.Linear(b, c) for b, c in zip(self.layer_bits, self.classes, strict=True))
        if self.options.init_std is not None:
            for parameter in made.parameters():
                nn.init.normal_(parameter, std=self.options.init_std)
        return made

    def networks(self, side: str) -> Sequence[nn.Module]:
        return *super().networks(side), getattr(self, f"{side}_classifiers")

    def learning_rate(self, share: float) -> float:
        return self.options.lr_first + (self.options.lr_last - self.options.lr_first) * share

    def encode(self, batch: Batch, phase: str) -> Outputs:
        if phase == "image":
            return {"h": torch.tanh(self.image(batch.image))}
        h = self.text(batch.text)
        if self.options.compat == "official":
            first, second = h.split(self.layer_bits, dim=1)
            return {"h": torch.cat([first, torch.tanh(second)], dim=1)}
        return {"h": torch.tanh(h)}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o, h = self.options, outputs["h"]
        bank, terms = self.common_terms(h, index, phase, 2 * o.lam)
        mean = 2 / (len(bank) * len(index))
        return {
            "nll": mean * o.lam * self._similarity(h, bank, index),
            **terms,
            "classification": mean * (1 - o.lam) * self._classification(h, index, phase),
        }

    def _similarity(self, h: Tensor, bank: losses.CodeBank, index: Tensor) -> Tensor:
        if self._any is not None:
            return bank.pairs(ops.pairwise_nll, h, self._any[index], self._any)
        return bank.pairs(self.nll, h, self.ids[index], self.ids)

    def _classification(self, h: Tensor, index: Tensor, phase: str) -> Tensor:
        classifiers = self.image_classifiers if phase == "image" else self.text_classifiers
        parts = zip(self.weights, classifiers, h.split(self.layer_bits, dim=1), self.ids[index].T, strict=True)
        terms = [w * nn.functional.cross_entropy(net(b), ids, reduction="sum") for w, net, b, ids in parts]
        return torch.stack(terms).sum()
