"""Texts as token ids of a fixed length, and the rows that a text network trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasthash.features._packages import require
from fasthash.features.base import check_items

if TYPE_CHECKING:
    from fasthash.models.backbones.clip import ClipText

MEAN_ROWS, MEAN_BATCH = 512, 64  # of the sample that a tower's centre comes from
TEXTS = 8192  # turned into tokens together
LENGTH = 32  # of the CLIP family: start + up to 30 tokens of words + end


class Tokenizer:
    """Texts -> int64 [n, length]: start, the first tokens of the text, end, then padding.

    Args:
        description: the tokenizer of the package tokenizers, as the JSON it writes.
        length: of every row.
        start: id in front; None for models without one.
        end: id behind the last token, None for models without one.
        pad: id that fills up; the CLIP family's released codes fill with zeros.
    """

    def __init__(self, description: str, *, length: int, start: int | None, end: int | None, pad: int = 0) -> None:
        self.description = description
        self.length, self.start, self.end, self.pad = length, start, end, pad
        self.words = length - (start is not None) - (end is not None)  # tokens of a text that fit
        if self.words < 1:
            raise ValueError(f"Tokenizer: length must leave room for a token, got {length}")

    @cached_property
    def _tokenizer(self) -> Any:
        made = require("tokenizers", "tokenizers", "backbones", "CLIP tokens").Tokenizer.from_str(self.description)
        made.no_truncation()
        made.no_padding()
        return made

    def encode(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64 [n, length]; a longer text loses its end.

        Raises:
            TypeError: a text is no string.
        """
        check_items(texts, "Tokenizer.encode", "texts")
        out = np.full((len(texts), self.length), self.pad, np.int64)
        for start in range(0, len(out), TEXTS):
            part = list(texts[start : start + TEXTS])
            for i, text in enumerate(part, start):
                if not isinstance(text, str):
                    raise TypeError(f"Tokenizer.encode: text {i} must be a string, got {type(text).__name__}")
            found = self._tokenizer.encode_batch(part, add_special_tokens=False)
            for row, tokens in zip(out[start : start + TEXTS], found, strict=True):
                ids = [self.start, *tokens.ids[: self.words], self.end]
                ids = [i for i in ids if i is not None]
                row[: len(ids)] = ids
        return out

    def mask(self, tokens: Tensor) -> Tensor:
        """bool [m, length]: the text's own tokens, start and end among them. The pad id may be a word's (CLIP's 0)."""
        if self.end is None:
            return tokens != self.pad
        last = (tokens == self.end).int().argmax(dim=1, keepdim=True)  # the first end
        return torch.arange(tokens.shape[1], device=tokens.device) <= last

    def config(self) -> dict[str, Any]:
        return {"length": self.length, "start": self.start, "end": self.end, "pad": self.pad}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The description as bytes, so that it is stored beside the weights."""
        return {"tokenizer": np.frombuffer(self.description.encode(), np.uint8)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Tokenizer:
        if "tokenizer" not in tensors:
            raise ValueError("Tokenizer.from_config: the stored model lacks its tokenizer")
        return cls(tensors["tokenizer"].tobytes().decode(), **config)


class TokenRows:
    """Texts as the tokens of a text backbone: int64 [n, length], on the training device.

    Args:
        texts: n raw texts.
        backbone: has the ``tokenizer``; a tower over these rows is built on it.
        device: of training.
    """

    def __init__(self, texts: Sequence[str], backbone: ClipText, device: torch.device | str = "cpu") -> None:
        self.backbone = backbone
        self.tokens = torch.from_numpy(backbone.tokenizer.encode(texts)).to(device)

    @property
    def width(self) -> int:
        return self.backbone.width

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, index: Tensor) -> Tensor:
        return self.tokens.index_select(0, index)

    def mean(self) -> Tensor:
        """[width] mean of the features that the backbone makes of up to `MEAN_ROWS` rows, as it is now."""
        return self.backbone.mean_features(self.tokens[:: -(-len(self) // MEAN_ROWS)].split(MEAN_BATCH))
