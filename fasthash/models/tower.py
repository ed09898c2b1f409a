"""One modality's hash network: fully connected layers on features, which a backbone may make of raw rows."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fasthash.models import backbones
from fasthash.models.channel_norm import ChannelNorm
from fasthash.models.encoder import Encoder, encoder_kind
from fasthash.models.multiscale import MultiScale, MultiScaleWords
from fasthash.models.sparse import SparseBatch, is_sparse
from fasthash.models.word_linear import WordLinear

TAKES_ENTRIES = (WordLinear, MultiScaleWords)  # first layers that work on the entries of sparse rows


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """Shape of a tower; JSON-able, so that a model file rebuilds it."""

    width: int  # features in
    hidden: tuple[int, ...]  # hidden layers, each followed by ReLU and dropout; () is a linear hash layer
    bits: int  # relaxed code out
    centre: bool = True  # subtract the training mean, held in a buffer
    normalize: bool = False  # then scale rows to unit length, times the square root of the width
    dropout: float = 0.0
    init_std: float | None = None  # weights and biases from N(0, init_std^2); None: PyTorch's default
    scales: tuple[int, ...] = ()  # windows whose averages stand beside the features; see MultiScale
    # normalisation across neighbouring channels after the first hidden layer ("first"), and also before the hash layer
    # ("first and last"), as in SSAH's code
    channel_norm: str | None = None
    inner_tanh: int = 0  # the last so many bits are tanh(W f) + b: a slip in HiCHNet's code, sign and all
    backbone: dict[str, Any] | None = None  # description of the network under it; None: rows are features

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TowerConfig:
        return cls(**{**values, "hidden": tuple(values["hidden"]), "scales": tuple(values.get("scales", ()))})

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        if self.backbone is None:
            del values["backbone"]
        return values


@encoder_kind
class Tower(Encoder):
    """A row's features [n, width] -> relaxed codes h [n, bits], before any sign or tanh: ``head(trunk(x))``.

    Args:
        config: shape; its ``backbone`` is filled in from the one that is given.
        backbone: network from pixels or tokens to the features; default: what the config describes, if anything.
    """

    kind = "tower"
    config_type: ClassVar[type[TowerConfig]] = TowerConfig

    config: TowerConfig

    def __init__(self, config: TowerConfig, backbone: backbones.Backbone | None = None) -> None:
        super().__init__()
        if backbone is not None:
            config = dataclasses.replace(config, backbone=backbone.config())
        elif config.backbone is not None:
            backbone = backbones.from_config(config.backbone)
        if backbone is not None and backbone.width != config.width:
            raise ValueError(f"Tower: width must be the backbone's {backbone.width}, got {config.width}")
        self.config = config
        self.backbone = backbone
        self.register_buffer("mean", torch.zeros(config.width))
        self.scales = MultiScale(config.width, config.scales) if config.scales else None
        widths = [config.width if self.scales is None else self.scales.out_width, *config.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
            if config.channel_norm is not None and len(layers) == 2:
                layers.append(ChannelNorm())
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
        self.norm = ChannelNorm() if config.channel_norm == "first and last" else nn.Identity()
        layers.append(nn.Linear(widths[-1], self._outputs()))
        self.layers = nn.Sequential(*layers)
        if config.init_std is not None:
            for parameter in self.parameters() if backbone is None else self.layers.parameters():
                nn.init.normal_(parameter, std=config.init_std)

    def _outputs(self) -> int:
        """Width of the hash layer."""
        return self.config.bits

    @classmethod
    def build(cls, config: dict[str, Any], tensors: dict[str, Any]) -> Tower:
        shape = cls.config_type.from_dict(config)
        return cls(shape, None if shape.backbone is None else backbones.from_config(shape.backbone, tensors))

    @torch.no_grad()
    def fit_mean(self, mean: Tensor) -> None:
        """Take the centre, a training mean [width]; does nothing when the tower does not centre."""
        if self.config.centre:
            self.mean.copy_(mean)

    def take_entries(self) -> bool:
        """Let the first hidden layer work on the entries of sparse rows (`SparseBatch`), where there is one."""
        first = self.layers[0]
        if self.backbone is not None or not self.config.hidden:
            return False
        if isinstance(first, nn.Linear):
            self.layers[0] = WordLinear(first) if self.scales is None else MultiScaleWords(first, self.scales)
        return True

    def take_dense(self) -> None:
        """Undo `take_entries`: ordinary layers with the same weights."""
        first = self.layers[0]
        if isinstance(first, TAKES_ENTRIES):
            self.layers[0] = first.to_linear()

    def _first_of_entries(self, x: SparseBatch) -> Tensor:
        scale = None
        if self.config.normalize:
            scale = self.config.width**0.5 / x.distances(self.mean).clamp_min(1e-12)
        mean = self.mean if self.config.centre else None
        made: Tensor
        if self.scales is None:
            made = self.layers[0](x, mean, scale)
        else:
            features = x.dense() - self.mean if scale is None else (x.dense() - self.mean) * scale[:, None]
            made = self.layers[0](x, mean, scale, self.scales.averages(features))
        return made

    def trunk(self, x: Any) -> Tensor:
        """Activations [n, hidden[-1]] before the hash layer: the features f of the papers."""
        if isinstance(self.layers[0], TAKES_ENTRIES) and not self.training and isinstance(x, Tensor) and is_sparse(x):
            x = SparseBatch.from_dense(x)  # to encode by the entries what comes as a dense array
        if isinstance(x, SparseBatch):
            return self.layers[1:-1](self._first_of_entries(x))
        return self.trunk_of(x if self.backbone is None else self.backbone(x))

    def scaled(self, features: Tensor) -> Tensor:
        """Features [n, width] as the first layer is given them: centred, and at one length where that is asked for."""
        features = features - self.mean
        if self.config.normalize:
            # unit rows times sqrt(width): entries of order one, so the layers' default initialisation fits
            features = nn.functional.normalize(features, eps=1e-12) * self.config.width**0.5
        return features

    def trunk_of(self, features: Tensor) -> Tensor:
        """`trunk` from the features [n, width] that the backbone has made already."""
        features = self.scaled(features)
        if self.scales is not None:
            features = self.scales(features)
        return self.layers[:-1](features)

    def head(self, f: Tensor) -> Tensor:
        """The hash layer: [n, hidden[-1]] -> h [n, bits]."""
        f = self.norm(f)
        last, inner = self.layers[-1], self.config.inner_tanh
        if not inner:
            return last(f)
        assert isinstance(last, nn.Linear)
        h = nn.functional.linear(f, last.weight)
        return torch.cat([h[:, :-inner], torch.tanh(h[:, -inner:])], dim=1) + last.bias

    def forward(self, x: Any) -> Tensor:
        return self.head(self.trunk(x))
