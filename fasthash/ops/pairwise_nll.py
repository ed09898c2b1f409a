"""Pairwise negative log-likelihood of label similarity under code inner products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.ops._checks import check_choice, check_finite, check_matrix, check_same, check_tensor, describe
from fasthash.ops._pair_native import operand, rows_for, run
from fasthash.ops._registry import define, interpreted, register
from fasthash.ops.labels import PackedLabels, check_class_ids, check_label_kinds, label_words, share_label

Results = tuple[Tensor, Tensor, Tensor]
Labels = Tensor | PackedLabels | None


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _fake(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, scale: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    acc = _accumulator(a)
    out_a = a.new_empty(a.shape if grad_a else (0,), dtype=acc)
    return a.new_empty((), dtype=acc), out_a, b.new_empty(b.shape if grad_b else (0,), dtype=acc)


def _check(a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, *_: Any) -> None:
    """Values that cannot be right. On the CPU only: reading them would make a GPU wait."""
    for name, x in (("labels_a", labels_a), ("labels_b", labels_b)):
        check_class_ids("pairwise_nll", name, x)


# One pass over the pairs makes the loss and whichever gradients are wanted; backward only scales them.
# labels: class ids int64 [n] or mask words int64 [n, w], None where sim [n, m] is given.
define(
    "pairwise_nll(Tensor a, Tensor b, Tensor? labels_a, Tensor? labels_b, Tensor? sim, float scale, bool grad_a,"
    " bool grad_b) -> (Tensor, Tensor, Tensor)",
    fake=_fake,
    check=_check,
)


def _similarity(labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None) -> Tensor:
    """[n, m]: booleans, or the values of sim."""
    if sim is not None:
        return sim
    assert labels_a is not None
    assert labels_b is not None
    return share_label(labels_a, labels_b)


@register("pairwise_nll", "reference")
def _reference(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, scale: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    acc = _accumulator(a)  # float64 stays float64, so gradcheck can use the reference
    a, b = a.to(acc), b.to(acc)
    theta = scale * (a @ b.T)
    similar = _similarity(labels_a, labels_b, sim).to(acc)
    # softplus(theta) - S theta = t theta + log1p(e) and sigmoid(theta) - S = t -+ e / (1 + e): nothing cancels
    e = theta.abs().neg().exp()
    positive = theta > 0
    t = torch.where(positive, 1 - similar, -similar)
    loss = (t * theta + e.log1p()).sum()
    if not (grad_a or grad_b):
        return loss, a.new_empty(0), b.new_empty(0)
    tail = e / (1 + e)
    residual = scale * torch.where(positive, t - tail, t + tail)  # dJ / d(a @ b.T)
    return loss, residual @ b if grad_a else a.new_empty(0), residual.T @ a if grad_b else b.new_empty(0)


def _float32_accepts(a: Tensor, *_: Any) -> str | None:
    return "it computes in float32, got float64 codes" if a.dtype == torch.float64 else None


@register("pairwise_nll", "cpp", accepts=_float32_accepts)
def _cpp(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, scale: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    a, b = rows_for(a), rows_for(b)
    out_a, out_b = (
        torch.empty_strided(x.shape, x.stride()) if wanted else None for x, wanted in ((a, grad_a), (b, grad_b))
    )
    loss = run(
        "pairwise_nll", operand(a, out_a, labels_a), operand(b, out_b, labels_b), a.shape[1], scale,
        words=_words(labels_a), dense=None if sim is None else sim.to(torch.float32).contiguous(),
    )  # fmt: skip
    grads = (a.new_empty(0) if x is None else x for x in (out_a, out_b))
    return torch.tensor(loss, dtype=torch.float32), *grads


def _words(labels: Tensor | None) -> int:
    """Mask words of a row; 0 for class ids."""
    return 0 if labels is None or labels.ndim == 1 else labels.shape[1]


def _triton_accepts(a: Tensor, *_: Any) -> str | None:
    if a.dtype == torch.bfloat16 and interpreted():
        return "Triton's interpreter multiplies bfloat16 matrices wrongly"
    if a.shape[1] > 512:
        return f"its tiles hold codes of up to 512 entries, got {a.shape[1]}"
    return _float32_accepts(a)


@register("pairwise_nll", "triton", accepts=_triton_accepts)
def _triton(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, scale: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    from fasthash._kernels.pairwise_nll import pairwise_nll_fwd  # late: triton is optional

    return pairwise_nll_fwd(a, b, labels_a, labels_b, sim, scale, grad_a, grad_b)


class _PairwiseNLL(torch.autograd.Function):  # outside the op: less per-call cost than register_autograd
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None,
        scale: float,
    ) -> Tensor:  # fmt: skip
        ctx.wanted = ctx.needs_input_grad[:2]
        ctx.dtypes = a.dtype, b.dtype
        loss, *grads = torch.ops.fasthash.pairwise_nll(a, b, labels_a, labels_b, sim, scale, *ctx.wanted)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, ctx.wanted, strict=True)
        # scaled before it is narrowed: the gradient of a sum over pairs may overflow float16, that of a mean does not
        grad_a, grad_b = ((grad * g).to(dtype) if wanted else None for g, dtype, wanted in pairs)
        return grad_a, grad_b, None, None, None, None


def pairwise_nll(
    a: Tensor,
    b: Tensor,
    labels_a: Labels = None,
    labels_b: Labels = None,
    *,
    sim: Tensor | None = None,
    scale: float = 0.5,
    reduction: str = "sum",
) -> Tensor:
    """Sum over all n * m pairs of softplus(theta_ij) - S_ij theta_ij, with theta = scale * a @ b.T.

    S_ij is 1 where rows i and j share a label, or have the same class id, and 0 elsewhere; or it is ``sim``.

    Args:
        a: [n, d] relaxed codes of one modality, before sign; float64/32/16 or bfloat16.
        b: [m, d] relaxed codes of the other modality, dtype and device of ``a``; under autocast the dtypes may differ.
        labels_a, labels_b: of the rows of a and of b; not together with ``sim``. A matrix [n, c] of any dtype is always
            multi-hot (non-zero: has the label; a row of zeros is similar to none), a vector int64 [n] holds class ids
            (>= 0, checked on the CPU), and labels packed beforehand are a PackedLabels from ``pack_labels``.
        sim: [n, m] similarity, 0..1; a constant.
        scale: factor of the inner product (unitless); 0.5 in the paper.
        reduction: "sum" or "mean" over the pairs.
    Returns:
        [] loss in nats, float32 or wider. NaN in a code makes it NaN.
    Raises:
        ValueError: shapes, dtypes or devices disagree: "pairwise_nll: b must be [n, 64] like a, got [32, 128]".
        TypeError: something is no tensor.
    Memory: beyond the inputs and gradients O(n + m) on `cpp` and `triton`, O(n * m) on `reference`.
    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, first term of the objective (equation 1).
    """
    op = "pairwise_nll"
    check_choice(op, "reduction", reduction, ("sum", "mean"))
    scale = check_finite(op, "scale", scale)
    check_matrix(op, "a", a)
    check_tensor(op, "b", b)
    if a.dtype != b.dtype and torch.is_autocast_enabled(a.device.type):
        common = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    check_same(op, "b", b, "a", a)
    words_a, words_b = _label_words(a, b, labels_a, labels_b, sim)
    args = (a, b, words_a, words_b, sim, scale)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        loss = _PairwiseNLL.apply(*args)
    else:
        loss = torch.ops.fasthash.pairwise_nll(*args, False, False)[0]
    return loss / (a.shape[0] * b.shape[0]) if reduction == "mean" else loss


def _label_words(
    a: Tensor, b: Tensor, labels_a: Labels, labels_b: Labels, sim: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Class ids or mask words of both sides after checking all that says which pairs are similar."""
    op = "pairwise_nll"
    if sim is not None:
        if labels_a is not None or labels_b is not None:
            raise ValueError(f"{op}: expected labels_a and labels_b or sim, got both")
        check_tensor(op, "sim", sim)
        if sim.shape != (a.shape[0], b.shape[0]) or sim.device != a.device or sim.is_complex():
            raise ValueError(f"{op}: sim must be real [{a.shape[0]}, {b.shape[0]}] on {a.device}, got {describe(sim)}")
        if sim.requires_grad:
            raise ValueError(f"{op}: sim must be a constant, got a tensor that requires grad")
        return None, None
    if labels_a is None or labels_b is None:
        missing = [name for name, x in (("labels_a", labels_a), ("labels_b", labels_b)) if x is None]
        raise ValueError(f"{op}: expected labels_a and labels_b, or sim, got no {' and no '.join(missing)}")
    words_a, width_a = label_words(op, "labels_a", labels_a, a)
    words_b, width_b = label_words(op, "labels_b", labels_b, b)
    check_label_kinds(op, ("labels_a", width_a), ("labels_b", width_b))
    return words_a, words_b
