"""Stacked cross attention in plain torch, all pairs at once: the reference of ``cross_attention_score``.

s is [n_i, n_t, R, T]; each direction sees it as [n_i, n_t, C, Q], turned round or not, with C vectors of the context,
which is attended to, and Q vectors of the query, which attends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-8  # added to the sum of squares that similarities are normalised by
SHORTEST = 1e-12  # of a vector; a shorter one counts as zeros
LEAST_SQUARE = 1e-12  # of an attended vector's length


class Unit(NamedTuple):
    """Vectors of length 1 in at least float32; those of zeros and masked ones are 0."""

    rows: Tensor  # [n, k, d]
    inverse: Tensor  # [n, k, 1] of the lengths; 0 for zeros
    mask: Tensor  # bool [n, k]: which vectors there are

    def grad(self, grad: Tensor) -> Tensor:
        """Gradient of the given vectors from that of the unit vectors."""
        along = (grad * self.rows).sum(-1, keepdim=True)
        # where: a masked vector may hold anything
        return torch.where(self.mask[..., None], self.inverse * (grad - self.rows * along), 0.0)


class Attended(NamedTuple):
    """One direction of all pairs; [n_i, n_t, C, Q] or without a dimension that was added up."""

    normalised: Tensor  # similarities after the leak, over their length along Q
    scale: Tensor  # 1 / that length
    weights: Tensor  # softmax over C
    weighted: Tensor  # Gram matrix times weights
    dots: Tensor  # inner products of the query and the attended vectors
    squares: Tensor  # squared lengths of the attended vectors
    share: Tensor  # d score / d cosine, by the pooling
    score: Tensor  # [n_i, n_t]


def unit_rows(x: Tensor, mask: Tensor | None) -> Unit:
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    x = torch.where(mask[..., None], x, 0.0)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse = torch.where(length <= SHORTEST, 0.0, 1 / length)
    return Unit(x * inverse, inverse, mask)


def similarities(regions: Unit, words: Unit) -> Tensor:
    """[n_i, n_t, R, T] cosines."""
    return torch.einsum("ird,twd->itrw", regions.rows, words.rows)


def attend(
    s: Tensor, gram: Tensor, context: Tensor, query: Tensor, temperature: float, pool: float, leak: float
) -> Attended:
    """One direction.

    Args:
        s: [n_i, n_t, C, Q] cosines.
        gram: [n_i or 1, n_t or 1, C, C] cosines within the context.
        context, query: bool [n_i or 1, n_t or 1, C or Q]: which vectors there are.
        pool: temperature of the log-sum-exp over the query; 0: mean.
    """
    b = torch.where(s > 0, s, leak * s)  # masked words are zeros
    scale = (b.square().sum(-1, keepdim=True) + EPS).rsqrt()
    normalised = b * scale
    lowest = torch.finfo(s.dtype).min
    logits = torch.where(context[..., None], temperature * normalised, lowest)
    weights = torch.where(context[..., None], logits.softmax(dim=-2), 0.0)
    weighted = gram @ weights
    dots, squares = (weights * s).sum(-2), (weights * weighted).sum(-2)
    cosines = dots * squares.clamp(min=LEAST_SQUARE).rsqrt()
    there = context.any(-1) & query.any(-1)
    if pool == 0:
        share = query.to(s.dtype) / query.sum(-1, keepdim=True).clamp(min=1)
        score = (torch.where(query, cosines, 0.0) * share).sum(-1)
    else:
        logits = torch.where(query, pool * cosines, lowest)
        share = torch.where(query, logits.softmax(-1), 0.0)
        score = logits.logsumexp(-1) / pool
    return Attended(
        normalised, scale, weights, weighted, dots, squares, share * there[..., None], torch.where(there, score, 0.0)
    )


def attend_grad(grad: Tensor, s: Tensor, a: Attended, temperature: float, leak: float) -> tuple[Tensor, Tensor]:
    """Gradients of s [n_i, n_t, C, Q] and, for each pair, of the Gram matrix, as the sum with its transpose.

    Args:
        grad: [n_i, n_t] of the scores.
    """
    clamped = a.squares <= LEAST_SQUARE
    inverse = a.squares.clamp(min=LEAST_SQUARE).rsqrt()
    grad_dots = grad[..., None] * a.share * inverse
    # twice the gradient of the squared length
    twice = torch.where(clamped, 0.0, -grad_dots * a.dots * inverse.square())
    grad_weights = grad_dots[..., None, :] * s + twice[..., None, :] * a.weighted
    along = (a.weights * grad_weights).sum(-2, keepdim=True)
    grad_normalised = temperature * a.weights * (grad_weights - along)
    across = (grad_normalised * a.normalised).sum(-1, keepdim=True)
    grad_b = a.scale * (grad_normalised - a.normalised * across)
    grad_s = torch.where(s > 0, grad_b, leak * grad_b) + grad_dots[..., None, :] * a.weights
    return grad_s, (a.weights * twice[..., None, :]) @ a.weights.mT


class Direction(NamedTuple):
    """What one direction sees of the pairs; see ``attend``."""

    weight: float
    temperature: float
    pool: float
    swapped: bool  # the context is the words: s is to be turned round

    def turn(self, s: Tensor) -> Tensor:
        return s.mT if self.swapped else s

    def attend(self, s: Tensor, regions: Unit, words: Unit, leak: float) -> Attended:
        gram_regions, gram_words = (x.rows @ x.rows.mT for x in (regions, words))
        first = gram_regions[:, None], regions.mask[:, None], words.mask[None]
        second = gram_words[None], words.mask[None], regions.mask[:, None]
        gram, context, query = second if self.swapped else first
        return attend(self.turn(s), gram, context, query, self.temperature, self.pool, leak)


def directions(t2i: Sequence[float], i2t: Sequence[float]) -> list[Direction]:
    """Those with a weight."""
    both = (Direction(w, temperature, pool, i > 0) for i, (w, temperature, pool) in enumerate((t2i, i2t)))
    return [direction for direction in both if direction.weight != 0]


def score(
    regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None, t2i: Sequence[float],
    i2t: Sequence[float], leak: float,
) -> Tensor:  # fmt: skip
    """[n_i, n_t]: the sum over the directions of weight times score."""
    v, e = unit_rows(regions, region_mask), unit_rows(words, word_mask)
    s = similarities(v, e)
    total = s.new_zeros(s.shape[:2])
    for direction in directions(t2i, i2t):
        total = total + direction.weight * direction.attend(s, v, e, leak).score
    return total


def score_grad(
    grad: Tensor, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None,
    t2i: Sequence[float], i2t: Sequence[float], leak: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of regions and words, in at least float32, from that of the scores."""
    v, e = unit_rows(regions, region_mask), unit_rows(words, word_mask)
    s = similarities(v, e)
    grad_s = torch.zeros_like(s)
    grad_v, grad_e = torch.zeros_like(v.rows), torch.zeros_like(e.rows)
    for d in directions(t2i, i2t):
        turned = d.turn(s)
        part, gram = attend_grad(d.weight * grad.to(s.dtype), turned, d.attend(s, v, e, leak), d.temperature, leak)
        grad_s = grad_s + d.turn(part)
        if d.swapped:
            grad_e = grad_e + gram.sum(0) @ e.rows
        else:
            grad_v = grad_v + gram.sum(1) @ v.rows
    grad_v = grad_v + torch.einsum("itrw,twd->ird", grad_s, e.rows)
    grad_e = grad_e + torch.einsum("itrw,ird->twd", grad_s, v.rows)
    return v.grad(grad_v), e.grad(grad_e)
