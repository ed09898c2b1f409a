"""The HTML page of a comparison, self-contained as the other pages are, and its pictures as files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from fasthash._files import replace_file
from fasthash.report import units
from fasthash.report.comparison import Comparison, DataPart, Grid, GridRow, memory
from fasthash.report.comparison_plots import comparison_figure, grid_styles
from fasthash.report.content import DIRECTIONS
from fasthash.report.model_view import model_parts
from fasthash.report.page import render, write_whole
from fasthash.report.pictures import SMALL_SIDE, Pictures
from fasthash.report.plots import place_of, settings
from fasthash.report.search_view import search_part
from fasthash.report.svg import inline
from fasthash.report.theme import Style
from fasthash.report.view import namer

FINER = 2  # pixels of a PNG to a pixel of the page


def render_comparison(page: Comparison) -> str:
    """The page as HTML. The same comparison gives the same text, to the byte."""
    if not isinstance(page, Comparison):
        raise TypeError(f"render_comparison: page must be a Comparison, got {type(page).__name__}")
    sections = [("targets", "Targets")] if page.goals else []
    pictures = Pictures(SMALL_SIDE)
    data = _data(page, pictures)
    sections += [(one["anchor"], one["name"]) for one in data]
    sections += [("failed", "Failed")] if page.failures else []
    searches = [one.searches for one in page.data if one.searches is not None]
    credits = dict.fromkeys([*page.credits, *(credit for one in searches for credit in one.credits)])
    values = {
        "page": replace(page, credits=list(credits)), "directions": DIRECTIONS, "data": data, "sections": sections,
        "pictures": pictures.all() if searches else None,
    }  # fmt: skip
    return render("comparison.html.j2", values, more_styles=["comparison.css"])


def write_comparison(page: Comparison, path: str | os.PathLike[str]) -> Path:
    """Render the page and write it, whole or not at all; its folder is made when missing."""
    return write_whole(path, render_comparison(page).encode("utf-8"), "write_comparison")


def write_pictures(page: Comparison, folder: str | os.PathLike[str]) -> list[Path]:
    """The figures as PNG files in a folder that exists, one for each part that names a picture."""
    written = []
    for part in (part for data in page.data for part in data.parts if part.picture):
        figure = comparison_figure(part.grids[0], legend=True)
        path = Path(folder) / f"{part.picture}.png"
        written.append(save_picture(figure, path))
    return written


def save_picture(figure: Any, path: Path) -> Path:
    """A figure as a PNG file on white; returns its path."""
    with settings():
        replace_file(path, lambda beside: figure.savefig(beside, format="png", dpi=72 * FINER, facecolor="white"))
    return path


def _data(page: Comparison, pictures: Pictures) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    name = namer()
    for data in page.data:
        parts: list[dict[str, Any]] = []
        # one style for a row wherever it stands, in its table's figure and among the curves
        every = {row.name: row for part in data.parts for grid in part.grids for row in grid.rows}
        look = grid_styles(list(every.values()))
        for part in data.parts:
            figure = None
            if part.picture:
                said = _said(data.name, part.grids[0])
                figure = inline(comparison_figure(part.grids[0], look), name(), said, values=True)
            grids = [
                {"measure": grid.measure, "bits": grid.bits, "notes": grid.notes, **_grid(grid, look)}
                for grid in part.grids
            ]
            rows = [row.name for row in part.grids[0].rows if row.values] if part.grids else []
            legend = [{"place": place_of(look, row), "label": row, "style": look[row]} for row in rows]
            parts.append({"title": part.title, "grids": grids, "figure": figure, "legend": legend})
        models = [model for model in page.models if model.data == data.name and model.row in look]
        own = {"name": data.name, "about": data.about, "anchor": f"data-{len(found)}", "parts": parts}
        searches = _searches(data, look, pictures)
        found.append(own | {"searches": searches} | model_parts(models, look, name))
    return found


def _searches(data: DataPart, look: dict[str, Style], pictures: Pictures) -> dict[str, Any] | None:
    queries = [] if data.searches is None else [query for query in data.searches.queries if query.method in look]
    if data.searches is None or not queries:
        return None
    return {"about": data.searches.about} | search_part(queries, look, pictures)


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
