"""The operations of joint semantics: schemas, backends, autograd. Arguments are checked by joint_semantics.py.

A teacher is either the features of its n rows (``unit``: of length 1 already) or their affinity S [n, n]; ``index``
says which m rows a batch has, None all. ``moments`` float64 [3]: the traces of S^2, S^3 and S^4 of those m rows, None
where they are not known; the last two do not count when eta is 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash import _native
from fasthash.ops import _joint_semantics_forms as forms
from fasthash.ops._registry import define, register
from fasthash.ops._unit_rows import through_unit_rows, unit_rows

SMALL = 128  # rows up to which a loss is one call on m x m matrices; csrc/cpu/joint_semantics_block.h has it too

Results = tuple[Tensor, Tensor, Tensor]
# f_image, f_text, affinity, index, moments, beta, affine, unit
Teacher = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None, float, bool, bool]
Weights = tuple[float, float, float, float]  # eta, mu, lambda1, lambda2

_TEACHER = "Tensor? f_image, Tensor? f_text, Tensor? affinity"


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _first(*tensors: Tensor | None) -> Tensor:
    return next(x for x in tensors if x is not None)


def _fake_loss(
    b_image: Tensor, b_text: Tensor, f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None,
    index: Tensor | None, moments: Tensor | None, beta: float, affine: bool, unit: bool, eta: float, mu: float,
    lambda1: float, lambda2: float, grad_image: bool, grad_text: bool,
) -> Results:  # fmt: skip
    acc = _accumulator(b_image)
    shapes = (b_image.shape if wanted else (0,) for wanted in (grad_image, grad_text))
    image, text = (b_image.new_empty(shape, dtype=acc) for shape in shapes)
    return b_image.new_empty((), dtype=acc), image, text


# One pass makes the loss and whichever gradients are wanted; backward only scales them.
define(
    f"joint_semantics_loss(Tensor b_image, Tensor b_text, {_TEACHER}, Tensor? index, Tensor? moments, float beta,"
    " bool affine, bool unit, float eta, float mu, float lambda1, float lambda2, bool grad_image, bool grad_text)"
    " -> (Tensor, Tensor, Tensor)",
    fake=_fake_loss,
)


def _fake_affinity(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, beta: float, eta: float, mu: float,
    affine: bool, unit: bool,
) -> Tensor:  # fmt: skip
    return _like(f_image, f_text, affinity).new_empty((len(_first(affinity, f_image)),) * 2)


def _like(f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None) -> Tensor:
    """An empty tensor of the dtype and on the device that a teacher's affinity has."""
    if affinity is not None:
        return affinity.new_empty(0, dtype=_accumulator(affinity))
    assert f_image is not None
    assert f_text is not None
    return f_image.new_empty(0, dtype=torch.promote_types(_accumulator(f_image), f_text.dtype))


# The target mu [(1 - eta) S + (eta / n) S S] [n, n].
define(
    f"joint_semantics_affinity({_TEACHER}, float beta, float eta, float mu, bool affine, bool unit) -> Tensor",
    fake=_fake_affinity,
)


def _fake_moments(f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, *_: Any) -> Tensor:
    return _first(affinity, f_image).new_empty(3, dtype=torch.float64)


# The traces of S^2, and with products of S^3 and S^4, else 0: constants that the loss of more than 128 rows needs.
define(
    f"joint_semantics_moments({_TEACHER}, Tensor? index, float beta, bool affine, bool unit, bool products) -> Tensor",
    fake=_fake_moments,
)


def _check_index(index: Tensor | None, rows: int) -> None:
    """On the CPU only: reading it would make a GPU wait."""
    if index is None or index.device.type != "cpu":
        return
    wrong = index[(index < 0) | (index >= rows)]
    if len(wrong):
        raise ValueError(
            f"joint_semantics_loss: index must be rows of the teacher, 0 to {rows - 1}, got {int(wrong[0])}"
        )


