"""Learnable class proxies of which a code chooses its own by distance: DNPH's loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasthash.ops._checks import check_finite, check_matrix, check_same, check_tensor, describe
from fasthash.ops._unit_rows import unit_rows

_NAME = "ProxyNCA"
_SPREAD = 1 / 8  # of the proxies at the start


class ProxyNCA(nn.Module):
    """Minus the log-probabilities of a code's own classes, by squared distances of unit rows to the proxies.

    With D_ij = |h_i / |h_i| - p_j / |p_j||^2 + margin L_ij and q_i = softmax of -D_i over all classes, the loss is the
    mean over the rows of - sum_j L_ij log q_ij. The margin lengthens the distances to the row's own proxies, so that
    they have to be nearer than the others by that much.

    Args:
        classes: number of classes.
        bits: code length.
        margin: added to the distances of a row to its own classes (unitless; the distances are 0 to 4).
    Attributes:
        proxies: parameter [classes, bits], N(0, 1) / 8 at the start; their lengths count for nothing.
    Raises:
        ValueError: a size is not positive, or the margin is no finite number.
    Source: Huo et al., Deep Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint for Cross-modal
        Retrieval, ACM TOMM 2024, as in its released code; Movshovitz-Attias et al., No Fuss Distance Metric Learning
        using Proxies, ICCV 2017.
    """

    def __init__(self, classes: int, bits: int, *, margin: float = 1.0) -> None:
        super().__init__()
        for name, size in (("classes", classes), ("bits", bits)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{_NAME}: {name} must be a positive integer, got {size!r}")
        self.margin = check_finite(_NAME, "margin", margin)
        self.proxies = nn.Parameter(torch.randn(classes, bits) * _SPREAD)

    def forward(self, h: Tensor, labels: Tensor) -> Tensor:
        """The loss [], in nats, of codes h [m, bits] with multi-hot labels [m, classes] of any dtype.

        A row without a label adds 0 and counts as one of the m; a row of zeros is as far from each proxy.

        Raises:
            ValueError: shapes or devices disagree: "ProxyNCA: labels must be [m, 24] with m = 128, got [64, 24]".
        """
        check_matrix(_NAME, "h", h)
        check_same(_NAME, "h", h, "proxies", self.proxies.to(h.dtype))
        check_tensor(_NAME, "labels", labels)
        expected = (len(h), len(self.proxies))
        if labels.shape != expected or labels.device != h.device:
            want = f"[m, {expected[1]}] with m = {expected[0]} on {h.device}"
            raise ValueError(f"{_NAME}: labels must be {want}, got {describe(labels)}")
        wide = torch.promote_types(h.dtype, torch.float32)
        cos = unit_rows(h.to(wide))[0] @ unit_rows(self.proxies.to(wide))[0].T
        own = (labels != 0).to(wide)
        # |u - p|^2 = 2 - 2 cos for unit rows; what is the same for all classes leaves the softmax as it is
        logits = torch.log_softmax(2 * cos - self.margin * own, dim=1)
        return -(own * logits).sum(dim=1).mean()

    def extra_repr(self) -> str:
        classes, bits = self.proxies.shape
        return f"classes={classes}, bits={bits}, margin={self.margin}"
