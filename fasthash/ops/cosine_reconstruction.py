"""Squared differences between the cosines of codes and a target affinity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.ops._checks import check_choice
from fasthash.ops._pair_loss import (
    Results,
    accumulator,
    check_codes_of_both,
    check_pair_matrix,
    fake,
    float32_accepts,
    gradient_memory,
    native_results,
    pair_loss,
    triton_accepts,
)
from fasthash.ops._pair_native import operand, run
from fasthash.ops._registry import define, register
from fasthash.ops._unit_rows import through_unit_rows, unit_rows

_OP = "cosine_reconstruction"

define(
    "cosine_reconstruction(Tensor a, Tensor b, Tensor target, bool grad_a, bool grad_b) -> (Tensor, Tensor, Tensor)",
    fake=fake,
)


@register(_OP, "reference")
def _reference(a: Tensor, b: Tensor, target: Tensor, grad_a: bool, grad_b: bool) -> Results:
    acc = accumulator(a)
    (u, inverse_a), (v, inverse_b) = unit_rows(a.to(acc)), unit_rows(b.to(acc))
    miss = u @ v.T - target.to(acc)
    residual = 2 * miss  # dJ / d(u @ v.T)
    out_a = through_unit_rows(residual @ v, u, inverse_a) if grad_a else a.new_empty(0)
    out_b = through_unit_rows(residual.T @ u, v, inverse_b) if grad_b else b.new_empty(0)
    return miss.square().sum(), out_a, out_b


@register(_OP, "cpp", accepts=float32_accepts)
def _cpp(a: Tensor, b: Tensor, target: Tensor, grad_a: bool, grad_b: bool) -> Results:
    a, b, dense = (x.to(torch.float32).contiguous() for x in (a, b, target))
    grads = gradient_memory(a, b, grad_a, grad_b)
    loss = run(_OP, operand(a, grads[0]), operand(b, grads[1]), a.shape[1], dense=dense)
    return native_results(loss, grads)


def _triton_accepts(a: Tensor, *_: Any) -> str | None:
    return triton_accepts(a, a.shape[1], half_products=False)


@register(_OP, "triton", accepts=_triton_accepts)
def _triton(a: Tensor, b: Tensor, target: Tensor, grad_a: bool, grad_b: bool) -> Results:
    from fasthash._kernels.cosine_reconstruction import cosine_reconstruction_fwd  # late: triton is optional

    (u, inverse_a), (v, inverse_b) = unit_rows(a.to(torch.float32)), unit_rows(b.to(torch.float32))
    loss, out_a, out_b = cosine_reconstruction_fwd(u, v, target, a.dtype, grad_a, grad_b)
    out_a = through_unit_rows(out_a, u, inverse_a) if grad_a else out_a
    return loss, out_a, through_unit_rows(out_b, v, inverse_b) if grad_b else out_b


def cosine_reconstruction(a: Tensor, b: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Mean over all n * m pairs of (cos(a_i, b_j) - target_ij)^2.

    Args:
        a: [n, d] relaxed codes, before sign; float64/32/16 or bfloat16. A row shorter than 1e-12 has cosine 0 with
            every row, and no gradient.
        b: [m, d] relaxed codes, dtype and device of ``a``; under autocast the dtypes may differ. May be ``a`` itself.
        target: [n, m] affinity, any real values, e.g. of ``joint_semantics_affinity``; a constant.
        reduction: "mean" or "sum" over the pairs.
    Returns:
        [] loss (unitless), float32 or wider. NaN in a code or in the target makes it NaN.
    Raises:
        ValueError: shapes, dtypes or devices disagree: "cosine_reconstruction: target must be real [5, 4] on cpu, ...".
        TypeError: something is no tensor.
    Memory: beyond the inputs and gradients O((n + m) d) on `cpp` and `triton` (a float32 copy of a target that is not
        float32), O(n * m) on `reference`.
    Source: the terms of Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equation 8.
    """
    check_choice(_OP, "reduction", reduction, ("sum", "mean"))
    a, b = check_codes_of_both(_OP, a, b)
    check_pair_matrix(_OP, "target", target, a, b)
    return pair_loss(torch.ops.fasthash.cosine_reconstruction, a, b, target, reduction=reduction)
