"""The look of the benchmark pictures: the report's fonts and light colours, on white, as PNG twice as fine as shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fasthash._files import replace_file
from fasthash.report.plots import FONT, settings
from fasthash.report.theme import LIGHT

WIDTH = 860  # pixels: what a README shows without scaling
INK, MUTED, LINE = LIGHT["ink"], LIGHT["muted"], LIGHT["line"]
SERIES = tuple(LIGHT[f"series-{i}"] for i in range(1, 7))
FINER = 2  # pixels of the file to a pixel of the page


@contextmanager
def figure(height: float, heading: str) -> Iterator[Any]:
    """An empty figure WIDTH wide with a line of text at its top left, in the report's drawing settings."""
    from matplotlib.figure import Figure

    with settings():
        made = Figure(figsize=(WIDTH / 72, height / 72), facecolor=LIGHT["surface"])
        made.text(4 / WIDTH, 1 - 13 / height, heading, va="center", color=INK)
        yield made


def panel(fig: Any, left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at pixels from the lower left corner of the figure, with the report's lines."""
    whole = (fig.get_figwidth() * 72, fig.get_figheight() * 72)
    axes = fig.add_axes((left / whole[0], bottom / whole[1], width / whole[0], height / whole[1]))
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return axes


def name_axes(axes: Any, x: str, y: str, *, left: float = 0.0) -> None:
    """Both names horizontal, at the ends of their axes; ``left``: pixels that y's stands left of the axes."""
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "color": INK, "weight": "bold"}
    axes.annotate(y, (0, 1), (-left, 14), ha="left", va="center", **style)
    axes.annotate(x, (1, 0), (0, -30), ha="right", va="center", **style)


def log_axis(axis: Any, ticks: Sequence[float]) -> None:
    """Just these ticks on a logarithmic axis, as counts."""
    from matplotlib.ticker import NullLocator

    axis.set_minor_locator(NullLocator())
    axis.set_ticks(list(ticks), [short(tick) for tick in ticks])


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from low to high and, where they are few, 3 times them as well."""
    powers = [10.0**i for i in range(-12, 16)]
    found = [power for power in powers if low <= power <= high]
    if len(found) < 3:
        found = [step * power for power in powers for step in (1, 3) if low <= step * power <= high]
    return found


def short(value: float) -> str:
    """1000000 -> "1M"; powers of two stay as they are written: 1024."""
    if value < 1e6 and value % 100:
        return f"{value:.6g}"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.4g}{letter}"
    return f"{value:.4g}"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as can be, in their order, at least gap apart, and inside where that fits."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    # Less their steps, places that are gap apart are places in order: the nearest such are means of runs.
    runs: list[list[float]] = []
    for value in np.asarray(wanted, float)[order] - steps:
        runs.append([value])
        while len(runs) > 1 and np.mean(runs[-2]) > np.mean(runs[-1]):
            last = runs.pop()
            runs[-1] += last
    placed = np.concatenate([np.full(len(run), np.mean(run)) for run in runs]) if runs else np.empty(0)
    placed = np.maximum(np.minimum(placed, high - gap * (len(order) - 1)), low) + steps
    found = np.empty(len(order))
    found[order] = placed
    return found.tolist()


def name_ends(axes: Any, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names right of the axes, each beside the end (x, y) of its line, moved apart where they would touch.

    Args:
        ends: (name, x, y, colour); the limits of the axes must be set.
    """
    pixels = 72 / axes.figure.dpi
    box = axes.get_window_extent()
    height = box.height * pixels
    heights = [(axes.transData.transform((x, y))[1] - box.y0) * pixels for _, x, y, _ in ends]
    for (name, *_, colour), at in zip(ends, spread(heights, FONT + 2.5, 0, height), strict=True):
        style: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
        axes.annotate(
            name,
            (1, at / height),
            (7, 0),
            xycoords="axes fraction",
            va="center",
            color=colour,
            gid="line-name",
            **style,
        )


def save(fig: Any, path: Path) -> Path:
    """Write the figure as PNG and return path."""
    with settings():
        replace_file(path, lambda temporary: fig.savefig(temporary, format="png", dpi=72 * FINER, facecolor="white"))
    return path
