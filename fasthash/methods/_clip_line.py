"""What the methods on DCHMT's code base have in common: hash layers on CLIP, one BertAdam for all of it."""

from __future__ import annotations

from typing import TypeVar

import torch
from pydantic import Field
from torch import nn

from fasthash.methods._base import Options, Positive, Share, TrainData, Weight, Widths
from fasthash.methods._bert_adam import BertAdam
from fasthash.methods._networks import groups, tower_of
from fasthash.models import Tower

T = TypeVar("T", bound=Tower)


class ClipLineOptions(Options):
    """Values that the released codes share, the same for all their data sets."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(128, ge=1)
    lr: Positive = 1e-3  # hash layers, BertAdam: at the top of its schedule
    backbone_scale: Weight = 0.01  # CLIP at 1e-5
    weight_decay: Weight = 0.2
    warmup: Share = 0.1  # of all steps
    clip_norm: Positive | None = 1.0  # gradient of each parameter tensor
    image_hidden: Widths = ()  # feature mode: the hash layers on fixed features, as on CLIP's
    text_hidden: Widths = ()
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers, where there are any
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer


class ProxyOptions(ClipLineOptions):
    """Of those with class proxies, which have an optimiser of their own."""

    code_dropout: float = Field(0.2, ge=0, lt=1)  # of the logits of the bits: a dropped bit is tanh(0) = 0
    lr_proxies: Positive = 0.02  # SGD
    momentum_proxies: Share = 0.9
    weight_decay_proxies: Weight = 5e-4


def towers(
    kind: type[T], train: TrainData, bits: int, o: ClipLineOptions, head: tuple[int, ...] = (), **config: object
) -> tuple[T, T]:
    """Image and text towers; ``head``: hidden layers behind those of the options; ``config`` as of the kind."""
    shape = {"dropout": o.dropout, "centre": o.centre, "normalize": o.normalize, **config}
    return (
        tower_of(kind, train.image, (*o.image_hidden, *head), bits, **shape),
        tower_of(kind, train.text, (*o.text_hidden, *head), bits, **shape),
    )


def bert_adam(o: ClipLineOptions, rows: int, *modules: nn.Module) -> BertAdam:
    """The networks' optimiser for a training on so many rows."""
    steps = o.epochs * -(-rows // min(o.batch_size, rows))
    params = groups(*modules, backbone_scale=o.backbone_scale)
    return BertAdam(params, o.lr, total_steps=steps, warmup=o.warmup, weight_decay=o.weight_decay, max_norm=o.clip_norm)


def proxy_sgd(o: ProxyOptions, proxies: nn.Module) -> torch.optim.Optimizer:
    """The proxies' optimiser."""
    return torch.optim.SGD(
        proxies.parameters(), lr=o.lr_proxies, momentum=o.momentum_proxies, weight_decay=o.weight_decay_proxies
    )
