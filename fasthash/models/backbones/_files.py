"""Weights of backbones from files; every way in which a file can be wrong is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fasthash.features._packages import require

RANDOM = "random"  # weights that start at random, asked for by name: forgetting the file must not pass unseen


def weights_path(kind: str, weights: str | None, what: str) -> Path:
    """The file a user named.

    Raises:
        ValueError: none was named. FileNotFoundError: it is not there.
    """
    if weights is None:
        raise ValueError(f"{kind}: needs image_weights, {what}; or image_weights='random' to train it from nothing")
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{kind}: image_weights: no such file: {path}")
    return path


def read_state(kind: str, weights: str | None, what: str) -> dict[str, Tensor]:
    """A state dict from .safetensors or from torch.save; nothing in the file is executed."""
    path = weights_path(kind, weights, what)
    try:
        if path.suffix == ".safetensors":
            state: Any = require("safetensors.torch", "safetensors", "learn", "reading weights").load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and foreign files raise many kinds
        raise ValueError(f"{kind}: {path} is no readable state dict ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{kind}: {path} must hold a state dict of tensors, got {type(state).__name__}")
    return state


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], source: Any, *, given: Sequence[str] = (), kind: str | None = None
) -> None:
    """Load a state dict whose names and shapes must be the network's.

    Args:
        given: names of the network that the state dict need not have.
        kind: how errors call the network.
    Raises:
        ValueError: "alexnet: weights.pth lacks features.0.weight", a name too many, or a wrong shape.
    """
    kind = kind or str(getattr(network, "kind", type(network).__name__))
    own = network.state_dict()
    missing = [name for name in own if name not in state and name not in given]
    foreign = [name for name in state if name not in own]
    if missing or foreign:
        what = f"lacks {missing[0]}" if missing else f"has the unknown {foreign[0]}"
        count = len(missing) + len(foreign) - 1
        raise ValueError(f"{kind}: {source} {what}" + (f" and {count} more names differ" if count else ""))
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(f"{kind}: {source}: {name} must be {tuple(own[name].shape)}, got {tuple(value.shape)}")
    network.load_state_dict(dict(state), strict=False)
