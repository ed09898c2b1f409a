"""What a page draws of a compared cell: two files beside its ``cell.json``, made from the codes that were scored.

``codes.npz``: query_image, query_text, database_image, database_text, packed uint8 [n, ceil(bits / 8)], rows in the
order of ``data.split``; ap_i2t and ap_t2i, float64 [queries], average precision of each query over the whole database;
learned_ap_i2t and learned_ap_t2i, the same with codes from training in the database, of methods that learn such.
``curves.json``::

    {"format": 1, "bits": 64, "queries": 693, "database": 2173, "directions": {"i2t": D, "t2i": D}, "history": H}
    D = {"map_all": x,
         "by_radius": {"radius", "precision", "recall", "retrieved"},   pooled over the queries; [bits + 1] each
         "by_rank": {"n", "precision", "recall"},                       means over the queries, ties in expectation
         "distances": {"distance", "relevant", "irrelevant"},           pairs (query, item) at each distance
         "categories": [{"layer", "name", "queries", "map"}, ...]}      classes that have a query, coarse layers first
    H = {"epochs", "loss", "map_epochs", "i2t", "t2i"}                  of `report.History`; null without a history

Cells of earlier versions get both on demand, from their stored model. A row of real values has no code, hence neither.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import evaluation
from fasthash._files import replace_file
from fasthash._run_folder import read_history
from fasthash.compare._files import write_text
from fasthash.data import PairedDataset
from fasthash.evaluation import DIRECTIONS, Codes, Evaluation
from fasthash.metrics import separation

FORMAT = 1
LEARNED = "learned_"  # before the names of what was measured with codes from training in the database
_SIDES = tuple(field.name for field in fields(Codes) if field.name != "bits")


def write(place: Path, codes: Codes, data: PairedDataset, learned: Codes | None = None) -> dict[str, Any]:
    """Write both files into the folder of a cell; returns what stands in ``curves.json``.

    Args:
        learned: the codes with those from training in the database.
    """
    scored = evaluation.score(codes, data)
    arrays = {side: getattr(codes, side) for side in _SIDES} | _precisions(scored, "")
    if learned is not None:
        arrays |= _precisions(evaluation.score(learned, data), LEARNED)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    replace_file(place / "codes.npz", lambda path: path.write_bytes(packed.getvalue()))
    value = curves_of(scored, data) | {"history": _history(place)}
    write_text(place / "curves.json", json.dumps(value) + "\n")
    return value


def _precisions(scored: Evaluation, prefix: str) -> dict[str, NDArray[np.float64]]:
    found = scored.scores["map_all"]
    return {f"{prefix}ap_{direction}": found[direction].per_query for direction in DIRECTIONS}


def read(place: Path) -> dict[str, Any] | None:
    """``curves.json`` of a cell's folder; None where it is not there, damaged, or of another format."""
    try:
        value = json.loads((place / "curves.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(value, dict) and value.get("format") == FORMAT and (place / "codes.npz").exists()
    return value if whole else None


def read_codes(place: Path, bits: int) -> Codes:
    """The codes that a cell was scored on."""
    with np.load(place / "codes.npz", allow_pickle=False) as arrays:
        return Codes(bits, *(arrays[side] for side in _SIDES))


def read_precisions(place: Path, direction: str, *, learned: bool = False) -> NDArray[np.float64] | None:
    """Average precision of each query, [queries]; None where a cell has none, or a damaged file.

    Args:
        learned: with codes from training in the database.
    """
    try:
        with np.load(place / "codes.npz", allow_pickle=False) as arrays:
            return np.asarray(arrays[f"{LEARNED if learned else ''}ap_{direction}"], np.float64)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def curves_of(scored: Evaluation, data: PairedDataset) -> dict[str, Any]:
    """The curves of scored codes; JSON-able."""
    codes = scored.codes
    return {
        "format": FORMAT,
        "bits": codes.bits,
        "queries": len(codes.query_image),
        "database": len(codes.database_image),
        "directions": {direction: _direction(scored, direction, data) for direction in DIRECTIONS},
    }


def _direction(scored: Evaluation, direction: str, data: PairedDataset) -> dict[str, Any]:
    whole, scores = scored.summaries[direction], scored.scores["map_all"][direction]
    pr, rank, apart = whole.pr, whole.by_rank["expected"], separation(whole.histograms)
    radius = {"radius": pr.radius, "precision": pr.precision, "recall": pr.recall, "retrieved": pr.retrieved}
    distances = {"distance": pr.radius, "relevant": apart.relevant, "irrelevant": apart.irrelevant}
    return {
        "map_all": scores.value,
        "by_radius": _lists(radius),
        "by_rank": _lists({"n": rank.n, "precision": rank.precision, "recall": rank.recall}),
        "distances": _lists(distances),
        "categories": categories(scores.per_query, data),
    }


def categories(per_query: NDArray[np.float64], data: PairedDataset) -> list[dict[str, Any]]:
    """mAP of the queries of each class; a query of several classes counts in each of them."""
    assert data.labels is not None
    query = data.split.query
    layers = [] if data.tree is None else list(data.tree.layers)
    named = [(layer.name, layer.classes, layer.one_hot) for layer in layers] or [("", data.class_names, data.labels)]
    found = []
    for layer, names, labels in named:
        members = labels[query].astype(bool)
        for place in np.flatnonzero(members.any(axis=0)):
            own = per_query[members[:, place]]
            found.append({"layer": layer, "name": names[place], "queries": len(own), "map": float(own.mean())})
    return found


def _history(place: Path) -> dict[str, Any] | None:
    if not (place / "history.csv").exists():
        return None
    entries = read_history(place)
    scored = [entry for entry in entries if "i2t" in entry]
    return {
        "epochs": [entry["epoch"] for entry in entries],
        "loss": [sum(value for key, value in entry.items() if key.startswith("loss_")) for entry in entries],
        "map_epochs": [entry["epoch"] for entry in scored],
        **{direction: [entry[direction] for entry in scored] for direction in DIRECTIONS},
    }


def _lists(values: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
    return {key: array.tolist() for key, array in values.items()}
