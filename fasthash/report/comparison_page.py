"""The HTML page of a comparison, self-contained as the other pages are, and its pictures as files."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

from fasthash._files import replace_file
from fasthash.report import units
from fasthash.report.comparison import Comparison, Grid, GridRow, memory
from fasthash.report.comparison_plots import comparison_figure, grid_styles
from fasthash.report.content import DIRECTIONS
from fasthash.report.page import _source, _template, _write_whole
from fasthash.report.plots import settings
from fasthash.report.svg import inline
from fasthash.report.theme import DARK, LIGHT, Style, css_variables

FINER = 2  # pixels of a PNG to a pixel of the page


def render_comparison(page: Comparison) -> str:
    """The page as HTML. The same comparison gives the same text, to the byte."""
    if not isinstance(page, Comparison):
        raise TypeError(f"render_comparison: page must be a Comparison, got {type(page).__name__}")
    script = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return str(
        _template("comparison.html.j2").render(
            page=page,
            directions=DIRECTIONS,
            data=_data(page),
            style=_source("page.css") + "\n" + _source("comparison.css"),
            script=script,
            script_digest=digest,
            light=css_variables(LIGHT),
            dark=css_variables(DARK),
        )
    )


def write_comparison(page: Comparison, path: str | os.PathLike[str]) -> Path:
    """Render the page and write it, whole or not at all; its folder is made when missing."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"write_comparison: path must be a file, got the folder {str(target)!r}")
    _write_whole(target, render_comparison(page).encode("utf-8"))
    return target


def write_pictures(page: Comparison, folder: str | os.PathLike[str]) -> list[Path]:
    """The figures as PNG files in a folder that exists, one for each part that names a picture."""
    written = []
    for part in (part for data in page.data for part in data.parts if part.picture):
        figure = comparison_figure(part.grids[0], legend=True)
        path = Path(folder) / f"{part.picture}.png"
        _save(figure, path)
        written.append(path)
    return written


def _save(figure: Any, path: Path) -> None:
    with settings():
        replace_file(path, lambda beside: figure.savefig(beside, format="png", dpi=72 * FINER, facecolor="white"))


def _data(page: Comparison) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for data in page.data:
        parts: list[dict[str, Any]] = []
        for part in data.parts:
            look = grid_styles(part.grids[0].rows) if part.grids else {}
            figure = None
            if part.picture:
                drawn = comparison_figure(part.grids[0], look)
                figure = inline(drawn, f"f{len(found)}-{len(parts)}", _said(data.name, part.grids[0]))
            grids = [{"measure": grid.measure, "bits": grid.bits, **_grid(grid, look)} for grid in part.grids]
            legend = [{"label": row.name, "style": look[row.name]} for row in part.grids[0].rows if row.values]
            parts.append({"title": part.title, "grids": grids, "figure": figure, "legend": legend})
        found.append({"name": data.name, "about": data.about, "anchor": f"data-{len(found)}", "parts": parts})
    return found


def _grid(grid: Grid, look: dict[str, Style]) -> dict[str, Any]:
    rows = [
        {
            "row": row,
            "style": look[row.name],
            "cells": [row.values.get((bits, d)) for bits in grid.bits for d in DIRECTIONS],
            "time": units.seconds(row.seconds) or "–",
            "memory": memory(row.megabytes),
        }
        for row in grid.rows
    ]
    return {"rows": rows, "timed": any(row.seconds is not None for row in grid.rows)}


def _said(name: str, grid: Grid) -> str:
    """The figure in words: each line's value at the longest code."""
    longest = max(grid.bits)
    parts = [f"{row.name} {_pair(row, longest)}" for row in grid.rows if row.values]
    return f"{name}, {grid.measure} against bits; at {longest} bits: {'; '.join(parts)}."


def _pair(row: GridRow, bits: int) -> str:
    values = [row.values.get((bits, d)) for d in DIRECTIONS]
    return " and ".join("–" if value is None else units.score(value.mean) for value in values)
