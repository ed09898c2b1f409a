"""What a report shows, as plain data: scores, curves, training histories, searches and where it all came from.

Nothing here needs torch: texts are `str`, pictures are the bytes of PNG or JPEG files, series become read-only float64
arrays. Every value is checked on the way in, so a page is either right or not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fasthash.codes import check_bits
from fasthash.report._checks import (
    check_all,
    check_number,
    check_picture,
    check_share,
    check_text,
    check_whole,
    set_values,
)
from fasthash.report.findings import Categories, CodeMap, Codes, Distances, Measure
from fasthash.report.series import AtRank, Curve, History

RANDOM = "random codes"  # the method name of the baseline row: codes drawn at random, what no learning gives
DIRECTIONS = {"i2t": "image → text", "t2i": "text → image"}


def is_baseline(method: str) -> bool:
    """Whether a method name means random codes, which every table and figure shows last and dimmed."""
    return method.strip().casefold() in {"random", RANDOM}


@dataclass(frozen=True)
class Score:
    """One row of the score table.

    Args:
        method: name of the method, or `RANDOM` for the baseline.
        bits: code length, 1 to 4096.
        i2t, t2i: mean average precision, 0 to 1, of images asking for texts and of texts asking for images.
        seconds: training time in seconds, when there was any.
        note: a few words under the name ("supervised").
    """

    method: str
    bits: int
    i2t: float
    t2i: float
    seconds: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        set_values(self, method=check_text("Score", "method", self.method), bits=check_bits(self.bits, "Score"))
        set_values(self, i2t=check_share("Score", "i2t", self.i2t), t2i=check_share("Score", "t2i", self.t2i))
        set_values(self, seconds=check_number("Score", "seconds", self.seconds, optional=True))
        set_values(self, note=check_text("Score", "note", self.note, empty=True))

    @property
    def baseline(self) -> bool:
        return is_baseline(self.method)


@dataclass(frozen=True)
class Hit:
    """One thing found.

    Args:
        picture: bytes of a PNG or JPEG file; None when the hit is a text alone.
        text: its name or caption.
        label: its class, for people ("Smileys & Emotion > heart").
        distance: Hamming distance to the query.
        relevant: whether it shares a label with the query; None when nobody knows.
    """

    picture: bytes | None
    text: str
    label: str
    distance: int
    relevant: bool | None = None

    def __post_init__(self) -> None:
        set_values(
            self, picture=check_picture("Hit", self.picture), text=check_text("Hit", "text", self.text, empty=True)
        )
        set_values(self, label=check_text("Hit", "label", self.label, empty=True))
        set_values(self, distance=check_whole("Hit", "distance", self.distance))
        if self.relevant is not None:
            if not isinstance(self.relevant, (bool, np.bool_)):
                raise TypeError(f"Hit: relevant must be True, False or None, got {self.relevant!r}")
            set_values(self, relevant=bool(self.relevant))
        if self.picture is None and not self.text:
            raise ValueError("Hit: needs a picture or a text, got neither")


@dataclass(frozen=True)
class Query:
    """One search and what it found, nearest first.

    Args:
        kind: "text" (words ask for pictures) or "image" (a picture asks for texts).
        text: the words, or the name of the picture.
        picture: bytes of a PNG or JPEG file; kind "image" needs it, or a text in its place.
        label: class of the query, for people.
        method, bits: the model that answered. Queries that differ only in these are shown side by side.
        hits: what was found; may be empty.
        microseconds: time of the search itself.
        note: a sentence under the result.
        group: which queries it is one of ("Best"); groups are chosen from.
        scope: what was searched ("One item of each category"), in place of the method where one model answers twice.
    """

    kind: str
    text: str
    picture: bytes | None
    label: str
    method: str
    bits: int
    hits: Sequence[Hit]
    microseconds: float | None = None
    note: str = ""
    group: str = ""
    scope: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("text", "image"):
            raise ValueError(f"Query: kind must be 'text' or 'image', got {self.kind!r}")
        set_values(self, text=check_text("Query", "text", self.text, empty=self.kind == "image"))
        set_values(self, picture=check_picture("Query", self.picture), bits=check_bits(self.bits, "Query"))
        if self.kind == "image" and self.picture is None and not self.text:
            raise ValueError("Query: kind 'image' needs a picture or a text, got neither")
        set_values(self, label=check_text("Query", "label", self.label, empty=True))
        set_values(
            self, method=check_text("Query", "method", self.method), hits=check_all("Query", "hits", self.hits, Hit)
        )
        set_values(self, microseconds=check_number("Query", "microseconds", self.microseconds, optional=True))
        words = {name: getattr(self, name) for name in ("note", "group", "scope")}
        set_values(self, **{name: check_text("Query", name, text, empty=True) for name, text in words.items()})
        for rank, hit in enumerate(self.hits, 1):
            if hit.distance > self.bits:
                raise ValueError(f"Query: hit {rank} must be at distance 0 to {self.bits}, got {hit.distance}")


@dataclass(frozen=True)
class Credit:
    """Whose work was used: a sentence, and a plain link if there is one."""

    text: str
    url: str = ""

    def __post_init__(self) -> None:
        set_values(
            self, text=check_text("Credit", "text", self.text), url=check_text("Credit", "url", self.url, empty=True)
        )
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ValueError(f"Credit: url must start with https:// or http://, got {self.url!r}")


@dataclass(frozen=True)
class Page:
    """Everything on the page. Only the title is needed; a part without content is left out.

    Args:
        title, lead: the heading and the paragraph under it.
        facts: (name, value) pairs, the few numbers worth seeing first.
        scores: the rows of the table of methods.
        measures: the rows of the table of one model under several measures.
        curves: precision-recall curves by radius under "i2t" and "t2i".
        curves_by_rank: the same by rank.
        precision_at, recall_at: at each number of items, under "i2t" and "t2i".
        histories: one per trained model.
        codes: what each side's codes look like.
        distances: of relevant and irrelevant pairs, under "i2t" and "t2i".
        code_map: the codes in the plane.
        categories: scores category by category, one for each layer of labels.
        queries: the searches; the same query answered by several models appears once with their answers side by side.
        missing: a sentence for each part that the data has no material for.
        warnings: sentences that nobody should miss.
        credits: `Credit`s, or plain sentences.
        provenance: name -> value of what is needed to make the page again (command, seed, versions).
    """

    title: str
    lead: str = ""
    facts: Sequence[tuple[str, Any]] = ()
    scores: Sequence[Score] = ()
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    histories: Sequence[History] = ()
    queries: Sequence[Query] = ()
    credits: Sequence[Credit | str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    measures: Sequence[Measure] = ()
    curves_by_rank: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    precision_at: Mapping[str, Sequence[AtRank]] = field(default_factory=dict)
    recall_at: Mapping[str, Sequence[AtRank]] = field(default_factory=dict)
    codes: Sequence[Codes] = ()
    distances: Mapping[str, Distances] = field(default_factory=dict)
    code_map: CodeMap | None = None
    categories: Sequence[Categories] = ()
    missing: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def __post_init__(self) -> None:
        title = check_text("Page", "title", self.title)
        set_values(self, title=title, lead=check_text("Page", "lead", self.lead, empty=True))
        facts = tuple((check_text("Page", "facts", n), check_text("Page", n, str(v))) for n, v in self.facts)
        lines = {name: getattr(self, name) for name in ("missing", "warnings")}
        told = {name: tuple(check_text("Page", name, line) for line in some) for name, some in lines.items()}
        set_values(self, facts=facts, **told)
        kinds = {"scores": Score, "measures": Measure, "histories": History, "codes": Codes, "queries": Query}
        for name, kind in (kinds | {"categories": Categories}).items():
            set_values(self, **{name: check_all("Page", name, getattr(self, name), kind)})
        for name, kind in {
            "curves": Curve,
            "curves_by_rank": Curve,
            "precision_at": AtRank,
            "recall_at": AtRank,
        }.items():
            set_values(self, **{name: by_direction("Page", name, getattr(self, name), kind)})
        check_all("Page", "distances", list(self.distances.values()), Distances)
        set_values(self, distances=in_directions("Page", "distances", self.distances))
        if self.code_map is not None:
            check_all("Page", "code_map", [self.code_map], CodeMap)
        credits = [Credit(c) if isinstance(c, str) else c for c in self.credits]
        set_values(self, credits=check_all("Page", "credits", credits, Credit))
        named = {
            check_text("Page", "provenance", n): check_text("Page", n, str(v), empty=True)
            for n, v in self.provenance.items()
        }
        set_values(self, provenance=named)


def in_directions(op: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under "i2t" and "t2i", in this order."""
    unknown = sorted(set(values) - set(DIRECTIONS))
    if unknown:
        raise ValueError(f"{op}: {name} must be under 'i2t' and 't2i', got {unknown[0]!r}")
    return {direction: values[direction] for direction in DIRECTIONS if direction in values}


def by_direction(op: str, name: str, values: Mapping[str, Sequence[Any]], kind: type) -> dict[str, tuple[Any, ...]]:
    """As `in_directions`, of several values of one kind each."""
    found = in_directions(op, name, values)
    return {direction: check_all(op, f"{name}[{direction!r}]", several, kind) for direction, several in found.items()}
