"""The joint-semantics affinity of two modalities' features, and the loss of codes that rebuild it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fasthash.ops._checks import check_finite, check_matrix, check_same, describe


def joint_semantics_affinity(
    f_image: Tensor, f_text: Tensor, *, beta: float, eta: float, mu: float = 1.0, affine: bool = True
) -> Tensor:
    """The target T = mu [(1 - eta) S + (eta / m) S S] with S = beta S_image + (1 - beta) S_text.

    S_image and S_text are the cosines of the rows, mapped to 2 S - 1 when ``affine``. No gradient flows into features.

    Args:
        f_image: [m, p_image] features of m pairs' images; float64/32/16 or bfloat16. A row of zeros has cosine 0.
        f_text: [m, p_text] features of their texts, on the same device.
        beta: share of the image affinity, 0..1.
        eta: share of the second-order affinity, 0..1.
        mu: scale of the target (unitless).
        affine: map cosines from 0..1 (features without negative values) to -1..1: in the authors' code, not in the
            paper's formulas.
    Returns:
        [m, m], symmetric; float32, or float64 for float64 features.
    Raises:
        ValueError: shapes or devices disagree, or a weight is out of range.
    Memory: two m x m matrices, one when eta is 0.
    Source: Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equations 3 to 5 and 8.
    """
    op = "joint_semantics_affinity"
    check_matrix(op, "f_image", f_image)
    _check_rows(op, "f_text", f_text, "f_image", f_image)
    beta, eta, mu = _share(op, "beta", beta), _share(op, "eta", eta), check_finite(op, "mu", mu)
    dtype = torch.promote_types(torch.promote_types(f_image.dtype, f_text.dtype), torch.float32)
    with torch.no_grad(), torch.autocast(f_image.device.type, enabled=False):
        image, text = (F.normalize(f.to(dtype), eps=1e-12) for f in (f_image, f_text))
        double = 2.0 if affine else 1.0
        affinity = (image @ image.T).mul_(double * beta).addmm_(text, text.T, alpha=double * (1 - beta))
        if affine:
            affinity.sub_(1.0)
        if eta == 0:
            return affinity.mul_(mu)
        return torch.addmm(affinity, affinity, affinity, beta=mu * (1 - eta), alpha=mu * eta / len(affinity))


def joint_semantics_loss(
    b_image: Tensor,
    b_text: Tensor,
    f_image: Tensor,
    f_text: Tensor,
    *,
    beta: float,
    eta: float,
    mu: float,
    lambda1: float,
    lambda2: float,
    affine: bool = True,
) -> Tensor:
    """<(cos(B_I, B_T) - T)^2> + lambda1 <(cos(B_I, B_I) - T)^2> + lambda2 <(cos(B_T, B_T) - T)^2>.

    <.> is the mean over the m x m entries, cos the matrix of cosines between rows, T the joint affinity.

    Args:
        b_image, b_text: [m, d] relaxed codes of m pairs; float64/32/16 or bfloat16. A row of zeros has cosine 0.
        f_image, f_text: [m, p_image], [m, p_text] features: a fixed teacher, no gradient flows into them.
        beta, eta, mu, affine: of the target, see ``joint_semantics_affinity``.
        lambda1, lambda2: weights of the image-image and the text-text term (unitless).
    Returns:
        [] loss, float32 or wider.
    Raises:
        ValueError: shapes, dtypes or devices disagree, or a weight is out of range.
    Memory: the target and one m x m difference for each term with a weight, kept for the gradient.
    Source: Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equation 8; means as in the
    authors' code.
    """
    op = "joint_semantics_loss"
    check_matrix(op, "b_image", b_image)
    check_same(op, "b_text", b_text, "b_image", b_image, rows=True)
    check_matrix(op, "f_image", f_image)
    _check_rows(op, "f_image", f_image, "b_image", b_image)
    weights = {
        "1": 1.0,
        "lambda1": check_finite(op, "lambda1", lambda1),
        "lambda2": check_finite(op, "lambda2", lambda2),
    }
    target = joint_semantics_affinity(f_image, f_text, beta=beta, eta=eta, mu=mu, affine=affine)
    with torch.autocast(b_image.device.type, enabled=False):
        dtype = torch.promote_types(b_image.dtype, torch.float32)
        target = target.to(dtype)
        u, v = (F.normalize(b.to(dtype), eps=1e-12) for b in (b_image, b_text))
        pairs = zip(weights.values(), ((u, v), (u, u), (v, v)), strict=True)
        terms = [weight * _mean_square(x, y, target) for weight, (x, y) in pairs if weight != 0]
        return torch.stack(terms).sum()


def _mean_square(x: Tensor, y: Tensor, target: Tensor) -> Tensor:
    difference = torch.addmm(target, x, y.T, beta=-1).flatten()
    return torch.dot(difference, difference) / difference.numel()  # a dot product needs no matrix of squares


def _check_rows(op: str, name: str, x: Any, like_name: str, like: Tensor) -> None:
    check_matrix(op, name, x)
    if x.shape[0] != like.shape[0] or x.device != like.device:
        raise ValueError(
            f"{op}: {name} must have {like.shape[0]} rows on {like.device} like {like_name}, got {describe(x)}"
        )


def _share(op: str, name: str, value: Any) -> float:
    share = check_finite(op, name, value)
    if not 0 <= share <= 1:
        raise ValueError(f"{op}: {name} must be from 0 to 1, got {value!r}")
    return share
