"""The figures of one model's codes: distances of pairs, balance of the bits, the codes in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fasthash.report.findings import CodeMap, Codes, Distances
from fasthash.report.labels import Box
from fasthash.report.plots import FONT, line, locator, plain_axes, settings
from fasthash.report.theme import BASELINE, LIGHT, Style, nth_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RELEVANT, IRRELEVANT = (replace(nth_style(place), marker="") for place in (0, 1))
_POINT, _QUERY = 4.5, 6.0  # pixels across


def distances_figure(distances: Distances, *, size: tuple[float, float] = (430, 285)) -> Figure:
    """Share of relevant and of irrelevant pairs at each Hamming distance."""
    with settings():
        figure, axes = plain_axes(size, x="Hamming distance", y="Share of pairs")
        at = np.arange(distances.bits + 1, dtype=np.float64)
        named = zip(distances.shares(), (RELEVANT, IRRELEVANT), ("relevant", "irrelevant"), strict=True)
        top = 0.0
        for place, (shares, style, label) in enumerate(named):
            top = max(top, float(shares.max()))
            axes.fill_between(at, shares, color=style.colour, alpha=0.16, linewidth=0, gid=f"series-{place}")
            line(axes, at, shares, style, label, place)
        axes.set(xlim=(0, distances.bits), ylim=(0, 1.06 * (top or 1.0)))
        axes.xaxis.set_major_locator(locator(6, whole=True))
        axes.yaxis.set_major_locator(locator(4))
        axes.yaxis.set_major_formatter(_percent)
    return figure


def balance_figure(codes: Sequence[Codes], *, size: tuple[float, float] = (430, 285)) -> Figure:
    """Share of ones of each bit, the bits of each side in ascending order; one half is ideal."""
    with settings():
        figure, axes = plain_axes(size, x="Bits, in order of their share", y="Share of ones")
        most = max(len(one.balance) for one in codes)
        axes.axhline(0.5, color=LIGHT["muted"], linewidth=1.0, linestyle=(0, (2, 3)))
        for place, one in enumerate(codes):
            line(axes, np.arange(1.0, len(one.balance) + 1), np.sort(one.balance), nth_style(place), one.side, place)
        axes.set(xlim=(1, max(2, most)), ylim=(0, 1.02), yticks=(0, 0.25, 0.5, 0.75, 1))
        axes.yaxis.set_major_formatter(_percent)
        axes.xaxis.set_major_locator(locator(6, whole=True))
    return figure


def _percent(value: float, _: float) -> str:
    return f"{abs(round(100 * value, 3)):g}%"  # abs: no negative zero


def group_styles(code_map: CodeMap) -> list[Style]:
    """A style for each group; what is gathered in a last group called other is grey."""
    found = [nth_style(place) for place in range(len(code_map.names))]
    if code_map.names and code_map.names[-1].startswith("other"):
        found[-1] = Style(BASELINE.name, BASELINE.colour, (), "o")
    return found


def code_map_figure(code_map: CodeMap, side: int, *, size: tuple[float, float] = (430, 350)) -> Figure:
    """The codes of one side, 0 image or 1 text, on the scale of both: colour and marker by group, queries outlined."""
    look = group_styles(code_map)
    own = code_map.sides == side
    with settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(size[0] / 72, size[1] / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        limits = [_limits(values) for values in (code_map.x, code_map.y)]
        axes.set(xlim=limits[0], ylim=limits[1])
        for place in reversed(range(len(look))):  # the last group is the rest, and lies under the others
            style, mine = look[place], own & (code_map.groups == place)
            for queries, width in ((False, _POINT), (True, _QUERY)):
                some = mine & (code_map.queries == queries)
                if some.any():
                    edge = (
                        {"markeredgecolor": LIGHT["ink"], "markeredgewidth": 0.8} if queries else {"markeredgewidth": 0}
                    )
                    axes.plot(
                        code_map.x[some], code_map.y[some], linestyle="", color=style.colour, marker=style.marker,
                        markersize=width, gid=f"series-{place}", clip_on=False, **edge,
                    )  # fmt: skip
        _names(axes, code_map, own, size)
    return figure


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room


def _names(axes: Axes, code_map: CodeMap, own: np.ndarray, size: tuple[float, float]) -> None:
    """The name of each group in the middle of its points, where no other name stands already."""
    taken: list[Box] = []
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    for place, name in enumerate(code_map.names):
        mine = own & (code_map.groups == place)
        if not mine.any() or name.startswith("other"):
            continue
        x = (float(np.median(code_map.x[mine])) - x0) / (x1 - x0) * size[0]
        y = (float(np.median(code_map.y[mine])) - y0) / (y1 - y0) * size[1]
        half = FONT * 0.31 * len(name)
        x = min(max(x, half + 2), size[0] - half - 2)
        box = Box(x - half, y - FONT, x + half, y + FONT)
        if any(box.meets(other) for other in taken):
            continue
        taken.append(box)
        text = axes.text(
            x / size[0], y / size[1], name, transform=axes.transAxes, ha="center", va="center", size=FONT,
            color=LIGHT["ink"], parse_math=False,
        )  # fmt: skip
        text.set_gid(f"label-{place}")
