"""Joint semantics in torch: the m x m form of the reference, and the forms for many rows on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from fasthash.ops._unit_rows import through_unit_rows, unit_rows


def affinity(
    f_image: Tensor | None, f_text: Tensor | None, given: Tensor | None, index: Tensor | None, beta: float,
    affine: bool, unit: bool,
) -> Tensor:  # fmt: skip
    """S [m, m]: gathered, or from the features."""
    if given is not None:
        return given if index is None else given[index[:, None], index]
    image, text = _features(f_image, f_text, index, unit)
    scale = 2.0 if affine else 1.0
    s = (image @ image.T).mul_(scale * beta).addmm_(text, text.T, alpha=scale * (1 - beta))
    return s.sub_(1.0) if affine else s


def _features(f_image: Tensor | None, f_text: Tensor | None, index: Tensor | None, unit: bool) -> tuple[Tensor, Tensor]:
    assert f_image is not None
    assert f_text is not None
    dtype = torch.promote_types(torch.promote_types(f_image.dtype, f_text.dtype), torch.float32)
    image, text = (f if index is None else f[index] for f in (f_image, f_text))
    image, text = image.to(dtype), text.to(dtype)
    return (image, text) if unit else (unit_rows(image)[0], unit_rows(text)[0])


def target(s: Tensor, eta: float, mu: float) -> Tensor:
    """mu [(1 - eta) S + (eta / m) S S]"""
    if eta == 0:
        return mu * s
    return torch.addmm(s, s, s, beta=mu * (1 - eta), alpha=mu * eta / len(s))


def moments_of(s: Tensor, products: bool) -> Tensor:
    """Traces of S^2, S^3, S^4 of a symmetric S, row block by row block in float64."""
    found = torch.zeros(3, dtype=torch.float64, device=s.device)
    for rows in s.split(1024):
        wide = rows.double()
        found[0] += wide.square().sum()
        if products:
            second = (rows @ s).double()
            found[1] += (wide * second).sum()
            found[2] += second.square().sum()
    return found


def moments(
    f_image: Tensor | None, f_text: Tensor | None, given: Tensor | None, index: Tensor | None, beta: float,
    affine: bool, unit: bool, products: bool,
) -> Tensor:  # fmt: skip
    """The same, from the r x r products of features where r = p_image + p_text + 1 is less than m."""
    if given is None and f_image is not None and f_text is not None:
        m = len(f_image) if index is None else len(index)
        if m > f_image.shape[1] + f_text.shape[1] + 1:
            return _moments_of_features(*_features(f_image, f_text, index, unit), beta, affine)
    return moments_of(affinity(f_image, f_text, given, index, beta, affine, unit), products)


def _moments_of_features(image: Tensor, text: Tensor, beta: float, affine: bool) -> Tensor:
    """S = G D G^T with G = [image, text, 1]: traces of powers of D G^T G."""
    r = image.shape[1] + text.shape[1] + 1
    gram = torch.zeros(r, r, dtype=torch.float64, device=image.device)
    for rows in zip(image.split(4096), text.split(4096), strict=True):
        g = torch.cat([*rows, rows[0].new_ones(len(rows[0]), 1)], dim=1)
        gram += (g.T @ g).double()
    scale = 2.0 if affine else 1.0
    weights = gram.new_empty(r)
    weights[: image.shape[1]] = scale * beta
    weights[image.shape[1] :] = scale * (1 - beta)
    weights[-1] = -1.0 if affine else 0.0
    power = weights[:, None] * gram
    square = power @ power
    return torch.stack([square.trace(), (square * power.T).sum(), (square * square.T).sum()])


def large_loss(
    b_image: Tensor, b_text: Tensor, f_image: Tensor | None, f_text: Tensor | None, given: Tensor | None,
    index: Tensor | None, known: Tensor | None, beta: float, affine: bool, unit: bool, eta: float, mu: float,
    lambda1: float, lambda2: float, grad_image: bool, grad_text: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Loss and gradients from products of S with the codes; S is made only where it is no larger than the features."""
    m, d = b_image.shape
    (u, inverse_u), (v, inverse_v) = unit_rows(b_image.float()), unit_rows(b_text.float())
    x = torch.cat([u, v], dim=1)
    p = 0 if f_image is None or f_text is None else f_image.shape[1] + f_text.shape[1]
    dense = given is not None or (m <= p and (known is None or m * (p + 8 * d) < 16 * p * d))
    if dense:
        s = affinity(f_image, f_text, given, index, beta, affine, unit).float()
        known = moments_of(s, eta != 0) if known is None else known
        y = s @ x
        z = s @ y if eta != 0 else None
    else:
        image, text = _features(f_image, f_text, index, unit)
        known = moments(image, text, None, None, beta, affine, True, eta != 0) if known is None else known
        y = _low_rank(image, text, x, beta, affine)
        z = _low_rank(image, text, y, beta, affine) if eta != 0 else None
    t = mu * (1 - eta) * y if z is None else (mu * (1 - eta) * y).add_(z, alpha=mu * eta / m)
    gram = (x.T @ x).double()
    uu, vv = gram[:d, :d], gram[d:, d:]
    tu, tv = t[:, :d], t[:, d:]
    first, second = 1 - eta, eta / m
    constant = mu * mu * (first * first * known[0] + 2 * first * second * known[1] + second * second * known[2])

    def term(k: Tensor, other: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        return (k * other).sum() - 2 * (rows * targets).sum(dtype=torch.float64) + constant

    loss = lambda1 * term(uu, uu, u, tu) + term(uu, vv, u, tv) + lambda2 * term(vv, vv, v, tv)
    mean = 1 / (m * m)
    empty = x.new_empty(0)
    out_image, out_text = empty, empty.clone()
    if grad_image:
        own = u @ (mean * (4 * lambda1 * uu + 2 * vv)).float()
        own = own.sub_(tu, alpha=4 * lambda1 * mean).sub_(tv, alpha=2 * mean)
        out_image = through_unit_rows(own, u, inverse_u)
    if grad_text:
        own = v @ (mean * (4 * lambda2 * vv + 2 * uu)).float()
        own = own.sub_(tv, alpha=4 * lambda2 * mean).sub_(tu, alpha=2 * mean)
        out_text = through_unit_rows(own, v, inverse_v)
    return (mean * loss).float(), out_image, out_text


def _low_rank(image: Tensor, text: Tensor, x: Tensor, beta: float, affine: bool) -> Tensor:
    """S x without S."""
    scale = 2.0 if affine else 1.0
    y = (image @ (image.T @ x)).mul_(scale * beta).addmm_(text, text.T @ x, alpha=scale * (1 - beta))
    return y.sub_(x.sum(dim=0)) if affine else y
