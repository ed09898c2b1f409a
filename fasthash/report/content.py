"""What a report shows, as plain data: scores, curves, training histories, searches and where it all came from.

Nothing here needs torch: texts are `str`, pictures are the bytes of PNG or JPEG files, series become read-only float64
arrays. Every value is checked on the way in, so a page is either right or not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import check_bits
from fasthash.report._checks import check_number, check_picture, check_series, check_share, check_text, check_whole

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
        _set(self, method=check_text("Score", "method", self.method), bits=check_bits(self.bits, "Score"))
        _set(self, i2t=check_share("Score", "i2t", self.i2t), t2i=check_share("Score", "t2i", self.t2i))
        _set(self, seconds=check_number("Score", "seconds", self.seconds, optional=True))
        _set(self, note=check_text("Score", "note", self.note, empty=True))

    @property
    def baseline(self) -> bool:
        return is_baseline(self.method)


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class Curve:
    """A precision-recall curve.

    Args:
        label: name of the line.
        recall, precision: [n] with n >= 1, in 0..1; recall never decreases. Leave out radii that retrieve nothing.
        method, bits: what the line belongs to; `method` (the label when empty) gives the colour, `bits` the panel.
    """

    label: str
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    method: str = ""
    bits: int | None = None

    def __post_init__(self) -> None:
        _set(self, label=check_text("Curve", "label", self.label))
        recall = check_series("Curve", "recall", self.recall, shares=True)
        precision = check_series("Curve", "precision", self.precision, shares=True)
        if len(recall) == 0 or len(recall) != len(precision):
            raise ValueError(
                f"Curve: recall and precision must have one length, at least 1, got {len(recall)} and {len(precision)}"
            )
        if np.any(np.diff(recall) < 0):
            raise ValueError(
                f"Curve: recall must never decrease, got {recall[np.argmax(np.diff(recall) < 0) + 1]} after more"
            )
        _set(self, recall=recall, precision=precision)
        _set(
            self,
            method=check_text("Curve", "method", self.method, empty=True) or self.label,
            bits=_bits(self, self.bits),
        )


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class History:
    """What happened while one model was trained.

    Args:
        label: name of the run.
        epochs, loss: [n] each; a loss that is not finite is shown as a gap.
        map_epochs, i2t, t2i: [m] each, the epochs that were evaluated and the mAP there, 0 to 1; m may be 0.
        method, bits: as for `Curve`.
    """

    label: str
    epochs: NDArray[np.float64]
    loss: NDArray[np.float64]
    map_epochs: NDArray[np.float64]
    i2t: NDArray[np.float64]
    t2i: NDArray[np.float64]
    method: str = ""
    bits: int | None = None

    def __post_init__(self) -> None:
        _set(self, label=check_text("History", "label", self.label))
        epochs = check_series("History", "epochs", self.epochs)
        loss = check_series("History", "loss", self.loss, finite=False)
        map_epochs = check_series("History", "map_epochs", self.map_epochs)
        i2t = check_series("History", "i2t", self.i2t, shares=True)
        t2i = check_series("History", "t2i", self.t2i, shares=True)
        if len(epochs) != len(loss):
            raise ValueError(f"History: loss must be [{len(epochs)}] like epochs, got [{len(loss)}]")
        if not len(map_epochs) == len(i2t) == len(t2i):
            raise ValueError(
                f"History: i2t and t2i must be [{len(map_epochs)}] like map_epochs, got [{len(i2t)}] and [{len(t2i)}]"
            )
        _set(self, epochs=epochs, loss=loss, map_epochs=map_epochs, i2t=i2t, t2i=t2i)
        _set(
            self,
            method=check_text("History", "method", self.method, empty=True) or self.label,
            bits=_bits(self, self.bits),
        )


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
        _set(self, picture=check_picture("Hit", self.picture), text=check_text("Hit", "text", self.text, empty=True))
        _set(self, label=check_text("Hit", "label", self.label, empty=True))
        _set(self, distance=check_whole("Hit", "distance", self.distance))
        if self.relevant is not None:
            if not isinstance(self.relevant, (bool, np.bool_)):
                raise TypeError(f"Hit: relevant must be True, False or None, got {self.relevant!r}")
            _set(self, relevant=bool(self.relevant))
        if self.picture is None and not self.text:
            raise ValueError("Hit: needs a picture or a text, got neither")


@dataclass(frozen=True)
class Query:
    """One search and what it found, nearest first.

    Args:
        kind: "text" (words ask for pictures) or "image" (a picture asks for texts).
        text: the words, or the name of the picture.
        picture: bytes of a PNG or JPEG file; needed by kind "image".
        label: class of the query, for people.
        method, bits: the model that answered. Queries that differ only in these are shown side by side.
        hits: what was found; may be empty.
        microseconds: time of the search itself.
        note: a sentence under the result.
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

    def __post_init__(self) -> None:
        if self.kind not in ("text", "image"):
            raise ValueError(f"Query: kind must be 'text' or 'image', got {self.kind!r}")
        _set(self, text=check_text("Query", "text", self.text, empty=self.kind == "image"))
        _set(self, picture=check_picture("Query", self.picture), bits=check_bits(self.bits, "Query"))
        if self.kind == "image" and self.picture is None:
            raise ValueError("Query: kind 'image' needs a picture, got None")
        _set(self, label=check_text("Query", "label", self.label, empty=True))
        _set(self, method=check_text("Query", "method", self.method), hits=_all("Query", "hits", self.hits, Hit))
        _set(self, microseconds=check_number("Query", "microseconds", self.microseconds, optional=True))
        _set(self, note=check_text("Query", "note", self.note, empty=True))
        for rank, hit in enumerate(self.hits, 1):
            if hit.distance > self.bits:
                raise ValueError(f"Query: hit {rank} must be at distance 0 to {self.bits}, got {hit.distance}")


