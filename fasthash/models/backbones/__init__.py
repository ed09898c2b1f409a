"""Networks from raw pictures and texts to features, for towers to fine-tune: AlexNet, VGG-F, EfficientNet-Lite0, CLIP.

``build("alexnet", weights="alexnet.pth")`` makes one as a user names it; ``from_config(backbone.config(),
backbone.tensors())`` makes it again without the weights' file, for a stored model to fill.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from numpy.typing import NDArray

from fasthash.models.backbones._base import Backbone, PictureBackbone
from fasthash.models.backbones._files import RANDOM
from fasthash.models.backbones._transform import PictureTransform, View

__all__ = ["Backbone", "PictureBackbone", "PictureTransform", "View", "build", "from_config", "register", "teacher"]

_HERE = "fasthash.models.backbones"
_SPECS: dict[str, Any] = {  # name and side -> class, by address, so that none is imported before it is needed
    "alexnet image": f"{_HERE}.alexnet:AlexNet",
    "vgg_f image": f"{_HERE}.vgg_f:VGGF",
    "imagenet image": f"{_HERE}.imagenet:ImageNet",
    "clip image": f"{_HERE}.clip:ClipImage",
    "clip text": f"{_HERE}.clip:ClipText",
}
_KINDS: dict[str, Any] = {  # as configs name them
    "alexnet": _SPECS["alexnet image"],
    "vgg_f": _SPECS["vgg_f image"],
    "imagenet": _SPECS["imagenet image"],
    "clip_image": _SPECS["clip image"],
    "clip_text": _SPECS["clip text"],
}


def register(cls: type[Backbone]) -> type[Backbone]:
    """Class decorator: make a backbone of your own known under its ``kind``; a stored model with it loads after that.

    Raises:
        ValueError: the kind is taken by another class.
    """
    side = "text" if cls.takes == "texts" else "image"
    for table, key in ((_SPECS, f"{cls.kind} {side}"), (_KINDS, cls.kind)):
        if table.get(key, cls) is not cls:
            raise ValueError(f"backbones.register: kind {cls.kind!r} is taken")
        table[key] = cls
    return cls


def build(spec: str, *, side: str = "image", weights: str | None = None, **options: Any) -> Backbone:
    """A backbone with its weights.

    Args:
        spec: "alexnet", "vgg_f", "imagenet" (or "imagenet:SIZE"), "clip:NAME" or "clip:FOLDER".
        side: image or text.
        weights: a file for alexnet (torchvision's state dict) and vgg_f (MatConvNet's .mat); "random" for weights that
            start at random; None where the backbone brings its own.
        options: of the class; ``transform="official"`` for CLIP's pictures.
    Raises:
        ValueError, FileNotFoundError, RuntimeError: one line: an unknown name, a file that is missing or does not fit,
            a package that is not installed.
    """
    name, _, argument = spec.partition(":")
    if side not in ("image", "text"):
        raise ValueError(f"backbones.build: side must be image or text, got {side!r}")
    found = _SPECS.get(f"{name} {side}")
    if found is None:
        known = sorted(key.removesuffix(f" {side}") for key in _SPECS if key.endswith(f" {side}"))
        raise ValueError(f"{side}_backbone must be features, or one of {', '.join(known)}, got {spec!r}")
    if argument and name not in ("imagenet", "clip") and isinstance(found, str):
        raise ValueError(f"{side}_backbone {name} takes nothing behind a colon, got {spec!r}")
    if options.get("transform", "consistent") != "consistent" and name != "clip":
        raise ValueError(f"image_transform {options['transform']!r} is clip's alone, got {spec!r}")
    # weights that are loaded take nothing from the random stream: the layers above start as they do on features
    with torch.random.fork_rng(devices=[], enabled=weights != RANDOM):
        made: Backbone = _class(found).build(argument, weights, **options)
    return made


def from_config(config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]] | None = None) -> Backbone:
    """The backbone that wrote this description, its weights still to be loaded.

    Raises:
        ValueError: the kind is unknown, or the description is damaged.
    """
    kind = config.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"backbones.from_config: kind must be one of {', '.join(sorted(_KINDS))}, got {kind!r}")
    try:
        made: Backbone = _class(_KINDS[kind]).from_config(config, tensors or {})
    except (KeyError, TypeError) as error:
        raise ValueError(f"backbones.from_config: the description of {kind} is damaged: {error}") from None
    return made


def teacher(backbone: Backbone) -> Backbone:
    """A frozen copy with the weights of now: DJSRH's fixed feature network, on the same augmented pictures."""
    return copy.deepcopy(backbone).freeze()


def _class(found: Any) -> Any:
    if isinstance(found, str):
        module, _, name = found.partition(":")
        return getattr(import_module(module), name)
    return found