@register("joint_semantics_loss", "reference")
def _reference_loss(
    b_image: Tensor, b_text: Tensor, f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None,
    index: Tensor | None, moments: Tensor | None, beta: float, affine: bool, unit: bool, eta: float, mu: float,
    lambda1: float, lambda2: float, grad_image: bool, grad_text: bool,
) -> Results:  # fmt: skip
    _check_index(index, len(_first(affinity, f_image)))
    acc = _accumulator(b_image)
    (u, inverse_u), (v, inverse_v) = unit_rows(b_image.to(acc)), unit_rows(b_text.to(acc))
    s = forms.affinity(f_image, f_text, affinity, index, beta, affine, unit).to(acc)
    t = forms.target(s, eta, mu)
    cross, image, text = u @ v.T - t, u @ u.T - t, v @ v.T - t
    loss = cross.square().mean() + lambda1 * image.square().mean() + lambda2 * text.square().mean()
    empty, mean = b_image.new_empty(0, dtype=acc), 1 / t.numel()
    g_image, g_text = 2 * cross @ v + 4 * lambda1 * image @ u, 2 * cross.T @ u + 4 * lambda2 * text @ v
    return (
        loss,
        through_unit_rows(mean * g_image, u, inverse_u) if grad_image else empty,
        through_unit_rows(mean * g_text, v, inverse_v) if grad_text else empty.clone(),
    )


@register("joint_semantics_affinity", "reference")
def _reference_affinity(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, beta: float, eta: float, mu: float,
    affine: bool, unit: bool,
) -> Tensor:  # fmt: skip
    return forms.target(forms.affinity(f_image, f_text, affinity, None, beta, affine, unit), eta, mu)


@register("joint_semantics_moments", "reference")
def _reference_moments(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, index: Tensor | None, beta: float,
    affine: bool, unit: bool, products: bool,
) -> Tensor:  # fmt: skip
    _check_index(index, len(_first(affinity, f_image)))
    return forms.moments_of(forms.affinity(f_image, f_text, affinity, index, beta, affine, unit), products)


def _teacher_accepts(f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, *_: Any) -> str | None:
    for x in (f_image, f_text, affinity):
        if x is not None and x.dtype == torch.float64:
            return "it computes in float32, got a float64 teacher"
    return None


def _loss_accepts(b_image: Tensor, b_text: Tensor, *args: Any) -> str | None:
    if b_image.dtype == torch.float64:
        return "it computes in float32, got float64 codes"
    return _teacher_accepts(*args)