@dataclass(frozen=True)
class Credit:
    """Whose work was used: a sentence, and a plain link if there is one."""

    text: str
    url: str = ""

    def __post_init__(self) -> None:
        _set(self, text=check_text("Credit", "text", self.text), url=check_text("Credit", "url", self.url, empty=True))
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ValueError(f"Credit: url must start with https:// or http://, got {self.url!r}")


@dataclass(frozen=True)
class Page:
    """Everything on the page. Only the title is needed; an empty part says so in a sentence.

    Args:
        title, lead: the heading and the paragraph under it.
        facts: (name, value) pairs, the few numbers worth seeing first.
        scores: the rows of the table.
        curves: precision-recall curves under "i2t" and "t2i".
        histories: one per trained model.
        queries: the searches; the same query answered by several models appears once with their answers side by side.
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

    def __post_init__(self) -> None:
        _set(
            self, title=check_text("Page", "title", self.title), lead=check_text("Page", "lead", self.lead, empty=True)
        )
        _set(self, facts=tuple((check_text("Page", "facts", n), check_text("Page", n, str(v))) for n, v in self.facts))
        _set(self, scores=_all("Page", "scores", self.scores, Score), curves=_curves(self.curves))
        _set(self, histories=_all("Page", "histories", self.histories, History))
        _set(self, queries=_all("Page", "queries", self.queries, Query))
        credits = [Credit(c) if isinstance(c, str) else c for c in self.credits]
        _set(self, credits=_all("Page", "credits", credits, Credit))
        named = {
            check_text("Page", "provenance", n): check_text("Page", n, str(v), empty=True)
            for n, v in self.provenance.items()
        }
        _set(self, provenance=named)


def _set(record: object, **values: object) -> None:
    """Store checked values in a frozen record while it is being made."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def _bits(record: object, bits: int | None) -> int | None:
    return None if bits is None else check_bits(bits, type(record).__name__)


def _all(op: str, name: str, values: Sequence[Any], kind: type) -> tuple[Any, ...]:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{op}: {name} must hold {kind.__name__} values, got {type(value).__name__}")
    return tuple(values)


def _curves(curves: Mapping[str, Sequence[Curve]]) -> dict[str, tuple[Curve, ...]]:
    unknown = sorted(set(curves) - set(DIRECTIONS))
    if unknown:
        raise ValueError(f"Page: curves must be under 'i2t' and 't2i', got {unknown[0]!r}")
    return {name: _all("Page", f"curves[{name!r}]", curves[name], Curve) for name in DIRECTIONS if name in curves}
