"""MITH's network of one modality: a code from the whole of an item, and one from its tokens, concept by concept."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasthash.models import backbones
from fasthash.models.concepts import Attention, Concepts, positions, token_weights
from fasthash.models.encoder import Encoder, encoder_kind

ROWS = 256  # through the transformer at once, where codes are made: bounds its memory


@dataclasses.dataclass(frozen=True)
class ConceptTowerConfig:
    """Shape of a `ConceptTower`; JSON-able, so that a model file rebuilds it."""

    width: int  # features in
    bits: int  # concepts
    space: int  # width of the vectors whose concepts are told: of both modalities
    # linear layer from the features to that space, which it is needed for where they are of another width
    stem: bool = True
    token_space: int = 512  # width within the token branch
    token_stem: bool = True  # linear layer from the space to that of the token branch
    blocks: int = 2  # residual blocks of the concept module
    top: int = 8  # concepts that a token may hold
    layers: int = 2  # of the transformer
    heads: int = 8
    dropout: float = 0.0
    centre: bool = True  # subtract the training mean, held in a buffer
    normalize: bool = False  # then scale rows to unit length, times the square root of the width
    backbone: dict[str, Any] | None = None  # description of the network under it; None: rows are features

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConceptTowerConfig:
        return cls(**{key: value for key, value in values.items() if key != "kind"})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"kind": ConceptTower.kind}


class Views(NamedTuple):
    """What a `ConceptTower` makes of rows."""

    whole: Tensor  # [n, space], of the concept module's blocks
    h_whole: Tensor  # [n, bits] in -1..1, concepts of the whole
    concepts: Tensor  # [n, bits, token_space], of the transformer
    h_tokens: Tensor  # [n, bits] in -1..1, bits made of the tokens


@encoder_kind
class ConceptTower(Encoder):
    """An item's features [n, width] -> h [n, bits] = tanh(W f) + h_tokens, each part in -1..1.

    Each bit stands for a concept. A module that both modalities share says how far a vector holds each of them; the
    tokens that hold one are put together, and a transformer over the concepts makes a bit of each.
    With a backbone, tokens are its local features, those of the picture's patches or of the text's words, through a
    linear layer of their own; without one, the features are the one token.

    Args:
        config: shape; its ``backbone`` is filled in from the one that is given.
        backbone: network from pixels or tokens to the features; default: what the config describes, if anything.
        shared: the other modality's concept module; None: a new one.
    Raises:
        ValueError: widths that do not fit together.
    Source: Liu et al., Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval, ACM MM 2023.
    """

    kind = "concept_tower"

    config: ConceptTowerConfig
    positions: Tensor  # [bits, token_space]

    def __init__(
        self,
        config: ConceptTowerConfig,
        backbone: backbones.Backbone | None = None,
        shared: Concepts | None = None,
    ) -> None:
        super().__init__()
        if backbone is not None:
            config = dataclasses.replace(config, backbone=backbone.config())
        elif config.backbone is not None:
            backbone = backbones.from_config(config.backbone)
        _check(config, backbone)
        self.config, self.backbone = config, backbone
        c = config
        self.register_buffer("mean", torch.zeros(c.width))
        self.stem = nn.Linear(c.width, c.space) if c.stem else nn.Identity()
        self.local = None if backbone is None else nn.Linear(backbone.local_shape[1], c.space)
        self.shared = Concepts(c.space, c.bits, c.blocks, c.dropout) if shared is None else shared
        self.narrow = nn.Linear(c.space, c.token_space) if c.token_stem else nn.Identity()
        self.register_buffer("positions", positions(c.bits, c.token_space), persistent=False)
        self.layers = nn.ModuleList(Attention(c.token_space, c.heads) for _ in range(c.layers))
        bound = 1 / math.sqrt(c.token_space)  # each bit's layer starts as torch's linear layers do
        self.weight = nn.Parameter(torch.empty(c.bits, c.token_space).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(c.bits).uniform_(-bound, bound))
        self.dropout = nn.Dropout(c.dropout)

    @classmethod
    def build(cls, config: dict[str, Any], tensors: dict[str, Any]) -> ConceptTower:
        shape = ConceptTowerConfig.from_dict(config)
        return cls(shape, None if shape.backbone is None else backbones.from_config(shape.backbone, tensors))

    @torch.no_grad()
    def fit_mean(self, mean: Tensor) -> None:
        """Take the centre, a training mean [width]; does nothing when the tower does not centre."""
        if self.config.centre:
            self.mean.copy_(mean)

    def views(self, x: Any) -> Views:
        """Both codes of features [n, width] or of a backbone's input, and the vectors that they come from."""
        mask = None
        if self.backbone is None:
            whole = self._whole(x)
            tokens = whole[:, None]
        else:
            assert self.local is not None
            features, parts = self.backbone.both(x)
            tokenizer = getattr(self.backbone, "tokenizer", None)  # of texts: which places are the text's own
            mask = None if tokenizer is None else tokenizer.mask(x)
            whole, tokens = self._whole(features), self.local(parts)
        f, h_whole = self.shared(whole)
        with torch.no_grad():  # which token holds which concept is told, not trained
            held = h_whole[:, None] if self.backbone is None else self.shared(tokens)[1]
        concepts, h_tokens = self._of_tokens(self.narrow(tokens), token_weights(held, self.config.top, mask))
        return Views(f, h_whole, concepts, h_tokens)

    def _whole(self, features: Tensor) -> Tensor:
        features = features - self.mean
        if self.config.normalize:
            features = functional.normalize(features, eps=1e-12) * self.config.width**0.5
        return self.dropout(self.stem(features))

    def _of_tokens(self, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        z = weights.to(tokens.dtype) @ tokens + self.positions
        for layer in self.layers:
            z = layer(z)
        return z, torch.tanh((z * self.weight).sum(dim=2) + self.bias)

    def forward(self, x: Any) -> Tensor:
        """h [n, bits], a part of the rows at a time where no gradient is asked for."""
        if torch.is_grad_enabled() or len(x) <= ROWS:
            return self._code(x)
        return torch.cat([self._code(part) for part in x.split(ROWS)])

    def _code(self, x: Any) -> Tensor:
        views = self.views(x)
        return views.h_whole + views.h_tokens


def _check(c: ConceptTowerConfig, backbone: backbones.Backbone | None) -> None:
    rules = {
        f"width must be the backbone's, got {c.width}": backbone is None or backbone.width == c.width,
        f"space must be the width {c.width} without a stem, got {c.space}": c.stem or c.space == c.width,
        f"token_space must be the space {c.space} without a stem of its own, got {c.token_space}": c.token_stem
        or c.token_space == c.space,
        f"token_space must be a multiple of the {c.heads} heads, got {c.token_space}": c.token_space % c.heads == 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ValueError(f"ConceptTower: {rule}")
