"""A matplotlib figure as SVG that lives inside a page: its colours, its fonts, no identifier that could clash.

Text stays text (it is selectable, searchable and in the reader's font), every colour becomes a CSS variable, and
nothing depends on the date, the machine or the order of drawing, so the same figure gives the same bytes.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from fasthash.report.plots import settings
from fasthash.report.theme import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_DROPPED = {"metadata", "style", "title"}
_NUMBER = re.compile(r"-?\d+\.\d+")
_HEX = re.compile(r"#[0-9a-f]{6}\b")


def inline(figure: Figure, name: str, alt: str, *, values: bool = False) -> str:
    """The figure as an <svg> element.

    Args:
        figure: drawn in the colours of `theme.LIGHT`, as those of `plots` are.
        name: an identifier that no other figure of the page has.
        alt: what the figure shows, for readers who do not see it.
        values: give the script of the page the values of its lines, to show them where the reader points.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    with settings():
        import matplotlib

        matplotlib.rcParams["svg.hashsalt"] = name
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _rename(root, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": "figure", "role": "img", "aria-label": alt}
    if values:
        root.attrib["data-chart"] = json.dumps(chart(figure), ensure_ascii=False, separators=(",", ":"))
    return ElementTree.tostring(root, encoding="unicode")


def chart(figure: Figure) -> list[dict[str, Any]]:
    """The series of each panel and where they lie, in the units of the figure's view box; JSON-able."""
    from matplotlib.ticker import FixedFormatter

    width, height = figure.get_size_inches() * 72
    panels = []
    for axes in figure.axes:
        box = axes.get_position()
        found = [line for line in axes.get_lines() if str(line.get_gid()).startswith("series-")]
        series = []
        for line in found:
            x, y = (np.asarray(values, float) for values in line.get_data())
            kept = np.isfinite(x) & np.isfinite(y)
            points = [[float(f"{value:.4g}") for value in values[kept]] for values in (x, y)]
            place = int(str(line.get_gid()).removeprefix("series-"))
            series.append({"place": place, "name": str(line.get_label()), "x": points[0], "y": points[1]})
        frame = (box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height)
        panel: dict[str, Any] = {
            "frame": [round(float(value), 2) for value in frame], "x": [float(v) for v in axes.get_xlim()],
            "log": axes.get_xscale() == "log", "series": series, "name": str(axes.get_label()),
        }  # fmt: skip
        if isinstance(axes.xaxis.get_major_formatter(), FixedFormatter):  # places that have names, not a scale
            names = [label.get_text() for label in axes.get_xticklabels()]
            panel["ticks"] = [[float(x), name] for x, name in zip(axes.get_xticks(), names, strict=True)]
        panels.append(panel)
    return panels


def _strip(root: ElementTree.Element) -> None:
    """Drop metadata, the style sheet (it would hold for the whole page) and namespaces; restyle what stays."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        element.tail = None
        if element.text is not None and not element.text.strip():
            element.text = None
        if "d" in element.attrib:
            element.attrib["d"] = _round(" ".join(element.attrib["d"].split()))
        for key in ("x", "y", "transform"):
            if key in element.attrib:
                element.attrib[key] = _round(element.attrib[key])
        if "style" in element.attrib:
            element.attrib["style"] = _restyle(element.attrib["style"])


def _rename(root: ElementTree.Element, name: str) -> None:
    """Keep only identifiers that something points to, and put the figure's name before them."""
    text = ElementTree.tostring(root, encoding="unicode")
    wanted = set(re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text))
    new: dict[str, str] = {}
    for element in root.iter():
        own = element.attrib.pop("id", "")
        kind, _, place = own.partition("-")
        if kind in ("series", "label") and place.isdecimal():
            element.attrib["data-series"] = place
            if kind == "label":
                element.attrib["class"] = "direct-label"
        elif own in wanted:
            new[own] = f"{name}-{len(new)}"
            element.attrib["id"] = new[own]
    for element in root.iter():
        for key, value in element.attrib.items():
            if value.startswith("url(#"):
                element.attrib[key] = f"url(#{new[value[5:-1]]})"
            elif key == "href" and value.startswith("#"):
                element.attrib[key] = f"#{new[value[1:]]}"
            elif key == "style" and "url(#" in value:
                element.attrib[key] = re.sub(r"url\(#([^)]+)\)", lambda hit: f"url(#{new[hit[1]]})", value)


def _restyle(style: str) -> str:
    """CSS variables for colours; of a font only size and weight, the rest is the page's."""
    kept = []
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            size = re.search(r"([\d.]+)px", value)
            kept += [f"font-size:{size[1]}px"] if size else []
            kept += ["font-weight:600"] if re.search(r"\b(bold|700)\b", value) else []
        elif key and key != "font-family":
            kept.append(f"{key}:{_HEX.sub(lambda hit: _VARIABLES.get(hit[0], hit[0]), value.lower())}")
    return ";".join(kept)


def _round(text: str) -> str:
    """Numbers with two decimals: a hundredth of a pixel is enough, and the bytes no longer depend on the last ulp."""
    return _NUMBER.sub(lambda hit: f"{round(float(hit[0]), 2) + 0.0:g}", text)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
