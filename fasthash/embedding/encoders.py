"""Encoders by the words a user names them with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fasthash.embedding._network import NetworkEncoder
from fasthash.embedding.backbone import PictureEncoder, TextEncoder
from fasthash.embedding.plain import PlainEncoder, fit_bag
from fasthash.embedding.sentence import PACKAGED, SentenceEncoder
from fasthash.embedding.timm_image import TimmEncoder
from fasthash.features import Extractor, WordVectors

Encoder = NetworkEncoder | PlainEncoder
Texts = Callable[[], Sequence[str]]  # gives what an encoder may be fitted on
_WEIGHTS = {"weights": "a file of weights"}
_OFFICIAL = {"transform": "consistent (scale and middle cut, default) or official (squeezed)"}
_BAG = {
    "min_count": "training texts that a word must occur in (default 1)",
    "max_words": "most frequent words kept (default all)",
    "weighting": "tfidf (default), count or binary",
    "norm": "l2 (default) or none",
}


@dataclass(frozen=True)
class Known:
    """An encoder that `encoder` knows."""

    side: str  # image or text
    form: str  # how it is written
    summary: str
    needs: str  # extra to install
    options: Mapping[str, str]  # option -> what it takes


_KNOWN = (
    Known("image", "imagenet[:SIZE]", "EfficientNet-Lite0 with its ImageNet weights, 1280 wide", "demo", {}),
    Known("image", "clip:NAME|FOLDER", "the picture side of CLIP or a relative", "backbones", _OFFICIAL),
    Known("image", "timm:NAME", "a picture network of the package timm", "timm", _WEIGHTS),
    Known("image", "alexnet", "AlexNet's fc7, 4096 wide, from torchvision's weights", "learn", _WEIGHTS),
    Known("image", "vgg_f", "VGG-F's fc7, 4096 wide, from MatConvNet's file", "backbones", _WEIGHTS),
    Known("text", "clip:NAME|FOLDER", "the text side of CLIP or a relative", "backbones", {}),
    Known("text", "sentence:NAME|FOLDER", "a sentence encoder of sentence-transformers", "encoders", {}),
    Known("text", "minilm", "all-MiniLM-L6-v2 inside a package, 384 wide", "encoders", {}),
    Known("text", "vectors", "mean of packaged word vectors, 256 wide", "words", {}),
    Known("text", "bow", "bag of words, fitted on the training rows of the split", "data", _BAG),
)


def encoders() -> list[Known]:
    """Every encoder known by name."""
    return list(_KNOWN)


def encoder(spec: str | Extractor, *, side: str, train_texts: Texts | None = None, **options: Any) -> Encoder:
    """An encoder with its weights.

    Args:
        spec: as `encoders` lists them: "imagenet:144", "clip:FOLDER", "minilm", "bow"...; or an extractor of your own,
            which pictures and texts of new queries go through too where its class is given to `features.register`.
        side: image or text.
        train_texts: gives the texts that "bow" is fitted on.
        options: of the encoder; `encoders` says which.
    Returns:
        has ``width``, ``encode`` where it has a network, and ``extractor()``, which a model may keep.
    Raises:
        ValueError, FileNotFoundError, RuntimeError: one line: unknown, not there, a package is missing.
    """
    if not isinstance(spec, str):
        return _own(spec, side, options)
    name, colon, argument = spec.partition(":")
    known = _known(name, side, spec)
    for option in options:
        if option not in known.options:
            held = ", ".join(known.options) or "none"
            raise ValueError(f"embed: {name} has the options: {held}; got {option!r}")
    if colon and ":" not in known.form:
        raise ValueError(f"embed: {name} takes nothing behind a colon, got {spec!r}")
    made = _make(name, argument, spec, side, train_texts, options)
    if made.width < 1:
        raise ValueError(f"embed: {spec} gives no features")
    return made


def _make(
    name: str, argument: str, spec: str, side: str, train_texts: Texts | None, options: dict[str, Any]
) -> Encoder:
    if name == "bow":
        if train_texts is None:
            raise ValueError("embed: bow is fitted on the training texts of a data set, none were given")
        return fit_bag(train_texts(), options)
    if name == "vectors":
        return PlainEncoder(WordVectors())
    if name == PACKAGED:
        return SentenceEncoder(PACKAGED)
    if name == "sentence":
        return SentenceEncoder(argument)
    if name == "timm":
        return TimmEncoder(argument, **options)
    if name in ("alexnet", "vgg_f") and "weights" not in options:
        what = "torchvision's state dict" if name == "alexnet" else "MatConvNet's imagenet-vgg-f.mat"
        raise ValueError(f"embed: {name} needs its weights, {what}: weights=FILE (--image-set)")
    return TextEncoder(spec) if side == "text" else PictureEncoder(spec, **options)


def _own(extractor: Extractor, side: str, options: Mapping[str, Any]) -> Encoder:
    if not isinstance(extractor, Extractor) or "kind" not in extractor.config():
        raise TypeError(f"embed: {side} must be an encoder's name or an extractor, got {type(extractor).__name__}")
    if options:
        raise ValueError(f"embed: options are for encoders by name, got {next(iter(options))!r}")
    if isinstance(extractor, NetworkEncoder):
        return extractor
    return PlainEncoder(extractor, 64, "pictures") if side == "image" else PlainEncoder(extractor)


def _known(name: str, side: str, spec: str) -> Known:
    if side not in ("image", "text"):
        raise ValueError(f"embed: side must be image or text, got {side!r}")
    forms = {known.form.partition(":")[0].partition("[")[0]: known for known in _KNOWN if known.side == side}
    if name not in forms:
        listed = ", ".join(known.form for known in forms.values())
        raise ValueError(f"embed: {side} must be one of {listed}, got {spec!r}")
    return forms[name]
