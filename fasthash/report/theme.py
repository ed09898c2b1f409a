"""The colours of the report, light and dark: the one place they are decided, for the style sheet and the figures.

Figures are drawn in the light colours, which are all different, so each one can be turned into its CSS variable and
follow the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fasthash.report.content import is_baseline

LIGHT = {
    "page": "#f6f7f9", "surface": "#ffffff", "tile": "#ebeef3", "ink": "#171a1f", "muted": "#5b636e", "line": "#e1e5ea",
    "accent": "#0a5ad0", "good": "#0f7a3d", "bad": "#c0271d",
    "series-1": "#0b63c6", "series-2": "#c14b00", "series-3": "#0b786a", "series-4": "#7a40d2", "series-5": "#846500",
    "series-6": "#b9266f", "baseline": "#747c86",
}  # fmt: skip
DARK = {
    "page": "#0e1114", "surface": "#161a1f", "tile": "#b6bfca", "ink": "#edf0f4", "muted": "#a3acb8", "line": "#2a3038",
    "accent": "#7db6ff", "good": "#5bd08e", "bad": "#ff8d80",
    "series-1": "#6db1ff", "series-2": "#ff9b5a", "series-3": "#4fd1be", "series-4": "#bb9eff", "series-5": "#e2c155",
    "series-6": "#ff8fc3", "baseline": "#8e97a3",
}  # fmt: skip
SERIES = tuple(name for name in LIGHT if name.startswith("series-"))
# Told apart without colour too: every method has a marker and a dash of its own. (0, ()) is solid.
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (1.5, 2), (6, 2, 1.5, 2))
# name in matplotlib -> its outline around (0, 0), about 7 pixels wide
MARKERS = {
    "o": "M-3.3 0a3.3 3.3 0 1 0 6.6 0a3.3 3.3 0 1 0-6.6 0z",
    "s": "M-3-3h6v6h-6z",
    "^": "M0-3.8 3.7 3H-3.7z",
    "D": "M0-4 4 0 0 4-4 0z",
    "v": "M0 3.8-3.7-3H3.7z",
    "P": "M-1.3-3.6h2.6v2.3h2.3v2.6H1.3v2.3h-2.6V1.3h-2.3v-2.6h2.3z",
    "X": "M-3.6-2.2-2.2-3.6 0-1.4 2.2-3.6 3.6-2.2 1.4 0 3.6 2.2 2.2 3.6 0 1.4-2.2 3.6-3.6 2.2-1.4 0z",
}


@dataclass(frozen=True)
class Style:
    """How one method is drawn everywhere: `name` is the CSS variable, `colour` its light value."""

    name: str
    colour: str
    dash: tuple[float, ...] = ()
    marker: str = ""  # one of MARKERS, or none

    @property
    def shape(self) -> str:
        """The marker's outline as the data of an SVG path; "" for none."""
        return MARKERS.get(self.marker, "")


def nth_style(place: int) -> Style:
    """The style of the method that comes in this place, from 0."""
    name = SERIES[place % len(SERIES)]
    # the extra step after twelve keeps the same colour and dash from meeting again before the twenty-fifth
    dash = DASHES[(place + place // 12) % len(DASHES)]
    return Style(name, LIGHT[name], dash, tuple(MARKERS)[place % len(MARKERS)])


BASELINE = Style("baseline", LIGHT["baseline"], (4, 3))


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style for each method, in order of first appearance; random codes are always the grey dashed line."""
    found: dict[str, Style] = {}
    learned = 0
    for method in methods:
        if method in found:
            continue
        if is_baseline(method):
            found[method] = BASELINE
            continue
        found[method] = nth_style(learned)
        learned += 1
    return found


def css_variables(colours: dict[str, str]) -> str:
    """CSS declarations of a theme: "--ink:#171a1f;..."."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
