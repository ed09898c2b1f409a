"""The figure of a comparison: mAP against code length, one panel for each direction, error bars over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthash.report.comparison import Grid, GridRow
from fasthash.report.content import DIRECTIONS
from fasthash.report.plots import FONT, place_of, settings
from fasthash.report.theme import BASELINE, LIGHT, Style, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _RIGHT, _TOP, _BOTTOM = 38.0, 12.0, 30.0, 42.0  # pixels around a panel


def grid_styles(rows: Sequence[GridRow]) -> dict[str, Style]:
    """A style for each row: colours for codes, grey for references."""
    found = styles(row.name for row in rows if not row.reference)
    references = [row.name for row in rows if row.reference]
    dashes: tuple[tuple[float, ...], ...] = (BASELINE.dash, (1.5, 2.5), (8, 2, 1.5, 2))
    for place, name in enumerate(references):
        found[name] = Style(BASELINE.name, BASELINE.colour, dashes[place % len(dashes)])
    return found


def comparison_figure(
    grid: Grid, look: Mapping[str, Style] | None = None, *, size: tuple[float, float] = (860, 330), legend: bool = False
) -> Figure:
    """mAP against bits, image → text left and text → image right, on one scale.

    Args:
        grid: at least one row with a value.
        look: style of each row; by default as `grid_styles`.
        size: width and height in pixels, without the legend.
        legend: write the names of the lines under the panels (a page has its own legend).
    """
    drawn = [row for row in grid.rows if row.values]
    if not drawn:
        raise ValueError("comparison_figure: grid must have a row with a value, got none")
    look = look or grid_styles(grid.rows)
    from matplotlib.figure import Figure

    rows_of_names = -(-len(drawn) // 4) if legend else 0
    width, height = size[0], size[1] + 20 * rows_of_names + (8 if legend else 0)
    low, high = _limits(drawn)
    with settings():
        figure = Figure(figsize=(width / 72, height / 72))
        panel = width / 2 - _LEFT - _RIGHT
        for place, (direction, title) in enumerate(DIRECTIONS.items()):
            left = place * width / 2 + _LEFT
            bottom = height - size[1] + _BOTTOM
            box = (left / width, bottom / height, panel / width, (size[1] - _TOP - _BOTTOM) / height)
            axes = figure.add_axes(box, label="Bits")
            _frame(axes, grid.bits, low, high)
            for shift, row in zip(_shifts(len(drawn)), drawn, strict=True):
                _line(axes, row, direction, grid.bits, look, shift)
            ink: dict[str, Any] = {"color": LIGHT["ink"], "weight": "bold", "va": "center"}
            figure.text((left - _LEFT + 2) / width, 1 - 11 / height, f"mAP, {title}", ha="left", **ink)
            figure.text((left + panel) / width, (bottom - 33) / height, "Bits", ha="right", **ink)
        if legend:
            _legend(figure, drawn, look, rows_of_names, (width, height))
    return figure


def _limits(rows: Sequence[GridRow]) -> tuple[float, float]:
    """The span of all values with their spreads; from 0 where the lowest is near it."""
    lows = [v.mean - (v.spread or 0) for row in rows for v in row.values.values()]
    highs = [v.mean + (v.spread or 0) for row in rows for v in row.values.values()]
    low, high = max(0.0, min(lows)), min(1.0, max(highs))
    if low < 0.35 * high:
        low = 0.0
    room = 0.06 * (high - low) or 0.05
    return (0.0 if low == 0.0 else max(0.0, low - room)), high + room


def _frame(axes: Axes, bits: Sequence[int], low: float, high: float) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.set_xlim(np.log2(min(bits)) - 0.25, np.log2(max(bits)) + 0.25)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([float(np.log2(b)) for b in bits], [str(b) for b in bits])


def _shifts(rows: int) -> list[float]:
    """Steps aside, so that error bars of lines that meet do not hide each other."""
    return [0.0] if rows == 1 else [float(x) for x in np.linspace(-0.07, 0.07, rows)]


def _line(
    axes: Axes, row: GridRow, direction: str, bits: Sequence[int], look: Mapping[str, Style], shift: float
) -> None:
    style, gid = look[row.name], f"series-{place_of(look, row.name)}"
    found = [(b, row.values[b, direction]) for b in bits if (b, direction) in row.values]
    if not found:
        return
    if row.reference:
        shift = 0.0
    x = np.array([np.log2(b) + shift for b, _ in found])
    y = np.array([value.mean for _, value in found])
    extra: dict[str, Any] = {"linestyle": (0, style.dash)} if style.dash else {}
    if not row.reference:
        extra.update(marker=style.marker or "o", markersize=6, markeredgewidth=0)
    axes.plot(x, y, color=style.colour, clip_on=False, linewidth=1.8, gid=gid, label=row.name, **extra)
    spreads = np.array([value.spread or 0.0 for _, value in found])
    if spreads.any() and not row.reference:
        axes.vlines(x, y - spreads, y + spreads, color=style.colour, linewidth=1.4, alpha=0.75, gid=gid)


def _legend(
    figure: Figure, rows: Sequence[GridRow], look: Mapping[str, Style], lines: int, size: tuple[float, float]
) -> None:
    from matplotlib.lines import Line2D

    width, height = size
    for place, row in enumerate(rows):
        column, line = place % 4, place // 4
        x, y = 8 + column * width / 4, 20 * (lines - line) - 8
        style = look[row.name]
        extra: dict[str, Any] = {"linestyle": (0, style.dash)} if style.dash else {}
        ends = ([x / width, (x + 22) / width], [y / height] * 2)
        figure.add_artist(Line2D(*ends, color=style.colour, linewidth=2.4, transform=figure.transFigure, **extra))
        figure.text((x + 29) / width, y / height, row.name, va="center", ha="left", size=FONT, color=LIGHT["ink"])
