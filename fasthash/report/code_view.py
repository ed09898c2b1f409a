"""What was found out about one model's codes, as the templates insert it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fasthash.report import units
from fasthash.report.code_plots import (
    IRRELEVANT,
    RELEVANT,
    balance_figure,
    code_map_figure,
    distances_figure,
    group_styles,
)
from fasthash.report.content import DIRECTIONS, Page
from fasthash.report.findings import CodeMap, Distances, Measure
from fasthash.report.svg import inline
from fasthash.report.theme import nth_style


def code_parts(page: Page, name: Callable[[], str]) -> dict[str, Any]:
    """The variables "measures", "codes", "distances", "code_map" and "categories" of the page."""
    return {
        "measures": [_measure(one) for one in page.measures],
        "codes": page.codes,
        "balance": _balance(page, name),
        "distances": [distances_part(one, DIRECTIONS[side], name()) for side, one in page.distances.items()],
        "code_map": None if page.code_map is None else _code_map(page.code_map, name),
        "categories": [_categories(one.layer, one.rows) for one in page.categories if one.rows],
    }


def bar(value: float, chance: float | None = None) -> dict[str, Any]:
    """A value with the width of its bar, and where chance ends on it."""
    mark = None if chance is None else f"{100 * chance:.2f}"
    return {"text": units.score(value), "share": f"{100 * value:.2f}", "key": repr(float(value)), "chance": mark}


def _measure(one: Measure) -> dict[str, Any]:
    chance = one.chance or (None, None)
    return {"name": one.name, "note": one.note, "cells": [bar(one.i2t, chance[0]), bar(one.t2i, chance[1])]}


def _balance(page: Page, name: Callable[[], str]) -> dict[str, Any] | None:
    if not page.codes:
        return None
    said = "; ".join(f"{one.side} from {one.balance.min():.2f} to {one.balance.max():.2f}" for one in page.codes)
    svg = inline(balance_figure(page.codes), name(), f"Share of ones of each bit: {said}.", values=True)
    legend = [{"place": place, "label": one.side, "style": nth_style(place)} for place, one in enumerate(page.codes)]
    return {"svg": svg, "legend": legend}


def distances_part(one: Distances, title: str, name: str, size: tuple[float, float] = (430, 285)) -> dict[str, Any]:
    """The figure of distances, `size` in pixels, and what it shows in words."""
    words = one.words
    svg = inline(distances_figure(one, size=size), name, f"Distances of pairs, {title}: {words}.", values=True)
    looks = {"relevant": RELEVANT, "irrelevant": IRRELEVANT}
    legend = [{"place": k, "label": label, "style": style} for k, (label, style) in enumerate(looks.items())]
    return {"title": title, "words": f"{words[:1].upper()}{words[1:]}.", "svg": svg, "legend": legend}


def _code_map(one: CodeMap, name: Callable[[], str]) -> dict[str, Any]:
    look = group_styles(one)
    counts = [int((one.groups == place).sum()) for place in range(len(one.names))]
    legend = [
        {"place": place, "label": label, "style": look[place], "points": True}
        for place, label in enumerate(one.names)
        if counts[place]
    ]
    groups = ", ".join(f"{label} ({counts[place]})" for place, label in enumerate(one.names) if counts[place])
    figures = []
    for side, title in enumerate(("Image codes", "Text codes")):
        if (one.sides == side).any():
            alt = f"{title} in the plane by label: {groups}."
            figures.append({"title": title, "svg": inline(code_map_figure(one, side), name(), alt)})
    return {"words": one.words, "legend": legend, "figures": figures}


def _categories(layer: str, rows: Any) -> dict[str, Any]:
    cells = [{"name": row.name, "queries": row.queries, "cells": [bar(row.i2t), bar(row.t2i)]} for row in rows]
    return {"layer": layer, "rows": cells}
