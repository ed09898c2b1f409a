"""Reconstruction of a joint-semantics affinity."""

from __future__ import annotations

from torch import Tensor, nn

from fasthash.ops import JointTeacher, joint_semantics_loss
from fasthash.ops._checks import check_finite, check_share


class JointSemantics(nn.Module):
    """Codes' cosines, across and within modalities, against the fused affinity of both modalities' features.

    Args:
        beta: share of the image affinity, 0..1.
        eta: share of the second-order affinity, 0..1.
        mu: scale of the target.
        lambda1, lambda2: weights of the image-image and the text-text term; the cross term has weight 1.
        affine: affinities as 2 S - 1, as in the authors' code.
    Raises:
        ValueError: a share out of 0..1, or a weight that is no finite number.
    Source: Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equation 8.
    """

    def __init__(
        self, *, beta: float, eta: float, mu: float, lambda1: float, lambda2: float, affine: bool = True
    ) -> None:
        super().__init__()
        self.beta, self.eta = check_share("JointSemantics", "beta", beta), check_share("JointSemantics", "eta", eta)
        self.mu = check_finite("JointSemantics", "mu", mu)
        self.lambda1 = check_finite("JointSemantics", "lambda1", lambda1)
        self.lambda2 = check_finite("JointSemantics", "lambda2", lambda2)
        self.affine = bool(affine)

    def teacher(self, f_image: Tensor, f_text: Tensor) -> JointTeacher:
        """For features that no step changes, [n, p_image] and [n, p_text] of all pairs: what follows from them alone is
        made here, once. Keep it beside the module: it is no part of its state."""
        return JointTeacher(f_image, f_text, beta=self.beta, affine=self.affine)

    def forward(
        self,
        b_image: Tensor,
        b_text: Tensor,
        f_image: Tensor | None = None,
        f_text: Tensor | None = None,
        *,
        teacher: JointTeacher | None = None,
        index: Tensor | None = None,
        unit: bool = False,
    ) -> Tensor:
        """The loss [] of relaxed codes [m, d] of m pairs.

        Args:
            f_image, f_text: [m, p_image], [m, p_text] their features; ``unit``: of length 1 already.
            teacher: in place of features, see `teacher`.
            index: int64 [m], which pairs of the teacher these are; None: all, in order.
        """
        weights = {"eta": self.eta, "mu": self.mu, "lambda1": self.lambda1, "lambda2": self.lambda2}
        if teacher is not None:
            if f_image is not None or f_text is not None:
                raise ValueError("JointSemantics: expected f_image and f_text or teacher, got both")
            if (teacher.beta, teacher.affine) != (self.beta, self.affine):
                raise ValueError(
                    f"JointSemantics: teacher must have beta {self.beta} and affine {self.affine}, got {teacher}"
                )
            return teacher.loss(b_image, b_text, index, **weights)
        if f_image is None or f_text is None or index is not None:
            raise ValueError("JointSemantics: expected f_image and f_text, or a teacher, which index refers to")
        return joint_semantics_loss(
            b_image, b_text, f_image, f_text, beta=self.beta, affine=self.affine, unit=unit, **weights
        )

    def extra_repr(self) -> str:
        names = ("beta", "eta", "mu", "lambda1", "lambda2", "affine")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
