"""Texts to feature vectors: a bag of words fitted on training texts, or averaged ready-made word vectors."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features._packages import package_file, require
from fasthash.features.base import check_items

WEIGHTINGS = ("binary", "count", "tfidf")


class _Separators(dict[int, int | None]):
    """For str.translate: letters, digits, combining marks stay; invisible format characters go; the rest is a gap."""

    def __missing__(self, code: int) -> int | None:
        char, category = chr(code), unicodedata.category(chr(code))
        if category == "Cf" or 0xFE00 <= code <= 0xFE0F:  # joiners, soft hyphens, variation selectors
            out = None
        else:
            out = code if char.isalnum() or category in ("Mn", "Mc") else ord(" ")
        self[code] = out
        return out


_SEPARATORS = _Separators()


def tokenize(text: str) -> list[str]:
    """The words of a text: compatibility-normalised (NFKC), lower case, cut at everything but letters and digits.

    "Women's T-Shirt №2" gives women, s, t, shirt, no2. Combining marks belong to their word, so scripts that write
    vowels as marks are not torn apart; a script without spaces is one word per run. No stemming, no stop words.
    """
    words = unicodedata.normalize("NFKC", text).lower().translate(_SEPARATORS).split()
    return [word for word in words if word[0].isalnum() or any(char.isalnum() for char in word)]


class BagOfWords:
    """One column a known word; unknown words count for nothing, so a text of unknown words only is a row of zeros.

    Args:
        words: the columns, in order, without repeats.
        weighting: "binary" (1 where the word occurs), "count", or "tfidf" (count times idf).
        norm: "l2" for rows of length 1 (zero rows stay zero), or None.
        idf: float [len(words)], with weighting "tfidf" only.
    """

    kind = "bag_of_words"

    def __init__(
        self,
        words: Sequence[str],
        *,
        weighting: str = "tfidf",
        norm: str | None = "l2",
        idf: NDArray[Any] | None = None,
    ) -> None:
        _check_settings("BagOfWords", weighting, norm)
        self.words = tuple(words)
        self.weighting = weighting
        self.norm = norm
        self._column = {word: i for i, word in enumerate(self.words)}
        if len(self._column) != len(self.words) or not self.words:
            raise ValueError(f"BagOfWords: words must be distinct and at least one, got {len(self.words)} with repeats")
        if (idf is not None) != (weighting == "tfidf"):
            raise ValueError("BagOfWords: idf must be given with weighting 'tfidf', and only then")
        if idf is not None and np.shape(idf) != (len(self.words),):
            raise ValueError(f"BagOfWords: idf must be [{len(self.words)}], got shape {np.shape(idf)}")
        self.idf = None if idf is None else np.asarray(idf, np.float32)

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        min_count: int = 1,
        max_words: int | None = None,
        weighting: str = "tfidf",
        norm: str | None = "l2",
    ) -> BagOfWords:
        """Vocabulary (and idf) of these texts; give it the training texts alone.

        Args:
            texts: training texts.
            min_count: a word must occur in at least this many of them.
            max_words: at most this many words, those in most texts first, equal ones in code-point order.
            weighting, norm: see the class. idf = ln((1 + n) / (1 + n_w)) + 1 for a word in n_w of n texts.
        Returns:
            columns in code-point order, whatever the order of the texts.
        Raises:
            ValueError: no word is left, or a setting is out of range.
        """
        _check_settings("BagOfWords.fit", weighting, norm)
        for name, value in (("min_count", min_count), ("max_words", max_words)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"BagOfWords.fit: {name} must be a whole number from 1, got {value!r}")
        rows = check_items(texts if hasattr(texts, "__len__") else list(texts), "BagOfWords.fit", "texts")
        found: Counter[str] = Counter()
        for i in range(len(rows)):
            found.update(set(tokenize(_check_text(rows[i], i, "BagOfWords.fit"))))
        kept = sorted((word for word, n in found.items() if n >= min_count), key=lambda word: (-found[word], word))
        words = sorted(kept[:max_words])
        if not words:
            raise ValueError(f"BagOfWords.fit: no word occurs in at least {min_count} of the {len(rows)} texts")
        idf = np.array([np.log((1 + len(rows)) / (1 + found[word])) + 1 for word in words])
        return cls(words, weighting=weighting, norm=norm, idf=idf if weighting == "tfidf" else None)

    @property
    def width(self) -> int:
        return len(self.words)

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Features float32 [n, words] of n texts, dense.

        Raises:
            TypeError: not a list of texts.
        """
        rows = check_items(items, "BagOfWords.encode", "texts")
        out = np.zeros((len(rows), self.width), np.float32)
        for i in range(len(rows)):
            counts = Counter(tokenize(_check_text(rows[i], i, "BagOfWords.encode")))
            known = [(self._column[word], n) for word, n in counts.items() if word in self._column]
            if not known:
                continue
            columns, times = (np.array(part) for part in zip(*known, strict=True))
            values = np.ones(len(columns)) if self.weighting == "binary" else times.astype(np.float64)
            if self.idf is not None:
                values *= self.idf[columns]
            out[i, columns] = values / np.linalg.norm(values) if self.norm == "l2" else values
        return out

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "weighting": self.weighting, "norm": self.norm, "words": list(self.words)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {} if self.idf is None else {"idf": self.idf}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> BagOfWords:
        for field in ("words", "weighting", "norm"):
            if field not in config:
                raise ValueError(f"BagOfWords.from_config: config must have {field!r}, got {', '.join(sorted(config))}")
        return cls(config["words"], weighting=config["weighting"], norm=config["norm"], idf=tensors.get("idf"))


