"""Inputs and the independent truth of stacked cross attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from nll_cases import relative
from torch import Tensor

T2I, I2T = (9.0, 6.0), (4.0, 20.0)  # temperature and pool temperature


@dataclass(frozen=True)
class Items:
    """Regions of images and words of captions, which of them there are, and a gradient of the scores."""

    regions: Tensor
    words: Tensor
    region_mask: Tensor
    word_mask: Tensor
    grad: Tensor

    @property
    def masks(self) -> tuple[Tensor, Tensor]:
        return self.word_mask, self.region_mask  # in the order of the arguments


def make_items(n_i: int, n_t: int, r: int, t: int, d: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Items:
    """Vectors of lengths around sqrt(d) that agree a little, so that no attended vector is near 0."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(d, generator=g, dtype=torch.float64)
    regions, words = (
        torch.randn(n, k, d, generator=g, dtype=torch.float64) + 0.7 * common for n, k in ((n_i, r), (n_t, t))
    )
    masks = [torch.rand(n, k, generator=g) < 0.7 for n, k in ((n_i, r), (n_t, t))]
    grad = torch.randn(n_i, n_t, generator=g, dtype=torch.float64)
    return Items(regions.to(dtype), words.to(dtype), *masks, grad)


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """0 where one of them is zeros."""
    lengths = math.sqrt((x * x).sum()) * math.sqrt((y * y).sum())
    return float((x * y).sum() / lengths) if lengths > 0 else 0.0


def unit(x: np.ndarray) -> np.ndarray:
    length = math.sqrt((x * x).sum())
    return x / length if length > 0 else x


def pair_truth(
    context: list[np.ndarray], query: list[np.ndarray], temperature: float, pool: float | None, leak: float
) -> float:
    """The score of one pair: each vector of the query attends to the context; pool: None for the mean."""
    if not context or not query:
        return 0.0
    s = [[cosine(c, q) for q in query] for c in context]
    s = [[x if x > 0 else leak * x for x in row] for row in s]
    s = [[x / math.sqrt(sum(y * y for y in row) + 1e-8) for x in row] for row in s]
    found = []
    for j, q in enumerate(query):
        top = max(temperature * row[j] for row in s)
        e = [math.exp(temperature * row[j] - top) for row in s]
        attended = sum(w / sum(e) * unit(c) for w, c in zip(e, context, strict=True))
        found.append(cosine(q, attended))
    if pool is None:
        return sum(found) / len(found)
    top = max(found)
    return top + math.log(sum(math.exp(pool * (x - top)) for x in found)) / pool


def truth(
    regions: Tensor, words: Tensor, word_mask: Tensor | None = None, region_mask: Tensor | None = None, *,
    direction: str = "t2i", pool: str = "mean", leak: float = 0.1, t2i: tuple[float, float] = T2I,
    i2t: tuple[float, float] = I2T,
) -> np.ndarray:  # fmt: skip
    """All scores in float64, pair by pair, word by word, with attended vectors."""
    images, captions = (rows(x, mask) for x, mask in ((regions, region_mask), (words, word_mask)))
    scores = np.zeros((len(images), len(captions)))
    for i, image in enumerate(images):
        for j, caption in enumerate(captions):
            pools = [x[1] if pool == "lse" else None for x in (t2i, i2t)]
            first = pair_truth(image, caption, t2i[0], pools[0], leak)
            second = pair_truth(caption, image, i2t[0], pools[1], leak)
            scores[i, j] = {"t2i": first, "i2t": second, "both": (first + second) / 2}[direction]
    return scores


def rows(x: Tensor, mask: Tensor | None) -> list[list[np.ndarray]]:
    """The vectors of each item that there are."""
    kept = np.ones(x.shape[:2], dtype=bool) if mask is None else mask.numpy() != 0
    values = x.detach().double().numpy()
    return [[vector for vector, there in zip(item, own, strict=True) if there] for item, own in zip(values, kept,
            strict=True)]  # fmt: skip


def gradient_truth(items: Items, masks: tuple[Tensor | None, Tensor | None], picks: int, **options) -> list[tuple]:
    """(0 regions or 1 words, index, derivative) of sum(grad * scores) at some entries, by central differences."""
    rng = np.random.default_rng(0)
    made = []
    for side in (0, 1):
        tensors = [items.regions.double(), items.words.double()]
        for _ in range(picks):
            index = tuple(int(rng.integers(size)) for size in tensors[side].shape)
            step = 1e-5
            values = []
            for sign in (1, -1):
                moved = [x.clone() for x in tensors]
                moved[side][index] += sign * step
                values.append((items.grad.numpy() * truth(*moved, *masks, **options)).sum())
            made.append((side, index, (values[0] - values[1]) / (2 * step)))
    return made


__all__ = ["Items", "gradient_truth", "make_items", "relative", "truth"]
