"""What the losses over all pairs of two sets of codes share: arguments, fake results, autograd, reasons of backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fasthash.ops._checks import check_matrix, check_same, check_tensor, describe, of_one_dtype
from fasthash.ops._registry import interpreted
from fasthash.ops.labels import PackedLabels, check_label_kinds, label_words, share_label

Results = tuple[Tensor, Tensor, Tensor]
Labels = Tensor | PackedLabels | None
MAX_WIDTH = 512  # of the Triton kernel


def accumulator(x: Tensor) -> torch.dtype:
    """What losses and gradients are made in: float64 stays float64, so that gradcheck can use the reference."""
    return torch.promote_types(x.dtype, torch.float32)


def fake(a: Tensor, b: Tensor, *rest: Any) -> Results:
    """Empty results of a pair loss; the last two arguments tell which gradients are wanted."""
    acc = accumulator(a)
    out_a, out_b = (
        x.new_empty(x.shape if wanted else (0,), dtype=acc) for x, wanted in zip((a, b), rest[-2:], strict=True)
    )
    return a.new_empty((), dtype=acc), out_a, out_b


def similarity(labels_a: Tensor | None, labels_b: Tensor | None, sim: Tensor | None) -> Tensor:
    """[n, m]: booleans, or the values of sim."""
    if sim is not None:
        return sim
    assert labels_a is not None
    assert labels_b is not None
    return share_label(labels_a, labels_b)


def mask_words(labels: Tensor | None) -> int:
    """Mask words of a row; 0 for class ids."""
    return 0 if labels is None or labels.ndim == 1 else labels.shape[1]


def gradient_memory(a: Tensor, b: Tensor, grad_a: bool, grad_b: bool) -> list[Tensor | None]:
    """Memory for the wanted gradients."""
    return [torch.empty_like(x) if wanted else None for x, wanted in ((a, grad_a), (b, grad_b))]


def native_results(loss: float, grads: list[Tensor | None]) -> Results:
    """Results of a native call, empty where no gradient was wanted."""
    out_a, out_b = (torch.empty(0) if x is None else x for x in grads)
    return torch.tensor(loss, dtype=torch.float32), out_a, out_b


def float32_accepts(a: Tensor, *_: Any) -> str | None:
    return "it computes in float32, got float64 codes" if a.dtype == torch.float64 else None


def triton_accepts(a: Tensor, width: int, *, half_products: bool) -> str | None:
    """Why the Triton kernel cannot take codes of this width; half_products: it multiplies half-precision matrices."""
    if half_products and a.dtype == torch.bfloat16 and interpreted():
        return "Triton's interpreter multiplies bfloat16 matrices wrongly"
    if width > MAX_WIDTH:
        return f"its tiles hold codes of up to {MAX_WIDTH} entries, got {width}"
    return float32_accepts(a)


class _PairLoss(torch.autograd.Function):  # outside the op: less per-call cost than register_autograd
    @staticmethod
    def forward(ctx: Any, op: Callable[..., Results], a: Tensor, b: Tensor, *constants: Any) -> Tensor:
        ctx.wanted = ctx.needs_input_grad[1:3]
        ctx.dtypes = a.dtype, b.dtype
        ctx.constants = len(constants)
        loss, *grads = op(a, b, *constants, *ctx.wanted)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, ctx.wanted, strict=True)
        # scaled before it is narrowed: the gradient of a sum over pairs may overflow float16, that of a mean does not
        grad_a, grad_b = ((grad * g).to(dtype) if wanted else None for g, dtype, wanted in pairs)
        return None, grad_a, grad_b, *(None,) * ctx.constants


def distinct(*args: Any) -> tuple[Any, ...]:
    """A view in place of a tensor that comes again: a graph of torch.compile hands a Function none twice."""
    if not torch.compiler.is_compiling():
        return args
    found: list[Any] = []
    for x in args:
        again = isinstance(x, Tensor) and any(x is y for y in found)
        found.append(x.view_as(x) if again else x)
    return tuple(found)


def pair_loss(op: Callable[..., Results], a: Tensor, b: Tensor, *constants: Any, reduction: str) -> Tensor:
    """The loss of an op (a, b, *constants, grad_a, grad_b) -> (loss, gradient of a, gradient of b), differentiable."""
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        loss = _PairLoss.apply(op, *distinct(a, b, *constants))
    else:
        loss = op(a, b, *constants, False, False)[0]
    return loss / (a.shape[0] * b.shape[0]) if reduction == "mean" else loss


def check_codes_of_both(op: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Both sides, of one dtype under autocast."""
    check_matrix(op, "a", a)
    check_tensor(op, "b", b)
    a, b = of_one_dtype(a, b)
    return a, check_same(op, "b", b, "a", a)


def check_pair_matrix(op: str, name: str, x: Any, a: Tensor, b: Tensor) -> Tensor:
    """x itself when it is a constant with a real number for each pair."""
    return _check_constant(op, name, x, (a.shape[0], b.shape[0]), a.device)


def check_row_vector(op: str, name: str, x: Any, codes: Tensor) -> Tensor:
    """x itself when it is a constant with a real number for each row."""
    return _check_constant(op, name, x, (codes.shape[0],), codes.device)


def _check_constant(op: str, name: str, x: Any, shape: tuple[int, ...], device: torch.device) -> Tensor:
    check_tensor(op, name, x)
    if x.shape != shape or x.device != device or x.is_complex():
        raise ValueError(f"{op}: {name} must be real {list(shape)} on {device}, got {describe(x)}")
    if x.requires_grad:
        raise ValueError(f"{op}: {name} must be a constant, got a tensor that requires grad")
    return x


def words_of_both(
    op: str, a: Tensor, b: Tensor, labels_a: Labels, labels_b: Labels, sim: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Class ids or mask words of both sides after checking all that says which pairs are similar; None with sim."""
    if sim is not None:
        if labels_a is not None or labels_b is not None:
            raise ValueError(f"{op}: expected labels_a and labels_b or sim, got both")
        check_pair_matrix(op, "sim", sim, a, b)
        return None, None
    if labels_a is None or labels_b is None:
        missing = [name for name, x in (("labels_a", labels_a), ("labels_b", labels_b)) if x is None]
        raise ValueError(f"{op}: expected labels_a and labels_b, or sim, got no {' and no '.join(missing)}")
    words_a, width_a = label_words(op, "labels_a", labels_a, a)
    words_b, width_b = label_words(op, "labels_b", labels_b, b)
    check_label_kinds(op, ("labels_a", width_a), ("labels_b", width_b))
    return words_a, words_b
