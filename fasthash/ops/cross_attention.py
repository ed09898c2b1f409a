"""Stacked cross attention: how well every caption's words agree with every image's regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fasthash import _native
from fasthash.ops import cross_attention_reference as reference
from fasthash.ops._checks import FLOATS, check_choice, check_finite, check_tensor, describe, of_one_dtype
from fasthash.ops._registry import define, register

OP = "cross_attention_score"
MAX_TILE = 64  # regions or words that the Triton kernels hold at a time
TEMPERATURES, POOL_TEMPERATURES = (9.0, 4.0), (6.0, 20.0)  # of t2i and i2t, as in the authors' code

Temperature = float | tuple[float, float] | None


def _fake(
    regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None, t2i: Sequence[float],
    i2t: Sequence[float], leak: float,
) -> Tensor:  # fmt: skip
    acc = torch.promote_types(regions.dtype, torch.float32)
    return regions.new_empty((regions.shape[0], words.shape[0]), dtype=acc)


def _fake_backward(
    grad: Tensor, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None,
    t2i: Sequence[float], i2t: Sequence[float], leak: float, grad_regions: bool, grad_words: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    acc = torch.promote_types(regions.dtype, torch.float32)
    out_regions = regions.new_empty(regions.shape if grad_regions else (0,), dtype=acc)
    return out_regions, words.new_empty(words.shape if grad_words else (0,), dtype=acc)


# A direction is (weight, temperature, pool temperature or 0 for the mean). Both are made from one matrix of
# similarities; a weight of 0 leaves a direction out. The upstream gradient is a matrix: backward computes anew.
define(
    "cross_attention_score(Tensor regions, Tensor words, Tensor? region_mask, Tensor? word_mask, float[] t2i,"
    " float[] i2t, float leak) -> Tensor",
    fake=_fake,
)
define(
    "cross_attention_score_backward(Tensor grad, Tensor regions, Tensor words, Tensor? region_mask, Tensor? word_mask,"
    " float[] t2i, float[] i2t, float leak, bool grad_regions, bool grad_words) -> (Tensor, Tensor)",
    fake=_fake_backward,
)

register(OP, "reference")(reference.score)


@register("cross_attention_score_backward", "reference")
def _reference_backward(
    grad: Tensor, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None,
    t2i: Sequence[float], i2t: Sequence[float], leak: float, grad_regions: bool, grad_words: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    made = reference.score_grad(grad, regions, words, region_mask, word_mask, t2i, i2t, leak)
    return _wanted(*made, grad_regions, grad_words)


def _wanted(grad_v: Tensor, grad_e: Tensor, grad_regions: bool, grad_words: bool) -> tuple[Tensor, Tensor]:
    return grad_v if grad_regions else grad_v.new_empty(0), grad_e if grad_words else grad_e.new_empty(0)


def _float32_accepts(regions: Tensor, *_: Any) -> str | None:
    return "it computes in float32, got float64 regions" if regions.dtype == torch.float64 else None


def _float32_accepts_backward(grad: Tensor, *args: Any) -> str | None:
    return _float32_accepts(*args)


def _problem(
    regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None, t2i: Sequence[float],
    i2t: Sequence[float], leak: float,
) -> tuple[list[Tensor | None], list[Any]]:  # fmt: skip
    """Tensors that must live during the call, and what the native module takes."""
    tensors = [x if x is None else x.contiguous() for x in (regions.float(), words.float(), region_mask, word_mask)]
    sizes = (*regions.shape[:2], *words.shape)
    return tensors, [*(0 if x is None else x.data_ptr() for x in tensors), *sizes, *t2i, *i2t, leak]


@register(OP, "cpp", accepts=_float32_accepts)
def _cpp(regions: Tensor, words: Tensor, *args: Any) -> Tensor:
    tensors, problem = _problem(regions, words, *args)
    scores = regions.new_empty((len(regions), len(words)), dtype=torch.float32)
    threads = torch.get_num_threads()
    _native.load().cross_attention_score(problem, scores.data_ptr(), _native.isa(), threads)
    del tensors
    return scores


@register("cross_attention_score_backward", "cpp", accepts=_float32_accepts_backward)
def _cpp_backward(
    grad: Tensor, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None,
    t2i: Sequence[float], i2t: Sequence[float], leak: float, grad_regions: bool, grad_words: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    grad = grad.float().contiguous()
    tensors, problem = _problem(regions, words, region_mask, word_mask, t2i, i2t, leak)
    outs = [
        x.new_empty(x.shape if wanted else (0,), dtype=torch.float32)
        for x, wanted in ((regions, grad_regions), (words, grad_words))
    ]
    where = [x.data_ptr() if wanted else 0 for x, wanted in zip(outs, (grad_regions, grad_words), strict=True)]
    threads = torch.get_num_threads()
    _native.load().cross_attention_score_backward(problem, grad.data_ptr(), *where, _native.isa(), threads)
    del tensors
    return outs[0], outs[1]


def _triton_accepts(regions: Tensor, words: Tensor, *_: Any) -> str | None:
    longest = max(regions.shape[1], words.shape[1])
    if longest > MAX_TILE:
        return f"its tiles hold up to {MAX_TILE} regions or words, got {longest}"
    return _float32_accepts(regions)


def _triton_accepts_backward(grad: Tensor, *args: Any) -> str | None:
    return _triton_accepts(*args)


@register(OP, "triton", accepts=_triton_accepts)
def _triton(*args: Any) -> Tensor:
    from fasthash._kernels.cross_attention import cross_attention_score_fwd  # late: triton is optional

    return cross_attention_score_fwd(*args)


@register("cross_attention_score_backward", "triton", accepts=_triton_accepts_backward)
def _triton_backward(*args: Any) -> tuple[Tensor, Tensor]:
    from fasthash._kernels.cross_attention import cross_attention_score_bwd  # late: triton is optional

    return cross_attention_score_bwd(*args)


class _CrossAttention(torch.autograd.Function):  # outside the op: less per-call cost than register_autograd
    @staticmethod
    def forward(
        ctx: Any, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor | None,
        t2i: list[float], i2t: list[float], leak: float,
    ) -> Tensor:  # fmt: skip
        ctx.wanted = ctx.needs_input_grad[:2]
        ctx.options = t2i, i2t, leak
        ctx.save_for_backward(regions, words, region_mask, word_mask)
        return torch.ops.fasthash.cross_attention_score(regions, words, region_mask, word_mask, t2i, i2t, leak)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        regions, words, region_mask, word_mask = ctx.saved_tensors
        grads = torch.ops.fasthash.cross_attention_score_backward(
            grad, regions, words, region_mask, word_mask, *ctx.options, *ctx.wanted
        )
        made = (g.to(regions.dtype) if wanted else None for g, wanted in zip(grads, ctx.wanted, strict=True))
        return *made, None, None, None, None, None


def cross_attention_score(
    regions: Tensor,
    words: Tensor,
    word_mask: Tensor | None = None,
    region_mask: Tensor | None = None,
    *,
    direction: str = "t2i",
    temperature: Temperature = None,
    pool: str = "mean",
    pool_temperature: Temperature = None,
    leak: float = 0.1,
) -> Tensor:
    """Scores of all n_i * n_t pairs of an image and a caption by stacked cross attention.

    With s_ij the cosine of region i and word j: "t2i" normalises max(s, leak s) over the words for each region, takes a
    softmax over the regions for each word, and compares each word with the regions' unit vectors, so weighted and added
    up, by a cosine; these are pooled over the words. "i2t" exchanges regions and words. The weighted sum's inner
    products follow from s and from the Gram matrix of its item: none is ever formed.

    Args:
        regions: [n_i, R, D] vectors of any length, one image each; float64/32/16 or bfloat16. A vector of zeros has
            cosine 0 with every other, and no gradient.
        words: [n_t, T, D], one caption each, dtype and device of ``regions``; under autocast the dtypes may differ.
        word_mask, region_mask: [n_t, T] and [n_i, R]; 0 or False where there is no word (region): what stands there
            takes no part at all and has gradient 0. A pair with an empty caption or image has score 0.
        direction: "t2i" (words attend to regions), "i2t" (regions attend to words), "both" (the mean of their scores).
        temperature: factor of the similarities in the softmax, > 0 (unitless): 9 for t2i and 4 for i2t when it is not
            given. For "both" it may be a pair, that of t2i first.
        pool: "mean", or "lse": log(sum exp(pool_temperature * cosine)) / pool_temperature, the paper's.
        pool_temperature: > 0 (unitless), for "lse": 6 for t2i and 20 for i2t when it is not given; or a pair.
        leak: slope of negative similarities, 0..1: 0.1 in the authors' code; 0 is the paper's positive part.
    Returns:
        [n_i, n_t] scores, float32 or wider; cosines when the pool is "mean". NaN in a vector makes its item's NaN.
    Raises:
        ValueError: shapes, dtypes or devices disagree: "cross_attention_score: words must be [n_t, T, 64] like
            regions, got [32, 20, 128]".
        TypeError: something is no tensor.
    Memory: float32 copies of the inputs and O(n_i R^2 + n_t T^2 + threads R T) on `cpp`; those and at most 64 MiB on
        `triton`; O(n_i n_t R T) on `reference`.
    Source: Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018, section 3.1.
    """
    check_choice(OP, "direction", direction, ("t2i", "i2t", "both"))
    check_choice(OP, "pool", pool, ("mean", "lse"))
    leak = check_finite(OP, "leak", leak)
    if not 0 <= leak <= 1:
        raise ValueError(f"{OP}: leak must be between 0 and 1, got {leak}")
    temperatures = _pair("temperature", temperature, TEMPERATURES, direction)
    pools = _pair("pool_temperature", pool_temperature, POOL_TEMPERATURES, direction)
    pools = pools if pool == "lse" else (0.0, 0.0)
    regions, words = _check_vectors(regions, words)
    masks = [_mask("region_mask", region_mask, regions), _mask("word_mask", word_mask, words)]
    weights = {"t2i": (1.0, 0.0), "i2t": (0.0, 1.0), "both": (0.5, 0.5)}[direction]
    t2i, i2t = ([*values] for values in zip(weights, temperatures, pools, strict=True))
    if torch.is_grad_enabled() and (regions.requires_grad or words.requires_grad):
        return _CrossAttention.apply(regions, words, *masks, t2i, i2t, leak)
    return torch.ops.fasthash.cross_attention_score(regions, words, *masks, t2i, i2t, leak)


def _pair(name: str, value: Temperature, usual: tuple[float, float], direction: str) -> tuple[float, float]:
    """Temperatures of t2i and i2t."""
    if isinstance(value, tuple) and (direction != "both" or len(value) != 2):
        raise ValueError(f"{OP}: {name} must be a number, or a pair for direction 'both', got {value!r}")
    first, second = usual if value is None else value if isinstance(value, tuple) else (value, value)
    for each in (first, second):
        if check_finite(OP, name, each) <= 0:
            raise ValueError(f"{OP}: {name} must be greater than 0, got {each!r}")
    return float(first), float(second)


def _check_vectors(regions: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    for name, x in (("regions", regions), ("words", words)):
        check_tensor(OP, name, x)
        if x.dtype not in FLOATS:
            raise ValueError(f"{OP}: {name} must be float64, float32, float16 or bfloat16, got {describe(x)}")
        if x.ndim != 3 or 0 in x.shape:
            raise ValueError(f"{OP}: {name} must be [items, vectors, D] with at least one of each, got {describe(x)}")
    regions, words = of_one_dtype(regions, words)
    if words.shape[2] != regions.shape[2]:
        raise ValueError(f"{OP}: words must be [n_t, T, {regions.shape[2]}] like regions, got {list(words.shape)}")
    if words.dtype != regions.dtype or words.device != regions.device:
        want = f"the dtype and device of regions ({describe(regions)})"
        raise ValueError(f"{OP}: words must have {want}, got {describe(words)}")
    return regions, words


def _mask(name: str, mask: Tensor | None, x: Tensor) -> Tensor | None:
    """bool [n, k]: which vectors of x there are."""
    if mask is None:
        return None
    check_tensor(OP, name, mask)
    if mask.shape != x.shape[:2] or mask.device != x.device:
        raise ValueError(f"{OP}: {name} must be {list(x.shape[:2])} on {x.device}, got {describe(mask)}")
    return mask != 0
