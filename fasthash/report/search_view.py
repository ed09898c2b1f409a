"""Searches as the templates insert them: a block for each query, with the answers of all methods and lengths in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasthash.report import units
from fasthash.report.content import DIRECTIONS, Query
from fasthash.report.pictures import Pictures
from fasthash.report.theme import Style

_MARKS = {True: "yes", False: "no", None: "unknown"}
_ASKED_IN = {"image": "i2t", "text": "t2i"}  # the direction that a kind of query asks in


def search_part(queries: Sequence[Query], look: Mapping[str, Style], pictures: Pictures) -> dict[str, Any]:
    """ "blocks" of `searches.html.j2`, and what there is to choose from: "methods", "bits", "directions", "groups".

    Args:
        look: a style for each of the methods.
        pictures: of the page; each different picture stands in it once, whoever found it.
    """
    asked = {_ASKED_IN[query.kind] for query in queries}
    return {
        "blocks": _blocks(queries, look, pictures),
        "methods": list(dict.fromkeys(query.method for query in queries)),
        "bits": sorted({query.bits for query in queries}),
        "directions": [direction for direction in DIRECTIONS if direction in asked],
        "groups": list(dict.fromkeys(query.group for query in queries if query.group)),
    }


def _blocks(queries: Sequence[Query], look: Mapping[str, Style], pictures: Pictures) -> list[dict[str, Any]]:
    """Queries that ask the same thing become one block with an answer for each method and code length."""
    blocks: dict[tuple[Any, ...], dict[str, Any]] = {}
    for query in queries:
        key = (query.group, query.kind, query.text, query.picture, query.label)
        if key not in blocks:
            picture, direction = pictures.add(query.picture), _ASKED_IN[query.kind]
            blocks[key] = {"query": query, "direction": direction, "picture": picture, "answers": []}
        blocks[key]["answers"].append(_answer(query, look[query.method], pictures))
    for block in blocks.values():
        block["answers"].sort(key=lambda answer: answer["query"].bits)
        notes = [answer["query"].note for answer in block["answers"]]
        block["note"] = notes[0] if len(set(notes)) == 1 else ""  # said once when it holds for every answer
    return list(blocks.values())


def _answer(query: Query, style: Style, pictures: Pictures) -> dict[str, Any]:
    judged = [hit.relevant for hit in query.hits if hit.relevant is not None]
    hits = [{"hit": hit, "picture": pictures.add(hit.picture), "mark": _MARKS[hit.relevant]} for hit in query.hits]
    return {
        "query": query, "style": style, "hits": hits, "relevant": sum(judged), "judged": len(judged),
        "time": units.microseconds(query.microseconds), "pictured": any(hit.picture is not None for hit in query.hits),
        "columns": next((n for n in (6, 5, 4) if len(query.hits) % n == 0), 5),  # whole rows where the number allows it
    }  # fmt: skip
