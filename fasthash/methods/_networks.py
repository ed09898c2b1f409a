"""How a method's towers and their optimisers are made from its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from fasthash.methods._word_sgd import WordSGD
from fasthash.models import Encoder, Rows, SparseRows, Tower, WordLinear

# Weights of a first layer from which on a step on the entries of sparse rows is faster than one on dense rows: the
# entries cost about half a millisecond more to handle, whatever the size.
WORTH_ENTRIES = 1 << 18
ROWS = 1 << 16  # of code banks, handled together
T = TypeVar("T", bound=Tower)


def tower(rows: Rows, hidden: tuple[int, ...], bits: int, **config: Any) -> Tower:
    """A tower for a modality's rows, with its centre from the training mean; ``config`` as its class's."""
    return tower_of(Tower, rows, hidden, bits, **config)


def tower_of(kind: type[T], rows: Rows, hidden: tuple[int, ...], bits: int, **config: Any) -> T:
    """As `tower`, of a class derived from it."""
    made = kind(kind.config_type(rows.width, hidden, bits, **config), getattr(rows, "backbone", None))
    mean = rows.mean() if made.config.centre else None
    if mean is not None:
        made.fit_mean(mean)
    if isinstance(rows, SparseRows) and hidden and rows.width * hidden[0] >= WORTH_ENTRIES and made.take_entries():
        rows.give_entries()
    return made


def signs_of_sum(codes: Sequence[Tensor]) -> Tensor:
    """sgn of the sum of codes [m, bits], with sgn 0 = 1."""
    return torch.where(torch.stack(tuple(codes)).sum(dim=0) >= 0, 1.0, -1.0)


def write_unified(unified: Tensor, banks: Sequence[Tensor]) -> None:
    """The signs of the sum of all banks, [n, bits], into ``unified``: a part of the rows at a time."""
    for target, *parts in zip(unified.split(ROWS), *(bank.split(ROWS) for bank in banks), strict=True):
        target.copy_(signs_of_sum(parts))


def groups(*modules: torch.nn.Module, backbone_scale: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups of networks that step together: new layers, and backbones at their own rate."""
    backbones = [m.backbone for m in modules if isinstance(m, Encoder) and m.backbone is not None]
    taken = {id(p) for backbone in backbones for p in backbone.parameters()}
    own = {id(p): p for m in modules for p in m.parameters() if id(p) not in taken}  # each once, if shared
    made: list[dict[str, Any]] = [{"params": list(own.values())}]
    if backbones and backbone_scale > 0:
        made.append({"params": [p for b in backbones for p in b.parameters()], "lr_scale": backbone_scale})
    return made


def sgd(
    *modules: torch.nn.Module, lr: float, weight_decay: float = 0.0, momentum: float = 0.0, backbone_scale: float = 1.0
) -> torch.optim.Optimizer:
    """Gradient descent on networks that step together.

    Layers over sparse rows are stepped by the rows of a batch alone, but with momentum or on several processes.
    """
    params = groups(*modules, backbone_scale=backbone_scale)
    layers = [layer for module in modules for layer in module.modules() if isinstance(layer, WordLinear)]
    alone = not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)
    if layers and alone and momentum == 0:
        return WordSGD(params, layers, lr=lr, weight_decay=weight_decay)
    # fused: one pass over the parameters; the step by separate operations takes longer than the networks
    return torch.optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum, fused=True)


def sgd_or_adamw(
    kind: str, *modules: torch.nn.Module, lr: float, weight_decay: float, backbone_scale: float = 1.0
) -> torch.optim.Optimizer:
    """The optimiser that an option names."""
    if kind == "sgd":
        return sgd(*modules, lr=lr, weight_decay=weight_decay, backbone_scale=backbone_scale)
    params = groups(*modules, backbone_scale=backbone_scale)
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)
