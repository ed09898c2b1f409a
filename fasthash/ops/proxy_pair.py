"""Codes near the proxies of their classes and far from others, pairs of codes as near as their labels are."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from fasthash import _native
from fasthash.ops._checks import (
    check_choice,
    check_finite,
    check_matrix,
    check_same,
    check_tensor,
    describe,
    of_one_dtype,
)
from fasthash.ops._pair_loss import MAX_WIDTH, accumulator, distinct, float32_accepts
from fasthash.ops._registry import define, register
from fasthash.ops._unit_rows import through_unit_rows, unit_rows
from fasthash.ops.labels import PackedLabels, pack_labels

_OP = "proxy_pair"
VARIANCE_FORMS = ("official", "relevant")
Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class ProxyPairTerms(NamedTuple):
    """The terms of ``proxy_pair`` before their weights: scalars on the codes' device, without gradient."""

    proxy_positive: Tensor
    proxy_negative: Tensor
    positive_pairs: Tensor
    negative_pairs: Tensor
    variance: Tensor


class _Settings(NamedTuple):
    """The op's arguments that are no tensors, but for the last."""

    threshold: float
    negative_pairs: float
    positive_pairs: float
    variance: float
    relevant: bool


def _fake(x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor, *rest: Any) -> Results:
    acc = accumulator(x)
    out_x, out_y, out_p = (z.new_empty(z.shape if rest[-1] else (0,), dtype=acc) for z in (x, y, proxies))
    return x.new_empty((), dtype=acc), x.new_empty((5,), dtype=acc), out_x, out_y, out_p


# One call makes loss, terms and all gradients; backward only scales them. labels: mask words int64 [m, w].
define(
    "proxy_pair(Tensor x, Tensor y, Tensor proxies, Tensor labels, float threshold, float negative_pairs,"
    " float positive_pairs, float variance, bool relevant, bool grads) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
)


def _share(count: Tensor, dtype: torch.dtype) -> Tensor:
    """One over a count; of an empty group, whose sum is 0, any number will do."""
    return 1 / count.clamp(min=1).to(dtype)


