"""Each process's random numbers in a checkpoint, which any number of processes may go on from."""

from __future__ import annotations

import torch
from torch import Tensor

from fasthash.distributed._gather import gather_rows


def of_all(x: Tensor, device: torch.device) -> Tensor:
    """[processes, ...] of a small CPU tensor, on the CPU; ``device``: that the processes exchange on."""
    every = gather_rows(x[None].to(device))
    return every.cpu()


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of every process's generators, [processes, ...]; "cuda_rng" is empty on the CPU."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0, dtype=torch.uint8)
    return {"rng": of_all(torch.get_rng_state(), device), "cuda_rng": of_all(cuda, device)}


def set_random_states(states: dict[str, Tensor], device: torch.device, rank: int, world: int) -> None:
    """Give this process its own states back; where the number of processes is another, new ones.

    Those follow from the first process's state and the rank: the same checkpoint goes on alike every time.
    """
    rng = states["rng"]
    if len(rng) == world:
        torch.set_rng_state(rng[rank].clone())
        if device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda_rng"][rank].clone(), device)
        return
    torch.set_rng_state(rng[0].clone())
    torch.manual_seed(int(torch.randint(2**62, ())) + rank)
