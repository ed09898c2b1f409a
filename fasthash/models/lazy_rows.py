"""Rows of a layer under gradient descent with decay, of which a step writes those of the words present alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fasthash.models.sparse import SparseBatch, bag_sums

SMALLEST_SCALE = 0.25  # below it the rows are settled: the quotient by the scale must not cost digits


class LazyRows:
    """W = scale V + mean u^T, where V is what the parameter holds: decay and the centre's gradient touch no row.

    A step W <- (1 - lr decay) W - lr (G - mean g^T), with G zero but in the rows of the words present and g the sum of
    the outputs' gradients, is
        scale <- (1 - lr decay) scale,  u <- (1 - lr decay) u + lr g,  V <- V - (lr / scale) G,
    and the centre's product c = mean W, which every forward needs, follows it:
        c <- (1 - lr decay) c - lr (mean G - |mean|^2 g).
    The same numbers as of the ordinary step, in another order of rounding.

    Args:
        rows: V, [in, out]; written in place.
    """

    def __init__(self, rows: nn.Parameter) -> None:
        self.rows = rows
        self.scale = 1.0
        self.centre: _Centre | None = None
        self.pending: list[tuple[Tensor, Tensor, Tensor | None]] = []  # words, rows of G, g: of backward passes

    def forget(self) -> None:
        """The rows are as they are: somebody has written them."""
        self.scale, self.centre = 1.0, None

    @torch.no_grad()
    def product(self, batch: SparseBatch, mean: Tensor | None) -> Tensor:
        """(x - mean) W, [m, out]."""
        if mean is not None and not (self.centre is not None and torch.equal(mean, self.centre.mean)):
            self.settle()
            self.centre = _Centre.of(mean, self.rows.detach())
        out = bag_sums(self.rows, batch.words, batch.offsets, batch.values * self.scale)
        if self.centre is None:
            return out
        out.addr_(batch.dot(self.centre.mean), self.centre.shift)
        return out if mean is None else out.sub_(self.centre.product.to(out.dtype))

    def receive(self, words: Tensor, part: Tensor, total: Tensor | None) -> None:
        """Of a backward pass: words int64 [k], their rows of G [k, out], and g [out] where there is a centre."""
        self.pending.append((words, part, total))

    @torch.no_grad()
    def step(self, lr: float, decay: float) -> None:
        """Apply what was received."""
        pending, self.pending = self.pending, []
        if not pending:
            return
        keep = 1 - lr * decay
        self.scale *= keep
        if self.centre is not None:
            self.centre.shift.mul_(keep)
            self.centre.product.mul_(keep)
        if self.scale < SMALLEST_SCALE:  # zero or less, too, where lr * decay is 1 or more
            self.settle()
        for words, part, total in pending:
            if self.centre is not None:
                self.centre.step(words, part, total, lr)
            self.rows.index_add_(0, words, part, alpha=-lr / self.scale)

    @torch.no_grad()
    def settled(self) -> Tensor:
        """W, [in, out]; the rows themselves where nothing is put off."""
        rows = self.rows.detach()
        if self._is_settled():
            return rows
        rows = rows * self.scale
        return rows if self.centre is None else rows.addr_(self.centre.mean, self.centre.shift)

    @torch.no_grad()
    def settle(self) -> None:
        """Write W into the parameter: one pass over all rows."""
        if self._is_settled():
            return
        if self.centre is None:
            self.rows.mul_(self.scale)
        else:
            self.rows.addr_(self.centre.mean, self.centre.shift, beta=self.scale)
            self.centre = _Centre.of(self.centre.mean, self.rows.detach())
        self.scale = 1.0

    def _is_settled(self) -> bool:
        return self.scale == 1.0 and (self.centre is None or not bool(self.centre.shift.any()))

    def gradient(self) -> Tensor | None:
        """[in, out] of what was received; it is then no longer pending."""
        pending, self.pending = self.pending, []
        if not pending:
            return None
        made = torch.zeros_like(self.rows)
        for words, part, total in pending:
            made.index_add_(0, words, part)
            if total is not None and self.centre is not None:
                made.addr_(self.centre.mean, total, alpha=-1)
        return made

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on bit for bit; with the rows themselves where something is put off."""
        rows = None if self._is_settled() else self.rows.detach().clone()
        return {"scale": self.scale, "rows": rows, "centre": None if self.centre is None else tuple(self.centre)}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        if state["rows"] is not None:
            self.rows.copy_(state["rows"])
        self.scale = state["scale"]
        self.centre = None if state["centre"] is None else _Centre(*state["centre"])


class _Centre(NamedTuple):
    """What the centre adds to the rows, and what it takes from every output."""

    mean: Tensor  # [in]
    shift: Tensor  # u, [out]
    product: Tensor  # c, float64 [out]

    @classmethod
    def of(cls, mean: Tensor, rows: Tensor) -> _Centre:
        with torch.inference_mode(False):  # the first rows may come to be encoded, and steps follow
            return cls(mean.detach().clone(), torch.zeros_like(rows[0]), (mean @ rows).double())

    def step(self, words: Tensor, part: Tensor, total: Tensor | None, lr: float) -> None:
        """With the rows ``part`` of G and the outputs' gradients ``total`` = g."""
        self.product.sub_(self.mean[words] @ part, alpha=lr)
        if total is not None:
            self.shift.add_(total, alpha=lr)
            self.product.add_(total, alpha=lr * float(self.mean.double().square().sum()))
