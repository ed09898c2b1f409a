"""What hangs on a tower's features in self-supervised hashing: a code, and a guess of the labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasthash.models.tower import Tower


class Heads(nn.Module):
    """Features f of a tower -> its relaxed code tanh(tower.head(f)) and its guess of the labels, sigmoid(W f + b).

    The tower is not held: its parameters are its own.

    Args:
        tower: the network, whose normalisation before the hash layer is shared.
        classes: labels.
    Source: Li et al., Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval, CVPR 2018, section 3.3.
    """

    def __init__(self, tower: Tower, classes: int) -> None:
        super().__init__()
        config = tower.config
        self.labels = nn.Linear(config.hidden[-1] if config.hidden else config.width, classes)
        if config.init_std is not None:
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=config.init_std)

    def forward(self, tower: Tower, f: Tensor) -> tuple[Tensor, Tensor]:
        """h [m, bits] in -1..1 and y [m, classes] in 0..1 of f = tower.trunk(x)."""
        return torch.tanh(tower.head(f)), torch.sigmoid(self.labels(tower.norm(f)))
