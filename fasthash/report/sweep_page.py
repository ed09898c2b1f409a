"""The HTML page of a sweep, self-contained as the other pages are, and its pictures as files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fasthash.report import units
from fasthash.report.comparison_page import save_picture
from fasthash.report.content import DIRECTIONS
from fasthash.report.page import render, write_whole
from fasthash.report.svg import inline
from fasthash.report.sweep import Line, Map, SweepPage
from fasthash.report.sweep_plots import LOOK, curve_figure, heat_figure, positions, spans

COLUMNS = {**DIRECTIONS, "mean": "mean of both"}
_LINES = "Bands are the standard deviation over the seeds, the dotted line is the preset."
_MAPS = "The stronger the colour, the better; the frame is the best, a dashed one the preset where the grid has it."


def render_sweep(page: SweepPage) -> str:
    """The page as HTML. The same sweep gives the same text, to the byte."""
    if not isinstance(page, SweepPage):
        raise TypeError(f"render_sweep: page must be a SweepPage, got {type(page).__name__}")
    sections = [("figures", "Sensitivity")] if page.lines or page.maps else []
    sections += [("settings", "Settings"), *([("failed", "Failed")] if page.failures else [])]
    values = {
        "page": page,
        "sections": sections,
        "columns": COLUMNS,
        "kinds": [_kind([row.values[place] for row in page.rows]) for place in range(len(page.options))],
        "seconds": units.seconds,
        "says": " ".join([_LINES] * bool(page.lines) + [_MAPS] * bool(page.maps)),
        "lines": _lines(page),
        "maps": [_map(one, d, f"m{place}-{d}") for place, one in enumerate(page.maps) for d in DIRECTIONS],
    }
    return render("sweep.html.j2", values, more_styles=["comparison.css"])


def write_sweep(page: SweepPage, path: str | os.PathLike[str]) -> Path:
    """Render the page and write it, whole or not at all; its folder is made when missing."""
    return write_whole(path, render_sweep(page).encode("utf-8"), "write_sweep")


def write_sweep_pictures(page: SweepPage, folder: str | os.PathLike[str]) -> list[Path]:
    """The figures as PNG files in a folder that exists, named as `pictures` says."""
    return [save_picture(draw(), Path(folder) / f"{name}.png") for name, draw in pictures(page).items()]


def pictures(page: SweepPage) -> dict[str, Callable[[], Any]]:
    """File name without suffix -> what draws it: ``sweep_<option>``, ``sweep_<x>_<y>_<direction>``."""
    limits = spans(page.lines) if page.lines else None
    found: dict[str, Callable[[], Any]] = {}
    for one in page.lines:
        found[f"sweep_{one.option}"] = partial(curve_figure, one, y=page.short, limits=limits, legend=True)
    for pair in page.maps:
        for direction in DIRECTIONS:
            found[f"sweep_{pair.x[0]}_{pair.y[0]}_{direction}"] = partial(heat_figure, pair, direction, title=True)
    return found


def _lines(page: SweepPage) -> list[dict[str, Any]]:
    limits = spans(page.lines) if page.lines else None
    legend = [{"label": title, "style": LOOK[d], "place": place} for place, (d, title) in enumerate(DIRECTIONS.items())]
    return [
        {
            "option": one.option,
            "fixed": one.fixed,
            "legend": legend,
            "svg": inline(curve_figure(one, y=page.short, limits=limits), f"l{place}", _said(page, one), values=True),
        }
        for place, one in enumerate(page.lines)
    ]


def _said(page: SweepPage, one: Line) -> str:
    """The figure in words: where each direction is highest."""
    parts = []
    for direction, title in DIRECTIONS.items():
        found = [(value.mean, text) for value, text in zip(one.points[direction], one.values, strict=True) if value]
        if found:
            mean, text = max(found)
            parts.append(f"{title} highest at {text}, {units.score(mean)}")
    return f"{page.measure} against {one.option}; {'; '.join(parts)}."


def _map(one: Map, direction: str, name: str) -> dict[str, Any]:
    cells = [
        (value.mean, f"{one.x[0]} {x} and {one.y[0]} {y}")
        for y, row in zip(one.y[1], one.points[direction], strict=True)
        for x, value in zip(one.x[1], row, strict=True)
        if value is not None
    ]
    best = "; highest {1}, {0:.3f}".format(*max(cells)) if cells else ""
    title = f"{DIRECTIONS[direction]}, {one.y[0]} against {one.x[0]}"
    return {"title": title, "svg": inline(heat_figure(one, direction), name, f"{title}{best}.")}


def _kind(values: list[str]) -> str:
    return "text" if not values or positions(values)[1] == "names" else "number"
