"""Signs of embeddings as codes: random rotation, and PCA with iterative quantisation.

What is hashed is unit rows, less their training mean: signs about the mean split the rows in halves, and a product of
what is left ranks as the cosine does, up to what the mean adds to each item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._arguments import whole_number
from fasthash._rotation import itq_rotation, orthonormal
from fasthash.baselines._linear import Floats, check_features
from fasthash.codes import check_bits, pack

BLOCK = 4096  # rows projected at once
_MOST = 10_000  # iterations


@dataclass(frozen=True, eq=False)
class EmbeddingHash:
    """Codes of one kind of embeddings, or of all that lie in its space."""

    mean: Floats  # [p], of unit rows
    weights: Floats  # [p, bits]
    objective: tuple[float, ...] = ()  # quantisation error of each iteration and after the last; see `ITQ`

    @property
    def bits(self) -> int:
        return self.weights.shape[1]

    def project(self, embeddings: Any) -> Floats:
        """float64 [n, bits], before the sign, of embeddings [n, p]: what `search.rescore` takes of queries."""
        rows = check_features(embeddings, "embedding codes", "embeddings", len(self.mean))
        blocks = [(_unit(rows[i : i + BLOCK]) - self.mean) @ self.weights for i in range(0, len(rows), BLOCK)]
        return np.concatenate(blocks)

    def encode(self, embeddings: Any) -> NDArray[np.uint8]:
        """Packed codes of embeddings [n, p]; a row of zeros has the code of the mean's opposite."""
        packed: NDArray[np.uint8] = pack(self.project(embeddings))
        return packed


class RandomRotation:
    """Signs after a random rotation; with more bits than the embeddings are wide, of random projections.

    Up to the width of the embeddings the directions are orthonormal (super-bit hashing); beyond it, where no rotation
    has that many, they are independent and normal, as in locality-sensitive hashing.

    Args:
        seed: which rotation.
    Source: Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002; orthogonal directions: Ji,
        Li, Yan, Zhang, Tian, Super-Bit Locality-Sensitive Hashing, NIPS 2012.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = whole_number(seed, 0, 2**32 - 1, "random rotation", "seed")

    def fit(self, embeddings: Any, bits: int) -> EmbeddingHash:
        """The rotation, about the mean of training embeddings [n, p]."""
        x = _unit(check_features(embeddings, "random rotation", "embeddings"))
        bits, width = check_bits(bits, "random rotation"), x.shape[1]
        directions = np.random.default_rng(self.seed).standard_normal((width, bits))
        if bits <= width:
            directions = orthonormal(directions)
        return EmbeddingHash(x.mean(axis=0), directions)


class ITQ:
    """PCA to as many directions as bits, then the rotation R of them whose signs lie nearest to what they are signs of.

    From a random rotation on, B = sign(V R) and R = U W' (singular value decomposition V' B = U S W') take turns:
    neither raises the quantisation error |B - V R|^2; `EmbeddingHash.objective` tells it, divided by the rows.

    Args:
        iterations: 50 in the paper.
        seed: of the rotation it starts from.
    Source: Gong, Lazebnik, Gordo, Perronnin, Iterative Quantization: A Procrustean Approach to Learning Binary Codes
        for Large-Scale Image Retrieval, TPAMI 2013 (CVPR 2011).
    """

    def __init__(self, iterations: int = 50, seed: int = 0) -> None:
        self.iterations = whole_number(iterations, 1, _MOST, "itq", "iterations")
        self.seed = whole_number(seed, 0, 2**32 - 1, "itq", "seed")

    @staticmethod
    def check(width: int, bits: int) -> None:
        """ValueError when there are fewer directions than bits: as many as the embeddings are wide."""
        if check_bits(bits, "itq") > width:
            raise ValueError(f"itq: bits must be at most {width}, the width of the embeddings, got {bits}")

    def fit(self, embeddings: Any, bits: int) -> EmbeddingHash:
        """From training embeddings [n, p]; several kinds that lie in one space may be given as a list."""
        parts = embeddings if isinstance(embeddings, Sequence) else [embeddings]
        x = _unit(np.concatenate([check_features(part, "itq", "embeddings") for part in parts]))
        self.check(x.shape[1], bits)
        mean = x.mean(axis=0)
        x = x - mean
        _, directions = np.linalg.eigh(x.T @ x)
        principal: Floats = directions[:, ::-1][:, :bits]
        principal = principal * np.where(principal[np.abs(principal).argmax(axis=0), np.arange(bits)] < 0, -1.0, 1.0)
        rotation, objective = itq_rotation(x @ principal, self.iterations, self.seed)
        return EmbeddingHash(mean, principal @ rotation, objective)


def _unit(rows: Floats) -> Floats:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm > 1e-12, norm, 1.0))
