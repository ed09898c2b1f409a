"""What a label tree gives to a method with codes of several layers: class ids, and widths and weights of the layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_ids(op: str, layers: Sequence[Tensor]) -> Tensor:
    """Multi-hot labels [n, c_k] of each layer as class ids int64 [n, layers].

    Raises:
        ValueError: no layers, or a pair without exactly one label in a layer.
    """
    if not layers:
        raise ValueError(f"{op}: needs the layers of a label tree, got none")
    for k, layer in enumerate(layers, start=1):
        count = layer.sum(dim=1)
        wrong = (count != 1).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(f"{op}: layer {k} must have one label for each pair, row {row} has {int(count[row])}")
    return torch.stack([layer.argmax(dim=1) for layer in layers], dim=1)


def of_layers(op: str, name: str, values: Sequence[float] | None, layers: int) -> list[float] | None:
    """An option with one number for each layer, or None."""
    if values is None:
        return None
    if len(values) != layers:
        raise ValueError(f"{op}: {name} must be {layers}, one for each layer, got {tuple(values)}")
    return list(values)


def layer_widths(op: str, bits: int, layers: int, shares: Sequence[float] | None = None) -> list[int]:
    """Bits of each layer, ``bits`` in all, at least one each, by the shares (equal ones unless given).

    What rounding leaves over goes to the last, the finest layer.
    """
    if bits < layers:
        raise ValueError(f"{op}: bits must be at least {layers}, one for each layer, got {bits}")
    shares = [1.0] * layers if shares is None else shares
    widths = [1 + int((bits - layers) * share / sum(shares)) for share in shares]
    widths[-1] += bits - sum(widths)
    return widths
