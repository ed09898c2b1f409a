"""Squared Euclidean distances of similar codes, and of others what they lack to a margin."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fasthash.ops._checks import check_choice, check_finite
from fasthash.ops._pair_loss import (
    Labels,
    Results,
    accumulator,
    check_codes_of_both,
    fake,
    float32_accepts,
    gradient_memory,
    mask_words,
    native_results,
    pair_loss,
    similarity,
    triton_accepts,
    words_of_both,
)
from fasthash.ops._pair_native import operand, run
from fasthash.ops._registry import define, register
from fasthash.ops.labels import check_class_ids

_OP = "margin_euclidean"


def _check(a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, *_: Any) -> None:
    for name, x in (("labels_a", labels_a), ("labels_b", labels_b)):
        check_class_ids(_OP, name, x)


define(
    "margin_euclidean(Tensor a, Tensor b, Tensor? labels_a, Tensor? labels_b, Tensor? sim, float margin, bool grad_a,"
    " bool grad_b) -> (Tensor, Tensor, Tensor)",
    fake=fake,
    check=_check,
)


def _centred(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Both sides in this dtype, moved so that they are about the origin: lengths then are no larger than distances.

    Distances come from lengths and inner products, whose rounding grows with the lengths; codes that are all alike, as
    those of an untrained network, would keep few digits of theirs. A few rows tell where the middle is: their mean does
    not depend on the number of threads.
    """
    a, b = a.to(dtype), b.to(dtype)
    middle = torch.cat([a[:8], b[:8]]).mean(dim=0).nan_to_num(0.0, 0.0, 0.0)
    return (a - middle).contiguous(), (b - middle).contiguous()


@register(_OP, "reference")
def _reference(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, margin: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    acc = accumulator(a)
    a, b = _centred(a, b, acc)
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # by differences: small ones are exact
    like = similarity(labels_a, labels_b, sim).to(acc)
    unlike = 1 - like
    far = unlike * distance >= margin  # false for NaN, which must reach the loss
    lack = unlike * margin - torch.where(far, margin, unlike * distance)
    loss = ((like * distance).square() + lack.square()).sum()
    if not (grad_a or grad_b):
        return loss, a.new_empty(0), b.new_empty(0)
    push = torch.where(far, 0.0, unlike * lack / distance)
    # dJ / d(distance^2 / 2): where two rows are one, 0 is a subgradient of what pushes them apart
    pull = 2 * (like.square() - torch.where(distance == 0, 0.0, push))
    out_a = a * pull.sum(dim=1, keepdim=True) - pull @ b if grad_a else a.new_empty(0)
    out_b = b * pull.sum(dim=0)[:, None] - pull.T @ a if grad_b else b.new_empty(0)
    return loss, out_a, out_b


@register(_OP, "cpp", accepts=float32_accepts)
def _cpp(
    a: Tensor, b: Tensor, labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None, margin: float,
    grad_a: bool, grad_b: bool,
) -> Results:  # fmt: skip
    a, b = _centred(a, b, torch.float32)
    labels_a, labels_b = (None if x is None else x.contiguous() for x in (labels_a, labels_b))
    grads = gradient_memory(a, b, grad_a, grad_b)
    loss = run(
        _OP, operand(a, grads[0], labels_a), operand(b, grads[1], labels_b), a.shape[1], margin,
        words=mask_words(labels_a), dense=None if sim is None else sim.to(torch.float32).contiguous(),
    )  # fmt: skip
    return native_results(loss, grads)


def _triton_accepts(a: Tensor, *_: Any) -> str | None:
    return triton_accepts(a, a.shape[1], half_products=False)


@register(_OP, "triton", accepts=_triton_accepts)
def _triton(a: Tensor, b: Tensor, *constants: Any) -> Results:
    from fasthash._kernels.margin_euclidean import margin_euclidean_fwd  # late: triton is optional

    return margin_euclidean_fwd(*_centred(a, b, torch.float32), *constants)


def check_margin(op: str, margin: float) -> float:
    """margin as a float when it is finite and > 0."""
    if check_finite(op, "margin", margin) <= 0:
        raise ValueError(f"{op}: margin must be > 0, got {margin}")
    return float(margin)


def margin_for(bits: int, threshold: float) -> float:
    """sqrt(2 d theta): the margin for codes of d bits, theta the share of the widest distance; 0.5 in the paper.

    Raises:
        ValueError: no such number of bits, or a threshold out of 0..1.
    """
    threshold = check_finite("margin_for", "threshold", threshold)
    if bits < 1 or not 0 < threshold <= 1:
        raise ValueError(f"margin_for: expected bits >= 1 and 0 < threshold <= 1, got {bits} and {threshold}")
    return math.sqrt(2 * bits * threshold)


def margin_euclidean(
    a: Tensor,
    b: Tensor,
    labels_a: Labels = None,
    labels_b: Labels = None,
    *,
    sim: Tensor | None = None,
    margin: float,
    reduction: str = "mean",
) -> Tensor:
    """Mean over all n * m pairs of (S delta)^2 + ((1 - S) margin - min((1 - S) delta, margin))^2.

    delta_ij = |a_i - b_j| is the Euclidean distance; S_ij is 1 where rows i and j share a label, or have the same class
    id, and 0 elsewhere; or it is ``sim``. For S = 0 that is max(margin - delta, 0)^2, with gradient 0 at delta = 0.

    Args:
        a: [n, d] relaxed codes of one modality, before sign; float64/32/16 or bfloat16.
        b: [m, d] relaxed codes of the other modality, dtype and device of ``a``; under autocast the dtypes may differ.
            May be ``a`` itself.
        labels_a, labels_b: of the rows of a and of b; not together with ``sim``. A matrix [n, c] of any dtype is always
            multi-hot (non-zero: has the label; a row of zeros is similar to none), a vector int64 [n] holds class ids
            (>= 0, checked on the CPU), and labels packed beforehand are a PackedLabels from ``pack_labels``.
        sim: [n, m] similarity, 0..1; a constant.
        margin: distance (of the codes' unit) from which dissimilar rows are far enough, > 0; ``margin_for`` has the
            paper's.
        reduction: "mean" or "sum" over the pairs.
    Returns:
        [] loss (the codes' unit squared), float32 or wider. NaN in a code makes it NaN.
    Raises:
        ValueError: shapes, dtypes or devices disagree: "margin_euclidean: b must be [n, 64] like a, got [32, 128]".
        TypeError: something is no tensor.
    Accuracy: in float32, delta^2 of similar rows within about 1e-6 of |a_i - c|^2 + |b_j - c|^2, c about the middle of
        all rows. Where dissimilar rows are near each other, delta is made again from their differences, to float32
        rounding.
    Memory: beyond the inputs and gradients O((n + m) d) on `cpp` and `triton`, O(n * m) on `reference`.
    Source: Tu et al., Differentiable Cross-modal Hashing via Multimodal Transformers, ACM Multimedia 2022.
    """
    check_choice(_OP, "reduction", reduction, ("sum", "mean"))
    margin = check_margin(_OP, margin)
    a, b = check_codes_of_both(_OP, a, b)
    words_a, words_b = words_of_both(_OP, a, b, labels_a, labels_b, sim)
    return pair_loss(torch.ops.fasthash.margin_euclidean, a, b, words_a, words_b, sim, margin, reduction=reduction)
