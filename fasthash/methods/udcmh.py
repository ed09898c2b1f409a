"""UDCMH: unsupervised hashing by binary factors of both modalities' features, which networks then learn to make.

Wu et al.: Unsupervised Deep Hashing via Binary Latent Factor Models for Large-scale Cross-modal Retrieval, IJCAI 2018.
There is no released code, and the paper leaves much open: defaults are fasthash's own choices within its description.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses
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
from fasthash.methods._binary_factors import BinaryFactors, FactorView
from fasthash.methods._networks import groups, tower
from fasthash.methods._registry import register
from fasthash.methods._signed_graph import CentredRows, SignedGraph
from fasthash.models import MappedRows, SparseBatch, SparseRows, Tower, backbones
from fasthash.models.pictures import PictureRows


class UDCMHOptions(Options):
    """fasthash's own values within the paper's description."""

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(128, ge=1)
    rounds: int = Field(5, ge=1)  # of discrete codes and networks in turn; epochs are shared out among them
    neighbours: int = Field(45, ge=1)  # nearest, and as many farthest, of each row in each modality's graph
    smooth: Weight = 1e-4  # lambda, of the graphs, beside features at unit length
    ridge: Positive = 1.0  # mu, of the factors U
    gamma: float = Field(2.0, gt=1)  # exponent of the modalities' weights
    iterations: int = Field(5, ge=1)  # of factors, weights and codes, in a round
    sweeps: int = Field(5, ge=1)  # over the bits at most, in an iteration
    # after the first round, features are what the networks have learned in front of their hash layers
    refresh: bool = True
    lr: Positive = 1e-3  # AdamW
    weight_decay: Weight = 0.01
    image_hidden: Widths = ()  # feature mode: the hash layer on fixed features
    text_hidden: Widths = (4096,)
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer


@register
class UDCMH(Method):
    """|B - tanh(h)|^2 of each modality, per bit, with B [n, bits] from `BinaryFactors` at the start of each round.

    Kept of n training pairs: B, the graphs while B is updated (4 k entries a pair and modality), and from the second
    round on the hidden layers' activations; of features in a file none of them, they are read and made part by part.
    """

    name = "udcmh"
    paper = "Wu et al.: Unsupervised Deep Hashing via Binary Latent Factor Models, IJCAI 2018"
    supervision = "none"
    options_type = UDCMHOptions
    presets: ClassVar = {
        data: Preset(
            f"fasthash's own: one hidden layer, fewer rounds; chosen on a fifth of {data}'s training rows at 64 bits",
            {
                "epochs": epochs, "rounds": 2, "iterations": 3, "sweeps": 3, "refresh": False, "image_hidden": (256,),
                "text_hidden": (256,), "centre": True, "normalize": True,
            },
        )
        for data, epochs in (("wiki", 12), ("fashion_products", 6), ("movie_posters", 8), ("emoji", 12))
    }  # fmt: skip
    learns_codes = True

    options: UDCMHOptions
    unified: Tensor  # B [n, bits], -1/+1
    weights: Tensor  # w [2], of image and text
    solved: Tensor  # int64 [], rounds whose codes are there

    def __init__(self, train: TrainData, bits: int, options: UDCMHOptions) -> None:
        super().__init__(train, bits, options)
        o = options
        self.shard = train.shard
        self.rows: dict[str, Any] = {"image": train.image, "text": train.text}
        self.devices = {side: _device_of(rows) for side, rows in self.rows.items()}
        config = {"dropout": o.dropout, "centre": o.centre, "normalize": o.normalize}
        self.image = tower(train.image, o.image_hidden, bits, **config)
        self.text = tower(train.text, o.text_hidden, bits, **config)
        self.register_buffer("unified", torch.where(torch.rand(len(train), bits) < 0.5, -1.0, 1.0))
        self.register_buffer("weights", torch.full((2,), 0.5))
        self.register_buffer("solved", torch.zeros((), dtype=torch.int64))
        self.quantization = losses.Quantization()
        # backbones as they are before training: what the first round sees, and without refreshing all of them
        self._frozen = {s: backbones.teacher(n.backbone) for s in SIDES if (n := getattr(self, s)).backbone is not None}
        self._problem: BinaryFactors | None = None  # of features that no step changes, kept for the next round

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o = self.options
        params = groups(self.image, self.text, backbone_scale=o.backbone_scale)
        return {"networks": torch.optim.AdamW(params, o.lr, weight_decay=o.weight_decay, fused=True)}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks",))]

    def begin_epoch(self, epoch: int) -> None:
        """Make the round's codes, where it begins and they are not there yet."""
        o = self.options
        turn = epoch * min(o.rounds, o.epochs) // o.epochs
        if int(self.solved) <= turn:
            self._solve(refreshed=o.refresh and turn > 0)
            self.solved += 1

    @torch.no_grad()
    def _solve(self, *, refreshed: bool) -> None:
        o, start = self.options, (self.unified.cpu().double(), self.weights.cpu().double())
        if refreshed or self._problem is None:
            views = [self._view(side, refreshed) for side in SIDES]
            self._problem = BinaryFactors(views, gamma=o.gamma, smooth=o.smooth, ridge=o.ridge)
        found = self._problem.solve(*start, iterations=o.iterations, sweeps=o.sweeps)
        self.unified.copy_(found.codes)
        self.weights.copy_(found.weights)
        self.shard.same(self.unified)  # solved by every process, as one machine may round otherwise than another
        self.shard.same(self.weights)
        if o.refresh:
            self._problem = None
            self._frozen.clear()

    def _view(self, side: str, refreshed: bool) -> FactorView:
        rows, network = self.rows[side], getattr(self, side)
        made = (refreshed or network.backbone is not None) and not isinstance(rows, MappedRows)
        still: AbstractContextManager[Any] = nullcontext(rows)
        if isinstance(rows, PictureRows) and rows.view.augments:  # each picture as it is encoded later on
            still = closing(PictureRows(rows.pictures, rows.backbone, rows.device, train=False, cache_bytes=0))
        with still as rows:
            make = network.trunk if refreshed else self._frozen.get(side, _dense)
            read = partial(_read, rows, network, make, self.devices[side])
            features = CentredRows(len(self.unified), read, keep=made)
        return FactorView(features, SignedGraph(features, self.options.neighbours))

    def encode(self, batch: Batch, phase: str) -> Outputs:
        return {"image": torch.tanh(self.image(batch.image)), "text": torch.tanh(self.text(batch.text))}

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        target = self.unified[index]
        return {side: self.quantization(outputs[side], target) / target.numel() for side in SIDES}

    def learned_codes(self) -> Tensor:
        return self.unified


def _dense(x: Any) -> Tensor:
    return x.dense() if isinstance(x, SparseBatch) else x


def _read(
    rows: Any, network: Tower, make: Callable[[Any], Tensor], device: torch.device, start: int, stop: int
) -> Tensor:
    """What a network without dropout makes of rows start to stop."""
    x = rows.take(torch.arange(start, stop, device=device))
    was_training = network.training
    network.eval()
    try:
        return (make.to(x.device) if isinstance(make, backbones.Backbone) else make)(x)
    finally:
        network.train(was_training)


def _device_of(rows: Any) -> torch.device:
    """Where the numbers of rows lie that a batch is asked for by."""
    if hasattr(rows, "takes_host") or isinstance(rows, SparseRows):
        return torch.device("cpu")
    for name in ("tokens", "features"):
        if hasattr(rows, name):
            return torch.device(getattr(rows, name).device)
    return torch.device(rows.device)
