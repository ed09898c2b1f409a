"""What scoring found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fasthash.codes import CodeStats
from fasthash.features.array_files import FileArray
from fasthash.metrics import GradedScores, Interval, Separation, Summary


@dataclass(frozen=True)
class Direction:
    """What was measured of queries against one database."""

    summary: Summary
    ndcg: GradedScores  # by the layers of a label tree, else by the number of common labels
    separation: Separation
    opposed: int  # bits that are nearly always opposite in the codes of queries and database, whatever the item
    intervals: Mapping[str, Interval] = field(default_factory=dict)  # by the name of the measure

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: all but the values of single queries."""
        found = self.summary.to_dict()
        for name, interval in self.intervals.items():
            found["map"][name] |= {"low": interval.low, "high": interval.high, "level": interval.level}
        ndcg = {name: getattr(self.ndcg, name) for name in ("value", "k", "graded_by")}
        more = {"ndcg": ndcg | {"gains": list(self.ndcg.gains)}, "distances": self.separation.to_dict()}
        return found | more | {"opposed_bits": self.opposed}

    @property
    def signs(self) -> tuple[str, ...]:
        """The signs of a collapse, each in words: of the pairs, and of sides that do not speak one code."""
        bits = self.separation.bits
        if self.opposed * 4 < bits:
            return self.separation.signs
        gap = f"{self.opposed} of {bits} bits are opposite in queries and database, whatever the item"
        return (*self.separation.signs, gap)


@dataclass(frozen=True)
class CodeScores:
    """Scores of codes, and for those out of files, how the files were read."""

    bits: int
    nq: int
    nb: int
    data: str | None  # name and checksum of the data set whose labels and split were taken
    relevance: str | None  # of that data set's labels
    searched: str  # "all", "without_train" or "learned"
    directions: Mapping[str, Direction]  # i2t and t2i, or "one" where nothing is said of images and texts
    codes: Mapping[str, CodeStats]  # role -> what its codes look like
    files: Mapping[str, FileArray] = field(default_factory=dict)  # role -> where it came from
    read_as: Mapping[str, str] = field(default_factory=dict)  # role -> in words

    @property
    def signs(self) -> tuple[str, ...]:
        """The signs of collapse, each in words."""
        of_codes = [f"{role.replace('_', ' ')}: {sign}" for role, stats in self.codes.items() for sign in stats.signs]
        of_pairs = [
            sign if name == "one" else f"{name}: {sign}"
            for name, found in self.directions.items()
            for sign in found.signs
        ]
        return (*of_codes, *of_pairs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: everything."""
        files = {role: array.to_dict() | {"read_as": self.read_as[role]} for role, array in self.files.items()}
        measures = next(iter(self.directions.values())).summary.scores
        values = {
            name: {direction: found.summary.scores[name].value for direction, found in self.directions.items()}
            for name in measures
        }
        return {
            "data": self.data,
            "relevance": self.relevance,
            "searched": self.searched,
            "bits": self.bits,
            "queries": self.nq,
            "database": self.nb,
            "map": values,
            "directions": {name: found.to_dict() for name, found in self.directions.items()},
            "codes": {role: stats.to_dict() for role, stats in self.codes.items()},
            "signs": list(self.signs),
            "files": files,
        }
