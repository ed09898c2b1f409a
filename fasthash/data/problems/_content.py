"""Pairs with the same content: what lets a query find itself under another id."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered

_BLOCK = 1 << 22  # bytes of features looked at together


def row_keys(features: NDArray[Any] | None) -> NDArray[np.uint64] | None:
    """Two numbers for each row, uint64 [n, 2], the same where float32 rows are; zeros for rows of zeros.

    Sums of the row's words times random odd numbers, modulo 2**64: different rows meet in both by chance alone.
    """
    if features is None:
        return None
    weights = np.random.default_rng(0).integers(0, 2**63, (features.shape[1], 2), np.uint64) * np.uint64(2) + np.uint64(
        1
    )
    keys = np.empty((len(features), 2), np.uint64)
    step = max(1, _BLOCK // max(1, features[:1].nbytes))
    for start in range(0, len(features), step):
        with np.errstate(over="ignore"):
            block = np.ascontiguousarray(features[start : start + step], np.float32)
        keys[start : start + step] = block.view(np.uint32).astype(np.uint64) @ weights
    return keys


def leaks(
    gathered: Gathered, keys: NDArray[np.uint64] | None, query: NDArray[np.int64], others: NDArray[np.int64]
) -> dict[int, int]:
    """Rows of `others` whose content is that of a query, with the first such query.

    Args:
        keys: of the picture or image features of each row, uint64 [n, 2]; zeros: unknown. Texts are looked at where
            these agree.
    """
    if keys is None:
        return {}
    query, others = query[keys[query].any(axis=1)], others[keys[others].any(axis=1)]
    others = others[np.isin(keys[others, 0], keys[query, 0])]
    query = query[np.isin(keys[query, 0], keys[others, 0])]
    queries = {_content(gathered, keys, row): row for row in reversed(query.tolist())}
    return {row: queries[key] for row in others.tolist() if (key := _content(gathered, keys, row)) in queries}


def _content(gathered: Gathered, keys: NDArray[np.uint64], row: int) -> bytes:
    digest = hashlib.blake2b(keys[row].tobytes(), digest_size=16)
    if gathered.texts is not None:
        for caption in gathered.texts[row]:
            digest.update(caption.strip().encode("utf-8", "surrogatepass") + b"\0")
    elif gathered.text is not None:
        digest.update(np.ascontiguousarray(gathered.text[row]).tobytes())
    return digest.digest()
