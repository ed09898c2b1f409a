"""Several extractors side by side: one vector, part after part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features.base import Extractor, from_config


class Joined:
    """Concatenation of the parts' features: a bag of words knows its training words exactly, word vectors the rest.

    Args:
        parts: at least one extractor; all of them get the same items.
    Raises:
        ValueError: no part.
    """

    kind = "joined"

    def __init__(self, parts: Sequence[Extractor]) -> None:
        if not parts:
            raise ValueError("Joined: parts must hold at least one extractor, got none")
        self.parts = tuple(parts)

    @property
    def width(self) -> int:
        return sum(part.width for part in self.parts)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Features float32 [n, sum of widths]."""
        return np.concatenate([part.encode(items) for part in self.parts], axis=1)

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "parts": [part.config() for part in self.parts]}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {f"{i}.{name}": array for i, part in enumerate(self.parts) for name, array in part.tensors().items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Joined:
        if not isinstance(config.get("parts"), list):
            raise ValueError(f"Joined.from_config: config must have a list 'parts', got {', '.join(sorted(config))}")
        own = [
            {name.partition(".")[2]: array for name, array in tensors.items() if name.partition(".")[0] == str(i)}
            for i in range(len(config["parts"]))
        ]
        return cls([from_config(part, arrays) for part, arrays in zip(config["parts"], own, strict=True)])
