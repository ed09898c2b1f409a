"""A wide linear layer on sparse rows: forward and weight gradient touch the weights of the words present alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fasthash.models.lazy_rows import LazyRows
from fasthash.models.sparse import SparseBatch, bag_sums


class WordLinear(nn.Module):
    """``nn.Linear`` whose weights of a word lie together, so that a bag of words reads those of its own words alone.

    With a centre, (x - mean) W^T is x W^T - mean W^T: the second term is one row for the whole batch, and the gradient
    of W that of the words present less the outer product of the mean with the sum of the outputs' gradients. Nothing is
    left out: the gradient is that of the dense layer.

    The state dict is that of ``nn.Linear``. The parameter is ``rows`` [in, out], the weight transposed, and optimisers
    keep state of that shape. For a sparse batch `backward` puts the gradient into ``rows.grad`` itself, in memory that
    it keeps: a fresh block of that size each step costs more than filling it. Copy a gradient that must outlive a step.

    Args:
        linear: takes over its weights.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.rows = nn.Parameter(linear.weight.detach().t().contiguous(), linear.weight.requires_grad)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())
        self.lazy: LazyRows | None = None  # set by an optimiser that steps the rows of the words present alone
        self._gradient: Tensor | None = None  # memory of rows.grad
        self._filled: Tensor | None = None  # its rows that may be other than zero; None: all

    @property
    def weight(self) -> Tensor:
        """[out, in]"""
        self.settle()
        return self.rows.t()

    def to_linear(self) -> nn.Linear:
        """The ordinary layer with the same weights."""
        made = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        made.weight = nn.Parameter(self.weight.detach().contiguous(), self.rows.requires_grad)
        made.bias = self.bias
        return made

    def settle(self) -> None:
        """Make ``rows`` what they are, where a lazy optimiser has put something off."""
        if self.lazy is not None:
            self.lazy.settle()

    def forward(self, x: Tensor | SparseBatch, mean: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        """scale (x - mean) W^T + bias, [m, out].

        Args:
            x: dense [m, in], ready-made (no mean or scale), or a sparse batch.
            mean: [in] centre, a constant; None: 0.
            scale: [m] factor of each row, a constant; None: 1.
        """
        if isinstance(x, SparseBatch):
            made: Tensor = _WordProduct.apply(self.rows, self.bias, x, mean, scale, self)
            return made
        return linear(x, self.weight, self.bias)

    def receive(self, batch: SparseBatch, grad: Tensor, mean: Tensor | None) -> None:
        """Add to the gradient of ``rows``: (x - mean)^T grad, for grad [m, out]."""
        words, offsets, rows, values = batch.by_word
        part = bag_sums(grad, rows, offsets, values)
        total = None if mean is None else grad.sum(dim=0)
        if self.lazy is not None:
            self.lazy.receive(words, part, total)
        elif self.rows.grad is None:
            self.rows.grad = self._fill(words, part, mean, total)
        else:
            self._filled = None
            self.rows.grad.index_add_(0, words, part)
            if mean is not None and total is not None:
                self.rows.grad.addr_(mean, total, alpha=-1)

    def gradient_was_written(self) -> None:
        """To be told when somebody else has written to ``rows.grad``: all its rows may now be other than zero."""
        self._filled = None

    def _fill(self, words: Tensor, part: Tensor, mean: Tensor | None, total: Tensor | None) -> Tensor:
        gradient = self._gradient
        if gradient is None or gradient.dtype != self.rows.dtype or gradient.device != self.rows.device:
            gradient, self._filled = torch.empty_like(self.rows), None
        if mean is not None and total is not None:
            torch.outer(mean, total.neg(), out=gradient)
            gradient.index_add_(0, words, part)
            self._filled = None
        else:
            gradient.zero_() if self._filled is None else gradient.index_fill_(0, self._filled, 0.0)
            gradient.index_copy_(0, words, part)
            self._filled = words
        self._gradient = gradient.detach()
        return gradient

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if keep_vars:
            self.settle()
        rows = self.rows.detach() if self.lazy is None else self.lazy.settled()
        destination[prefix + "weight"] = self.rows.t() if keep_vars else rows.t().contiguous()
        if self.bias is not None:
            destination[prefix + "bias"] = self.bias if keep_vars else self.bias.detach()

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        name = prefix + "weight"
        if name not in state:
            super()._load_from_state_dict(state, prefix, *args)  # says that it is missing, as `rows`
            return
        weight = state.pop(name)
        state[prefix + "rows"] = weight.t()
        super()._load_from_state_dict(state, prefix, *args)
        del state[prefix + "rows"]
        state[name] = weight
        if self.lazy is not None:
            self.lazy.forget()

    def __getstate__(self) -> dict[str, Any]:  # copies and pickles: without the memory, and without the optimiser
        self.settle()
        return {**self.__dict__, "lazy": None, "_gradient": None, "_filled": None}

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class _WordProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, bias: Tensor | None, batch: SparseBatch, mean: Tensor | None, scale: Tensor | None,
        layer: WordLinear,
    ) -> Tensor:  # fmt: skip
        ctx.batch, ctx.mean, ctx.scale, ctx.layer = batch, mean, scale, layer
        with torch.autocast(rows.device.type, enabled=False):  # the mean's product is one row: no need to round it
            if layer.lazy is not None:
                out = layer.lazy.product(batch, mean)
            else:
                out = bag_sums(rows, batch.words, batch.offsets, batch.values)
                if mean is not None:
                    out -= mean @ rows
        if scale is not None:
            out *= scale[:, None]
        return out if bias is None else out.add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad.contiguous()
        of_bias = grad.sum(dim=0) if ctx.needs_input_grad[1] else None
        if ctx.needs_input_grad[0]:
            ctx.layer.receive(ctx.batch, grad if ctx.scale is None else grad * ctx.scale[:, None], ctx.mean)
        return None, of_bias, None, None, None, None
