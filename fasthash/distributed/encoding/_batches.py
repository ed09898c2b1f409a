"""How many rows go through the networks at once: what `encode_image` takes, less where memory is short."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fasthash.models import HashModel
from fasthash.models.backbones import PictureBackbone
from fasthash.models.encoder import Encoder
from fasthash.models.hash_model import BATCH, RAW_BATCH
from fasthash.models.tokens import TokenRows

EXTRACTED = 512  # raw items that an extractor is given at once; it makes batches of its own of them
_LAYERS = 4  # outputs of the widest layer that are alive together, attention and workspace among them
_SHARE = 0.5  # of the free memory


def most_rows(model: HashModel, side: str, what: str) -> int:
    """Rows at once when memory does not matter: those of `encode_image`, so that codes are the same to the bit."""
    if what == "features":
        return BATCH
    return EXTRACTED if model.takes(side) == "features" else RAW_BATCH


def fitted_rows(model: HashModel, side: str, what: str, workers: int) -> int:
    """`most_rows`, halved until the widest layer's outputs fit into a worker's share of the free memory.

    Args:
        workers: that share this machine's memory; a GPU is a worker's own.
    """
    rows = most_rows(model, side, what)
    if what != "features" and model.takes(side) == "features":
        return rows  # the extractor chooses its batches by itself
    tower: Encoder = model.image if side == "image" else model.text
    free = free_memory(tower.mean.device)
    if free is None:
        return rows
    room = _SHARE * (free if tower.mean.device.type != "cpu" else free / workers)
    need = _LAYERS * row_bytes(tower)
    while rows > 1 and rows * need > room:
        rows //= 2
    return rows


def row_bytes(tower: Encoder) -> int:
    """Bytes of the largest output of any of its layers, for one row."""
    largest = [0]

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        sizes = [x.numel() * x.element_size() for x in outputs if isinstance(x, Tensor)]
        largest[0] = max(largest[0], *sizes, 0)

    hooks = [module.register_forward_hook(look) for module in tower.modules()]
    was_training = tower.training
    tower.eval()
    try:
        with torch.inference_mode():
            tower(_one_row(tower))
    finally:
        tower.train(was_training)
        for hook in hooks:
            hook.remove()
    return largest[0]


def _one_row(tower: Encoder) -> Tensor:
    device, backbone = tower.mean.device, tower.backbone
    if isinstance(backbone, PictureBackbone):
        size = backbone.transform.size
        return torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device)
    if backbone is None:
        return torch.zeros(1, tower.config.width, device=device)
    return TokenRows(["a"], backbone, device).tokens  # type: ignore[arg-type]


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a GPU or on this machine; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
