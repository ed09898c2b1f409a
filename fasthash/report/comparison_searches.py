"""The same queries put to the methods of a comparison: what each finds first, side by side, in both directions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fasthash import evaluation
from fasthash.data import PairedDataset
from fasthash.evaluation import Codes, Evaluation
from fasthash.report.comparison import Searches
from fasthash.report.content import Query
from fasthash.report.pictures import SMALL_SIDE, Pictures
from fasthash.report.searches import KINDS, Asker, Shown, credits_of, varied

CASES, HITS, METHODS = 3, 8, 12  # queries of a kind in a direction, hits of each, methods side by side
LETTERS = 90, 45  # of a text found, in a list and under a picture
PICTURE_BYTES = 8_000_000  # of the pictures of a page as they stand in it; lists are cut until they fit


def comparison_searches(
    codes: Mapping[str, Codes],
    data: PairedDataset,
    *,
    references: Collection[str] = (),
    seed: int = 0,
    room: int = PICTURE_BYTES,
) -> Searches:
    """Queries drawn at random, and those on which the methods differ most, answered by the first `METHODS` of them.

    How much they differ is the standard deviation of a query's average precision over the methods. Each method shows
    its first `HITS` items, or as many as let the pictures of all, each different one counted once, keep within the
    room, but at least one.

    Args:
        codes: by name of the row, in the order of the table; of one length.
        data: labelled; without pictures its texts are shown, without texts its ids.
        references: rows that do not count where the methods differ, such as random codes.
        seed: of the queries drawn.
        room: bytes of pictures, in base 64.
    """
    asked = dict(list(codes.items())[:METHODS])
    scored = {row: evaluation.score(own, data) for row, own in asked.items()}
    judged = [row for row in asked if row not in references]
    judged = judged if len(judged) > 1 else list(asked)
    shown = Shown(data, LETTERS)
    cases = np.random.default_rng(seed).permutation(len(data.split.query))
    found: list[Query] = []
    for direction in KINDS:
        askers = [Asker(own, data, shown, direction, row, scored[row], HITS) for row, own in asked.items()]
        apart = _most_apart([scored[row] for row in judged], direction)
        for group, places in (("Drawn at random", cases), ("Methods differ most", apart)):
            for place in varied(places, data, CASES):
                found += [asker.answer(place, group) for asker in askers]
    queries = _within(found, room)
    about = _about(asked, len(codes), max(len(query.hits) for query in queries), seed, shown)
    return Searches(queries, about, credits_of(data, queries))


def _most_apart(scored: list[Evaluation], direction: str) -> NDArray[np.int64]:
    """Places of the queries that have something to find and on which the methods differ, those that do most first."""
    precisions = np.array([one.scores["map_all"][direction].per_query for one in scored])  # [methods, queries]
    spread = precisions.std(axis=0)
    relevant = scored[0].summaries[direction].histograms.total_relevant
    able = np.flatnonzero((relevant > 0) & (np.ptp(precisions, axis=0) > 0))
    return able[np.argsort(-spread[able], kind="stable")]


def _within(queries: list[Query], room: int) -> list[Query]:
    """The queries with as many of the first hits as let their pictures take no more than the room; at least one."""
    pictures = Pictures(SMALL_SIDE)
    cut = queries
    for hits in range(HITS, 0, -1):
        cut = [replace(query, hits=query.hits[:hits]) for query in queries]
        every = [pictures.add(one) for query in cut for one in [query.picture, *(hit.picture for hit in query.hits)]]
        if sum(len(one.uri) for one in {one.name: one for one in every if one is not None}.values()) <= room:
            break
    return cut


def _about(asked: Mapping[str, Codes], every: int, hits: int, seed: int, shown: Shown) -> str:
    bits = next(iter(asked.values())).bits
    first = f"first {hits} items" if hits > 1 else "first item"
    said = f"Every method answers the same queries, here with its {first} at {bits} bits."
    said += f" The queries are drawn with seed {seed}"
    said += ", or those whose average precision differs most from method to method." if len(asked) > 1 else "."
    if len(asked) < every:
        said += f" Shown are the first {len(asked)} of {every} methods."
    if not shown.pictures:
        instead = "texts" if shown.data.texts is not None else "ids"
        said += f" There are no pictures here, so {instead} are shown."
    elif shown.data.texts is None:
        said += " There are no texts here, so ids are shown."
    return said
