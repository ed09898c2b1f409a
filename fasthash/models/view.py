"""One modality of a shallow method: fixed maps of the centred features, a linear projection, a threshold; float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fasthash.models.encoder import Encoder, encoder_kind


class FeatureMap(nn.Module):
    """A map of rows [n, width] to [n, width_out], float64, fitted beforehand; its buffers are all its state."""

    kind: ClassVar[str]

    def sizes(self) -> dict[str, Any]:
        """What `empty` needs, JSON-able: the shapes of the buffers, and plain numbers."""
        raise NotImplementedError

    @classmethod
    def empty(cls, **sizes: Any) -> FeatureMap:
        """A map of these sizes, for a stored model to fill."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


_MAPS: dict[str, type[FeatureMap]] = {}
F = TypeVar("F", bound=type[FeatureMap])


def feature_map(cls: F) -> F:
    """Class decorator: make a map known by its ``kind``."""
    _MAPS[cls.kind] = cls
    return cls


@feature_map
class UnitRows(FeatureMap):
    """Rows at length 1; rows of zeros stay."""

    kind = "unit_rows"

    def sizes(self) -> dict[str, Any]:
        return {}

    @classmethod
    def empty(cls, **sizes: Any) -> UnitRows:
        return cls(**sizes)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, eps=1e-12)


@feature_map
class Rbf(FeatureMap):
    """exp(-|x - a|^2 / (2 width^2)) of each anchor a, less its mean over the training rows.

    Args:
        anchors: [m, p]. width: above 0. offset: [m], what is subtracted.
    """

    kind = "rbf"

    anchors: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, anchors: Any, width: float, offset: Any) -> None:
        super().__init__()
        self.register_buffer("anchors", _float64(anchors))
        self.register_buffer("offset", _float64(offset))
        self.register_buffer("scale", _float64(width))

    def sizes(self) -> dict[str, Any]:
        return {"anchors": len(self.anchors), "width": self.anchors.shape[1]}

    @classmethod
    def empty(cls, *, anchors: int, width: int) -> Rbf:  # type: ignore[override]
        return cls(torch.zeros(anchors, width), 1.0, torch.zeros(anchors))

    def forward(self, x: Tensor) -> Tensor:
        squares = x.square().sum(dim=1, keepdim=True) + self.anchors.square().sum(dim=1)
        squares = torch.addmm(squares, x, self.anchors.T, alpha=-2).clamp_min_(0)
        return squares.mul_(-0.5 / self.scale.square()).exp_() - self.offset


@dataclass(frozen=True)
class ViewConfig:
    """Shape of a view."""

    width: int
    bits: int
    projected: int  # features that the projection takes, after the maps
    maps: tuple[tuple[str, dict[str, Any]], ...] = ()  # kind and sizes of each

    def to_dict(self) -> dict[str, Any]:
        maps = [[kind, dict(sizes)] for kind, sizes in self.maps]
        return {"kind": "view", "width": self.width, "bits": self.bits, "projected": self.projected, "maps": maps}


@encoder_kind
class View(Encoder):
    """h = maps(x - mean) weights - threshold, in float64 whatever comes in; the signs of h are the code.

    Args:
        mean: [p], of the training rows.
        weights: [q, bits].
        threshold: [bits]; None: 0.
        maps: from the centred rows [n, p] to [n, q], one after the other; none: q is p.
    """

    kind = "view"
    backbone = None

    weights: Tensor
    threshold: Tensor

    def __init__(self, mean: Any, weights: Any, threshold: Any = None, maps: Sequence[FeatureMap] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", _float64(mean))
        self.register_buffer("weights", _float64(weights))
        bits = self.weights.shape[1]
        self.register_buffer("threshold", torch.zeros(bits).double() if threshold is None else _float64(threshold))
        self.maps = nn.Sequential(*maps)
        kinds = tuple((one.kind, one.sizes()) for one in maps)
        self.config = ViewConfig(len(self.mean), bits, len(self.weights), kinds)

    @classmethod
    def build(cls, config: dict[str, Any], tensors: dict[str, Any]) -> View:
        maps = [_MAPS[kind].empty(**sizes) for kind, sizes in config["maps"]]
        return cls(torch.zeros(config["width"]), torch.zeros(config["projected"], config["bits"]), maps=maps)

    def mapped(self, x: Tensor) -> Tensor:
        """[n, q] of rows [n, p]: what the projection takes."""
        return self.maps(x.double() - self.mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.mapped(x) @ self.weights - self.threshold


def _float64(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).detach().clone()  # nobody else's array
