"""BertAdam: Adam as BERT's released code had it, which DCGH and its relatives train CLIP with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_NO_CORRECTION = 1e9  # a count of steps at which 1 - beta^count is 1 in any float: torch's kernels then correct nothing


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction, with decoupled weight decay, clipped tensor by tensor, scheduled over all steps.

    With t the steps made so far (0 in the first) and x = t / total_steps, a step is::

        g <- g min(1, max_norm / (|g| + 1e-6))          of each parameter tensor by itself
        m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
        w <- w - lr s(x) (m / (sqrt(v) + eps) + weight_decay w)
        s(x) = x / warmup for x < warmup, else (1 + cos(pi x)) / 2

    The schedule is 0 in the first step and falls from 1 to (1 + cos(pi warmup)) / 2 at the end of the warm-up.

    Args:
        params: tensors, or groups with settings of their own.
        lr: learning rate at the top of the schedule.
        total_steps: steps of the whole training; beyond them the rate is 0. None: the rate is ``lr`` throughout.
        warmup: share of the steps in which the rate rises, 0..1.
        betas, eps: of the moving means.
        weight_decay: decoupled: each step takes lr s(x) weight_decay of a weight away.
        max_norm: largest Euclidean norm of the gradient of one tensor; None: any.
    Raises:
        ValueError: a setting out of range. RuntimeError: a sparse gradient.
    Gradients may be left as they were clipped.

    Memory: two copies of the parameters. Time: one pass for the norms, one for everything else.
    Source: Devlin et al., BERT, 2019, released code; settings of DCGH (arXiv 2410.15387), released code.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        total_steps: int | None = None,
        warmup: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.2,
        max_norm: float | None = 1.0,
    ) -> None:
        defaults = {"lr": lr, "total_steps": total_steps, "warmup": warmup, "betas": tuple(betas), "eps": eps}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "max_norm": max_norm})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its settings are checked like the first ones."""
        super().add_param_group(param_group)
        _check(self.param_groups[-1])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; ``closure`` computes the loss again and returns it, as with every optimiser of torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step(group, params)
        return loss

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        grads = [_gradient(p) for p in params]
        scales = [None] * len(grads) if group["max_norm"] is None else _divisors(grads, group["max_norm"])
        beta1, beta2 = group["betas"]
        for p, grad, scale in zip(params, grads, scales, strict=True):
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            torch._fused_adamw_(
                [p], [grad], [state["exp_avg"]], [state["exp_avg_sq"]], [], [_count(p.device)],
                lr=group["lr"] * schedule(state["step"], group["total_steps"], group["warmup"]),
                beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
                maximize=False, grad_scale=scale,
            )  # fmt: skip
            state["step"] += 1


def schedule(step: int, total: int | None, warmup: float) -> float:
    """The factor of the learning rate in a step, counted from 0: linear up to ``warmup``, then a half cosine."""
    if total is None:
        return 1.0
    x = step / total
    if x < warmup:
        return x / warmup
    return 0.5 * (1 + math.cos(math.pi * x)) if x < 1 else 0.0


def _gradient(p: Tensor) -> Tensor:
    """The gradient in the parameter's own layout, which the kernel takes for granted."""
    grad = p.grad
    assert grad is not None
    if grad.layout != torch.strided:
        raise RuntimeError(f"BertAdam: gradients must be dense, got layout {grad.layout}")
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)


def _check(group: dict[str, Any]) -> None:
    total, betas, max_norm = group["total_steps"], group["betas"], group["max_norm"]
    legal = {
        "lr must be a number from 0": _number(group["lr"]) and group["lr"] >= 0,
        "total_steps must be a whole number from 1 or None": total is None
        or (isinstance(total, int) and not isinstance(total, bool) and total >= 1),
        "warmup must be from 0 to 1": _number(group["warmup"]) and 0 <= group["warmup"] <= 1,
        "betas must be two numbers from 0 to below 1": len(betas) == 2
        and all(_number(b) and 0 <= b < 1 for b in betas),
        "eps must be a number above 0": _number(group["eps"]) and group["eps"] > 0,
        "weight_decay must be a number from 0": _number(group["weight_decay"]) and group["weight_decay"] >= 0,
        "max_norm must be a number above 0 or None": max_norm is None or (_number(max_norm) and max_norm > 0),
    }
    for rule, holds in legal.items():
        if not holds:
            raise ValueError(f"BertAdam: {rule}, got {group[rule.split()[0]]!r}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _divisors(grads: list[Tensor], max_norm: float) -> list[Tensor | None]:
    """What each gradient is divided by to be no longer than ``max_norm``; None: nothing. Nothing waits for a GPU."""
    divisors = (
        torch.stack([n.to(grads[0].device, torch.float32) for n in torch._foreach_norm(grads)]) + 1e-6
    ) / max_norm
    if divisors.device.type == "cpu":  # reading is free here, and dividing by 1 is not
        return [divisor if divisor > 1 else None for divisor in divisors]
    return list(divisors.clamp_(min=1).unbind())


_counts: dict[torch.device, Tensor] = {}


def _count(device: torch.device) -> Tensor:
    if device not in _counts:
        _counts[device] = torch.tensor(_NO_CORRECTION, device=device)
    return _counts[device]
