"""A trained model whose codes name centres of a codebook: ranked by inner products, not by Hamming distance."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasthash._native import is_torch, like
from fasthash.models.codebook import CENTRES, assign, reconstruct, table_scores
from fasthash.models.encoder import Encoder
from fasthash.models.hash_model import HashModel

PAIRS = 1 << 24  # of a query and a code, whose scores are in memory together


class QuantizedModel(HashModel):
    """Two encoders to real vectors of one space, and a codebook whose centres add up to any of them.

    A query is compared as it is, an item of the database by its code: the score is the inner product of the query's
    vector with the item's reconstruction. ``encode_image`` and ``encode_text`` give codes uint8 [n, bits / 8],
    ``relax_image`` and ``relax_text`` vectors float32 [n, width].

    Args:
        image, text: encoders to vectors of one width, their ``bits``.
        codebook: float [M, 256, width]; a code has M bytes.
        sweeps: over the sub-codebooks, when a vector's code is looked for.
        others: as of `HashModel`.
    Source: Cao, Long, Wang, Liu, Collective Deep Quantization for Efficient Cross-Modal Retrieval, AAAI 2017.
    """

    kind = "quantized"

    codebook: Tensor

    def __init__(self, image: Encoder, text: Encoder, codebook: Tensor, *, sweeps: int = 1, **others: Any) -> None:
        super().__init__(image, text, **others)
        width = image.config.bits
        if codebook.ndim != 3 or codebook.shape[1:] != (CENTRES, width) or not len(codebook):
            raise ValueError(
                f"QuantizedModel: codebook must be [M, {CENTRES}, {width}] for vectors of width {width}, got"
                f" {tuple(codebook.shape)}"
            )
        self.sweeps = sweeps
        self.register_buffer("codebook", codebook.detach().clone())

    @property
    def bits(self) -> int:
        """Of a code: 8 for each sub-codebook."""
        return 8 * len(self.codebook)

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.codebook.shape[2]

    def shape(self) -> dict[str, Any]:
        return {"subcodebooks": len(self.codebook), "sweeps": self.sweeps}

    @classmethod
    def of_shape(cls, shape: dict[str, Any], image: Encoder, text: Encoder, **others: Any) -> QuantizedModel:
        empty = torch.zeros(shape["subcodebooks"], CENTRES, image.config.bits)
        return cls(image, text, empty, sweeps=shape["sweeps"], **others)

    def pack(self, h: Tensor) -> NDArray[np.uint8]:
        codes = assign(self.codebook, h.float(), range(len(self.codebook)), self.sweeps)
        made: NDArray[np.uint8] = codes.cpu().numpy()
        return made

    @torch.no_grad()
    def quantize(self, vectors: Any) -> Any:
        """Codes uint8 [n, bits / 8] of vectors [n, width], as ``encode_image`` makes them of its network's."""
        return like(self.pack(self._vectors("quantize", "vectors", vectors)), vectors)

    def require_hamming(self, op: str) -> NoReturn:
        method = self.info.get("method", "this model's method")
        raise ValueError(
            f"{op}: needs codes for Hamming distances; those of {method} are ranked by inner products: see"
            " QuantizedModel.search"
        )

    @torch.no_grad()
    def decode(self, codes: Any) -> Any:
        """Reconstructions float32 [n, width] of codes uint8 [n, bits / 8]; of the kind of array that the codes are."""
        made = reconstruct(self.codebook, self._codes("decode", codes))
        return like(made.cpu().numpy(), codes)

    @torch.no_grad()
    def scores(self, queries: Any, codes: Any) -> Any:
        """Inner products float32 [nq, n] of queries with the reconstructions of codes.

        Args:
            queries: [nq, width], from ``relax_image`` or ``relax_text``; NumPy or torch.
            codes: uint8 [n, bits / 8]; equal codes get equal scores to the last bit.
        """
        made = table_scores(self.codebook, self._vectors("scores", "queries", queries), self._codes("scores", codes))
        return like(made.contiguous().cpu().numpy(), queries)

    @torch.no_grad()
    def search(self, queries: Any, codes: Any, k: int) -> tuple[Any, Any]:
        """The k items of the highest scores for each query, exactly.

        Args:
            queries, codes: as of `scores`.
            k: 1 to the number of codes.
        Returns:
            (scores float32 [nq, k], ids int64 [nq, k]), the highest first, equal scores by the smaller id.
        Memory: blocks of 2^24 pairs.
        """
        vectors, items = self._vectors("search", "queries", queries), self._codes("search", codes)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= len(items):
            raise ValueError(f"search: k must be from 1 to {len(items)}, got {k!r}")
        found = [
            _highest(table_scores(self.codebook, block, items).cpu().numpy(), int(k))
            for block in vectors.split(max(1, PAIRS // len(items)))
        ]
        best, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return like(best, queries), like(ids, queries)

    def _vectors(self, op: str, name: str, vectors: Any) -> Tensor:
        rows = vectors if is_torch(vectors) else torch.from_numpy(np.array(vectors, np.float32))
        if rows.ndim != 2 or rows.shape[1] != self.width or not len(rows):
            raise ValueError(f"{op}: {name} must be [n, {self.width}] with n >= 1, got {tuple(rows.shape)}")
        return rows.to(self.codebook.device, torch.float32)

    def _codes(self, op: str, codes: Any) -> Tensor:
        rows = codes if is_torch(codes) else torch.from_numpy(np.array(codes))
        if rows.dtype != torch.uint8 or rows.ndim != 2 or rows.shape[1] != len(self.codebook) or not len(rows):
            want = f"uint8 [n, {len(self.codebook)}] with n >= 1"
            raise ValueError(f"{op}: codes must be {want}, got {rows.dtype} {tuple(rows.shape)}")
        return rows.to(self.codebook.device)


def _highest(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(values, ids) [nq, k]; what is at the k-th value is sorted out by the ids."""
    ids = np.empty((len(scores), k), np.int64)
    last = np.partition(scores, -k, axis=1)[:, -k]
    for row, values, at in zip(ids, scores, last, strict=True):
        near = np.flatnonzero(values >= at)
        row[:] = near[np.argsort(-values[near], kind="stable")[:k]]
    return np.take_along_axis(scores, ids, axis=1), ids
