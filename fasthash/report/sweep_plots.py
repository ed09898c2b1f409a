"""The figures of a sweep: curves with their spread for one option, heat maps for two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasthash.report.comparison import Value
from fasthash.report.content import DIRECTIONS
from fasthash.report.plots import FONT, line, locator, name_lines, plain_axes, settings
from fasthash.report.sweep import Line, Map
from fasthash.report.theme import LIGHT, SERIES, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK = {d: Style(name, LIGHT[name], dash) for d, name, dash in zip(DIRECTIONS, SERIES, ((), (5, 3)), strict=False)}
_LOG = 30  # largest over smallest value from which equal factors, not equal steps, stand equally far apart
_DENSE, _PALE = 0.55, 0.04  # opacity of the best and of the worst cell: the figures in it stay readable
_LEFT, _TOP, _BOTTOM, _RIGHT = 54.0, 30.0, 42.0, 12.0  # pixels around a map


def curve_figure(
    one: Line,
    *,
    y: str = "mAP",
    limits: tuple[float, float] | None = None,
    size: tuple[float, float] = (430, 315),
    legend: bool = False,
) -> Figure:
    """Both directions against the values of an option, with a band of the spread; the preset is a dotted line.

    Args:
        one: at least one value in each direction.
        y: name of the vertical axis.
        limits: of the vertical axis; by default those of the values with their spread.
        size: width and height in pixels.
        legend: write the names of the lines beside them (a page has its own legend).
    """
    at, scale = positions(one.values)
    low, high = limits or spans([one])
    with settings():
        figure, axes = plain_axes(size, x=f"{one.option}, log scale" if scale == "log" else one.option, y=y)
        if scale == "log":
            axes.set_xscale("log")
        axes.set_xlim(*_ends(at, scale))
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(locator(5))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        _ticks(axes, at, one.values)
        if one.preset in one.values:
            axes.axvline(at[list(one.values).index(one.preset)], color=LIGHT["muted"], linewidth=1.2, dashes=(1.5, 2.5))
        named = []
        for place, (direction, title) in enumerate(DIRECTIONS.items()):
            found = [(x, value) for x, value in zip(at, one.points[direction], strict=True) if value is not None]
            x = np.array([x for x, _ in found])
            mean, spread = (np.array([part(value) for _, value in found]) for part in (_mean, _spread))
            colour = LOOK[direction].colour
            if spread.any():
                axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.16, linewidth=0)
            dots: dict[str, Any] = {"marker": "o", "markersize": 4} if len(x) < 30 else {}
            line(axes, x, mean, LOOK[direction], title, place, **dots)
            named.append((title, x, mean, colour))
        if legend:
            name_lines(axes, named, size, range(len(named)))
    return figure


def heat_figure(one: Map, direction: str, *, size: tuple[float, float] | None = None, title: bool = False) -> Figure:
    """One direction of two options against each other: the darker the better; preset dashed, best framed.

    Args:
        size: width and height in pixels; by default so that every cell has room for its value.
        title: write the direction above (a page has it in its caption).
    """
    from matplotlib.patches import Rectangle

    grid = np.array([[np.nan if v is None else v.mean for v in row] for row in one.points[direction]])
    rows, columns = grid.shape
    width, height = size or (max(330.0, 66.0 + 40.0 * columns), max(180.0, 72.0 + 30.0 * rows))
    inner = (width - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
    shares = _shares(grid)
    with settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_axes((_LEFT / width, _BOTTOM / height, inner[0] / width, inner[1] / height))
        axes.spines[:].set_visible(False)
        axes.set(xlim=(0, columns), ylim=(0, rows))
        axes.set_xticks(np.arange(columns) + 0.5, [str(v) for v in one.x[1]])
        axes.set_yticks(np.arange(rows) + 0.5, [str(v) for v in one.y[1]])
        wide = inner[0] / columns >= 30 and inner[1] / rows >= 13
        for (row, column), value in np.ndenumerate(grid):
            if not np.isfinite(value):
                continue
            shade = {"facecolor": LIGHT["accent"], "alpha": shares[row, column], "linewidth": 0}
            axes.add_patch(Rectangle((column, row), 1, 1, **shade))  # type: ignore[arg-type]
            if wide:
                text = f"{value:.3f}".removeprefix("0") if inner[0] / columns < 40 else f"{value:.3f}"
                place = (column + 0.5, row + 0.5)
                axes.text(*place, text, ha="center", va="center", size=FONT - 1, color=LIGHT["ink"])
        _frames(axes, one, grid)
        ink: dict[str, Any] = {"color": LIGHT["ink"], "weight": "bold", "va": "center"}
        figure.text(2 / width, 1 - 11 / height, one.y[0], ha="left", **ink)
        figure.text(1 - 2 / width, 8 / height, one.x[0], ha="right", **ink)
        if title:
            figure.text(1 - _RIGHT / width, 1 - 11 / height, DIRECTIONS[direction], ha="right", **ink)
    return figure


def positions(values: Sequence[str]) -> tuple[NDArray[np.float64], str]:
    """Where the values stand, and on which scale: linear, log, or names (0, 1, 2, ...) where one is no number."""
    try:
        at = np.array([float(value) for value in values])
    except ValueError:
        return np.arange(len(values), dtype=np.float64), "names"
    if not np.isfinite(at).all():
        return np.arange(len(values), dtype=np.float64), "names"
    return at, "log" if at.min() > 0 and at.max() >= _LOG * at.min() else "linear"


def in_order(values: Sequence[str]) -> list[str]:
    """Values ascending where all are numbers, as given otherwise."""
    at, scale = positions(values)
    return list(values) if scale == "names" else [values[place] for place in np.argsort(at, kind="stable")]


def spans(lines: Sequence[Line]) -> tuple[float, float]:
    """Limits of a vertical axis that holds all lines with their spreads."""
    values = [value for one in lines for points in one.points.values() for value in points if value is not None]
    if not values:
        raise ValueError("curve_figure: needs at least one measured value, got none")
    low = min(value.mean - (value.spread or 0.0) for value in values)
    high = max(value.mean + (value.spread or 0.0) for value in values)
    room = 0.06 * (high - low) or 0.02
    return max(0.0, low - room), high + room


def _ends(at: NDArray[np.float64], scale: str) -> tuple[float, float]:
    low, high = float(at.min()), float(at.max())
    if low == high:
        return (low / 2, high * 2) if scale == "log" else (low - 0.5, high + 0.5)
    if scale == "log":
        room = (high / low) ** 0.03
        return low / room, high * room
    room = 0.3 if scale == "names" else 0.03 * (high - low)
    return low - room, high + room


def _ticks(axes: Axes, at: NDArray[np.float64], values: Sequence[str]) -> None:
    """A tick at each value that was measured, as many as have room."""
    step = -(-len(at) // 11)
    order = np.argsort(at)[::step]
    axes.minorticks_off()
    axes.set_xticks(at[order], [str(values[place]) for place in order])


def _shares(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = (np.nanmin(grid), np.nanmax(grid)) if np.isfinite(grid).any() else (0.0, 1.0)
    return _PALE + (_DENSE - _PALE) * np.nan_to_num((grid - low) / ((high - low) or 1.0))


def _frames(axes: Axes, one: Map, grid: NDArray[np.float64]) -> None:
    from matplotlib.patches import Rectangle

    look: dict[str, Any] = {"facecolor": "none", "edgecolor": LIGHT["ink"], "clip_on": False}
    if one.preset[0] in one.x[1] and one.preset[1] in one.y[1]:
        at = list(one.x[1]).index(one.preset[0]), list(one.y[1]).index(one.preset[1])
        axes.add_patch(
            Rectangle((at[0] + 0.04, at[1] + 0.06), 0.92, 0.88, linestyle=(0, (3, 2)), linewidth=1.2, **look)
        )
    if np.isfinite(grid).any():
        row, column = np.unravel_index(int(np.nanargmax(grid)), grid.shape)
        axes.add_patch(Rectangle((int(column), int(row)), 1, 1, linewidth=2.2, **look))


def _mean(value: Value) -> float:
    return value.mean


def _spread(value: Value) -> float:
    return value.spread or 0.0
