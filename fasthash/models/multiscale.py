"""A bag of words at several scales: beside itself, its averages over windows of neighbouring words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiScale(nn.Module):
    """Rows [n, width] -> [n, (1 + windows) * width]: the row itself, then one copy for each window.

    A copy is the row averaged over windows side by side (what is left over at the end takes no part), times one learned
    number, through ReLU, and interpolated linearly to the width again.

    Args:
        width: of the rows.
        windows: lengths, each from 1 to the width.
    Raises:
        ValueError: a window that does not fit into the row.
    Source: Li et al., Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval, CVPR 2018, section 3.4.
    """

    def __init__(self, width: int, windows: Sequence[int]) -> None:
        super().__init__()
        for window in windows:
            if not 1 <= window <= width:
                raise ValueError(f"MultiScale: windows must be from 1 to the width {width}, got {window}")
        self.width, self.windows = width, tuple(windows)
        self.scale = nn.Parameter(torch.ones(len(self.windows)))  # [windows], the 1 x 1 convolutions

    @property
    def out_width(self) -> int:
        return (1 + len(self.windows)) * self.width

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for scale, window in zip(self.scale, self.windows, strict=True):
            means = torch.relu(scale * functional.avg_pool1d(x[:, None], window))
            parts.append(functional.interpolate(means, size=self.width, mode="linear")[:, 0])
        return torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        return f"{self.width}, windows={self.windows}"
