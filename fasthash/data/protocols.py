"""Standard splits of the field's data sets by name, with the counts that each must have, and splits of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.splits import Split, hash_order

Rows = NDArray[np.int64]
_OP = "protocols"


@dataclass(frozen=True)
class Protocol:
    """How a line of papers splits a data set."""

    name: str  # FAMILY-DATASET
    pairs: int | None  # None: any number that is enough
    classes: int  # of all layers together
    query: int
    train: int
    database: int  # the training pairs are among them
    summary: str  # how the rows are drawn, in few words; `draw` says it in full
    official: bool  # the very draw of the released code, where the rows lie as in its files
    text_width: int | None = None  # of the papers' bag of words
    other_pairs: int | None = None  # a number of pairs that is in use too
    note: str = ""

    @property
    def family(self) -> str:
        """The line of papers: dcmh, clip, mith, ..."""
        return self.name.partition("-")[0]

    @property
    def dataset(self) -> str:
        """The data set: mirflickr25k, nus_wide, ..."""
        return self.name.partition("-")[2]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"family": self.family, "dataset": self.dataset}


@dataclass(frozen=True)
class Drawn:
    """A split and what a reader of a result should know of it."""

    split: Split
    notes: tuple[str, ...]


_Draw = Callable[[Protocol, Gathered, int], Split]


def _first(one: Protocol, data: Gathered, seed: int) -> Split:
    rows = np.arange(len(data), dtype=np.int64)
    return Split(rows[: one.query], rows[one.query :], rows[one.query : one.query + one.train])


def _hashed(one: Protocol, data: Gathered, seed: int) -> Split:
    order = hash_order(_ids(data), seed)
    searched, trained = order[one.query : one.query + one.database], order[one.query : one.query + one.train]
    return Split(np.sort(order[: one.query]), np.sort(searched), np.sort(trained))


def _permuted(legacy_seed: int) -> _Draw:
    """By NumPy's legacy generator, which never changes: queries first, then training pairs; the rest is searched."""

    def draw(one: Protocol, data: Gathered, seed: int) -> Split:
        order = np.random.RandomState(legacy_seed).permutation(len(data)).astype(np.int64)
        return Split(order[: one.query], order[one.query :], order[one.query : one.query + one.train])

    return draw


def _by_label(first: tuple[int, int], others: tuple[int, int]) -> _Draw:
    """So many queries and training pairs of each class in turn, of those that no class before has taken."""

    def draw(one: Protocol, data: Gathered, seed: int) -> Split:
        random = np.random.RandomState(seed)
        labels = data.labels
        assert labels is not None  # `_check` looked
        taken = np.zeros(len(labels), bool)
        query: list[Rows] = []
        train: list[Rows] = []
        for column in range(labels.shape[1]):
            n_query, n_train = others if column else first
            rows = random.permutation(np.flatnonzero(labels[:, column]))
            rows = rows[~taken[rows]]
            query.append(rows[:n_query])
            train.append(rows[n_query : n_query + n_train])
            taken[rows[: n_query + n_train]] = True
        queries, trained = np.concatenate(query), np.concatenate(train)
        rest = random.permutation(np.flatnonzero(~taken))
        trained = np.concatenate([trained, rest[: max(0, one.train - len(trained))]])
        return Split(queries, np.setdiff1d(np.arange(len(labels)), queries), trained)

    return draw


def _given(one: Protocol, data: Gathered, seed: int) -> Split:
    for split in data.splits.values():
        if (len(split.query), len(split.database), len(split.train)) == (one.query, one.database, one.train):
            return split
    found = ", ".join(f"{name} of {len(split.query)} queries" for name, split in data.splits.items()) or "none"
    wanted = f"the split that the files bring, of {one.query} queries"
    raise ValueError(f"{one.name}: splits of {data.name}: expected {wanted}, found {found}")


