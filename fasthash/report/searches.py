"""What searches show, for every page: queries that differ, pictures and texts as they are shown, answers of codes."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import search
from fasthash.data import PairedDataset
from fasthash.evaluation import Codes, Evaluation
from fasthash.report.content import Credit, Hit, Query
from fasthash.report.pictures import SIDE

KINDS = {"i2t": "image", "t2i": "text"}  # what asks in each direction
_PNG = b"\x89PNG\r\n\x1a\n"
# shown of a pair without a picture: a single white dot
_EMPTY = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
)
_LETTERS = 170, 64  # of a text shown in a list and under a picture


def varied(places: NDArray[np.int64], data: PairedDataset, most: int) -> list[int]:
    """The first places whose labels differ from those before; filled up in order where there are too few."""
    if data.labels is None:
        return [int(place) for place in places[:most]]
    found: dict[bytes, int] = {}
    for place in places.tolist():
        found.setdefault(data.labels[data.split.query[place]].tobytes(), place)
        if len(found) == most:
            break
    chosen = list(found.values())
    return chosen + [place for place in places[:most].tolist() if place not in chosen][: most - len(chosen)]


class Shown:
    """What can be shown of an item: its picture as the bytes of a small file, its text, its label."""

    def __init__(self, data: PairedDataset, letters: tuple[int, int] = _LETTERS) -> None:
        self.data = data
        self.long, self.short = letters
        self.kept: dict[int, bytes] = {}
        self.pictures = data.pictures is not None and self._there()

    def _there(self) -> bool:
        try:
            self.picture(0)
        except FileNotFoundError:
            return False
        return True

    def picture(self, row: int) -> bytes:
        assert self.data.pictures is not None
        if row not in self.kept:
            place = self.data.pictures[row]
            raw = _EMPTY if place is None else place.read()
            if not raw.startswith(_PNG):  # any other is brought upright, and to twice the side that the page shows
                image = self.data.picture(row)
                image.thumbnail((2 * SIDE, 2 * SIDE))
                buffer = io.BytesIO()
                image.save(buffer, format="JPEG", quality=90)
                raw = buffer.getvalue()
            self.kept[row] = raw
        return self.kept[row]

    def text(self, row: int, most: int) -> str:
        text = " ".join(self.data.texts[row].split()) if self.data.texts is not None else ""
        text = text or self.data.ids[row]
        return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + "…"

    def label(self, row: int) -> str:
        if self.data.labels is None:
            return ""
        if self.data.tree is not None:
            return " > ".join(layer.classes[layer.ids[row]] for layer in self.data.tree.layers)
        return ", ".join(self.data.class_names[c] for c in np.flatnonzero(self.data.labels[row]))


class Asker:
    """Puts queries of one direction to the database."""

    def __init__(
        self,
        codes: Codes,
        data: PairedDataset,
        shown: Shown,
        direction: str,
        method: str,
        scored: Evaluation | None,
        hits: int,
    ) -> None:
        self.codes, self.data, self.shown, self.method, self.hits = codes, data, shown, method, hits
        self.kind = KINDS[direction]
        self.queries, self.items = codes.pair(direction)
        self.scores: Any = None if scored is None else scored.scores["map_all"][direction]

    def answer(self, place: int, group: str, scope: str = "", allowed: NDArray[np.int64] | None = None) -> Query:
        """What a query finds, in the whole database or among the places allowed."""
        items = self.items if allowed is None else self.items[allowed]
        k = min(self.hits, len(items))
        distances, ids = search.knn(self.queries[place : place + 1], items, k, bits=self.codes.bits)
        places = ids[0] if allowed is None else allowed[ids[0]]
        row = int(self.data.split.query[place])
        hits = [
            self._hit(row, int(self.data.split.database[p]), int(d)) for p, d in zip(places, distances[0], strict=True)
        ]
        note = self._note(place) if allowed is None else self._rank(place, allowed)
        picture = self.shown.picture(row) if self.kind == "image" and self.shown.pictures else None
        text = self.shown.text(row, _LETTERS[0])
        label = self.shown.label(row)
        return Query(
            self.kind, text, picture, label, self.method, self.codes.bits, hits, note=note, group=group, scope=scope
        )

    def _hit(self, query: int, row: int, distance: int) -> Hit:
        labels = self.data.labels
        relevant = None if labels is None else bool((labels[query] & labels[row]).any())
        if self.kind == "text" and self.shown.pictures:
            return Hit(
                self.shown.picture(row),
                self.shown.text(row, self.shown.short),
                self.shown.label(row),
                distance,
                relevant,
            )
        return Hit(None, self.shown.text(row, self.shown.long), self.shown.label(row), distance, relevant)

    def _note(self, place: int) -> str:
        if self.scores is None:
            return ""
        total = int(self.scores.histograms.total_relevant[place])
        return (
            f"Average precision {self.scores.per_query[place]:.3f}; {total:,} of {self.scores.nb:,} items are relevant."
        )

    def _rank(self, place: int, allowed: NDArray[np.int64]) -> str:
        """Where the first relevant item of the constrained set stands."""
        labels = self.data.labels
        assert labels is not None
        _, ids = search.knn(self.queries[place : place + 1], self.items[allowed], len(allowed), bits=self.codes.bits)
        ranked = labels[self.data.split.database[allowed[ids[0]]]]
        hits = np.flatnonzero((ranked & labels[self.data.split.query[place]]).any(axis=1))
        where = f"the first relevant one stands at rank {hits[0] + 1}" if len(hits) else "none of them is relevant"
        return f"Of {len(allowed)} items, one of each category, {where}."


def credits_of(data: PairedDataset, queries: list[Query]) -> list[Credit]:
    """Whose data a page shows, and under which licence."""
    if not data.source:
        return []
    what = (
        "Pictures and data"
        if any(query.picture or any(hit.picture for hit in query.hits) for query in queries)
        else "Data"
    )
    licence = f" Licence: {data.licence.rstrip('.')}." if data.licence else ""
    return [Credit(f"{what}: {data.source.rstrip('.')}.{licence}")]
