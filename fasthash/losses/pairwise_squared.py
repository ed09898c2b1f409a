"""The pairwise term of SSAH's released code: a squared difference in place of the likelihood."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fasthash.ops import PackedLabels
from fasthash.ops._checks import check_finite, check_matrix, check_same, of_one_dtype
from fasthash.ops.labels import check_label_kinds, label_words, share_label

_NAME = "PairwiseSquared"


class PairwiseSquared(nn.Module):
    """Half the sum of (S_ij theta_ij - softplus(theta_ij))^2 over all n * m pairs, theta = scale * a @ b.T.

    Like the likelihood, whose two terms it subtracts and squares, it drives theta of similar pairs (S_ij = ``similar``)
    up and of others (S_ij = 0) down, with gradients that are small where theta is far below 0 and large above.

    Args:
        scale: factor of the inner product (unitless).
        similar: S of a pair that shares a label: 0.999 in the authors' code.
    Memory: plain PyTorch: three to four [n, m] matrices in float32 until the backward pass is over, where the fused
        likelihood ``PairwiseNLL`` needs none.
    Source: the code of Li et al., Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval, CVPR 2018;
        the paper has the likelihood.
    """

    def __init__(self, scale: float = 0.5, similar: float = 0.999) -> None:
        super().__init__()
        self.scale, self.similar = check_finite(_NAME, "scale", scale), check_finite(_NAME, "similar", similar)

    def forward(self, a: Tensor, b: Tensor, labels_a: Tensor | PackedLabels, labels_b: Tensor | PackedLabels) -> Tensor:
        """Codes [n, d] and [m, d] with labels of both (class ids, multi-hot or packed); returns the loss [].

        Raises:
            ValueError: shapes, dtypes or devices disagree.
        """
        check_matrix(_NAME, "a", a)
        check_matrix(_NAME, "b", b)
        a, b = of_one_dtype(a, b)
        check_same(_NAME, "b", b, "a", a)
        words_a, words_b = label_words(_NAME, "labels_a", labels_a, a), label_words(_NAME, "labels_b", labels_b, b)
        check_label_kinds(_NAME, ("labels_a", words_a[1]), ("labels_b", words_b[1]))
        theta = self.scale * (a @ b.T)
        sim = share_label(words_a[0], words_b[0]).to(theta.dtype) * self.similar
        return 0.5 * (sim * theta - functional.softplus(theta)).square().sum()

    def extra_repr(self) -> str:
        return f"scale={self.scale}, similar={self.similar}"
