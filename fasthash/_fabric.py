"""The device that a run trains on, its precision, and the processes that share it."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
WAIT = timedelta(hours=6)  # of the others in an exchange, while the first process scores
MEETING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")  # what each of several machines must be told


@dataclass(frozen=True)
class World:
    """Processes of a run.

    Args:
        devices: of each machine, a process for each. nodes: machines.
        started: whether somebody else has started them: torchrun, or a launcher that sets LOCAL_RANK.
    """

    devices: int = 1
    nodes: int = 1
    started: bool = False

    @property
    def size(self) -> int:
        return self.devices * self.nodes


def world_of(op: str, devices: int | None, nodes: int | None) -> World:
    """The processes that are asked for, and those that there are; None: those that there are, else one.

    Raises:
        ValueError: something is not a whole number >= 1, is not what the launcher started, or cannot be started here.
    """
    asked: dict[str, int | None] = {"devices": _count(op, "devices", devices), "nodes": _count(op, "nodes", nodes)}
    there = _started()
    if there is not None:
        launcher = "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "the launcher"
        for name, count in (("devices", there.devices), ("nodes", there.nodes)):
            if asked[name] not in (None, count):
                raise ValueError(f"{op}: {name} must be {count}, what {launcher} started, got {asked[name]}")
        return there
    world = World(asked["devices"] or 1, asked["nodes"] or 1, started="LOCAL_RANK" in os.environ)
    missing = [name for name in MEETING if name not in os.environ]
    if world.nodes > 1 and missing:
        raise ValueError(
            f"{op}: nodes {world.nodes} needs {', '.join(missing)} in the environment of each machine, or torchrun"
        )
    if world.devices > 1 and not world.started and not can_start():
        raise ValueError(
            f"{op}: devices {world.devices} starts the program again for each device, which a notebook or python -c"
            " cannot be: put it into a script, or use fasthash train or torchrun"
        )
    return world


def _count(op: str, name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{op}: {name} must be a whole number >= 1, got {value!r}")
    return int(value)


def _started() -> World | None:
    """The processes that torchrun started, or a program that starts one for each device."""
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        local = int(given["LOCAL_WORLD_SIZE"])
        return World(local, int(given["WORLD_SIZE"]) // local, started=True)
    if "LOCAL_RANK" in given and "LOCAL_WORLD_SIZE" in given:
        local = int(given["LOCAL_WORLD_SIZE"])
        return World(local, int(given.get("WORLD_SIZE", local)) // local, started=True)
    return None


def can_start() -> bool:
    """Whether this program can be started again: it is a script or a module."""
    main = sys.modules["__main__"]
    return not hasattr(sys, "ps1") and (main.__spec__ is not None or Path(getattr(main, "__file__", "")).is_file())


def fabric_of(device: str, precision: str, op: str = "train", world: World | None = None) -> Fabric:
    """This process's device; the weights stay float32 at any precision. `launch` makes the group of several.

    Args:
        op: the first word of errors.
        world: the processes; None: those that torchrun made, which are launched here.
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
    launches = world is None
    world = world_of(op, None, None) if world is None else world
    if world.size == 1:
        return Fabric(devices=1, **settings)
    if device in ("auto", "cuda") and torch.cuda.is_available() and world.devices > torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise ValueError(f"{op}: devices must be at most {there}, the CUDA devices there are, got {world.devices}")
    if device == "mps":
        raise ValueError(f"{op}: device mps is there once, for one process, got {world.size} processes")
    if device == "auto" and not torch.cuda.is_available():
        settings["accelerator"] = "cpu"  # also where there is MPS, which has no process group
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        settings["plugins"] = [LightningEnvironment()]  # whatever else the machine's environment speaks of
    fabric = Fabric(devices=world.devices, num_nodes=world.nodes, strategy=DDPStrategy(timeout=WAIT), **settings)
    if launches:
        launch(fabric)
    return fabric


def launch(fabric: Fabric) -> None:
    """Make the group of the processes that there are; Fabric's own lines about it, from each of them, are left out."""
    log = logging.getLogger("lightning.fabric"), logging.getLogger("lightning_fabric")
    before = [each.level for each in log]
    for each in log:
        each.setLevel(logging.WARNING)
    try:
        fabric.launch()
    finally:
        for each, level in zip(log, before, strict=True):
            each.setLevel(level)


def device_name(kind: str) -> str:
    """What a result file calls a kind of device: cpu, mps, or cuda with the name of the one in use."""
    return f"cuda ({torch.cuda.get_device_name()})" if kind == "cuda" else kind