_UNSEEDED = "the released code draws without a seed"
_RULES: dict[str, tuple[_Draw, str, bool, str]] = {  # what draws, in few words, whether it is the released draw, how
    "first": (_first, "first rows", True, "queries are the first rows, training pairs the next ones"),
    "1814": (_permuted(1814), "seed 1814", True, "NumPy's permutation of seed 1814: queries, then training pairs"),
    "1": (_permuted(1), "seed 1", True, "NumPy's permutation of seed 1: queries, then training pairs"),
    "given": (_given, "as given", True, "the split that the files bring"),
    "hashed": (_hashed, "at random", False, f"drawn by hashes of the ids; {_UNSEEDED}"),
    "labels160": (_by_label((160, 400), (80, 200)), "class by class", False, "class by class, 80 queries and 200 "
                  f"training pairs each, twice as many of the first, topped up at random; {_UNSEEDED}"),
    "labels200": (_by_label((200, 500), (200, 500)), "class by class", False, "class by class, 200 queries and 500 "
                  f"training pairs each; {_UNSEEDED}"),
}  # fmt: skip
_ORDER = "the same pairs as the released code's where the rows lie as in its files"
_COCO = "the released script's order of MS COCO is not known: the rows drawn are those of this order of pairs"
_TABLE: tuple[tuple[str, int | None, int, int, int, int, str, dict[str, Any]], ...] = (
    # name, pairs, classes, queries, training pairs, database, rule
    ("dcmh-mirflickr25k", 20015, 24, 2000, 10000, 18015, "first", {"text_width": 1386, "note": _ORDER}),
    ("dcmh-iapr_tc12", 20000, 255, 2000, 10000, 18000, "hashed", {"text_width": 2912}),
    ("dcmh-nus_wide", 195834, 21, 2100, 10500, 193734, "hashed", {"text_width": 1000}),
    ("ssah-mirflickr25k", 20015, 24, 2000, 10000, 18015, "hashed", {"text_width": 1386}),
    ("djsrh-mirflickr25k", 20015, 24, 2000, 5000, 18015, "labels160", {"text_width": 1386}),
    ("djsrh-nus_wide", 186577, 10, 2000, 5000, 184577, "labels200", {"text_width": 1000}),
    ("djsrh-wiki", 2866, 10, 693, 2173, 2173, "given", {"text_width": 10}),
    ("cdq-nus_wide", None, 21, 2000, 10500, 150300, "hashed", {"text_width": 1000}),
    ("hichnet-fashion_vc", 19862, 35, 3000, 16862, 16862, "first", {"note": _ORDER}),
    ("hichnet-ssense", 15696, 32, 2000, 13696, 13696, "first", {"note": _ORDER}),
    ("clip-mirflickr25k", 24581, 24, 5000, 10000, 19581, "1814", {"note": _ORDER}),
    ("clip-nus_wide", 195834, 21, 5000, 10000, 190834, "1814", {"other_pairs": 195835, "note": _ORDER}),
    ("clip-coco", 122218, 80, 5000, 10000, 117218, "1814", {"note": _COCO}),
    ("dchmt-mirflickr25k", 24581, 24, 5120, 10240, 19461, "1814", {"note": _ORDER}),
    ("dchmt-nus_wide", 195834, 21, 5120, 10240, 190714, "1814", {"other_pairs": 195835, "note": _ORDER}),
    ("dchmt-coco", 122218, 80, 5120, 10240, 117098, "1814", {"note": _COCO}),
    ("mith-mirflickr25k", 20015, 24, 2000, 10000, 18015, "1", {"note": _ORDER}),
    ("mith-nus_wide", 190421, 21, 2100, 10500, 188321, "1", {"note": _ORDER}),
    ("mith-coco", 122218, 80, 5000, 10000, 117218, "1", {"note": _COCO}),
)
_RULE_OF = {row[0]: row[6] for row in _TABLE}
_PROTOCOLS: dict[str, Protocol] = {
    name: Protocol(name, pairs, classes, query, train, database, *_RULES[rule][1:3], **more)
    for name, pairs, classes, query, train, database, rule, more in _TABLE
}


def protocols() -> Mapping[str, Protocol]:
    """Every standard split by name, FAMILY-DATASET; `draw` also takes the family alone."""
    return dict(_PROTOCOLS)


