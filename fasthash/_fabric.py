"""The device that a run trains on, and its precision."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def fabric_of(device: str, precision: str, op: str = "train") -> Fabric:
    """This process's device, in the group that torchrun made, if any; the weights stay float32 at any precision.

    Args:
        op: the first word of errors.
    """
    if device not in DEVICES:
        raise ValueError(f"{op}: device must be one of {', '.join(DEVICES)}, got {device!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"{op}: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{op}: device cuda was asked for, but torch.cuda.is_available() is False")
    if precision == "16-mixed" and not (device in ("auto", "cuda") and torch.cuda.is_available()):
        raise ValueError(f"{op}: precision 16-mixed needs a CUDA device, got device {device}; take bf16-mixed")
    settings: dict[str, Any] = {"accelerator": device, "precision": precision}
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Fabric(devices=1, **settings)
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // local
    fabric = Fabric(devices=local, num_nodes=nodes, strategy="ddp", **settings)
    fabric.launch()
    return fabric


def device_name(kind: str) -> str:
    """What a result file calls a kind of device: cpu, mps, or cuda with the name of the one in use."""
    return f"cuda ({torch.cuda.get_device_name()})" if kind == "cuda" else kind
