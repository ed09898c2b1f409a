"""Curves as the templates insert them: a panel for each kind and code length, with a figure for each direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthash.report import units
from fasthash.report.content import DIRECTIONS
from fasthash.report.plots import place_of, pr_figure, rank_figure
from fasthash.report.series import AtRank, Curve
from fasthash.report.svg import inline
from fasthash.report.theme import Style

RECALLS = tuple(round(step / 10, 1) for step in range(1, 11))


@dataclass(frozen=True)
class Kind:
    """A kind of curve: what the choice calls it, what its figure is called and shows."""

    choice: str
    what: str
    words: str


KINDS = {
    "radius": Kind(
        "PR by radius", "Precision against recall",
        "As the distance grows: how much of what is found is relevant, against how much of all that is relevant is "
        "found. Counts are pooled over all queries, so large classes weigh most.",
    ),
    "rank": Kind(
        "PR by rank", "Precision against recall by rank",
        "Down the ranking, item by item: precision against recall, averaged over the queries.",
    ),
    "precision": Kind(
        "Precision@N", "Precision among the nearest items",
        "Share of relevant items among the N nearest, averaged over the queries.",
    ),
    "recall": Kind(
        "Recall@N", "Recall among the nearest items",
        "Share of all relevant items that are among the N nearest, averaged over the queries.",
    ),
}  # fmt: skip


def curve_panels(
    kinds: Mapping[str, Mapping[str, Sequence[Any]]], look: Mapping[str, Style], name: Callable[[], str]
) -> dict[str, Any]:
    """ "curves", the panels; "curve_kinds", (value, text) of those there are; "curve_bits", their lengths."""
    panels: list[dict[str, Any]] = []
    found: list[tuple[str, str]] = []
    bits: set[int] = set()
    for kind, both in kinds.items():
        lines = [line for several in both.values() for line in several]
        if not lines:
            continue
        found.append((kind, KINDS[kind].choice))
        own = {line.bits for line in lines}
        bits |= own - {None}
        for length in sorted(own - {None}) + ([None] if None in own else []):
            panels.append(_panel(kind, both, length, look, name))
    return {"curves": panels, "curve_kinds": found, "curve_bits": sorted(bits)}


def _panel(
    kind: str, both: Mapping[str, Sequence[Any]], bits: int | None, look: Mapping[str, Style], name: Callable[[], str]
) -> dict[str, Any]:
    """The figures of one code length, a legend for each, and the numbers behind them."""
    figures = []
    for direction, title in DIRECTIONS.items():
        lines = [line for line in both.get(direction, ()) if line.bits == bits]
        if not lines:
            continue
        if kind in ("radius", "rank"):
            drawn, head, first, values = pr_figure(lines, look), "Recall", RECALLS, _at_recalls(lines)
        else:
            drawn = rank_figure(lines, look, y="Precision" if kind == "precision" else "Recall")
            head, (first, values) = "N", _at_ranks(lines)  # type: ignore[assignment]
        ends = "; ".join(f"{line.label} from {_ends(line)[0]:.2f} to {_ends(line)[1]:.2f}" for line in lines)
        alt = f"{KINDS[kind].what}, {title}: {ends}."
        named = {place_of(look, line.method): line for line in lines}
        legend = [{"place": place, "label": line.label, "style": look[line.method]} for place, line in named.items()]
        figures.append({
            "title": title, "svg": inline(drawn, name(), alt, values=True), "head": head, "first": first,
            "values": values, "legend": legend,
        })  # fmt: skip
    return {"kind": kind, "words": KINDS[kind].words, "bits": bits, "figures": figures}


def _ends(line: Curve | AtRank) -> tuple[float, float]:
    series = line.precision if isinstance(line, Curve) else line.values
    return float(series[0]), float(series[-1])


def _at_recalls(curves: Sequence[Curve]) -> list[tuple[str, list[str]]]:
    return [(curve.label, [_precision_at(curve, recall) for recall in RECALLS]) for curve in curves]


def _precision_at(curve: Curve, recall: float) -> str:
    """Precision at the first point that reaches this recall; a dash when the curve ends before."""
    place = int(np.searchsorted(curve.recall, recall - 1e-9))
    return units.score(float(curve.precision[place])) if place < len(curve.recall) else "–"


def _at_ranks(lines: Sequence[AtRank]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """At most a dozen numbers of items that every line has, spread over all; and the values there."""
    common = sorted(set.intersection(*(set(line.ranks.tolist()) for line in lines)))
    places = {round(place) for place in np.linspace(0, len(common) - 1, 12).tolist()} if common else set()
    ranks = [common[place] for place in sorted(places)]
    values = [(line.label, [units.score(line.values[np.searchsorted(line.ranks, r)]) for r in ranks]) for line in lines]
    return [f"{rank:,.0f}" for rank in ranks], values