def _hinge(gap: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the positive gaps among the chosen entries, and which they are; NaN counts as itself."""
    active = chosen & ~(gap <= 0)
    return torch.where(active, gap, 0).sum(), active


def _to_proxies(cos: Tensor, has: Tensor, s: _Settings) -> tuple[list[Tensor], Tensor]:
    """Terms A, N and V of one modality, and the derivative by its cosines [m, c] to the proxies."""
    m, classes = cos.shape
    positive, negative = _share(has.sum(), cos.dtype), _share((~has).sum(), cos.dtype)
    distance = torch.where(has, 1 - cos, 0)
    excess, active = _hinge(cos - s.threshold, ~has)
    size = has.sum(dim=1, keepdim=True)
    entries = size.clamp(min=1) if s.relevant else classes
    deviation = distance - distance.sum(dim=1, keepdim=True) / entries
    if s.relevant:
        deviation = torch.where(has & (size > 1), deviation, 0)
        spread = deviation / entries / m
    else:  # of one entry there is no spread: its deviation is 0
        spread = deviation / max(classes - 1, 1) / m
    terms = [distance.sum() * positive, excess * negative, (deviation * spread).sum()]
    toward = torch.where(has, -positive - 2 * s.variance * spread, 0)
    return terms, toward + active * negative


def _between(cos: Tensor, target: Tensor, apart: Tensor, s: _Settings) -> tuple[list[Tensor], Tensor]:
    """Terms p2p and n2n of one pair of modalities, and the derivative by its cosines [m, m]."""
    shared = target > 0
    positive, negative = _share(shared.sum(), cos.dtype), _share(apart.sum(), cos.dtype)
    missing, pull = _hinge(target - cos, shared)
    excess, push = _hinge(cos - s.threshold, apart)
    derivative = s.negative_pairs * negative * push - s.positive_pairs * positive * pull
    return [missing * positive, excess * negative], derivative


@register(_OP, "reference")
def _reference(x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor, *settings: Any) -> Results:
    s, acc = _Settings(*settings[:5]), accumulator(x)
    (u, inverse_u), (v, inverse_v), (p, inverse_p) = (unit_rows(z.to(acc)) for z in (x, y, proxies))
    index = torch.arange(len(p), device=p.device)
    has = (labels[:, index // 64] >> (index % 64) & 1) != 0
    size = has.sum(dim=1).to(acc)
    length = size.clamp(min=1).sqrt()
    target = (has.to(acc) @ has.to(acc).T) / (length[:, None] * length)  # cosines of labels
    many = size > 1
    apart = (target == 0) & many[:, None] & many
    (terms_x, by_x), (terms_y, by_y) = _to_proxies(u @ p.T, has, s), _to_proxies(v @ p.T, has, s)
    (terms_xx, by_xx), (terms_yy, by_yy), (terms_xy, by_xy) = (
        _between(a @ b.T, target, apart, s) for a, b in ((u, u), (v, v), (u, v))
    )
    near, far, spread = (a + b for a, b in zip(terms_x, terms_y, strict=True))
    pull, push = (a + b + c for a, b, c in zip(terms_xx, terms_yy, terms_xy, strict=True))
    loss = near + far + s.positive_pairs * pull + s.negative_pairs * push + s.variance * spread
    terms = torch.stack([near, far, pull, push, spread])
    if not settings[5]:
        none_x, none_y, none_p = (u.new_empty(0) for _ in range(3))
        return loss, terms, none_x, none_y, none_p
    out_x = by_x @ p + (by_xx + by_xx.T) @ u + by_xy @ v
    out_y = by_y @ p + (by_yy + by_yy.T) @ v + by_xy.T @ u
    return (
        loss, terms, through_unit_rows(out_x, u, inverse_u), through_unit_rows(out_y, v, inverse_v),
        through_unit_rows(by_x.T @ u + by_y.T @ v, p, inverse_p),
    )  # fmt: skip


@register(_OP, "cpp", accepts=float32_accepts)
def _cpp(x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor, *settings: Any) -> Results:
    s, grads = _Settings(*settings[:5]), settings[5]
    x, y, proxies = (z.to(torch.float32).contiguous() for z in (x, y, proxies))
    labels = labels.contiguous()
    out_x, out_y, out_p = outs = [torch.empty_like(z) if grads else torch.empty(0) for z in (x, y, proxies)]
    results = torch.empty(6)
    _native.load().proxy_pair(
        x.data_ptr(), y.data_ptr(), proxies.data_ptr(), labels.data_ptr(),
        x.shape[0], x.shape[1], proxies.shape[0], labels.shape[1], *s,
        results.data_ptr(), *(out.data_ptr() if grads else 0 for out in outs), _native.isa(), torch.get_num_threads(),
    )  # fmt: skip
    return results[5].clone(), results[:5].clone(), out_x, out_y, out_p


def _triton_accepts(x: Tensor, *_: Any) -> str | None:
    if x.shape[1] > MAX_WIDTH:
        return f"its tiles hold codes of up to {MAX_WIDTH} entries, got {x.shape[1]}"
    return float32_accepts(x)


@register(_OP, "triton", accepts=_triton_accepts)
def _triton(x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor, *settings: Any) -> Results:
    from fasthash._kernels.proxy_pair import proxy_pair_fwd  # late: triton is optional

    return proxy_pair_fwd(x, y, proxies, labels, *settings)


class _ProxyPair(torch.autograd.Function):  # outside the op: less per-call cost than register_autograd
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor, *settings: Any
    ) -> tuple[Tensor, Tensor]:
        ctx.wanted = ctx.needs_input_grad[:3]
        ctx.dtype = x.dtype
        loss, terms, *grads = torch.ops.fasthash.proxy_pair(x, y, proxies, labels, *settings, True)
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(terms)
        return loss, terms

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.wanted, strict=True)
        # scaled before it is narrowed: a gradient that float16 cannot hold may fit once scaled
        return *((grad * g).to(ctx.dtype) if wanted else None for g, wanted in pairs), *(None,) * 6


@overload
def proxy_pair(
    x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor | PackedLabels, *, threshold: float = ...,
    negative_pairs: float = ..., positive_pairs: float = ..., variance: float = ..., variance_form: str = ...,
    with_terms: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def proxy_pair(
    x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor | PackedLabels, *, threshold: float = ...,
    negative_pairs: float = ..., positive_pairs: float = ..., variance: float = ..., variance_form: str = ...,
    with_terms: bool,
) -> Tensor | tuple[Tensor, ProxyPairTerms]: ...  # fmt: skip
def proxy_pair(
    x: Tensor, y: Tensor, proxies: Tensor, labels: Tensor | PackedLabels, *, threshold: float = 0.0,
    negative_pairs: float = 0.8, positive_pairs: float = 0.05, variance: float = 1.0, variance_form: str = "official",
    with_terms: bool = False,
) -> Tensor | tuple[Tensor, ProxyPairTerms]:  # fmt: skip
    """The loss of DCGH and, without positive pairs and variance, of DSPH: A + N + positive_pairs p2p
    + negative_pairs n2n + variance V.

    With L the labels and cos the cosines of rows, each term a mean over its own entries (0 where there is none), those
    of x and of y added up, p2p and n2n those of the pairs (x, x), (y, y) and (x, y):

    - A, proxy positive: 1 - cos(x_i, p_k) where L_ik = 1;
    - N, proxy negative: relu(cos(x_i, p_k) - threshold) where L_ik = 0;
    - p2p, positive pairs: relu(cos(L_i, L_j) - cos(x_i, y_j)) where rows i and j share a label, i = j included;
    - n2n, negative pairs: relu(cos(x_i, y_j) - threshold) where they share none and both have more than one label;
    - V, variance: the mean over the rows of the variance of L_ik (1 - cos(x_i, p_k)) over the classes k: with the form
      "official" the unbiased variance over all classes, zeros of the irrelevant ones included (0 with one class); with
      "relevant" the population variance over the row's own classes, 0 for a row with fewer than two.

    Args:
        x, y: [m, d] relaxed codes of m pairs, before sign; float64/32/16 or bfloat16. A row shorter than 1e-12 has
            cosine 0 with every row, and no gradient.
        proxies: [c, d], one of each class; dtype and device of ``x``; under autocast the dtypes may differ.
        labels: of the pairs, multi-hot [m, c] of any dtype (non-zero: has the label) or a PackedLabels. A row of zeros
            is dissimilar to every class and to every row: it counts in N alone.
        threshold: cosine that dissimilar ones may have, unitless: 0 in DCGH; of DSPH see
            ``losses.dsph_threshold(bits, classes)``.
        negative_pairs, positive_pairs, variance: weights of n2n, p2p and V: 0.8, 0.05, 1 in DCGH; 0.8, 0, 0 in DSPH.
        variance_form: "official", as in DCGH's released code, or "relevant", as in its text.
        with_terms: return the terms too; also those whose weight is 0 are measured.
    Returns:
        [] loss (unitless), float32 or wider; with_terms: (loss, ProxyPairTerms). NaN in x, y or proxies makes it NaN.
        Nothing waits for a GPU: the counts stay on the device. Gradients flow to x, y and proxies.
    Raises:
        ValueError: shapes, dtypes or devices disagree: "proxy_pair: y must be [32, 64] like x, got [32, 16]".
        TypeError: something is no tensor.
    Memory: beyond the inputs and gradients O((m + c) d) on `cpp`, that and O(m c d / 8) on `triton`, O(m (m + c)) on
        `reference`.
    Source: Chen et al., Deep Class-guided Hashing for Multi-label Cross-modal Retrieval, arXiv 2410.15387, as in its
        released code; Huo et al., Deep Semantic-aware Proxy Hashing, TCSVT 2024.
    """
    check_choice(_OP, "variance_form", variance_form, VARIANCE_FORMS)
    settings = _Settings(
        check_finite(_OP, "threshold", threshold),
        check_finite(_OP, "negative_pairs", negative_pairs),
        check_finite(_OP, "positive_pairs", positive_pairs),
        check_finite(_OP, "variance", variance),
        variance_form == "relevant",
    )
    x, y, proxies = _checked(x, y, proxies)
    args = (x, y, proxies, _words(labels, x, proxies), *settings)
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad or proxies.requires_grad):
        loss, terms = _ProxyPair.apply(*distinct(*args))
    else:
        loss, terms = torch.ops.fasthash.proxy_pair(*args, False)[:2]
    return (loss, ProxyPairTerms(*terms.unbind())) if with_terms else loss


def _checked(x: Tensor, y: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes and proxies, of one dtype under autocast."""
    check_matrix(_OP, "x", x)
    check_tensor(_OP, "y", y)
    check_tensor(_OP, "proxies", proxies)
    x, y, proxies = of_one_dtype(x, y, proxies)
    check_same(_OP, "y", y, "x", x, rows=True)
    return x, y, check_same(_OP, "proxies", proxies, "x", x)


def _words(labels: Tensor | PackedLabels, x: Tensor, proxies: Tensor) -> Tensor:
    """Mask words int64 [m, w]."""
    packed = isinstance(labels, PackedLabels)
    tensor = labels.words if isinstance(labels, PackedLabels) else check_tensor(_OP, "labels", labels)
    expected = f"multi-hot [{len(x)}, {len(proxies)}] or PackedLabels of as many rows and classes on {x.device}"
    if tensor.ndim != 2 or len(tensor) != len(x) or tensor.device != x.device:
        raise ValueError(f"{_OP}: labels must be {expected}, got {describe(tensor)}{' packed' * packed}")
    classes = labels.classes if isinstance(labels, PackedLabels) else tensor.shape[1]
    if classes != len(proxies):
        raise ValueError(f"{_OP}: labels must be {expected}, got {classes} classes")
    return tensor if packed else pack_labels(tensor).words
