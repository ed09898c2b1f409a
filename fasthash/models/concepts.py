"""What MITH's networks are made of: a concept module, shares of tokens in concepts, a transformer over concepts.

Liu et al.: Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval, ACM Multimedia 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WAVELENGTH = 10000.0  # the longest of the position code, over 2 pi


class Concepts(nn.Module):
    """How far vectors hold each concept: residual perceptrons, then tanh(W x).

    Args:
        width: of the vectors.
        concepts: bits.
        blocks: residual blocks x + W2 GELU(W1 LN(x)), four times as wide within; 0: none.
        dropout: within the blocks.
    """

    def __init__(self, width: int, concepts: int, blocks: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout),
                nn.Linear(4 * width, width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.scores = nn.Linear(width, concepts, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., width] -> what the blocks make of it, [..., width], and its concepts in -1..1, [..., concepts]."""
        for block in self.blocks:
            x = x + block(x)
        return x, torch.tanh(self.scores(x))


class Attention(nn.Module):
    """A transformer layer of CLIP: x + attention(LN(x)), then x + perceptron(LN(x)) with x sigmoid(1.702 x) within.

    Args:
        width: of the vectors; a multiple of ``heads``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, k, width] -> the same."""
        n, k, width = x.shape
        parts = self.qkv(self.first(x)).view(n, k, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(n, k, width))
        hidden = self.up(self.second(x))
        return x + self.down(hidden * torch.sigmoid(1.702 * hidden))


@torch.no_grad()
def token_weights(concepts: Tensor, top: int, mask: Tensor | None = None) -> Tensor:
    """Shares of the tokens in each concept, [n, concepts, tokens]; a concept that no token holds has none, 0.

    A token holds those of its ``top`` highest concepts that are above 0; shares are a softmax over a concept's tokens.

    Args:
        concepts: [n, tokens, concepts] in -1..1.
        top: all where there are fewer concepts.
        mask: bool [n, tokens], which of them there are; None: all.
    """
    concepts = concepts.float()
    least = concepts.topk(min(top, concepts.shape[2]), dim=2).values[..., -1:]
    held = (concepts >= least) & (concepts > 0)
    if mask is not None:
        held &= mask[..., None]
    # concepts are in -1..1, so that nothing overflows without the largest one subtracted, and no row is 0 / 0
    raw = torch.where(held, concepts.exp(), 0.0)
    return (raw / raw.sum(dim=1, keepdim=True).clamp_min(1e-30)).transpose(1, 2)


def positions(places: int, width: int) -> Tensor:
    """[places, width] sines and cosines of the place at rising wavelengths, over the root of the width."""
    angles = torch.arange(places)[:, None] / WAVELENGTH ** (torch.arange(0, width, 2) / width)
    made = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
    return made / width**0.5
