"""The joint-semantics affinity of two modalities' features, and the loss of codes that rebuild it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.ops import _joint_semantics  # registers the operations
from fasthash.ops._checks import (
    check_finite,
    check_matrix,
    check_same,
    check_share,
    check_tensor,
    describe,
    of_one_dtype,
)
from fasthash.ops._unit_rows import unit_rows


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
    f_image, f_text = _features(op, f_image, f_text)
    beta, eta, mu = check_share(op, "beta", beta), check_share(op, "eta", eta), check_finite(op, "mu", mu)
    return torch.ops.fasthash.joint_semantics_affinity(f_image, f_text, None, beta, eta, mu, bool(affine), False)


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
    unit: bool = False,
) -> Tensor:
    """<(cos(B_I, B_T) - T)^2> + lambda1 <(cos(B_I, B_I) - T)^2> + lambda2 <(cos(B_T, B_T) - T)^2>.

    <.> is the mean over the m x m entries, cos the matrix of cosines between rows, T the joint affinity. Where the same
    features come back in later steps, a `JointTeacher` makes what depends on them alone once.

    Args:
        b_image, b_text: [m, d] relaxed codes of m pairs; float64/32/16 or bfloat16, of one dtype but under autocast. A
            row of zeros has cosine 0.
        f_image, f_text: [m, p_image], [m, p_text] features: a fixed teacher, no gradient flows into them.
        beta, eta, mu, affine: of the target, see ``joint_semantics_affinity``.
        lambda1, lambda2: weights of the image-image and the text-text term (unitless).
        unit: the features' rows have length 1 (or 0) already, and are taken as they are.
    Returns:
        [] loss, float32 or wider. NaN in a code or a feature makes it NaN.
    Raises:
        ValueError: shapes, dtypes or devices disagree, or a weight is out of range.
    Memory: on `cpp` and `triton` O(m (d + p_image + p_text)): an m x m matrix is made only where it is no larger than
        the features. On `reference` the target and one m x m difference for each term.
    Accuracy: beyond 128 pairs the loss is a difference of traces, good to about 1e-7 of the mean of T^2.
    Source: Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equation 8; means as in the
    authors' code.
    """
    op = "joint_semantics_loss"
    b_image, b_text = _codes(op, b_image, b_text)
    check_matrix(op, "f_image", f_image)
    _check_rows(op, "f_image", f_image, "b_image", b_image)
    f_image, f_text = _features(op, f_image, f_text)
    if b_image.dtype != torch.float64:  # wide features of narrow codes: their last digits do not show
        f_image, f_text = (f.float() if f.dtype == torch.float64 else f for f in (f_image, f_text))
    teacher = (f_image, f_text, None, None, None, check_share(op, "beta", beta), bool(affine), bool(unit))
    return _joint_semantics.apply(b_image, b_text, teacher, _weights(op, eta, mu, lambda1, lambda2))


MAX_BYTES = 1 << 30  # of the affinity that a teacher keeps


class JointTeacher:
    """What the joint-semantics loss needs of fixed features, made once: for feature mode, without augmentation.

    The features are divided by their length and kept in float32 (float64 stays), or, where it fits into ``max_bytes``,
    the affinity S of all n pairs, of which a step then reads its rows and columns.

    Args:
        f_image, f_text: [n, p_image], [n, p_text] features of all training pairs; on the device of the codes.
        beta: share of the image affinity, 0..1.
        affine: map cosines from 0..1 to -1..1, see ``joint_semantics_affinity``.
        max_bytes: keep the affinity if it takes no more than this; the default holds 16,384 pairs. 0: never.
    Raises:
        ValueError: shapes or devices disagree, beta is out of range or max_bytes negative.
    Memory: the affinity, and once more for the target when the loss of all pairs is asked for; else a copy of the
        features. Neither is a parameter or buffer of anything: no checkpoint holds it.
    Time: 2 n^2 (p_image + p_text) operations for the affinity; n^3 more for the first loss of all pairs, or
        n (p_image + p_text)^2 without the affinity.
    """

    def __init__(
        self, f_image: Tensor, f_text: Tensor, *, beta: float, affine: bool = True, max_bytes: int = MAX_BYTES
    ) -> None:
        op = "JointTeacher"
        f_image, f_text = _features(op, f_image, f_text)
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0:
            raise ValueError(f"{op}: max_bytes must be a whole number from 0, got {max_bytes!r}")
        self.beta, self.affine = check_share(op, "beta", beta), bool(affine)
        self._n = len(f_image)
        self._features: tuple[Tensor | None, Tensor | None] = (None, None)
        self._affinity: Tensor | None = None
        self._target: dict[float, Tensor] = {}  # by eta, of all pairs; at most one
        self._moments: dict[bool, Tensor] = {}  # of all pairs: of the target, or of the affinity that is not kept
        dtype = torch.promote_types(f_image.dtype, torch.float32)
        if self.keeps_affinity(self._n, dtype, max_bytes):
            self._affinity = torch.ops.fasthash.joint_semantics_affinity(
                f_image, f_text, None, self.beta, 0.0, 1.0, self.affine, False
            )
        else:
            with torch.no_grad(), torch.autocast(f_image.device.type, enabled=False):
                wide = (f.to(torch.promote_types(f.dtype, torch.float32)) for f in (f_image, f_text))
                image, text = (unit_rows(f)[0] for f in wide)
            self._features = (image, text)
        self.device = f_image.device
        self._checked: _joint_semantics.Weights = (0.0, 0.0, 0.0, 0.0)

    @staticmethod
    def keeps_affinity(n: int, dtype: torch.dtype = torch.float32, max_bytes: int = MAX_BYTES) -> bool:
        """Whether the teacher of n pairs keeps their affinity; otherwise it keeps a copy of the features."""
        return n**2 * dtype.itemsize <= max_bytes

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        kept = "features" if self._affinity is None else "affinity"
        return f"JointTeacher({self._n} pairs, beta={self.beta}, affine={self.affine}, keeps the {kept})"

    def loss(
        self,
        b_image: Tensor,
        b_text: Tensor,
        index: Tensor | None = None,
        *,
        eta: float,
        mu: float,
        lambda1: float,
        lambda2: float,
    ) -> Tensor:
        """``joint_semantics_loss`` of the codes of some pairs, or of all.

        Args:
            b_image, b_text: [m, d] relaxed codes.
            index: int64 [m], which pairs these are; None: all n, in order.
            eta, mu, lambda1, lambda2: see ``joint_semantics_affinity`` and ``joint_semantics_loss``.
        Returns:
            [] loss, float32 or wider. On a GPU an index out of range makes it NaN.
        Raises:
            ValueError: shapes, dtypes or devices disagree, a weight is out of range or, on the CPU, the index.
        Memory: m x m, the rows and columns that are read, beyond 128 pairs.
        """
        b_image, b_text = _codes("joint_semantics_loss", b_image, b_text)
        return _joint_semantics.apply(b_image, b_text, *self._arguments(b_image, index, eta, mu, lambda1, lambda2))

    def loss_and_gradients(
        self,
        b_image: Tensor,
        b_text: Tensor,
        index: Tensor | None = None,
        *,
        eta: float,
        mu: float,
        lambda1: float,
        lambda2: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss with its gradients [m, d] of both codes, in float32 or wider, and nothing for autograd to record.

        For small batches, where autograd costs more than the loss: ``torch.autograd.backward([b_image, b_text],
        [grad_image, grad_text])`` goes on from here. Arguments and errors as of `loss`.
        """
        b_image, b_text = _codes("joint_semantics_loss", b_image, b_text)
        teacher, weights = self._arguments(b_image, index, eta, mu, lambda1, lambda2)
        return _joint_semantics.direct(b_image.detach(), b_text.detach(), teacher, weights)

    def _arguments(
        self, b_image: Tensor, index: Tensor | None, eta: float, mu: float, lambda1: float, lambda2: float,
    ) -> tuple[_joint_semantics.Teacher, _joint_semantics.Weights]:  # fmt: skip
        op = "joint_semantics_loss"
        if (eta, mu, lambda1, lambda2) != self._checked:  # the same in every step, and small batches take microseconds
            self._checked = _weights(op, eta, mu, lambda1, lambda2)
        weights, m = self._checked, b_image.shape[0]
        if b_image.device != self.device:
            raise ValueError(f"{op}: b_image must be on {self.device} like the teacher, got {describe(b_image)}")
        if index is not None:
            check_tensor(op, "index", index)
            if index.dtype != torch.int64 or index.shape != (m,) or index.device != self.device:
                raise ValueError(f"{op}: index must be int64 [{m}] on {self.device}, got {describe(index)}")
            return (*self._features, self._affinity, index, None, self.beta, self.affine, True), weights
        if m != self._n:
            raise ValueError(f"{op}: b_image must have {self._n} rows like the teacher, or an index, got {m}")
        if m <= _joint_semantics.SMALL:
            return (*self._features, self._affinity, None, None, self.beta, self.affine, True), weights
        if self._affinity is None:
            moments = self._cached_moments(eta != 0)
            return (*self._features, None, None, moments, self.beta, self.affine, True), weights
        # (1 - eta) S + (eta / n) S S in the place of S: one product a step
        target = self._cached_target(weights[0])
        moments = self._cached_moments(False)
        return (None, None, target, None, moments, self.beta, self.affine, True), (0.0, *weights[1:])

    def _cached_target(self, eta: float) -> Tensor:
        assert self._affinity is not None
        if eta not in self._target:
            self._target.clear()
            self._moments.clear()
            self._target[eta] = torch.ops.fasthash.joint_semantics_affinity(
                None, None, self._affinity, self.beta, eta, 1.0, self.affine, True
            )
        return self._target[eta]

    def _cached_moments(self, products: bool) -> Tensor:
        if products not in self._moments:
            target = next(iter(self._target.values()), None)
            self._moments[products] = torch.ops.fasthash.joint_semantics_moments(
                *self._features, target, None, self.beta, self.affine, True, products
            )
        return self._moments[products]


