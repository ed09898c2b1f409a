"""From the plain data of a `Page` to what the template inserts: rows, figures, grids, in order and ready to print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fasthash.report import units
from fasthash.report.code_view import code_parts
from fasthash.report.content import DIRECTIONS, Page
from fasthash.report.curve_view import curve_panels
from fasthash.report.pictures import Pictures
from fasthash.report.plots import loss_figure, map_figure
from fasthash.report.search_view import search_part
from fasthash.report.series import History
from fasthash.report.svg import inline
from fasthash.report.table import rows
from fasthash.report.theme import Style, styles


def context(page: Page) -> dict[str, Any]:
    """The variables of `page.html.j2`."""
    pictures = Pictures()
    kinds = {
        "radius": page.curves,
        "rank": page.curves_by_rank,
        "precision": page.precision_at,
        "recall": page.recall_at,
    }
    lines: list[Any] = [line for kind in kinds.values() for several in kind.values() for line in several]
    look = styles(
        [score.method for score in page.scores] + [part.method for part in [*lines, *page.histories, *page.queries]]
    )
    name = namer()
    top, size = _top(page.histories), (430, 270) if len(page.histories) == 1 else (280, 200)
    histories = [history_part(history, look[history.method], top, size, name) for history in page.histories]
    searches = search_part(page.queries, look, pictures)
    values: dict[str, Any] = {
        "page": page,
        "directions": DIRECTIONS,
        "scores": _scores(page, look),
        "chance": any(score.baseline for score in page.scores),
        "timed": any(score.seconds is not None for score in page.scores),
        **curve_panels(kinds, look, name),
        **code_parts(page, name),
        "histories": histories,
        "history_bits": sorted({history.bits for history in page.histories if history.bits is not None}),
        "searches": searches,
        "pictures": pictures.all(),
    }
    parts = {
        "Scores": values["scores"] or values["measures"], "Searches": searches["blocks"], "Curves": values["curves"],
        "Categories": values["categories"], "Training": histories,
        "Codes": values["codes"] or values["distances"] or values["code_map"],
    }  # fmt: skip
    shown = [title for title in ("Scores", "Searches", "Curves", "Categories", "Codes", "Training") if parts[title]]
    return values | {"sections": [(title.lower(), title) for title in shown]}


def namer() -> Callable[[], str]:
    """Names for the page's figures: f1, f2, ..."""
    count = 0

    def following() -> str:
        nonlocal count
        count += 1
        return f"f{count}"

    return following


def _scores(page: Page, look: dict[str, Style]) -> list[dict[str, Any]]:
    baselines = {score.bits: score for score in page.scores if score.baseline}
    found = []
    for row in rows(page.scores):
        score = row.score
        chance = None if score.baseline else baselines.get(score.bits)
        cells = []
        for name in DIRECTIONS:
            value = getattr(score, name)
            mark = None if chance is None else f"{100 * getattr(chance, name):.2f}"
            best = name in row.best
            cells.append(
                {
                    "text": units.score(value),
                    "share": f"{100 * value:.2f}",
                    "chance": mark,
                    "best": best,
                    "key": repr(value),
                }
            )
        found.append({
            "score": score, "cells": cells, "first": row.first, "style": look[score.method],
            "time": units.seconds(score.seconds), "time_key": "" if score.seconds is None else repr(score.seconds),
        })  # fmt: skip
    return found


def _top(histories: Sequence[History]) -> float:
    """Upper end of every mAP axis: the highest value, rounded up to a tenth."""
    values = [float(series.max()) for history in histories for series in (history.i2t, history.t2i) if len(series)]
    return max(0.1, min(1.0, math.ceil(10 * max(values, default=1.0) - 1e-9) / 10))


def history_part(
    history: History, style: Style, top: float, size: tuple[float, float], name: Callable[[], str]
) -> dict[str, Any]:
    """The figures of one training run, `size` in pixels each, and what they show in words; mAP from 0 to `top`."""
    loss = map_ = None
    said = []
    finite = history.loss[np.isfinite(history.loss)]
    if len(history.epochs):
        steps = f"{len(history.epochs)} epoch" + ("s" if len(history.epochs) > 1 else "")
        if len(finite):
            words = f"Loss {units.loss(float(finite[0]))} → {units.loss(float(finite[-1]))} in {steps}"
            gaps = len(history.loss) - len(finite)
            words += f", not finite in {gaps} of them" if gaps else ""
        else:
            words = f"The loss was not finite in any of {steps}"
        said.append(words + ".")
        alt = f"{history.label}, loss over epochs. {words}."
        loss = inline(loss_figure(history, style, size=size), name(), alt, values=True)
    if len(history.map_epochs):
        # the last one, not the best: the model that is kept is that of the last epoch
        words = (
            f"mAP at epoch {history.map_epochs[-1]:g}: image → text {units.score(history.i2t[-1])}, "
            f"text → image {units.score(history.t2i[-1])}."
        )
        said.append(words)
        alt = f"{history.label}, mAP over epochs. {words}"
        map_ = inline(map_figure(history, style, top=top, size=size), name(), alt, values=True)
    return {
        "label": history.label,
        "bits": history.bits,
        "style": Style(style.name, style.colour),
        "loss": loss,
        "map": map_,
        "words": " ".join(said),
    }
