"""Gradient descent that writes, of a layer on bags of words, the rows of the words of a batch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from fasthash.models.lazy_rows import LazyRows
from fasthash.models.word_linear import WordLinear


class WordSGD(torch.optim.SGD):
    """``torch.optim.SGD`` without momentum whose cost does not grow with the number of words; the steps are the same.

    The gradient of `WordLinear` layers stays in parts, see `LazyRows`: their ``rows.grad`` is None. Their ``rows`` are
    behind between steps: read ``weight``, or call ``settle`` first, as the trainer does at the end of each epoch.

    Args:
        params: as for any optimiser, the layers' parameters among them.
        layers: those of them that are stepped so.
        lr, weight_decay: as of ``torch.optim.SGD``.
    """

    def __init__(
        self, params: Iterable[Any], layers: Iterable[WordLinear], *, lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)
        self.lazy: dict[int, LazyRows] = {}  # by the identity of the parameter
        for layer in layers:
            layer.lazy = LazyRows(layer.rows)
            self.lazy[id(layer.rows)] = layer.lazy

    def zero_grad(self, set_to_none: bool = True) -> None:
        for lazy in self.lazy.values():
            lazy.pending.clear()
        super().zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        dense = [lazy for lazy in self.lazy.values() if lazy.rows.grad is not None]
        self.gather_gradients(dense)
        result = super().step(closure)
        for lazy in dense:
            lazy.forget()
        for group in self.param_groups:
            for parameter in group["params"]:
                if id(parameter) in self.lazy:
                    self.lazy[id(parameter)].step(float(group["lr"]), float(group["weight_decay"]))
        return result

    def gather_gradients(self, lazy: Iterable[LazyRows] | None = None) -> None:
        """Put gradients into ``rows.grad``, for whoever must see them there (clipping, an exchange with processes)."""
        for one in self.lazy.values() if lazy is None else lazy:
            one.settle()
            made = one.gradient()
            if made is not None:
                one.rows.grad = made if one.rows.grad is None else one.rows.grad.add_(made)

    def settle(self) -> None:
        """Bring all rows up to date."""
        for lazy in self.lazy.values():
            lazy.settle()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "words": [lazy.state() for lazy in self.lazy.values()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "words"})
        if "words" not in state_dict:  # of several processes, which step all rows: nothing was put off
            return
        for lazy, state in zip(self.lazy.values(), state_dict["words"], strict=True):
            lazy.load(state)
