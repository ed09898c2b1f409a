"""Searches worth a look: cases drawn at random, and the best and the worst queries, in both directions.

The cases are answered twice, as in the case studies of HiCHNet (its figures 5 and 6): from the whole database, and from
a constrained set that holds one item of each category.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fasthash.data import PairedDataset
from fasthash.evaluation import Codes, Evaluation
from fasthash.report.content import Query
from fasthash.report.searches import KINDS, Asker, Shown, varied

CASES, EXTREMES, HITS = 3, 3, 10  # queries drawn, queries of either end, hits of each


def searches(
    codes: Codes, data: PairedDataset, scored: Evaluation | None, method: str, seed: int
) -> tuple[list[Query], list[str]]:
    """(queries for the page, a sentence for each part that could not be made).

    Args:
        scored: scores of these codes; None for data without labels, which has neither best nor worst queries.
        seed: of the cases and of the constrained set.
    """
    shown = Shown(data)
    if not shown.pictures and data.texts is None:
        return [], [f"{data.name} has neither pictures nor texts, so there are no searches to look at."]
    missing = []
    if not shown.pictures:
        missing.append(f"{data.name} has no pictures here, so searches show texts alone.")
    if data.texts is None:
        missing.append(f"{data.name} has no texts, so searches show pictures and labels alone.")
    rng = np.random.default_rng(seed)
    cases = rng.permutation(len(data.split.query))
    constrained = _one_of_each(data, rng)
    found: list[Query] = []
    for direction in KINDS:
        asker = Asker(codes, data, shown, direction, method, scored, HITS)
        for place in varied(cases, data, CASES):
            found.append(asker.answer(place, "Drawn at random", "Whole database" if len(constrained) else ""))
            if len(constrained):
                found.append(asker.answer(place, "Drawn at random", "One item of each category", constrained))
        if scored is not None:
            ap = scored.scores["map_all"][direction].per_query
            judged = np.flatnonzero(scored.summaries[direction].histograms.total_relevant > 0)
            order = judged[np.argsort(-ap[judged], kind="stable")]
            for group, some in (("Best", order), ("Worst", order[::-1])):
                found += [asker.answer(place, group) for place in varied(some, data, EXTREMES)]
    return found, missing


def _one_of_each(data: PairedDataset, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places in the database: one item of each class of the finest layer, no item twice."""
    if data.labels is None:
        return np.empty(0, np.int64)
    labels = data.labels[data.split.database].astype(bool)
    order = rng.permutation(len(labels))
    taken: dict[int, None] = {}
    for one in range(labels.shape[1]):
        free = (place for place in order[labels[order, one]].tolist() if place not in taken)
        place = next(free, None)
        if place is not None:
            taken[place] = None
    return np.array(sorted(taken), np.int64)
