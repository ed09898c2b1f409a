"""The figures: precision and recall, loss and mAP over epochs. matplotlib objects alone, no pyplot and no global state.

Each function returns a `matplotlib.figure.Figure` in the light colours of `theme`; save it as any format, or give it to
`svg.inline` for a figure that follows the page's theme. Sizes are in CSS pixels: 72 of them to matplotlib's inch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasthash.report.labels import Box, place
from fasthash.report.series import AtRank, Curve, History
from fasthash.report.theme import LIGHT, Style, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT = 11.5  # pixels
MAX_LABELS = 4  # more lines than this are named by the legend alone
_MARGIN = {"left": 38.0, "right": 10.0, "top": 25.0, "bottom": 42.0}
_SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": FONT, "text.color": LIGHT["muted"], "axes.edgecolor": LIGHT["line"],
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "text.parse_math": False,
    "xtick.color": LIGHT["line"], "ytick.color": LIGHT["line"], "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"], "grid.color": LIGHT["line"], "grid.linewidth": 1.0, "axes.linewidth": 1.0,
    "xtick.major.size": 0.0, "ytick.major.size": 0.0, "xtick.major.pad": 7.0, "ytick.major.pad": 6.0,
    "lines.linewidth": 2.2, "lines.solid_capstyle": "round", "lines.solid_joinstyle": "round",
    "lines.scale_dashes": False, "svg.fonttype": "none", "path.simplify": True, "path.simplify_threshold": 0.1,
    "figure.dpi": 72, "savefig.dpi": 72,
}  # fmt: skip


@contextmanager
def settings() -> Iterator[None]:
    """The drawing settings of the report whatever the user's matplotlibrc says; put back afterwards."""
    try:
        import matplotlib
    except ImportError:
        raise RuntimeError(
            "the figures of a report need the package matplotlib: pip install 'fasthash[report]'"
        ) from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Labels may be in any script; the reader's browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def pr_figure(
    curves: Sequence[Curve], look: Mapping[str, Style] | None = None, *, size: tuple[float, float] = (430, 315)
) -> Figure:
    """Precision against recall, both axes from 0 to 1, one line per curve.

    Args:
        curves: at least one.
        look: style of each method, as from `theme.styles`; by default in order of appearance.
        size: width and height in pixels.
    """
    if not curves:
        raise ValueError("pr_figure: curves must hold at least one curve, got none")
    look = look or styles(curve.method for curve in curves)
    with settings():
        figure, axes = plain_axes(size, x="Recall", y="Precision")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.2g}")
        for curve in curves:
            line(axes, curve.recall, curve.precision, look[curve.method], curve.label, place_of(look, curve.method))
        if len(curves) <= MAX_LABELS:
            named = [(c.label, c.recall, c.precision, look[c.method].colour) for c in curves]
            name_lines(axes, named, size, [place_of(look, c.method) for c in curves])
    return figure


