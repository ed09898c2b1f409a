"""Composite codes: a vector as the sum of one centre out of each of M sub-codebooks.

A codebook is a float tensor [M, CENTRES, d], a code uint8 [n, M]. Sources: Zhang, Du, Wang, Composite Quantization for
Approximate Nearest Neighbor Search, ICML 2014; Cao, Long, Wang, Liu, Collective Deep Quantization for Efficient
Cross-Modal Retrieval, AAAI 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

CENTRES = 256  # of a sub-codebook: a code takes a byte for each
BLOCK = 1 << 14  # vectors handled together


def reconstruct(codebook: Tensor, codes: Tensor) -> Tensor:
    """[n, d]: the sum of the centres that the codes uint8 [n, M] name."""
    return embedding_bag(_rows(codes), codebook.flatten(0, 1), mode="sum")


def table_scores(codebook: Tensor, queries: Tensor, codes: Tensor) -> Tensor:
    """[nq, n] inner products of queries [nq, d] with reconstructions, by tables of those with the centres.

    Equal codes get equal scores to the last bit, wherever they stand.
    """
    tables = codebook.flatten(0, 1) @ queries.T  # [M * CENTRES, nq]
    return embedding_bag(_rows(codes), tables, mode="sum").T


def _rows(codes: Tensor) -> Tensor:
    """int64 [n, M]: places of the centres in the codebook's rows."""
    return codes.long() + CENTRES * torch.arange(codes.shape[1], device=codes.device)


def assign(codebook: Tensor, vectors: Tensor, order: Sequence[int], sweeps: int = 1) -> Tensor:
    """uint8 [n, M] codes of vectors [n, d] by iterated conditional modes.

    Nothing is chosen at first. Then, one sub-codebook after the other, the centre nearest to what the others leave over
    takes the place of the one before; from the second sweep on no step takes the reconstruction further away.

    Args:
        order: of the sub-codebooks in each sweep.
    """
    parts = [_assign_block(codebook, part, order, sweeps) for part in vectors.split(BLOCK)]
    return torch.cat(parts)


def _assign_block(codebook: Tensor, vectors: Tensor, order: Sequence[int], sweeps: int) -> Tensor:
    left = vectors.clone()
    squares = codebook.square().sum(dim=2)
    codes = torch.zeros(len(vectors), len(codebook), dtype=torch.int64, device=vectors.device)
    for sweep in range(sweeps):
        for m in order:
            if sweep:
                left += codebook[m][codes[:, m]]
            codes[:, m] = _nearest(left, codebook[m], squares[m])
            left -= codebook[m][codes[:, m]]
    return codes.to(torch.uint8)


def _nearest(vectors: Tensor, centres: Tensor, squares: Tensor) -> Tensor:
    """int64 [n]; ``squares`` [k] of the centres' lengths."""
    return torch.addmm(squares, vectors, centres.T, alpha=-2).argmin(dim=1)


def fit_centres(vectors: Tensor, codes: Tensor, ridge: float) -> Tensor:
    """Codebook [M, CENTRES, d] that reconstructs vectors [n, d] best: (H'H + ridge I)^-1 H'X, H [n, M * CENTRES] 0/1.

    In float64 on the CPU: without the ridge H'H is singular, for the columns of each sub-codebook add up to the same
    vector. H is never formed. Centres that no code names become 0.
    """
    m, rows = codes.shape[1], _rows(codes.cpu())
    size = m * CENTRES
    gram = torch.zeros(size * size, dtype=torch.float64)
    right = torch.zeros(size, vectors.shape[1], dtype=torch.float64)
    for part, x in zip(rows.split(BLOCK), vectors.split(BLOCK), strict=True):
        pairs = (part[:, :, None] * size + part[:, None, :]).flatten()
        gram.index_add_(0, pairs, gram.new_ones(()).expand(len(pairs)))
        right.index_add_(0, part.flatten(), x.cpu().double().repeat_interleave(m, dim=0))
    gram = gram.view(size, size)
    gram.diagonal().add_(ridge)
    solved = torch.cholesky_solve(right, torch.linalg.cholesky(gram))
    return solved.view(m, CENTRES, -1).to(vectors)


def start_by_slices(vectors: Tensor, m: int, generator: torch.Generator, iterations: int = 15) -> Tensor:
    """Codebook [m, CENTRES, d] whose sub-codebooks are the k-means centres of a slice of the vectors each, 0 elsewhere.

    Args:
        vectors: [n, d], d >= m.
        generator: on the CPU; of the vectors that centres start from.
    """
    n, d = vectors.shape
    codebook = vectors.new_zeros(m, CENTRES, d)
    for sub, columns in zip(codebook, torch.arange(d).tensor_split(m), strict=True):
        part = vectors[:, columns[0] : columns[-1] + 1]
        # where there are fewer vectors than centres, some start from the same one, and the first of them has it all
        start = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-CENTRES // n))])[:CENTRES]
        sub[:, columns[0] : columns[-1] + 1] = _kmeans(part, part[start.to(part.device)], iterations)
    return codebook


def _kmeans(vectors: Tensor, centres: Tensor, iterations: int) -> Tensor:
    """Lloyd's iterations; a centre without vectors stays where it is."""
    for _ in range(iterations):
        squares = centres.square().sum(dim=1)
        nearest = torch.cat([_nearest(part, centres, squares) for part in vectors.split(BLOCK)])
        count = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(count[:, None] > 0, sums / count.clamp_min(1)[:, None], centres)
    return centres
