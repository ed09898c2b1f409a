"""The models of a comparison as its template inserts them: curves of all in one figure, categories side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fasthash.report import units
from fasthash.report.code_view import distances_part
from fasthash.report.comparison import Model
from fasthash.report.content import DIRECTIONS
from fasthash.report.curve_view import curve_panels
from fasthash.report.findings import Distances
from fasthash.report.series import AtRank, Curve, History
from fasthash.report.theme import Style
from fasthash.report.view import history_part

SMALL = (280, 190)  # pixels of a figure that stands among many


def model_parts(models: Sequence[Model], look: Mapping[str, Style], name: Callable[[], str]) -> dict[str, Any]:
    """ "curves", "categories", "distances" and "histories" of the models of one data set; all but the first at the
    longest codes, "longest".

    Args:
        models: in the order of the table.
        look: a style for each of their rows.
        name: gives names that no other figure of the page has.
    """
    longest = max((model.bits for model in models), default=0)
    last = [model for model in models if model.bits == longest]
    return {
        "longest": longest,
        "curves": curve_panels(_kinds(models), look, name),
        "categories": _categories(last),
        "distances": [
            {"title": model.row, "direction": direction} | distances_part(_distances(own), model.row, name(), SMALL)
            for direction in DIRECTIONS
            for model in last
            if (own := _direction(model, direction)).get("distances")
        ],
        "histories": [
            history_part(_history(model), look[model.row], 1.0, SMALL, name)
            for model in last
            if model.curves.get("history")
        ],
    }


def _direction(model: Model, direction: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = model.curves.get("directions", {}).get(direction, {})
    return found


def _kinds(models: Sequence[Model]) -> dict[str, dict[str, list[Any]]]:
    kinds: dict[str, dict[str, list[Any]]] = {
        kind: {direction: [] for direction in DIRECTIONS} for kind in ("radius", "rank", "precision", "recall")
    }
    for model in models:
        for direction in DIRECTIONS:
            own = _direction(model, direction)
            owner = (model.row, model.row, model.bits)
            if own.get("by_radius"):
                radius = own["by_radius"]
                kept = [k for k, pairs in enumerate(radius["retrieved"]) if pairs]
                recall, precision = ([radius[key][k] for k in kept] for key in ("recall", "precision"))
                kinds["radius"][direction].append(_curve(owner, recall, precision))
            if own.get("by_rank"):
                rank = own["by_rank"]
                kinds["rank"][direction].append(_curve(owner, rank["recall"], rank["precision"]))
                for kind in ("precision", "recall"):
                    label, method, bits = owner
                    kinds[kind][direction].append(AtRank(label, rank["n"], _shares(rank[kind]), method, bits))  # type: ignore[arg-type]
    return kinds


def _curve(owner: tuple[str, str, int], recall: list[float], precision: list[float]) -> Curve:
    label, method, bits = owner
    return Curve(label, _shares(recall), _shares(precision), method, bits)  # type: ignore[arg-type]


def _shares(values: Sequence[float]) -> list[float]:
    """Means that rounding has lifted just above 1 are 1."""
    return [min(1.0, float(value)) for value in values]


def _distances(own: Mapping[str, Any]) -> Distances:
    return Distances(own["distances"]["relevant"], own["distances"]["irrelevant"])


def _history(model: Model) -> History:
    kept = dict(model.curves["history"])
    if len(kept["map_epochs"]) < 2:  # the last epoch alone: its scores stand in the table
        kept |= {"map_epochs": [], "i2t": [], "t2i": []}
    label = f"{model.row}, {model.bits} bits"
    series = {key: kept[key] for key in ("epochs", "loss", "map_epochs", "i2t", "t2i")}
    return History(label, **series, method=model.row, bits=model.bits)


def _categories(models: Sequence[Model]) -> list[dict[str, Any]]:
    """A table for each direction and layer: categories against models."""
    found = []
    for direction, title in DIRECTIONS.items():
        values: dict[str, dict[str, dict[str, Any]]] = {}
        for model in models:
            for one in _direction(model, direction).get("categories", ()):
                row = values.setdefault(one["layer"], {}).setdefault(
                    one["name"], {"queries": one["queries"], "map": {}}
                )
                row["map"][model.row] = one["map"]
        heads = [model.row for model in models if _direction(model, direction).get("categories")]
        for layer, rows in values.items():
            shown = [
                {"name": name, "queries": row["queries"], "cells": _cells([row["map"].get(head) for head in heads])}
                for name, row in rows.items()
            ]
            found.append({"direction": direction, "title": title, "layer": layer, "heads": heads, "rows": shown})
    return found


def _cells(values: Sequence[float | None]) -> list[dict[str, Any] | None]:
    """What reads highest is the best, where there is something to compare with."""
    best = max((units.score(value) for value in values if value is not None), default="")
    several = sum(value is not None for value in values) > 1
    return [
        None
        if value is None
        else {
            "text": units.score(value), "key": repr(float(value)), "share": f"{100 * value:.1f}",
            "best": several and units.score(value) == best,
        }
        for value in values
    ]  # fmt: skip
