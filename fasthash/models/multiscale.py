"""A bag of words at several scales: beside itself, its averages over windows of neighbouring words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasthash.models.sparse import SparseBatch, bag_sums
from fasthash.models.word_linear import WordLinear

CHUNK = 256  # rows of a gradient that are made at a time: they stay in cache until they are in their place


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

    def averages(self, x: Tensor) -> list[Tensor]:
        """What is interpolated: for each window [n, width // window]."""
        made = []
        for scale, window in zip(self.scale, self.windows, strict=True):
            count = self.width // window
            made.append(torch.relu(scale * x[:, : count * window].reshape(len(x), count, window).mean(dim=2)))
        return made

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(_stretched(means, self.width) for means in self.averages(x))], dim=1)

    def extra_repr(self) -> str:
        return f"{self.width}, windows={self.windows}"


class MultiScaleWords(nn.Module):
    """The linear layer on what `MultiScale` makes of sparse rows: nothing is stretched, and the words stay sparse.

    Averages a over a window, stretched by the matrix J and multiplied by weights W, are a (J W): J has two entries for
    each column, so that J W, with a row for each of the few averages, costs one pass over W, where the product of the
    stretched rows with W costs one for every few rows of the batch. The gradient goes back the same way.

    The state dict is that of the ``nn.Linear`` it stands for. Gradients of weights: as `WordLinear`'s.

    Args:
        linear: takes over its weights; its inputs are the outputs of ``scales``.
        scales: width and windows.
    """

    def __init__(self, linear: nn.Linear, scales: MultiScale) -> None:
        super().__init__()
        self.width = width = scales.width
        own = nn.Linear(width, linear.out_features, linear.bias is not None, device="meta")
        own.weight, own.bias = nn.Parameter(linear.weight[:, :width].detach()), linear.bias
        self.words = WordLinear(own)
        self.stretched = nn.Parameter(linear.weight[:, width:].detach().t().contiguous())  # [windows * width, out]
        counts = [width // window for window in scales.windows]
        matrices = torch.block_diag(*(_stretched(torch.eye(count, dtype=torch.float64), width) for count in counts))
        self._folds = SparseBatch.from_dense(matrices)  # J, a row for each average
        self._unfolds = SparseBatch.from_dense(matrices.t())
        self._gradient: Tensor | None = None  # memory of the gradient: a fresh block each step costs more
        self.register_state_dict_post_hook(_join)
        self.register_load_state_dict_pre_hook(_part)

    def to_linear(self) -> nn.Linear:
        """The ordinary layer with the same weights."""
        made = nn.Linear(self.width + len(self.stretched), self.stretched.shape[1], False, device="meta")
        made.weight, made.bias = nn.Parameter(self._weight()), self.words.bias
        return made

    def _weight(self) -> Tensor:
        return torch.cat([self.words.weight.detach(), self.stretched.detach().t()], dim=1)

    def forward(
        self,
        x: Tensor | SparseBatch,
        mean: Tensor | None = None,
        scale: Tensor | None = None,
        averages: Sequence[Tensor] = (),
    ) -> Tensor:
        """[m, out] of scale (x - mean) and of the averages that are made of it, by `WordLinear`'s arguments.

        Args:
            x: a sparse batch, with its averages [m, width // window] each; or dense outputs of ``scales``, alone.
        """
        if isinstance(x, SparseBatch):
            made: Tensor = _Folded.apply(torch.cat(list(averages), dim=1), self.stretched, self)
            return made + self.words(x, mean, scale)
        return functional.linear(x[:, self.width :], self.stretched.t()) + self.words(x[:, : self.width])

    def fold(self) -> Tensor:
        """J W, [averages, out]."""
        return bag_sums(self.stretched.detach(), self._folds.words, self._folds.offsets, self._folds.values)

    def receive(self, gradient: Tensor) -> None:
        """Add to the gradient of ``stretched`` what follows from that of `fold`."""
        held = self.stretched.grad
        if held is None and (self._gradient is None or self._gradient.dtype != gradient.dtype):
            self._gradient = torch.empty_like(self.stretched.detach())
        for start in range(0, len(self.stretched), CHUNK):
            offsets = self._unfolds.offsets[start : start + CHUNK + 1]
            entries = slice(int(offsets[0]), int(offsets[-1]))
            part = bag_sums(gradient, self._unfolds.words[entries], offsets - offsets[0], self._unfolds.values[entries])
            if held is not None:
                held[start : start + CHUNK] += part
            else:
                assert self._gradient is not None
                self._gradient[start : start + CHUNK] = part
        if held is None:
            self.stretched.grad = None if self._gradient is None else self._gradient.detach()

    def __getstate__(self) -> dict[str, Any]:  # copies and pickles: without the memory
        return {**self.__dict__, "_gradient": None}


class _Folded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, averages: Tensor, stretched: Tensor, layer: MultiScaleWords) -> Tensor:
        folded = layer.fold()
        ctx.save_for_backward(averages, folded)
        ctx.layer = layer
        return averages @ folded

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        averages, folded = ctx.saved_tensors
        of_averages = grad @ folded.t() if ctx.needs_input_grad[0] else None
        if ctx.needs_input_grad[1]:
            ctx.layer.receive(averages.t() @ grad)
        return of_averages, None, None


def _stretched(x: Tensor, width: int) -> Tensor:
    """[n, k] -> [n, width], by linear interpolation."""
    return functional.interpolate(x[:, None], size=width, mode="linear")[:, 0]


def _join(layer: MultiScaleWords, state: dict[str, Any], prefix: str, _: Any) -> None:
    """State dict: the two weights as that of one linear layer."""
    own, rest = state.pop(f"{prefix}words.weight"), state.pop(f"{prefix}stretched")
    state[f"{prefix}weight"] = torch.cat([own, rest.t()], dim=1)
    if f"{prefix}words.bias" in state:
        state[f"{prefix}bias"] = state.pop(f"{prefix}words.bias")


def _part(layer: MultiScaleWords, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The reverse of `_join`."""
    if f"{prefix}weight" in state:
        weight = state.pop(f"{prefix}weight")
        state[f"{prefix}words.weight"] = weight[:, : layer.width]
        state[f"{prefix}stretched"] = weight[:, layer.width :].t()
    if f"{prefix}bias" in state:
        state[f"{prefix}words.bias"] = state.pop(f"{prefix}bias")
