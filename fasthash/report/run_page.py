"""The page of one finished run: its folder read, its model put to work on its data, everything found written down."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

import fasthash
from fasthash import evaluation
from fasthash._run_folder import read_history
from fasthash.data import PairedDataset
from fasthash.models import HashModel
from fasthash.report import run_codes
from fasthash.report.content import RANDOM, Page
from fasthash.report.page import write_page
from fasthash.report.run_map import code_map
from fasthash.report.run_searches import searches
from fasthash.report.searches import credits_of
from fasthash.report.series import History


def write_run_page(
    run: str | os.PathLike[str],
    data: PairedDataset,
    out: str | os.PathLike[str] | None = None,
    *,
    layout: str = "tsne",
    seed: int = 0,
    command: str = "",
) -> Path:
    """Write the page of a run; see `run_page`. ``out`` defaults to ``index.html`` in the run's folder."""
    target = Path(run) / "index.html" if out is None else Path(out)
    if target.is_dir():
        raise ValueError(f"report: out must be a file, got the folder {target}")
    return write_page(run_page(run, data, layout=layout, seed=seed, command=command), target)


def run_page(
    run: str | os.PathLike[str], data: PairedDataset, *, layout: str = "tsne", seed: int = 0, command: str = ""
) -> Page:
    """Everything that there is to see of a finished run.

    Args:
        run: its folder.
        data: the data set to score and search; without labels there are no scores.
        layout: how the codes are laid out in the plane: tsne, umap or none.
        seed: of the queries shown, of the random codes and of the layout.
        command: what is named on the page as the way to make it again.
    Raises:
        FileNotFoundError, ValueError: there is no model, or it does not fit the data.
        RuntimeError: umap was asked for and is not installed.
    """
    folder = Path(run)
    model = HashModel.load(folder)
    model.require_hamming("report")
    codes = evaluation.encode(model, data)
    method = str(model.info.get("method", "model"))
    found: dict[str, Any] = {"codes": run_codes.code_quality(codes)}
    missing: list[str] = []
    scored = None
    if data.labels is None:
        missing.append(f"{data.name} has no labels, so nothing is scored and no item is known to be relevant.")
    else:
        scored = evaluation.score(codes, data, run_codes.PROTOCOLS)
        chance = evaluation.score(evaluation.random_codes(data, codes.bits, seed), data, run_codes.PROTOCOLS)
        found |= run_codes.findings({method: scored, RANDOM: chance}, data)
    history = _history(folder, method, model.bits)
    if history is None:
        missing.append("The run's folder has no history of training, so there are no curves over epochs.")
    queries, lines = searches(codes, data, scored, method, seed)
    plane, line = code_map(codes, data, layout, seed)
    missing += [*lines, *([line] if line else [])]
    return Page(
        title=f"{method} on {data.name}, {model.bits} bits",
        lead=_lead(model, data),
        facts=_facts(data, scored, history, folder),
        histories=() if history is None else [history],
        queries=queries,
        code_map=plane,
        missing=missing,
        credits=credits_of(data, queries),
        provenance=_provenance(model, data, seed, command or f"fasthash report {shlex.quote(str(run))}"),
        **found,
    )


def _lead(model: HashModel, data: PairedDataset) -> str:
    paper = str(model.info.get("paper", ""))
    first = f"{paper.rstrip('.')}. " if paper else ""
    return (
        f"{first}Images and texts of {data.name} as codes of {model.bits} bits, each side encoded by itself alone, and "
        "found by Hamming distance."
    )


def _facts(
    data: PairedDataset, scored: evaluation.Evaluation | None, history: History | None, folder: Path
) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = []
    if scored is not None:
        facts += [("mAP, image → text", f"{scored.i2t:.3f}"), ("mAP, text → image", f"{scored.t2i:.3f}")]
    split = data.split
    facts += [("queries", f"{len(split.query):,}"), ("database", f"{len(split.database):,}")]
    facts += [("classes", f"{len(data.class_names):,}")] if data.class_names else []
    facts += [("epochs", f"{len(history.epochs):,}")] if history is not None else []
    return facts


def _history(folder: Path, method: str, bits: int) -> History | None:
    if not (folder / "history.csv").exists():
        return None
    entries = read_history(folder)
    return History.of_entries(f"{method}, {bits} bits", entries, method, bits) if entries else None


def _provenance(model: HashModel, data: PairedDataset, seed: int, command: str) -> dict[str, str]:
    import torch

    options = model.info.get("options", {})
    chosen = ", ".join(f"{key}={value}" for key, value in options.items())
    return {
        "command": command,
        "training seed": str(model.info.get("seed", "not recorded")),
        "seed of this page": str(seed),
        "options": chosen or "not recorded",
        "data": f"{data.name}, checksum {data.checksum()}",
        "protocol": "held-out queries against the database; relevant is what shares a label of the finest layer",
        "versions": f"fasthash {fasthash.__version__}, torch {torch.__version__}, NumPy {np.__version__}",
    }