def find(name: str, data: Gathered) -> Protocol:
    """The standard split of that name, or that of a family which is for this data set.

    Raises:
        ValueError: no such name, or the family has none for a data set of this name or size.
    """
    if name in _PROTOCOLS:
        return _PROTOCOLS[name]
    family = [one for one in _PROTOCOLS.values() if one.family == name]
    if not family:
        families = ", ".join(dict.fromkeys(one.family for one in _PROTOCOLS.values()))
        raise ValueError(f"{_OP}: split must be one of {families}, or one of {', '.join(_PROTOCOLS)}, got {name!r}")
    named = [one for one in family if one.dataset == data.name]
    sized = [one for one in family if len(data) in (one.pairs, one.other_pairs)]
    if not named and len(sized) != 1:
        known = ", ".join(f"{one.dataset} ({one.pairs or one.database + one.query} pairs)" for one in family)
        raise ValueError(f"{_OP}: {name} is for {known}; got {data.name} of {len(data)} pairs")
    return (named or sized)[0]


def draw(name: str, data: Gathered, *, seed: int = 0) -> Drawn:
    """A standard split of a data set.

    Args:
        name: of `protocols()`, or its family: "dcmh" is "dcmh-mirflickr25k" for MIRFlickr-25K.
        data: as it was read, whole: pairs are left out after the draw, not before.
        seed: of the draws that have no seed of their own.
    Raises:
        ValueError: no such split, or counts that differ: which column, what was expected and what was found.
    """
    one = find(name, data)
    _check(one, data)
    split = _RULES[_RULE_OF[one.name]][0](one, data, seed)
    database = one.database if len(data) != one.other_pairs else len(data) - one.query
    wanted = {"queries": one.query, "training pairs": one.train, "pairs in the database": database}
    for (what, count), rows in zip(wanted.items(), (split.query, split.train, split.database), strict=True):
        if len(rows) != count:
            raise ValueError(f"{one.name}: labels of {data.name}: expected {count} {what}, found rows for {len(rows)}")
    return Drawn(split, _notes(one, data, seed))


def _check(one: Protocol, data: Gathered) -> None:
    """Numbers of pairs and classes, all differences in one line."""
    wrong = []
    n, least = len(data), one.query + one.database
    column = "labels" if data.labels is not None else next(iter(data.columns()))
    if one.pairs is None and n < least:
        wrong.append(f"{column}: expected at least {least} pairs, found {n}")
    elif one.pairs is not None and n not in (one.pairs, one.other_pairs):
        wrong.append(f"{column}: expected {one.pairs} pairs, found {n}")
    if data.layers:
        counts = {name: len(set(values)) for name, values in data.layers.items()}
        found = sum(counts.values())
        listed = f"{found} in layers {', '.join(f'{name} ({count})' for name, count in counts.items())}"
    else:
        found = 0 if data.labels is None else data.labels.shape[1]
        listed = str(found) if found else "no labels"
    if found != one.classes:
        wrong.append(f"labels: expected {one.classes} classes, found {listed}")
    if wrong:
        raise ValueError(f"{one.name}: {data.name}: {'; '.join(wrong)}")


def _notes(one: Protocol, data: Gathered, seed: int) -> tuple[str, ...]:
    notes = [f"split {one.name}: {_RULES[_RULE_OF[one.name]][3]}" + ("" if one.official else f"; here seed {seed}")]
    if one.note:
        notes.append(one.note)
    if one.text_width is not None and data.text is not None and data.text.shape[1] != one.text_width:
        notes.append(f"text features are {data.text.shape[1]} wide, the papers' {one.text_width}")
    return tuple(notes)


def draw_split(data: Gathered, *, query: int, train: int | None = None, seed: int = 0) -> Split:
    """A split by hashes of the ids: the same on every machine, whatever the order of the rows.

    Args:
        query: number of queries.
        train: number of training pairs, which are in the database; None: all of it.
        seed: which of the possible draws.
    Raises:
        ValueError: not so many pairs.
    """
    n = len(data)
    if not 1 <= query < n:
        raise ValueError(f"{_OP}: query must be from 1 to {n - 1}, of {n} pairs of {data.name}, got {query}")
    if train is not None and not 1 <= train <= n - query:
        raise ValueError(f"{_OP}: train must be from 1 to {n - query}, the pairs that are no queries, got {train}")
    order = hash_order(_ids(data), seed)
    trained = order[query:] if train is None else order[query : query + train]
    return Split(np.sort(order[:query]), np.sort(order[query:]), np.sort(trained))


def _ids(data: Gathered) -> Sequence[str]:
    return data.ids if data.ids is not None else [str(i) for i in range(len(data))]