class WordVectors:
    """Mean of the token vectors that the package wordllama carries (32,000 x 256), scaled to length 1.

    The package itself is never imported (its own loader tries the network); its files are read where they lie. Texts
    are not lower-cased: the tokenizer tells cases apart. An empty text is a row of zeros.

    Args:
        sha256: checksum the packaged vectors must have; None takes what is installed.
    Raises:
        RuntimeError: the package is missing (extra "words").
        ValueError: other vectors are installed than those named.
    """

    kind = "word_vectors"
    width = 256

    def __init__(self, *, sha256: str | None = None) -> None:
        self._table_path = _wordllama("weights", "l2_supercat_256.safetensors")
        self._tokenizer_path = _wordllama("tokenizers", "l2_supercat_tokenizer_config.json")
        self._sha256 = file_sha256(self._table_path)
        if sha256 is not None and sha256 != self._sha256:
            raise ValueError(
                f"WordVectors: the features were made with vectors {sha256[:12]}, "
                f"the installed package wordllama carries {self._sha256[:12]}"
            )

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Features float32 [n, 256] of n texts.

        Raises:
            TypeError: not a list of texts.
        """
        rows = check_items(items, "WordVectors.encode", "texts")
        table, tokenizer = _word_table(self._table_path), _tokenizer(self._tokenizer_path)
        out = np.zeros((len(rows), self.width), np.float32)
        for i in range(len(rows)):
            text = _check_text(rows[i], i, "WordVectors.encode")
            ids = tokenizer.encode(text, add_special_tokens=False).ids if text.strip() else []
            if ids:
                mean = table[ids].astype(np.float64).mean(axis=0)
                out[i] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return out

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "vectors": "wordllama l2_supercat_256", "sha256": self._sha256}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> WordVectors:
        return cls(sha256=config.get("sha256"))


@lru_cache(maxsize=8)
def file_sha256(path: Path) -> str:
    """Checksum of a packaged file, taken once per process."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _wordllama(*parts: str) -> Path:
    return package_file("wordllama", *parts, package="wordllama", extra="words", what="WordVectors")


@lru_cache(maxsize=1)
def _word_table(path: Path) -> NDArray[Any]:
    safetensors = require("safetensors.numpy", "safetensors", "words", "WordVectors")
    table: NDArray[Any] = safetensors.load_file(path)["embedding.weight"]
    return table


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Any:
    return require("tokenizers", "tokenizers", "words", "WordVectors").Tokenizer.from_file(str(path))


def _check_settings(op: str, weighting: str, norm: str | None) -> None:
    if weighting not in WEIGHTINGS:
        raise ValueError(f"{op}: weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}")
    if norm not in ("l2", None):
        raise ValueError(f"{op}: norm must be 'l2' or None, got {norm!r}")


def _check_text(text: Any, i: int, op: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{op}: item {i} must be a text, got {type(text).__name__}")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{op}: item {i} must be valid Unicode text, got lone surrogates (bytes that are no UTF-8)")
    return text
