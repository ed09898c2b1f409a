"""The state of a method whose code banks are shared out, whole in a checkpoint whatever the number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from fasthash.losses import CodeBank, Shard


def whole_state(method: nn.Module) -> dict[str, Any]:
    """The state dict with all rows of what is sharded, on the first process; on the others without it.

    Every process calls it, and sends its rows to the first, one process after the other.
    """
    for module in method.modules():
        if isinstance(module, CodeBank):
            module.settle()
    state = method.state_dict()
    for name, shard in _sharded(method):
        whole = shard.whole(state[name])
        if whole is None:
            del state[name]
        else:
            state[name] = whole
    return state


def own_state(method: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """What `whole_state` gave the first process, with the rows of this process alone."""
    return state | {name: shard.own(state[name]) for name, shard in _sharded(method) if name in state}


def _sharded(method: nn.Module) -> Iterator[tuple[str, Shard]]:
    """Names of the state dict that hold a shard's rows."""
    for prefix, module in method.named_modules():
        for name in getattr(module, "row_buffers", ()):
            yield f"{prefix}.{name}" if prefix else name, module.shard
