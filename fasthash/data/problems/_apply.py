"""Doing about the problems what was asked: refuse, leave out, or keep; and saying so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.problems._examine import later_duplicates
from fasthash.data.problems._kinds import Found, Problems, resolve
from fasthash.data.problems._rows import RowNumbers, RowView, take
from fasthash.data.splits import Split


@dataclass(frozen=True, eq=False)
class Treated:
    """What became of one kind of problem."""

    kind: str  # "leak of split dcmh" where it is a matter of one split
    policy: str  # skip or keep
    ids: Sequence[str]  # of the pairs

    @property
    def count(self) -> int:
        """How many pairs."""
        return len(self.ids)

    def __str__(self) -> str:
        done = "left out" if self.policy == "skip" else "kept"
        return f"{done}: {self.count:,} {'pair' if self.count == 1 else 'pairs'} ({self.kind})"


@dataclass(frozen=True, eq=False)
class Cleaned:
    """What `apply` made: the data, its notes saying what was done, and the record of it with all the ids."""

    gathered: Gathered
    record: tuple[Treated, ...]


def apply(gathered: Gathered, problems: Problems, policies: Mapping[str, str] | None = None) -> Cleaned:
    """The data without the pairs that are to be skipped; the splits are those of the pairs that are left.

    Args:
        problems: what `examine` said of this very `gathered`.
        policies: kind -> refuse, skip or keep; default: that of the kind.
    Raises:
        ValueError: a kind is refused: every refused one with its count, first place and the option that lets it
            through; an unknown kind or a policy impossible for it; nothing, no query, no database or no training
            pair is left.
    """
    wanted = resolve(policies)
    if problems.pairs != len(gathered):
        raise ValueError(
            f"{gathered.name}: the problems must be those of these {len(gathered)} pairs, got those of {problems.pairs}"
        )
    _check_kept(gathered, problems, wanted)
    refused = [found for found in problems if wanted[found.kind] == "refuse"]
    if refused:
        raise ValueError(_refusal(gathered, problems, refused))
    alive, splits, record = _without(gathered, problems, wanted)
    said = ", ".join(map(str, record))
    if not alive.any():
        raise ValueError(f"{gathered.name}: no pair is left of {len(gathered):,}: {said}")
    cleaned = take(gathered, np.flatnonzero(alive), splits)
    for name, split in cleaned.splits.items():
        for part in ("query", "database", "train"):
            before = len(getattr(gathered.splits[name], part))
            if before and not len(getattr(split, part)):
                raise ValueError(f"{gathered.name}: split {name}: no {part} pair is left of {before:,}: {said}")
    for found in problems:
        rows = found.rows[alive[found.rows]]
        if wanted[found.kind] == "keep" and len(rows):
            record.append(Treated(found.title, "keep", RowView(_ids(gathered), rows)))
    return Cleaned(replace(cleaned, notes=(*gathered.notes, *map(str, record))), tuple(record))


def _without(
    gathered: Gathered, problems: Problems, wanted: Mapping[str, str]
) -> tuple[NDArray[np.bool_], dict[str, Split], list[Treated]]:
    """Which rows stay, the splits in the old row numbers, and what is left out."""
    alive = np.ones(len(gathered), bool)
    splits = dict(gathered.splits)
    record: list[Treated] = []
    todo = [found for found in problems if wanted[found.kind] == "skip"]
    todo.sort(key=lambda found: (found.split is not None, found.kind == "duplicate-id"))
    for found in todo:
        rows = found.rows[alive[found.rows]]
        if found.split is not None:  # the pair stays; it leaves the database and the training set
            splits[found.split] = _leave(splits[found.split], rows)
        elif found.kind == "duplicate-id" and gathered.ids is not None:
            # the first of those that are left stays, also where the first of all had to go for another reason
            rows = later_duplicates(gathered.ids, np.flatnonzero(alive).tolist())
        if found.split is None:
            alive[rows] = False
        if len(rows):
            record.append(Treated(found.title, "skip", RowView(_ids(gathered), rows)))
    return alive, splits, record


def _leave(split: Split, rows: NDArray[np.int64]) -> Split:
    return Split(split.query, *(part[~np.isin(part, rows)] for part in (split.database, split.train)))


def _ids(gathered: Gathered) -> Sequence[str]:
    return RowNumbers(len(gathered)) if gathered.ids is None else gathered.ids


def _check_kept(gathered: Gathered, problems: Problems, wanted: Mapping[str, str]) -> None:
    for found in problems:
        if wanted[found.kind] == "keep" and found.kind not in problems.keepable:
            raise ValueError(
                f"{gathered.name}: {found.kind} cannot be kept, no features stand in for the {found.count:,} pictures: "
                f"skip or refuse them"
            )


def _refusal(gathered: Gathered, problems: Problems, refused: list[Found]) -> str:
    lines = []
    for found in refused:
        pairs = "pair" if found.count == 1 else "pairs"
        lines.append(f"{found.title}: {found.count:,} {pairs}, {found.examples[0]} [{problems.ways_out(found.kind)}]")
    return f"{gathered.name}: {len(gathered):,} pairs, refused for " + ";\n  ".join(lines)
