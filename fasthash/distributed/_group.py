"""The process group: who is in it, and the three exchanges that everything here is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SCATTERS = ("gloo", "nccl", "xccl")  # backends with a reduce-scatter; elsewhere all is reduced and a part kept


def world_size(op: str, group: Any) -> int:
    """Ranks of the group; 1 without one. ValueError where this process is not in the group."""
    import torch.distributed as dist  # late: not every build of torch has it

    if not dist.is_available() or not dist.is_initialized():
        return 1
    if dist.get_rank(group) < 0:
        raise ValueError(f"{op}: group must hold this process, got one without rank {dist.get_rank()}")
    return dist.get_world_size(group)


def rank(group: Any) -> int:
    import torch.distributed as dist

    return dist.get_rank(group)


def devices(group: Any) -> dict[str, str]:
    """Device type -> backend that serves it."""
    import torch.distributed as dist

    return dict(entry.split(":", 1) for entry in dist.get_backend_config(group).split(","))


def all_gather(x: Tensor, group: Any) -> Tensor:
    """[world * n, ...] of [n, ...] with the same n on every rank."""
    import torch.distributed as dist

    out = x.new_empty(dist.get_world_size(group) * len(x), *x.shape[1:])
    # the first is the name of the second from torch 2.13 on
    run = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    run(out, x, group=group)
    return out


def all_gather_integers(values: list[int], group: Any) -> list[list[int]]:
    """The integers of every rank; on the CPU where the group can, because reading them makes a GPU wait."""
    kinds = devices(group)
    device = torch.device("cpu") if "cpu" in kinds else torch.device(next(iter(kinds)))
    found: list[list[int]] = all_gather(torch.tensor([values], device=device), group).tolist()
    return found


def reduce_scatter(x: Tensor, group: Any) -> Tensor:
    """This rank's n rows of the sum over ranks of x [world * n, ...]. May overwrite x."""
    import torch.distributed as dist

    world, mine = dist.get_world_size(group), dist.get_rank(group)
    n = len(x) // world
    if devices(group)[x.device.type] in _SCATTERS:
        out = x.new_empty(n, *x.shape[1:])
        run = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
        run(out, x, group=group)
        return out
    whole = x.clone()  # the gradient that came in belongs to autograd
    dist.all_reduce(whole, group=group)
    return whole[mine * n : (mine + 1) * n]
