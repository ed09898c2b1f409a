"""Reconstruction of a joint-semantics affinity."""

from __future__ import annotations

from torch import Tensor, nn

from fasthash.ops import joint_semantics_loss


class JointSemantics(nn.Module):
    """Codes' cosines, across and within modalities, against the fused affinity of both modalities' features.

    Args:
        beta: share of the image affinity, 0..1.
        eta: share of the second-order affinity, 0..1.
        mu: scale of the target.
        lambda1, lambda2: weights of the image-image and the text-text term; the cross term has weight 1.
        affine: affinities as 2 S - 1, as in the authors' code.
    Source: Su, Zhong, Zhang, Deep Joint-Semantics Reconstructing Hashing, ICCV 2019, equation 8.
    """

    def __init__(
        self, *, beta: float, eta: float, mu: float, lambda1: float, lambda2: float, affine: bool = True
    ) -> None:
        super().__init__()
        self.beta, self.eta, self.mu = beta, eta, mu
        self.lambda1, self.lambda2, self.affine = lambda1, lambda2, affine

    def forward(self, b_image: Tensor, b_text: Tensor, f_image: Tensor, f_text: Tensor) -> Tensor:
        """Relaxed codes [m, d] of m pairs and their features [m, p_image], [m, p_text]; returns the loss []."""
        return joint_semantics_loss(
            b_image, b_text, f_image, f_text,
            beta=self.beta, eta=self.eta, mu=self.mu, lambda1=self.lambda1, lambda2=self.lambda2, affine=self.affine,
        )  # fmt: skip

    def extra_repr(self) -> str:
        names = ("beta", "eta", "mu", "lambda1", "lambda2", "affine")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
