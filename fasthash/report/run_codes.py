"""Measures, curves, distances and categories of scored codes, as the records of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fasthash import evaluation
from fasthash.codes import CodeStats, describe
from fasthash.data import PairedDataset
from fasthash.evaluation import DIRECTIONS, Evaluation
from fasthash.metrics import Summary, bootstrap, separation
from fasthash.report.content import DIRECTIONS as TITLES
from fasthash.report.findings import Categories, Category, Codes, Distances, Measure
from fasthash.report.series import AtRank, Curve

PROTOCOLS = ("map_all", "map_all_stable", "map_at_50")
_NAMED = {
    "map_all": ("mAP over the whole database", "ties in expectation"),
    "map_all_stable": ("mAP over the whole database, stable", "ties in the order of the database"),
    "map_at_50": ("mAP of the first 50", "ties in expectation"),
}


def code_quality(codes: evaluation.Codes) -> list[Codes]:
    """What the database codes of each side look like."""
    found = []
    for side, packed in (("Image codes", codes.database_image), ("Text codes", codes.database_text)):
        stats = describe(packed, codes.bits)
        found.append(Codes(side, _words(stats), stats.balance, stats.collapsed))
    return found


def _words(stats: CodeStats) -> str:
    signs = f"Signs of collapse: {'; '.join(stats.signs)}. " if stats.signs else ""
    dead = {0: "no bit is", 1: "1 bit is"}.get(stats.dead_bits, f"{stats.dead_bits} bits are")
    return (
        f"{signs}{stats.n:,} codes of {stats.bits} bits, {stats.distinct:,} of them distinct, with an entropy of "
        f"{stats.entropy:.1f} bits. Bits are one in {stats.balance.min():.0%} to {stats.balance.max():.0%} of the "
        f"codes; {dead} always the same. Two bits correlate by {stats.correlation:.2f} on average, "
        f"{stats.largest_correlation:.2f} at most. Two codes are {stats.distance:.1f} ± "
        f"{stats.distance_spread:.1f} bits apart."
    )


def findings(scored: Mapping[str, Evaluation], data: PairedDataset) -> dict[str, Any]:
    """Fields of `Page` from the scores of a model and of random codes.

    Args:
        scored: by name; the first is the model, the second, when there is one, random codes.
        data: what they were scored on.
    """
    own, *others = scored.values()
    distances: dict[str, Distances] = {}
    warnings: list[str] = []
    for side in DIRECTIONS:
        apart = separation(own.summaries[side].histograms)
        distances[side] = Distances(apart.relevant, apart.irrelevant)
        warnings += [f"{TITLES[side]}: {sign}." for sign in apart.signs]
    return _curves(scored) | {
        "measures": _measures(own, others[0] if others else None, data),
        "distances": distances,
        "categories": categories(own, data),
        "warnings": [line[:1].upper() + line[1:] for line in warnings],
    }


def _curves(scored: Mapping[str, Evaluation]) -> dict[str, dict[str, list[Any]]]:
    names = ("curves", "curves_by_rank", "precision_at", "recall_at")
    found: dict[str, dict[str, list[Any]]] = {name: {side: [] for side in DIRECTIONS} for name in names}
    for name, one in scored.items():
        bits = one.codes.bits
        for side in DIRECTIONS:
            pr, rank = one.summaries[side].pr, one.summaries[side].by_rank["expected"]
            some = pr.retrieved > 0
            found["curves"][side].append(Curve(name, pr.recall[some], pr.precision[some], name, bits))
            precision, recall = np.clip(rank.precision, 0, 1), np.maximum.accumulate(np.clip(rank.recall, 0, 1))
            found["curves_by_rank"][side].append(Curve(name, recall, precision, name, bits))
            found["precision_at"][side].append(AtRank(name, rank.n, precision, name, bits))
            found["recall_at"][side].append(AtRank(name, rank.n, recall, name, bits))
    return found


def categories(own: Evaluation, data: PairedDataset) -> list[Categories]:
    """mAP of the queries of each class of each layer, the best first; a query of several classes counts in each."""
    assert data.labels is not None
    layers = [] if data.tree is None else list(data.tree.layers)
    named = [(layer.name, layer.classes, layer.one_hot) for layer in layers] or [("", data.class_names, data.labels)]
    ap = {side: own.scores["map_all"][side].per_query for side in DIRECTIONS}
    found = []
    for layer, names, labels in named:
        members = labels[data.split.query].astype(bool)
        rows = []
        for place in np.flatnonzero(members.any(axis=0)):
            mine = members[:, place]
            i2t, t2i = (float(ap[side][mine].mean()) for side in DIRECTIONS)
            rows.append(Category(names[place], int(mine.sum()), i2t, t2i))
        found.append(Categories(layer, sorted(rows, key=lambda row: -(row.i2t + row.t2i))))
    return found


def _measures(own: Evaluation, chance: Evaluation | None, data: PairedDataset) -> list[Measure]:
    found = []

    def add(name: str, note: str, value: Callable[[Evaluation, str], float]) -> None:
        i2t, t2i = (value(own, side) for side in DIRECTIONS)
        floor = None if chance is None else (value(chance, "i2t"), value(chance, "t2i"))
        found.append(Measure(name, i2t, t2i, floor, note))

    for protocol, (name, note) in _NAMED.items():
        more = f"; {_intervals(own)}" if protocol == "map_all" else ""
        add(name, note + more, lambda one, side, p=protocol: one.scores[p][side].value)  # type: ignore[misc]
    add("Area under the PR curve", "by radius, all pairs pooled", lambda one, side: one.summaries[side].pr.area)
    for n in (10, 100):
        if n <= len(data.split.database):
            add(f"Precision of the first {n}", "", lambda one, side, n=n: _precision(one.summaries[side], n))  # type: ignore[misc]
    words = "hash lookup; a query that finds nothing counts 0"
    add("Precision within radius 2", words, lambda one, side: one.summaries[side].lookup.precision)
    if data.tree is not None and len(data.tree) > 1:
        graded = {id(one): _graded(one, data) for one in (own, chance) if one is not None}
        add("nDCG", "graded by common layers of the label tree", lambda one, side: graded[id(one)][side])
    return found


def _intervals(own: Evaluation) -> str:
    """Where the mAP could as well have lain with other queries of the kind, in words."""
    made = [bootstrap(own.scores["map_all"][side].per_query, samples=2000) for side in DIRECTIONS]
    return "95% intervals over the queries " + " and ".join(f"{one.low:.3f} to {one.high:.3f}" for one in made)


def _precision(summary: Summary, n: int) -> float:
    curve = summary.by_rank["expected"]
    return float(curve.precision[np.searchsorted(curve.n, n)])


def _graded(one: Evaluation, data: PairedDataset) -> dict[str, float]:
    graded = evaluation.score(one.codes, data, relevance="graded").graded
    return {side: graded[side].value for side in DIRECTIONS}
