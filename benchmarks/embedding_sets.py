"""The embeddings that codes are made of in `embedding_codes`: image network and sentence encoder, both ready-made."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from fasthash import data as datasets
from fasthash.data import PairedDataset
from fasthash.embedding import encoder
from fasthash.features import cached_features


def load(name: str) -> PairedDataset:
    """A data set whose texts are sentence embeddings: 1280-d network features beside 384-d, neither trained here.

    The sentence embeddings are computed once, in a few minutes, and kept in the cache folder.
    """
    data = datasets.load(name, progress=False)
    assert data.texts is not None
    fingerprint = hashlib.sha256("\0".join(data.texts).encode()).hexdigest()
    text = cached_features(f"{name}-minilm", encoder("minilm", side="text"), data.texts, fingerprint=fingerprint)
    return replace(data, text=text, text_extractor=None, image_extractor=None, notes=())
