"""Losses of codes alone: close to binary, and every bit balanced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasthash.ops import code_balance
from fasthash.ops._checks import check_matrix, check_same, check_tensor, of_one_dtype


class Quantization(nn.Module):
    """Sum of squared differences between relaxed codes and their target codes, |B - H|^2.

    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, second term of the objective (weight gamma).
    """

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        """Relaxed codes and codes, [n, bits], of one dtype but under autocast; returns the loss [], float32 or wider.

        Raises:
            ValueError: shapes, dtypes or devices disagree.
        """
        check_matrix("Quantization", "h", h)
        h, code = of_one_dtype(h, check_tensor("Quantization", "code", code))
        check_same("Quantization", "code", code, "h", h, rows=True)
        return (_wide(h) - _wide(code)).square().sum()


class CodeBalance(nn.Module):
    """Squared length of the codes' column sums, |1^T H|^2; see ``fasthash.ops.code_balance``.

    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, third term of the objective (weight eta).
    """

    def forward(self, h: Tensor, rest: Tensor | None = None) -> Tensor:
        """Relaxed codes [n, bits] and the column sum [bits] of all other rows, if any; returns the loss [].

        ``rest`` is what ``CodeBank.update`` returns.
        """
        return code_balance(h, rest)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
