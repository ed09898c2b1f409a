"""Splits drawn from hashes of the items' ids: the same on every machine and with every NumPy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers. Queries are never in the database or the training set; the training set may be in the database."""

    query: NDArray[np.int64]
    database: NDArray[np.int64]
    train: NDArray[np.int64]


def hash_order(ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """A shuffle of range(len(ids)) that depends on the seed and on the ids, not on their order."""
    keys = [hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest() for name in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def draw(groups: NDArray[np.int64], ids: Sequence[str], fraction: float, seed: int) -> NDArray[np.int64]:
    """Row numbers, ascending, of a share of every group.

    Args:
        groups: int64 [n], the group of each row.
        ids: n distinct names of the rows.
        fraction: share to draw, between 0 and 1; rounded in each group, at least one and never all of it (none of a
            group with a single row).
        seed: which of the possible draws.
    """
    order = hash_order(ids, seed)
    grouped = order[np.argsort(groups[order], kind="stable")]
    sizes = np.bincount(groups, minlength=1)
    ends = np.cumsum(sizes)
    taken = np.minimum(np.maximum(np.rint(fraction * sizes), 1), sizes - 1).clip(0).astype(np.int64)
    picked = [grouped[end - size : end - size + k] for end, size, k in zip(ends, sizes, taken, strict=True)]
    return np.sort(np.concatenate(picked))


def rarest_label(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The rarest class of each row, int64 [n]: the group a multi-label row is drawn with. Rows without any: class c."""
    counts = labels.sum(axis=0, dtype=np.int64)
    by_rarity = np.argsort(counts, kind="stable")
    first = by_rarity[np.argmax(labels[:, by_rarity] > 0, axis=1)]
    return np.where(labels.any(axis=1), first, labels.shape[1]).astype(np.int64)
