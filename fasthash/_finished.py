"""What is left of a training run: the model, its scores, the learned codes, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fasthash import evaluation, methods
from fasthash._fabric import device_name
from fasthash._machine import provenance
from fasthash._run_folder import RunFolder
from fasthash.data import PairedDataset
from fasthash.models import Encoder, HashModel
from fasthash.models.learned import LearnedCodes


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    method: str
    options: methods.Settings
    seed: int
    model: HashModel
    scores: evaluation.Evaluation | None  # None for data without labels
    history: list[dict[str, Any]]  # one entry an epoch: epoch, seconds, loss of each phase, map at intervals
    seconds: float  # training time, evaluations included, over all sittings
    folder: Path | None
    learned: LearnedCodes | None = None  # of the training pairs, where the method learns codes of their own


def model_of(
    kind: methods.Kind,
    image: Encoder,
    text: Encoder,
    data: PairedDataset,
    options: methods.Settings,
    seed: int,
    model_type: type[HashModel] = HashModel,
    **parts: Any,
) -> HashModel:
    """The trained encoders as a model that says where it comes from; ``parts`` are what its class has beside them."""
    info = {"method": kind.name, "paper": kind.paper, "data": data.name, "seed": seed}
    info |= {"options": options.model_dump(), "data_options": dict(data.options), "data_checksum": data.checksum()}
    extractors = {"image_extractor": data.image_extractor, "text_extractor": data.text_extractor}
    return model_type(image, text, info=info, **extractors, **parts)


def finish(
    model: HashModel,
    learned: LearnedCodes | None,
    data: PairedDataset,
    options: methods.Settings,
    history: list[dict[str, Any]],
    *,
    seconds: float,
    began: str,
    device: str,
    folder: RunFolder | None,
    writes: bool,
) -> Run:
    """Score a trained model, and write everything that stays of the run.

    Args:
        history: of the epochs; the last entry gets the scores.
        began: when, as `fasthash._machine.now` says it. device: cpu, cuda or mps.
        folder: of the run, if it has one. writes: whether this process is the one that writes.
    """
    if folder is not None and writes:
        model.save(folder.folder)
        if learned is not None:
            learned.save(folder.folder)
    scores = None if data.labels is None else evaluation.evaluate(model, data)
    if scores is not None:
        history[-1] |= {"i2t": scores.i2t, "t2i": scores.t2i}
    if folder is not None and writes:
        folder.log(history)
        found = {} if scores is None else scores.to_dict()
        about = folder.request | data.provenance()
        about |= {"device": device_name(device), "threads": torch.get_num_threads()}
        folder.write_json("scores.json", found | {"provenance": provenance(**about, started=began, seconds=seconds)})
        folder.drop_checkpoint()
        folder.close()
    place = None if folder is None else folder.folder
    info = model.info
    return Run(info["method"], options, info["seed"], model, scores, history, seconds, place, learned)


def finished_run(folder: RunFolder, options: methods.Settings, data: PairedDataset) -> Run:
    """A run that was finished before, from its files."""
    history = folder.read_history()
    model = HashModel.load(folder.folder)
    scores = None if data.labels is None else evaluation.evaluate(model, data)
    seconds = history[-1]["seconds"] if history else 0.0
    learned = LearnedCodes.load(folder.folder)
    info = model.info
    return Run(info["method"], options, info["seed"], model, scores, history, seconds, folder.folder, learned)
