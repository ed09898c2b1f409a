"""Where to write the names of lines in a figure: beside the line, clear of every other line and name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def inside(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


def place(
    paths: Sequence[NDArray[np.float64]], widths: Sequence[float], height: float, frame: Box, *, gap: float = 5.0
) -> list[Box | None]:
    """A box for the name of each line, or None where every place is taken.

    Args:
        paths: [n, 2] points of each line in pixels, x never decreasing.
        widths: width of each name in pixels.
        height: height of the names in pixels.
        frame: the boxes stay inside.
        gap: pixels between a line and its name.
    Returns:
        For each line the free box nearest to it, preferring places far from the other lines, so that a name is not
        read as its neighbour's.
    """
    drawn = [_dense(path) for path in paths]
    taken: list[Box] = []
    boxes: list[Box | None] = []
    for own, width in zip(drawn, widths, strict=True):
        best: tuple[float, Box] | None = None
        for box in _candidates(own, width, height, gap, frame):
            if any(box.meets(other) for other in taken) or any(_crosses(path, box) for path in drawn):
                continue
            clearance = min((_distance(path, box) for path in drawn if path is not own), default=np.inf)
            # Further than four times the gap from anything else is as good as alone; then the nearest to its line wins.
            cost = max(0.0, 4 * gap - clearance) + 0.3 * _distance(own, box) + (box.top < own[:, 1].mean()) * 0.5
            if best is None or cost < best[0] - 1e-9:
                best = (cost, box)
        boxes.append(best[1] if best else None)
        if best:
            taken.append(best[1])
    return boxes


def _dense(path: NDArray[np.float64], step: float = 3.0) -> NDArray[np.float64]:
    """The line with a point at least every few pixels, so that points stand for the line."""
    path = path[np.isfinite(path).all(axis=1)]
    if len(path) < 2:
        return path
    parts = []
    for start, end in pairwise(path):
        count = max(1, int(np.ceil(np.abs(end - start).max() / step)))
        parts.append(start + (end - start) * (np.arange(count) / count)[:, None])
    return np.concatenate([*parts, path[-1:]])


def _candidates(path: NDArray[np.float64], width: float, height: float, gap: float, frame: Box) -> list[Box]:
    """Boxes just above and just below the line, centred at places from left to right."""
    found = []
    for centre in np.linspace(frame.left + width / 2 + 2, frame.right - width / 2 - 2, 24):
        under = path[np.abs(path[:, 0] - centre) <= width / 2]
        if len(under) == 0:
            continue
        above, below = float(under[:, 1].max()) + gap, float(under[:, 1].min()) - gap
        for bottom in (above, below - height):
            box = Box(float(centre) - width / 2, bottom, float(centre) + width / 2, bottom + height)
            if box.inside(frame):
                found.append(box)
    return found


def _crosses(path: NDArray[np.float64], box: Box, margin: float = 2.0) -> bool:
    x, y = path[:, 0], path[:, 1]
    wide = (x > box.left - margin) & (x < box.right + margin)
    return bool((wide & (y > box.bottom - margin) & (y < box.top + margin)).any())


def _distance(path: NDArray[np.float64], box: Box) -> float:
    """Pixels between the box and the nearest point of the line; infinite for a line without points."""
    if len(path) == 0:
        return float("inf")
    dx = np.maximum(np.maximum(box.left - path[:, 0], path[:, 0] - box.right), 0)
    dy = np.maximum(np.maximum(box.bottom - path[:, 1], path[:, 1] - box.top), 0)
    return float(np.hypot(dx, dy).min())
