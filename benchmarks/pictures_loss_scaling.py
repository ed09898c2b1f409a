"""Pictures of what loss_scaling.py measured: time and peak memory over the number of rows, with the limits drawn in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import draw as drawing
import loss_scaling_rows as kept
from loss_scaling_rows import CHUNKED, EAGER, JOINT, OURS, PAIRWISE, Row

HEIGHT, TOP, BOTTOM = 340, 62, 48  # pixels of a picture, above its panels, below them
LEFT, RIGHT, GUTTER = 50, 112, 14  # pixels beside a panel, and between panels
MIB = 2.0**20
COLOURS = {OURS: drawing.SERIES[0], CHUNKED: drawing.SERIES[1], EAGER: drawing.SERIES[2]}
PANELS = {PAIRWISE: ("N, rows", "pairwise_nll, N x N pairs"), JOINT: ("m, pairs", "joint_semantics_loss")}
Limit = Callable[[str, int], "float | None"]


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Both pictures, written to the folder."""
    return [
        drawing.save(times(rows), folder / "loss_scaling_time.png"),
        drawing.save(memories(rows), folder / "loss_scaling_memory.png"),
    ]


def times(rows: Sequence[Row]) -> Any:
    heading = "Loss and both gradients, float32, 64 bits. Dashed: the matrix products alone at the machine's rate."

    def limit(op: str, n: int) -> float | None:
        seconds = kept.least_seconds(op, n, rows)
        return None if seconds is None else 1e3 * seconds

    return _figure(rows, heading, "Milliseconds", "products alone", lambda row: 1e3 * row.seconds, limit, 0.01)


def memories(rows: Sequence[Row]) -> Any:
    heading = "Most memory of a call beyond its inputs. Dashed: both gradients alone. Crosses: what did not fit."

    def limit(op: str, n: int) -> float | None:
        return kept.least_memory(n) / MIB

    return _figure(rows, heading, "MiB", "gradients alone", lambda row: row.memory / MIB, limit, 0.25)


def _figure(
    rows: Sequence[Row], heading: str, unit: str, limit_name: str, value: Callable[[Row], float], limit: Limit,
    least: float,
) -> Any:  # fmt: skip
    """A panel for each loss; values too small to be measured stand at the least."""
    shown = (kept.MEASURED, kept.NO_ROOM) if unit == "MiB" else (kept.MEASURED,)
    own = [row for row in rows if row.op in PANELS and row.status in shown]
    heights = {id(row): max(value(row), least) for row in own}
    limits = {(row.op, row.n): limit(row.op, row.n) for row in own}
    every = [*heights.values(), *(max(x, least) for x in limits.values() if x)]
    low, high = min(every) / 1.6, max(every) * 1.6
    with drawing.figure(HEIGHT, heading) as figure:
        for place, op in enumerate(PANELS):
            axes = _panel(figure, place, op, sorted({row.n for row in rows if row.op == op}))
            axes.set_yscale("log")
            axes.set_ylim(low, high)
            drawing.log_axis(axes.yaxis, drawing.decades(low, high))
            drawing.name_axes(axes, PANELS[op][0], unit, left=LEFT - 8)
            lines = {name: [row for row in own if (row.op, row.contestant) == (op, name)] for name in COLOURS}
            ends = [_line(axes, name, line, heights) for name, line in lines.items() if line]
            points = [(n, max(x, least)) for (of, n), x in sorted(limits.items()) if of == op and x]
            if points:
                axes.plot(*zip(*points, strict=True), color=drawing.MUTED, linewidth=1.5, linestyle=(0, (4, 3)))
                ends.append((limit_name, *points[-1], drawing.MUTED))
            drawing.name_ends(axes, ends)
    return figure


def _line(axes: Any, name: str, line: Sequence[Row], heights: dict[int, float]) -> tuple[str, float, float, str]:
    """A line through what was measured, dotted on to crosses at what was foretold not to fit; its end, to be named."""
    points, colour = [(row.n, heights[id(row)]) for row in line], COLOURS[name]
    ran = sum(row.status == kept.MEASURED for row in line)
    axes.plot(*zip(*points[:ran], strict=True), color=colour, marker="o", markersize=3)
    if ran < len(points):
        axes.plot(*zip(*points[max(0, ran - 1) :], strict=True), color=colour, linewidth=1, linestyle=(0, (1, 3)))
        axes.plot(*zip(*points[ran:], strict=True), "x", color=colour, clip_on=False)
    return name, *points[-1], colour


def _panel(figure: Any, place: int, op: str, sizes: Sequence[int]) -> Any:
    """Axes with a logarithmic x over the sizes, and the title above."""
    width = (drawing.WIDTH - 2 * (LEFT + RIGHT) - GUTTER) / 2
    left = LEFT + place * (width + LEFT + RIGHT + GUTTER)
    axes = drawing.panel(figure, left, BOTTOM, width, HEIGHT - TOP - BOTTOM)
    axes.grid(axis="y")
    axes.set_xscale("log")
    axes.set_xlim(sizes[0], sizes[-1])
    drawing.log_axis(axes.xaxis, [10**i for i in range(1, 7) if sizes[0] <= 10**i <= sizes[-1]] or list(sizes))
    offset = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(PANELS[op][1], (1, 1), (0, 14), ha="right", va="center", color=drawing.MUTED, **offset)
    return axes
