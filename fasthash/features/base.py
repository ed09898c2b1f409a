"""What an extractor is, and how a stored one is built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Extractor(Protocol):
    """Turns raw pictures or texts into feature vectors, the same ones on every machine up to float rounding.

    A class that is given to `register` also has ``kind: str`` and ``from_config(config, tensors)``.
    """

    @property
    def width(self) -> int:
        """Length of one feature vector."""

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Features float32 [n, width] of n items; row i depends on item i alone."""

    def config(self) -> dict[str, Any]:
        """JSON-able description; "kind" names the class."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays that belong to the description: what was fitted, not what an installed package carries."""


_KINDS: dict[str, Any] = {  # built-in kinds by address, so that none is imported before it is needed
    "bag_of_words": "fasthash.features.text:BagOfWords",
    "word_vectors": "fasthash.features.text:WordVectors",
    "joined": "fasthash.features.joined:Joined",
    "efficientnet_lite0": "fasthash.features.image:EfficientNetLite0",
    "picture_backbone": "fasthash.embedding.backbone:PictureEncoder",  # these are of a room above, loaded by name alone
    "text_backbone": "fasthash.embedding.backbone:TextEncoder",
    "sentence": "fasthash.embedding.sentence:SentenceEncoder",
    "timm": "fasthash.embedding.timm_image:TimmEncoder",
}


def register(extractor: type) -> type:
    """Make a class of your own known to `from_config`; usable as a decorator.

    The class needs what `Extractor` asks for, a ``kind`` string of its own, and a classmethod
    ``from_config(config, tensors)``. A stored model that uses it loads wherever the class was registered before.

    Raises:
        ValueError: the kind is taken by another class, or something is missing.
    """
    kind = getattr(extractor, "kind", None)
    if not isinstance(kind, str) or not callable(getattr(extractor, "from_config", None)):
        raise ValueError(f"register: {extractor.__name__} must have kind (a string) and from_config(config, tensors)")
    taken = _KINDS.get(kind)
    if taken is not None and taken is not extractor:
        raise ValueError(f"register: kind {kind!r} is taken by {taken if isinstance(taken, str) else taken.__name__}")
    _KINDS[kind] = extractor
    return extractor


def is_registered(extractor: Extractor) -> bool:
    """Whether `from_config` can build this extractor again from its description."""
    kind, known = type(extractor), _KINDS.get(getattr(extractor, "kind", ""))
    return known is kind or known == f"{kind.__module__}:{kind.__qualname__}"


def is_known(kind: Any) -> bool:
    """Whether `from_config` knows extractors of this kind."""
    return kind in _KINDS


def from_config(config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]] | None = None) -> Extractor:
    """The extractor that wrote this description.

    Args:
        config: what `Extractor.config` gave, or its JSON read back.
        tensors: what `Extractor.tensors` gave.
    Raises:
        ValueError: the kind is unknown, or the description does not fit it (other packaged weights, a missing array).
    """
    kind = config.get("kind")
    found = _KINDS.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise ValueError(f"features.from_config: kind must be one of {', '.join(sorted(_KINDS))}, got {kind!r}")
    if isinstance(found, str):
        module, _, name = found.partition(":")
        found = getattr(import_module(module), name)
    built: Extractor = found.from_config(config, tensors or {})
    return built


def check_items(items: Any, op: str, what: str) -> Sequence[Any]:
    """items as something with a length and positions; a lone string is refused, it would be read letter by letter."""
    if isinstance(items, (str, bytes)) or not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise TypeError(f"{op}: items must be a list of {what}, got {type(items).__name__}")
    return items