# The next functions are most of the time of a small batch: nothing is converted or made that need not be.
def _float32(x: Tensor | None) -> Tensor | None:
    if x is None or (x.dtype == torch.float32 and x.is_contiguous()):
        return x
    return x.to(torch.float32).contiguous()


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _native_teacher(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, index: Tensor | None, beta: float,
    affine: bool, unit: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """As csrc/bindings/joint_semantics.cpp takes it: addresses of tensors that the caller keeps."""
    if affinity is not None:
        n, image, text = affinity.shape[0], 0, 0
    else:
        assert f_image is not None
        assert f_text is not None
        (n, image), text = f_image.shape, f_text.shape[1]
    m = n if index is None else index.shape[0]
    return (
        _address(affinity), _address(f_image), _address(f_text), image, text, n, m, _address(index), beta, affine, unit
    )  # fmt: skip


@register("joint_semantics_loss", "cpp", accepts=_loss_accepts)
def _cpp_loss(
    b_image: Tensor, b_text: Tensor, f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None,
    index: Tensor | None, moments: Tensor | None, beta: float, affine: bool, unit: bool, eta: float, mu: float,
    lambda1: float, lambda2: float, grad_image: bool, grad_text: bool,
) -> Results:  # fmt: skip
    image, text, f_image, f_text, affinity = (_float32(x) for x in (b_image, b_text, f_image, f_text, affinity))
    index = None if index is None else index.contiguous()
    shape = b_image.shape
    loss = torch.empty((), dtype=torch.float32)
    assert image is not None
    out_image = torch.empty_like(image) if grad_image else image.new_empty(0)
    out_text = torch.empty_like(image) if grad_text else image.new_empty(0)
    _native.load().joint_semantics_loss(
        _native_teacher(f_image, f_text, affinity, index, beta, affine, unit), _address(image), _address(text),
        shape[1], eta, mu, lambda1, lambda2, _address(moments), loss.data_ptr(),
        out_image.data_ptr() if grad_image else 0, out_text.data_ptr() if grad_text else 0, _native.isa(),
        torch.get_num_threads(),
    )  # fmt: skip
    return loss, out_image, out_text


@register("joint_semantics_affinity", "cpp", accepts=_teacher_accepts)
def _cpp_affinity(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, beta: float, eta: float, mu: float,
    affine: bool, unit: bool,
) -> Tensor:  # fmt: skip
    kept = [_float32(x) for x in (f_image, f_text, affinity)]
    n = len(_first(affinity, f_image))
    out = torch.empty(n, n, dtype=torch.float32)
    _native.load().joint_semantics_affinity(
        _native_teacher(kept[0], kept[1], kept[2], None, beta, affine, unit), eta, mu, out.data_ptr(), _native.isa(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


@register("joint_semantics_moments", "cpp", accepts=_teacher_accepts)
def _cpp_moments(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, index: Tensor | None, beta: float,
    affine: bool, unit: bool, products: bool,
) -> Tensor:  # fmt: skip
    kept = [_float32(x) for x in (f_image, f_text, affinity)]
    index = None if index is None else index.contiguous()
    out = torch.empty(3, dtype=torch.float64)
    _native.load().joint_semantics_moments(
        _native_teacher(kept[0], kept[1], kept[2], index, beta, affine, unit), products, out.data_ptr(), _native.isa(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


@register("joint_semantics_loss", "triton", accepts=_loss_accepts)
def _triton_loss(
    b_image: Tensor, b_text: Tensor, f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None,
    index: Tensor | None, moments: Tensor | None, beta: float, affine: bool, unit: bool, eta: float, mu: float,
    lambda1: float, lambda2: float, grad_image: bool, grad_text: bool,
) -> Results:  # fmt: skip
    from fasthash._kernels import joint_semantics as kernels  # late: triton is optional

    _check_index(index, len(_first(affinity, f_image)))
    if len(b_image) > SMALL:
        return forms.large_loss(
            b_image, b_text, f_image, f_text, affinity, index, moments, beta, affine, unit, eta, mu, lambda1, lambda2,
            grad_image, grad_text,
        )  # fmt: skip
    if affinity is None:
        assert f_image is not None
        assert f_text is not None
        affinity, index = kernels.affinity_fwd(f_image, f_text, index, beta, affine), None
    return kernels.loss_fwd(
        b_image, b_text, affinity, index, eta, mu, lambda1, lambda2, grad_image, grad_text
    )  # fmt: skip


@register("joint_semantics_affinity", "triton", accepts=_teacher_accepts)
def _triton_affinity(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, beta: float, eta: float, mu: float,
    affine: bool, unit: bool,
) -> Tensor:  # fmt: skip
    from fasthash._kernels import joint_semantics as kernels

    if affinity is None and f_image is not None and f_text is not None and len(f_image) <= SMALL:
        affinity = kernels.affinity_fwd(f_image, f_text, None, beta, affine)
    return forms.target(forms.affinity(f_image, f_text, affinity, None, beta, affine, unit), eta, mu)


@register("joint_semantics_moments", "triton", accepts=_teacher_accepts)
def _triton_moments(
    f_image: Tensor | None, f_text: Tensor | None, affinity: Tensor | None, index: Tensor | None, beta: float,
    affine: bool, unit: bool, products: bool,
) -> Tensor:  # fmt: skip
    _check_index(index, len(_first(affinity, f_image)))
    return forms.moments(f_image, f_text, affinity, index, beta, affine, unit, products)


class _JointSemantics(torch.autograd.Function):  # outside the op: less per-call cost than register_autograd
    @staticmethod
    def forward(ctx: Any, b_image: Tensor, b_text: Tensor, *teacher_and_weights: Any) -> Tensor:
        ctx.wanted = ctx.needs_input_grad[:2]
        ctx.dtypes, ctx.constants = (b_image.dtype, b_text.dtype), len(teacher_and_weights)
        loss, *grads = torch.ops.fasthash.joint_semantics_loss(b_image, b_text, *teacher_and_weights, *ctx.wanted)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.dtypes, ctx.wanted, strict=True)
        # scaled before it is narrowed: small gradients of a mean would be lost in float16
        grad_image, grad_text = ((grad * g).to(dtype) if wanted else None for g, dtype, wanted in pairs)
        return grad_image, grad_text, *[None] * ctx.constants


def apply(b_image: Tensor, b_text: Tensor, teacher: Teacher, weights: Weights) -> Tensor:
    """The loss, for autograd where a code wants a gradient."""
    if torch.is_grad_enabled() and (b_image.requires_grad or b_text.requires_grad):
        return _JointSemantics.apply(b_image, b_text, *teacher, *weights)
    return torch.ops.fasthash.joint_semantics_loss(b_image, b_text, *teacher, *weights, False, False)[0]


def direct(b_image: Tensor, b_text: Tensor, teacher: Teacher, weights: Weights) -> Results:
    """Loss and both gradients; autograd records nothing."""
    return torch.ops.fasthash.joint_semantics_loss(b_image, b_text, *teacher, *weights, True, True)
