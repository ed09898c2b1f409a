"""The kinds of problems, what may be done about each, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLICIES = ("refuse", "skip", "keep")


@dataclass(frozen=True)
class ProblemKind:
    """One kind of problem."""

    name: str
    summary: str
    skipping: str  # what "skip" leaves out
    default: str = "refuse"
    kept: str = ""  # why it cannot be kept; "" where it can

    @property
    def policies(self) -> tuple[str, ...]:
        """What may be asked for."""
        return POLICIES[:2] if self.kept else POLICIES


_PAIR = "the pair"
_KINDS = (
    ProblemKind("missing-picture", "the source names no picture, or no such file or member of an archive is there",
                _PAIR),
    ProblemKind("damaged-picture", "truncated, no picture at all, or not 8 bits a channel", _PAIR),
    ProblemKind("duplicate-id", "an id that an earlier pair has", "the later pairs", kept="ids must be distinct"),
    ProblemKind("empty-text", "no caption, or blank ones only", _PAIR),
    ProblemKind("no-label", "not one label: a row of zeros, or a blank class in a layer", _PAIR),
    ProblemKind("not-finite", "features with a NaN or an infinity", _PAIR, kept="no method could learn from it"),
    ProblemKind("zero-features", "features that are all zero: no direction, so no cosine", _PAIR, default="keep"),
    ProblemKind("query-overlap", "a query that is in the database or the training set of its split too",
                "it from database and training set", kept="a query must not find itself"),
    ProblemKind("leak", "a pair searched or trained on with picture (unopened: image features) and text of a query",
                "it from database and training set", default="keep"),
)  # fmt: skip


def kinds() -> dict[str, ProblemKind]:
    """Every kind of problem by name, in the order in which they are told."""
    return {kind.name: kind for kind in _KINDS}


def resolve(policies: Mapping[str, str] | None = None) -> dict[str, str]:
    """A policy for every kind: the default where none is given.

    Raises:
        ValueError: unknown kind or policy, or one that is impossible for the kind.
    """
    known = kinds()
    for name, policy in (policies or {}).items():
        if name not in known:
            raise ValueError(f"problems: kind must be one of {', '.join(known)}, got {name!r}")
        if policy not in POLICIES:
            raise ValueError(f"problems: {name} must be one of {', '.join(POLICIES)}, got {policy!r}")
        if policy not in known[name].policies:
            raise ValueError(f"problems: {name} cannot be kept, {known[name].kept}: skip it or refuse it")
    return {name: kind.default for name, kind in known.items()} | dict(policies or {})


@dataclass(frozen=True, eq=False)
class Found:
    """One kind of problem in the rows that have it."""

    kind: str
    rows: NDArray[np.int64]  # ascending
    examples: tuple[str, ...]  # of the first three: place and what is wrong there
    split: str | None = None  # of query-overlap and leak: the split they are in

    @property
    def count(self) -> int:
        """How many pairs."""
        return len(self.rows)

    @property
    def title(self) -> str:
        """Kind, and the split if it is a matter of one."""
        return self.kind if self.split is None else f"{self.kind} of split {self.split}"


@dataclass(frozen=True, eq=False)
class Problems:
    """What `examine` found, one entry for each kind (and split) that occurs."""

    found: tuple[Found, ...]
    pairs: int
    pictures: str  # what was done with the pictures: "decoded", "looked for" or "none"
    keepable: tuple[str, ...] = ()  # kinds that this very data can keep

    def __iter__(self) -> Iterator[Found]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def of(self, kind: str) -> Found | None:
        """The first entry of a kind."""
        return next((found for found in self.found if found.kind == kind), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "pairs": self.pairs,
            "pictures": self.pictures,
            "found": [
                {"kind": one.kind, "count": one.count, "examples": list(one.examples)}
                | ({} if one.split is None else {"split": one.split})
                for one in self.found
            ],
        }

    def ways_out(self, kind: str) -> str:
        """The options of the command line that let data with this kind through."""
        keep = f" or --keep {kind}" if kind in self.keepable else ""
        return f"--skip {kind}{keep}"