def rank_figure(
    curves: Sequence[AtRank], look: Mapping[str, Style], *, y: str, size: tuple[float, float] = (430, 315)
) -> Figure:
    """A value at each number of items, which has a log scale; one line per curve, at least one."""
    if not curves:
        raise ValueError("rank_figure: curves must hold at least one curve, got none")
    top = max(float(curve.values.max()) for curve in curves)
    with settings():
        figure, axes = plain_axes(size, x="Nearest items, log scale", y=y)
        low, high = (min(c.ranks[0] for c in curves), max(c.ranks[-1] for c in curves))
        axes.set(xscale="log", xlim=(low, high if high > low else low * 10), ylim=(0, 1.02 * (top or 1.0)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1000 else f"{value / 1000:g}k")
        axes.minorticks_off()
        axes.yaxis.set_major_locator(locator(5))
        for curve in curves:
            line(axes, curve.ranks, curve.values, look[curve.method], curve.label, place_of(look, curve.method))
        if len(curves) <= MAX_LABELS:
            named = [(c.label, c.ranks, c.values, look[c.method].colour) for c in curves]
            name_lines(axes, named, size, [place_of(look, c.method) for c in curves])
    return figure


def place_of(look: Mapping[str, Style], method: str) -> int:
    """What the page knows the lines of a method by: the same number in every figure that shares these styles."""
    return list(look).index(method)


def loss_figure(history: History, style: Style, *, size: tuple[float, float] = (280, 200)) -> Figure:
    """Loss over epochs on its own scale; gaps where it is not finite. `history` needs at least one epoch."""
    if len(history.epochs) == 0:
        raise ValueError(f"loss_figure: history {history.label!r} must have at least one epoch, got none")
    loss = np.where(np.isfinite(history.loss), history.loss, np.nan)
    with settings():
        figure, axes = plain_axes(size, x="Epoch", y="Loss, log scale" if _steep(loss) else "Loss")
        _epoch_axis(axes, history)
        line(axes, history.epochs, loss, Style(style.name, style.colour), "loss", 0)
        _loss_axis(axes, loss)
    return figure


def map_figure(history: History, style: Style, *, top: float = 1.0, size: tuple[float, float] = (280, 200)) -> Figure:
    """mAP over epochs: image → text solid, text → image dashed; y from 0 to `top`, so that figures can be compared."""
    if len(history.map_epochs) == 0:
        raise ValueError(f"map_figure: history {history.label!r} must have at least one evaluated epoch, got none")
    with settings():
        figure, axes = plain_axes(size, x="Epoch", y="mAP")
        _epoch_axis(axes, history)
        axes.set_ylim(0, top * 1.02)
        axes.yaxis.set_major_locator(locator(4))
        line(axes, history.map_epochs, history.i2t, Style(style.name, style.colour), "image → text", 0)
        line(axes, history.map_epochs, history.t2i, Style(style.name, style.colour, (5, 3)), "text → image", 1)
        named = [("image → text", history.map_epochs, history.i2t, style.colour),
                 ("text → image", history.map_epochs, history.t2i, style.colour)]  # fmt: skip
        name_lines(axes, named, size)
    return figure


def plain_axes(size: tuple[float, float], *, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    width, height = size
    figure = Figure(figsize=(width / 72, height / 72))
    left, bottom = _MARGIN["left"] / width, _MARGIN["bottom"] / height
    box = (left, bottom, 1 - left - _MARGIN["right"] / width, 1 - bottom - _MARGIN["top"] / height)
    axes = figure.add_axes(box, label=x.partition(",")[0])
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    # Both names run horizontally, at the ends of their axes, where they are read without turning the head.
    figure.text(2 / width, 1 - 11 / height, y, ha="left", va="center", color=LIGHT["ink"], weight="bold")
    figure.text(1 - 2 / width, 8 / height, x, ha="right", va="center", color=LIGHT["ink"], weight="bold")
    return figure, axes


def line(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], style: Style, label: str, place: int, **more: Any
) -> None:
    """One series of a chart: `place` is what the page knows it by, `label` what it is called there."""
    extra: dict[str, Any] = {"linestyle": (0, style.dash)} if style.dash else {}
    if style.marker and len(x) > 1:  # the starts differ, so that markers of lines that meet do not hide each other
        extra.update(marker=style.marker, markersize=6, markeredgewidth=0, markevery=(0.03 + 0.025 * (place % 6), 0.16))
    elif len(x) == 1:  # a line of one point would be invisible
        extra.update(marker=style.marker or "o", markersize=6)
    axes.plot(x, y, color=style.colour, clip_on=False, label=label, gid=f"series-{place}", **extra | more)


def locator(steps: int, *, whole: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(steps, integer=whole, steps=[1, 2, 2.5, 5, 10] if not whole else [1, 2, 5, 10])


def _epoch_axis(axes: Axes, history: History) -> None:
    every = np.concatenate([history.epochs, history.map_epochs])
    low, high = float(every.min()), float(every.max())
    axes.set_xlim(low - 0.5 * (low == high), high + 0.5 * (low == high))
    axes.xaxis.set_major_locator(locator(5, whole=True))


def _steep(loss: NDArray[np.float64]) -> bool:
    """Whether the first epochs would flatten everything that comes after, so that a log scale shows more."""
    finite = loss[np.isfinite(loss)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min())


def _loss_axis(axes: Axes, loss: NDArray[np.float64]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    finite = loss[np.isfinite(loss)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if _steep(loss):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 3.0)))
        axes.yaxis.set_major_formatter(lambda value, _: _short(value, value))
        axes.yaxis.set_minor_locator(NullLocator())
        return
    pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    axes.set_ylim(low - pad, high + pad)
    axes.yaxis.set_major_locator(locator(4))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value, high - low + 2 * pad))


def _short(value: float, span: float) -> str:
    """A tick label that fits the margin: 1500 -> "1.5k", and as many decimals as the span asks for."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{letter}"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.0e}"
    return f"{value:.{max(0, min(4, 1 - math.floor(math.log10(span))))}f}" if value else "0"


def name_lines(
    axes: Axes,
    lines: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64], str]],
    size: tuple[float, float],
    places: Sequence[int] | None = None,
) -> None:
    """Write each line's name beside it where there is room; a line without room is left to the legend."""
    scale = np.log if axes.get_xscale() == "log" else np.asarray
    inner = (size[0] - _MARGIN["left"] - _MARGIN["right"], size[1] - _MARGIN["top"] - _MARGIN["bottom"])
    (x0, x1), (y0, y1) = scale(axes.get_xlim()), axes.get_ylim()
    paths = [
        np.stack([(scale(x) - x0) / (x1 - x0) * inner[0], (y - y0) / (y1 - y0) * inner[1]], axis=1)
        for _, x, y, _ in lines
    ]
    widths = [FONT * 0.62 * len(label) for label, *_ in lines]
    boxes = place(paths, widths, FONT, Box(0, 0, *inner), gap=8.0)  # clear of the markers
    for (label, _, _, colour), box, series in zip(lines, boxes, places or range(len(lines)), strict=True):
        if box is None:
            continue
        at = ((box.left + box.right) / 2 / inner[0], (box.bottom + box.top) / 2 / inner[1])
        text = axes.text(
            *at, label, color=colour, transform=axes.transAxes, ha="center", va="center", size=FONT, parse_math=False
        )
        text.set_gid(f"label-{series}")
