"""Looking through gathered data once, without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.problems._content import leaks, row_keys
from fasthash.data.problems._kinds import Found, Problems, kinds
from fasthash.data.problems._pictures import DAMAGED, EXAMPLES, MISSING, Seen, look
from fasthash.data.splits import Split
from fasthash.features._progress import Progress

_BLOCK = 1 << 22  # bytes of features looked at together
Say = Callable[[int], str]


def examine(gathered: Gathered, *, open_pictures: bool = True, progress: Progress = None) -> Problems:
    """Every problem of the data, counted, with the places of the first three.

    Args:
        open_pictures: read and decode every picture once; otherwise only see whether each is there. A leak shows in
            the pictures that were opened, else in the image features.
        progress: a callback (done, total) of the pictures, or True for a bar in a terminal.
    Raises:
        ValueError: a split has row numbers that are none, or twice: no option mends that.
    """
    for name, split in gathered.splits.items():
        _check_split(gathered, name, split)
    seen = None
    if gathered.pictures is not None:
        seen = look(gathered.pictures, decode=open_pictures, progress=progress, name=gathered.name)
    found = [*_of_pictures(gathered, seen), *_of_words(gathered), *_of_features(gathered), *_of_splits(gathered, seen)]
    order = list(kinds())
    found.sort(key=lambda one: order.index(one.kind))
    looked = "none" if seen is None else "decoded" if open_pictures else "looked for"
    return Problems(tuple(found), len(gathered), looked, _keepable(gathered))


def place(gathered: Gathered, row: int) -> str:
    """How a message calls a pair: where it stands, and its id."""
    where = f"row {row}" if gathered.where is None else gathered.where[row]
    return where if gathered.ids is None else f"{where} (id {gathered.ids[row]})"


def _keepable(gathered: Gathered) -> tuple[str, ...]:
    """A picture that cannot be read may stay where its features are given; only then is there something of it."""
    unread = () if gathered.image is not None else ("missing-picture", "damaged-picture")
    wordless = () if gathered.texts is not None else ("empty-text",)
    return tuple(name for name, kind in kinds().items() if "keep" in kind.policies and name not in unread + wordless)


def _found(gathered: Gathered, kind: str, rows: NDArray[Any], say: Say, split: str | None = None) -> Iterator[Found]:
    if len(rows):
        lines = tuple(f"{place(gathered, row)}: {say(row)}" for row in map(int, rows[:EXAMPLES]))
        yield Found(kind, rows.astype(np.int64, copy=False), lines, split)


def _of_pictures(gathered: Gathered, seen: Seen | None) -> Iterator[Found]:
    if seen is not None:
        for kind, state in (("missing-picture", MISSING), ("damaged-picture", DAMAGED)):
            yield from _found(gathered, kind, np.flatnonzero(seen.state == state), lambda row: seen.said[row])


def _of_words(gathered: Gathered) -> Iterator[Found]:
    """Ids, texts and labels."""
    if gathered.ids is not None:
        ids = gathered.ids
        yield from _found(gathered, "duplicate-id", later_duplicates(ids), lambda row: "an earlier pair's id")
    if gathered.texts is not None:
        blank = _rows_where(not any(map(str.strip, captions)) for captions in gathered.texts)
        texts = gathered.texts
        yield from _found(
            gathered, "empty-text", blank,
            lambda row: f"{len(texts[row])} blank captions" if len(texts[row]) else "no caption",
        )  # fmt: skip
    bare = _without_label(gathered)
    yield from _found(gathered, "no-label", bare, lambda row: "no label")


def later_duplicates(ids: Sequence[str], rows: Sequence[int] | None = None) -> NDArray[np.int64]:
    """Rows, of these or of all, whose id one before has."""
    if rows is None and len(set(ids)) == len(ids):
        return np.empty(0, np.int64)
    seen: set[str] = set()
    later = []
    for row in range(len(ids)) if rows is None else rows:
        if ids[row] in seen:
            later.append(row)
        seen.add(ids[row])
    return np.array(later, np.int64)


def _without_label(gathered: Gathered) -> NDArray[np.int64]:
    bare = np.zeros(len(gathered), bool)
    if gathered.labels is not None and gathered.labels.shape[1:] != (0,):
        step = max(1, _BLOCK // gathered.labels.shape[1])
        for start in range(0, len(gathered), step):
            bare[start : start + step] = ~gathered.labels[start : start + step].any(axis=1)
    for classes in gathered.layers.values():
        bare[_rows_where(not name.strip() for name in classes)] = True
    return np.flatnonzero(bare)


def _rows_where(flags: Iterable[bool]) -> NDArray[np.int64]:
    return np.flatnonzero(np.fromiter(flags, bool))


def _of_features(gathered: Gathered) -> Iterator[Found]:
    """Rows that are not finite, and rows of zeros, of either side."""
    not_finite: dict[int, str] = {}
    zero: dict[int, str] = {}
    bad, null = np.zeros(len(gathered), bool), np.zeros(len(gathered), bool)
    for side in ("image", "text"):
        features = getattr(gathered, side)
        if features is None:
            continue
        step = max(1, _BLOCK // max(1, features[:1].nbytes))
        for start in range(0, len(features), step):
            with np.errstate(over="ignore"):  # features are kept as float32: what overflows there is none
                block = np.asarray(features[start : start + step], np.float32)
            rows = start + np.flatnonzero(~np.isfinite(block).all(axis=1))
            for row in map(int, rows[:EXAMPLES]):
                column = int(np.flatnonzero(~np.isfinite(block[row - start]))[0])
                not_finite.setdefault(row, f"{side} features have {features[row, column]} in column {column}")
            bad[rows] = True
            rows = start + np.flatnonzero(~block.any(axis=1))
            for row in map(int, rows[:EXAMPLES]):
                zero.setdefault(row, f"{side} features are all zero")
            null[rows] = True
    yield from _found(gathered, "not-finite", np.flatnonzero(bad), not_finite.__getitem__)
    yield from _found(gathered, "zero-features", np.flatnonzero(null), zero.__getitem__)


def _check_split(gathered: Gathered, name: str, split: Split) -> None:
    for part in ("query", "database", "train"):
        rows = getattr(split, part)
        where = f"{gathered.name}: split {name}: {part}"
        if len(rows) and (rows.min() < 0 or rows.max() >= len(gathered)):
            raise ValueError(
                f"{where} must be row numbers from 0 to {len(gathered) - 1}, got {rows.min()} to {rows.max()}"
            )
        twice = np.flatnonzero(np.bincount(rows, minlength=1) > 1) if len(rows) else rows
        if len(twice):
            raise ValueError(f"{where} must have each row once, {len(twice)} are there twice, the first is {twice[0]}")


def _of_splits(gathered: Gathered, seen: Seen | None) -> Iterator[Found]:
    if not gathered.splits:
        return
    keys = None if seen is None else seen.keys
    what = "image features" if keys is None else "picture"
    keys = row_keys(gathered.image) if keys is None else keys
    if gathered.texts is not None or gathered.text is not None:
        what += " and text"
    for name, split in gathered.splits.items():
        query, others = np.zeros(len(gathered), bool), np.zeros(len(gathered), bool)
        query[split.query] = True
        others[split.database] = True
        others[split.train] = True
        line = f"a query of split {name} that is in its database or training set"
        both = np.flatnonzero(query & others)
        yield from _found(gathered, "query-overlap", both, lambda row, line=line: line, name)  # type: ignore[misc]
        twins = leaks(gathered, keys, np.flatnonzero(query), np.flatnonzero(others & ~query))
        rows = np.fromiter(twins, np.int64, len(twins))
        said = {row: f"{what} of the query {place(gathered, twins[row])}" for row in rows[:EXAMPLES].tolist()}
        yield from _found(gathered, "leak", rows, said.__getitem__, name)
