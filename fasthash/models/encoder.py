"""What a model needs of one modality's network, whatever its architecture."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor, nn

from fasthash.models.backbones import Backbone


class EncoderConfig(Protocol):
    """Shape of an encoder: all that is needed to build it again before its weights are filled in."""

    @property
    def width(self) -> int:
        """Features in."""

    @property
    def bits(self) -> int:
        """Relaxed code out."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; "kind" says which class of encoder it belongs to, "backbone" describes the network under it."""


class Encoder(nn.Module):
    """One modality of a `HashModel`: features [n, width] -> h [n, bits], whose signs are the code.

    Subclasses register themselves with `encoder_kind` and build themselves in `build`; their state is their parameters
    and buffers. ``mean`` is a buffer [width], what is subtracted first; its device is the encoder's.
    """

    kind: ClassVar[str]

    config: Any  # an EncoderConfig
    mean: Tensor
    backbone: Backbone | None  # from raw pictures or texts to the features; None: features are what goes in

    @classmethod
    def build(cls, config: dict[str, Any], tensors: dict[str, Any]) -> Encoder:
        """An encoder of the shape that ``config.to_dict()`` told.

        Args:
            tensors: arrays of the backbone that belong to its description, such as a vocabulary.
        """
        raise NotImplementedError

    def take_dense(self) -> None:
        """Ordinary layers in place of any that training used for its own speed."""


_KINDS: dict[str, type[Encoder]] = {}
E = TypeVar("E", bound=type[Encoder])


def encoder_kind(cls: E) -> E:
    """Class decorator: make an architecture known by its ``kind``."""
    _KINDS[cls.kind] = cls
    return cls


def build_encoder(config: dict[str, Any], tensors: dict[str, Any]) -> Encoder:
    """The encoder that a model's ``config.json`` describes; KeyError where no class has its kind."""
    return _KINDS[config.get("kind", "tower")].build(config, tensors)
