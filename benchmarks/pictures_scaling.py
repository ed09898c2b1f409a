"""Pictures of what scaling.py measured: speed, and times as fast as FAISS, over database, queries and code length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import draw as drawing
from scaling_rows import Row

HEIGHT, TOP, BOTTOM = 315, 62, 48  # pixels of a picture, above its panels, below them
LEFT, RIGHT, GUTTER = 44, 60, 10  # pixels beside a panel, and between panels
FASTHASH, FAISS = "fasthash", "faiss"


@dataclass(frozen=True)
class Sweep:
    """What varies along x, what tells the lines apart, and what stays."""

    x: str  # a size of Row
    name: str
    line: str  # a size of Row
    fixed: str  # the size of Row that stays
    label: str  # of a line: "Q {}"
    title: str  # of the panel: "{} bits"
    ticks: tuple[int, ...]
    value: int | None = None  # of `fixed`; by default its most frequent


SWEEPS = (
    Sweep("nb", "N, codes", "nq", "bits", "Q {}", "{}-bit codes", tuple(10**i for i in range(1, 9)), 64),
    Sweep("nq", "Q, queries", "bits", "nb", "{} bits", "N = {}", (1, 4, 16, 64, 256, 1024)),
    Sweep("bits", "bits of a code", "nq", "nb", "Q {}", "N = {}", (16, 64, 256, 1024)),
)


def lines(rows: Sequence[Row], sweep: Sweep) -> tuple[int, dict[int, list[Row]]]:
    """The value that stays, and line -> its rows along x; lines of few points belong to another sweep."""
    values = [getattr(row, sweep.fixed) for row in rows]
    fixed = sweep.value if sweep.value is not None else max(set(values), key=values.count)
    found: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: getattr(row, sweep.x)):
        if getattr(row, sweep.fixed) == fixed:
            found.setdefault(getattr(row, sweep.line), []).append(row)
    longest = max(map(len, found.values()), default=0)
    return fixed, {line: own for line, own in sorted(found.items()) if len(own) == longest}


def speed(row: Row, whose: str) -> float:
    """Pairs a second."""
    return row.nb * row.nq / float(getattr(row, whose))


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Both pictures, written to the folder."""
    return [
        drawing.save(speeds(rows), folder / "hamming_scaling_speed.png"),
        drawing.save(ratios(rows), folder / "hamming_scaling_ratio.png"),
    ]


def speeds(rows: Sequence[Row]) -> Any:
    every = [speed(row, whose) for row in rows for whose in (FASTHASH, FAISS)]
    low, high = min(every) / 1.3, max(every) * 1.3
    heading = "Solid: fasthash. Dashed: FAISS IndexBinaryFlat. One thread, k = 10; a pair is one query and one code."
    with drawing.figure(HEIGHT, heading) as figure:
        for place, sweep in enumerate(SWEEPS):
            axes = _panel(figure, place, sweep, rows)
            axes.set_yscale("log")
            axes.set_ylim(low, high)
            drawing.log_axis(axes.yaxis, drawing.decades(low, high))
            drawing.name_axes(axes, sweep.name, "Pairs per second", left=LEFT - 8)
            ends = []
            for (line, own), colour in zip(lines(rows, sweep)[1].items(), drawing.SERIES, strict=False):
                x = [getattr(row, sweep.x) for row in own]
                axes.plot(x, [speed(row, FASTHASH) for row in own], color=colour)
                axes.plot(x, [speed(row, FAISS) for row in own], color=colour, linewidth=1.5, linestyle=(0, (4, 3)))
                ends.append((sweep.label.format(line), x[-1], speed(own[-1], FASTHASH), colour))
            drawing.name_ends(axes, ends)
    return figure


def ratios(rows: Sequence[Row]) -> Any:
    top = 1.08 * max(row.high for row in rows)
    heading = (
        "fasthash, times as fast as FAISS IndexBinaryFlat in the same round; band: middle half. One thread, k = 10."
    )
    with drawing.figure(HEIGHT, heading) as figure:
        for place, sweep in enumerate(SWEEPS):
            axes = _panel(figure, place, sweep, rows)
            axes.set_ylim(0, top)
            axes.locator_params(axis="y", nbins=6, steps=[1, 2, 5, 10])
            drawing.name_axes(axes, sweep.name, "Times as fast", left=LEFT - 8)
            axes.axhline(1, color=drawing.MUTED, linewidth=1.2)
            ends = [("FAISS", 0, 1, drawing.MUTED)]
            for (line, own), colour in zip(lines(rows, sweep)[1].items(), drawing.SERIES, strict=False):
                x = [getattr(row, sweep.x) for row in own]
                axes.fill_between(x, [r.low for r in own], [r.high for r in own], color=colour, alpha=0.15, linewidth=0)
                axes.plot(x, [row.speedup for row in own], color=colour)
                ends.append((sweep.label.format(line), x[-1], own[-1].speedup, colour))
            drawing.name_ends(axes, ends)
    return figure


def _panel(figure: Any, place: int, sweep: Sweep, rows: Sequence[Row]) -> Any:
    """Axes with a logarithmic x over the sweep, and the title above."""
    width = (drawing.WIDTH - 3 * (LEFT + RIGHT) - 2 * GUTTER) / 3
    left = LEFT + place * (width + LEFT + RIGHT + GUTTER)
    axes = drawing.panel(figure, left, BOTTOM, width, HEIGHT - TOP - BOTTOM)
    axes.grid(axis="y")
    fixed, found = lines(rows, sweep)
    x = [getattr(row, sweep.x) for own in found.values() for row in own]
    axes.set_xscale("log")
    axes.set_xlim(min(x), max(x))
    drawing.log_axis(axes.xaxis, [tick for tick in sweep.ticks if min(x) <= tick <= max(x)])
    title = sweep.title.format(drawing.short(fixed))
    offset = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(title, (1, 1), (0, 14), ha="right", va="center", color=drawing.MUTED, **offset)
    return axes
