"""`train`: what is asked of a run, checked, and its processes, started; every method runs on the loop of `_loop`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fasthash import data as datasets
from fasthash import methods
from fasthash._fabric import fabric_of, launch, world_of
from fasthash._finished import Run, finished_run
from fasthash._fit import check_fit, check_plain, fit
from fasthash._loop import Loop
from fasthash._progress import TrainingProgress
from fasthash._raw_inputs import check_inputs
from fasthash._run_folder import RunFolder
from fasthash.codes import check_bits
from fasthash.data import PairedDataset
from fasthash.distributed._launch import Processes
from fasthash.losses import Shard


def train(
    method: str,
    data: PairedDataset | str,
    *,
    bits: int = 64,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    eval_every: int | None = None,
    device: str = "auto",
    precision: str = "32-true",
    accumulate: int = 1,
    compile: bool = False,
    devices: int | None = None,
    nodes: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train a method on a data set.

    Args:
        method: a name of `fasthash.methods.names()`.
        data: a data set, or the name of one.
        bits: code length.
        seed: initialisation, shuffles and dropout follow from it; the same seed gives the same codes, bit for bit, on
            one machine with one number of threads.
        out: folder for model, scores, history, TensorBoard log and checkpoint; None keeps everything in memory.
        resume: go on in ``out`` from its checkpoint; the result equals that of an uninterrupted run. Starts from the
            beginning when there is none, and returns a finished run at once.
        eval_every: epochs between evaluations on the query split; default a tenth of the epochs. For watching only:
            the model of the last epoch is what is kept.
        device: auto, cpu, cuda or mps.
        precision: 32-true, bf16-mixed or 16-mixed (the last on CUDA only); weights, losses, banks stay float32.
        accumulate: parts a batch goes through the networks in, for batches whose activations do not fit into memory.
            Loss and gradient stay those of the whole batch; each part is computed twice.
        compile: make the networks' code with ``torch.compile``.
        devices: processes of this machine: one for each GPU, or on the CPU as many as wanted. More than one start the
            running script again for each of them, so that all do what it does before and after. None: those that
            torchrun has started, or one.
        nodes: machines, on each of which the same is started, with MASTER_ADDR, MASTER_PORT and NODE_RANK in the
            environment.
        progress: show a progress bar.
        options: the method's; default the paper's, changed by the data set's preset where the method has one.
    Returns:
        Run with model, scores, history, and the codes that the training pairs got where the method learns some.
    Shallow methods (`methods.ClosedForm`) are fitted to all rows at once, in float64 on the CPU: they take no
        eval_every, device, precision, accumulate, compile, devices or nodes.
    Several processes: each takes its share of every batch, and keeps the code banks of its share of the rows. The
        result is that of one process, up to rounding and to which rows dropout thins; a run may go on with another
        number of them. The first one writes ``out``, which all machines must see. See docs/distributed_training.md.
    Raises:
        ValueError: unknown method or option, data that lacks what the method needs, an ``out`` that holds another run.
        FloatingPointError: the loss is not finite.
        RuntimeError: another process of the run has ended.
        KeyboardInterrupt: stopped by Ctrl-C; with ``out`` the checkpoint is written first.
    """
    kind = methods.get(method)
    if isinstance(data, str):
        methods.resolve_options(kind, data, options)  # a misspelt option is told before features are computed
        data = datasets.load(data)
    elif not isinstance(data, PairedDataset):
        raise TypeError(f"train: data must be a PairedDataset or the name of one, got {type(data).__name__}")
    data.require(labels=kind.supervision != "none", tree=kind.supervision == "label tree", op=method, rows="train")
    resolved = methods.resolve_options(kind, data.base_name, options)
    bits = check_bits(bits, "train")
    seed = _whole("seed", seed, 0, 2**32 - 1)
    accumulate = _whole("accumulate", accumulate, 1, 2**31)
    request: dict[str, Any] = {
        "method": method,
        "data": data.name,
        "data_options": dict(data.options),
        "data_checksum": data.checksum(),
        "bits": bits,
        "seed": seed,
    }
    if issubclass(kind, methods.ClosedForm):
        assert isinstance(resolved, methods.ClosedFormOptions)
        asked: dict[str, tuple[Any, tuple[Any, ...]]] = {"device": (device, ("cpu", "auto"))}
        asked |= {"precision": (precision, ("32-true",)), "accumulate": (accumulate, (1,))}
        asked |= {"compile": (compile, (False,)), "eval_every": (eval_every, (None,))}
        asked |= {"devices": (devices, (1, None)), "nodes": (nodes, (1, None))}
        check_plain(method, asked)
        check_fit(kind, data, resolved, bits)
        folder = _folder(out, request | {"options": resolved.model_dump()}, resume)
        if folder is not None and folder.finished:
            return finished_run(folder, resolved, data)
        return fit(kind, data, bits, seed, resolved, folder, progress=progress)
    assert isinstance(resolved, methods.Options)
    check_inputs(method, data, resolved)
    every = max(1, resolved.epochs // 10) if eval_every is None else _whole("eval_every", eval_every, 1, 2**31)
    world = world_of("train", devices, nodes)
    fabric = fabric_of(device, precision, world=world)
    if world.size > 1:
        Shard(len(data.split.train), world=world.size)  # told before any process is started
    request |= {"eval_every": every, "device": fabric.device.type, "precision": precision}
    request |= {"accumulate": accumulate, "compile": compile, "processes": world.size}
    folder = _folder(out, request | {"options": resolved.model_dump()}, resume)
    if folder is not None and folder.finished:
        return finished_run(folder, resolved, data)
    hint = "" if out is None else f"; go on from the checkpoint in {out}, if there is one, with resume (--resume)"
    with Processes("train", world.devices, world.nodes, started=world.started, hint=hint), torch.random.fork_rng():
        if world.size > 1:
            launch(fabric)
        torch.manual_seed(seed)
        loop = Loop(fabric, kind, data, bits, seed, resolved, every, folder, accumulate, compile)
        title, show = f"{method} {bits} bits on {data.name}", progress and fabric.is_global_zero
        with TrainingProgress(title, resolved.epochs, show=show) as bar:
            return loop.run(bar)


def _folder(out: str | Path | None, request: dict[str, Any], resume: bool) -> RunFolder | None:
    return None if out is None else RunFolder(out, request, resume=resume)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"train: {name} must be a whole number from {low} to {high}, got {value!r}")
    return int(value)