def _features(op: str, f_image: Tensor, f_text: Tensor) -> tuple[Tensor, Tensor]:
    check_matrix(op, "f_image", f_image)
    _check_rows(op, "f_text", f_text, "f_image", f_image)
    return f_image.detach(), f_text.detach()


def _codes(op: str, b_image: Tensor, b_text: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of both modalities, of one dtype under autocast."""
    check_matrix(op, "b_image", b_image)
    x = b_text
    alike = isinstance(x, Tensor) and (x.shape, x.dtype, x.device) == (b_image.shape, b_image.dtype, b_image.device)
    if not alike:  # what is wrong, and nothing in the usual case: small batches take microseconds
        b_image, b_text = of_one_dtype(b_image, check_tensor(op, "b_text", b_text))
        check_same(op, "b_text", b_text, "b_image", b_image, rows=True)
    return b_image, b_text


def _weights(op: str, eta: float, mu: float, lambda1: float, lambda2: float) -> _joint_semantics.Weights:
    return (
        check_share(op, "eta", eta),
        check_finite(op, "mu", mu),
        check_finite(op, "lambda1", lambda1),
        check_finite(op, "lambda2", lambda2),
    )


def _check_rows(op: str, name: str, x: Any, like_name: str, like: Tensor) -> None:
    check_matrix(op, name, x)
    if x.shape[0] != like.shape[0] or x.device != like.device:
        raise ValueError(
            f"{op}: {name} must have {like.shape[0]} rows on {like.device} like {like_name}, got {describe(x)}"
        )
