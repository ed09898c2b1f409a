"""Image-text pairs with labels and a split: what every method is trained on and every number is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data import _checks, _checksums
from fasthash.data._checks import Verified
from fasthash.data.splits import Split, draw, rarest_label
from fasthash.data.tree import LabelTree
from fasthash.features import Extractor, Picture


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PairedDataset:
    """n pairs. Row i of every field belongs to pair i; ids never change, whatever subset is taken.

    Features may be a read-only ``np.memmap``, and ids, pictures and texts any sequence that makes its items when they
    are asked for: a large set then stays in its files. Nothing in a field is to be changed afterwards.

    Raises:
        ValueError: a field does not fit the others; one line with the data set, the field, what was expected and came.
    """

    name: str
    image: NDArray[np.float32] | None  # [n, p_image]; None: raw pictures only
    text: NDArray[np.float32] | None  # [n, p_text]; None: raw texts only
    split: Split
    ids: Sequence[str]  # [n], distinct
    labels: NDArray[np.uint8] | None = None  # [n, c] multi-hot; of the finest layer where there is a tree
    class_names: tuple[str, ...] = ()  # [c]
    tree: LabelTree | None = None
    image_local: NDArray[np.float32] | None = None  # [n, r, p], features of picture regions; zeros where there is none
    text_local: NDArray[np.float32] | None = None  # [n, t, p], features of words; zeros behind the last one
    pictures: Sequence[Picture | None] | None = None  # [n], where the raw pictures lie; None where a pair has none
    texts: Sequence[str] | None = None  # [n], the raw texts
    image_extractor: Extractor | None = None  # None: the features came ready-made, new pictures cannot be encoded
    text_extractor: Extractor | None = None
    notes: tuple[str, ...] = ()  # what a reader of a result should know
    source: str = ""
    licence: str = ""
    derived_from: str | None = None  # the named set that this one is a split of
    options: Mapping[str, Any] = field(default_factory=dict)  # what `load` was given beside the name
    verified: Verified = field(default_factory=Verified)  # what is not checked again, see `checked`

    def __post_init__(self) -> None:
        like = _checks.check_sides(self)
        known = {side: self.verified.knows(side, getattr(self, side)) for side in ("image", "text", "ids")}
        for side in ("image", "text"):
            features, rows = getattr(self, side), None if side == like else len(self)
            if features is not None:
                _checks.check_features(self.name, side, features, rows, like=like, finite=not known[side])
        _checks.check_widths(self)
        n = len(self)
        _checks.check_local(self.name, "image_local", self.image_local, n)
        _checks.check_local(self.name, "text_local", self.text_local, n)
        _checks.check_labels(self.name, self.labels, self.class_names, n, like=like)
        _checks.check_tree(self.name, self.tree, self.labels, self.class_names)
        _checks.check_names(self.name, "ids", self.ids, n, like=like, unique=not known["ids"])
        _checks.check_names(self.name, "pictures", self.pictures, n, like=like)
        _checks.check_names(self.name, "texts", self.texts, n, like=like)
        _checks.check_split(self.name, self.split, n)

    @classmethod
    def checked(cls, *, digests: Mapping[str, str] | None = None, **fields: Any) -> PairedDataset:
        """A data set out of files that were checked when they were written: it is not read through again.

        That image and text are finite and the ids distinct is taken as known. It is known of these very objects: what
        `dataclasses.replace` puts in their place is looked at like any other.

        Args:
            digests: by "image" and "text", the SHA-256 of what holds the features, in hexadecimal digits. `checksum`
                then goes by them and reads no features, and so differs from that of the same arrays without them.
            fields: of PairedDataset.
        """
        of = {side: fields.get(side) for side in ("image", "text", "ids")}
        return cls(**fields, verified=Verified(**of, digests=dict(digests or {})))

    @classmethod
    def from_arrays(
        cls,
        image: Any,
        text: Any,
        *,
        query: Any,
        labels: Any = None,
        database: Any = None,
        train: Any = None,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        **fields: Any,
    ) -> PairedDataset:
        """A data set from arrays of your own; dtypes are converted where nothing is lost.

        Args:
            image, text: real numbers [n, p_image], [n, p_text]; None: raw only, with ``pictures`` or ``texts``.
            query: row numbers of the queries, or booleans [n].
            labels: multi-hot 0/1 [n, c], or class ids [n], or None.
            database: as `query`; default: all the rows that are not queries.
            train: as `query`; default: the database.
            class_names, ids: default: numbers.
            fields: the other fields of PairedDataset.
        """
        image, text = (_checks.as_features(x) for x in (image, text))
        sized = [x for x in (image, text, ids, fields.get("pictures"), fields.get("texts")) if x is not None]
        if not sized:
            raise ValueError(f"{name}: image must be features, or pictures be given, got neither")
        n = len(sized[0])
        query = _checks.row_numbers(name, "query", query, n)
        database = (
            np.setdiff1d(np.arange(n), query)
            if database is None
            else _checks.row_numbers(name, "database", database, n)
        )
        train = database if train is None else _checks.row_numbers(name, "train", train, n)
        hot = None if labels is None else _checks.multi_hot(name, np.asarray(labels), class_names)
        if class_names is None:
            class_names = () if hot is None else [str(i) for i in range(hot.shape[1])]
        return cls(
            name=name, image=image, text=text, split=Split(query, database, train), labels=hot,
            class_names=tuple(class_names), ids=tuple(ids if ids is not None else map(str, range(n))), **fields,
        )  # fmt: skip

    @property
    def base_name(self) -> str:
        """The named set behind this one: what presets go by."""
        return self.derived_from or self.name

    def __len__(self) -> int:
        return len(next(x for x in (self.image, self.text, self.ids) if x is not None))

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else f"{len(self.class_names)} classes"
        image, text = (self.width(side) or "raw" for side in ("image", "text"))
        return (
            f"PairedDataset({self.name!r}: {len(self)} pairs, image {image}, text {text}, "
            f"{labels}, {len(self.split.query)} queries, {len(self.split.database)} in the database)"
        )

    def width(self, side: str) -> int | None:
        """Length of a feature vector of "image" or "text"; None where there are raw items only."""
        features = self.image if side == "image" else self.text
        return None if features is None else int(features.shape[1])

    def features(self, side: str, *, op: str, instead: str = "") -> NDArray[np.float32]:
        """The features of "image" or "text", [n, width].

        Args:
            op: who asks, the first word of the error.
            instead: what else the user may do, the end of the error: " or ...".
        Raises:
            ValueError: "dcmh: needs image features, pairs has raw pictures only: make them with `fasthash embed`".
        """
        features = self.image if side == "image" else self.text
        if features is None:
            raw = "pictures" if side == "image" else "texts"
            make = "make them with `fasthash embed`"
            raise ValueError(f"{op}: needs {side} features, {self.name} has raw {raw} only: {make}{instead}")
        return features

    def require(
        self, *, labels: bool = False, tree: bool = False, texts: bool = False, op: str, rows: str = "all"
    ) -> None:
        """Say in one line what a method needs and this data set lacks.

        Args:
            labels: every pair has at least one label.
            tree: there is a label tree of two layers or more.
            texts: the raw texts are there.
            op: who asks, the first word of the error.
            rows: whose labels count: "train", or "all" rows of the split.
        Raises:
            ValueError: "dcmh: needs labels, pairs has none".
        """
        if rows not in ("train", "all"):
            raise ValueError(f"{op}: rows must be train or all, got {rows!r}")
        if (labels or tree) and self.labels is None:
            raise ValueError(f"{op}: needs labels, {self.name} has none")
        if tree and (self.tree is None or len(self.tree) < 2):
            layers = "no label tree" if self.tree is None else "a single layer"
            raise ValueError(f"{op}: needs a label tree of at least two layers, {self.name} has {layers}")
        if texts and self.texts is None:
            raise ValueError(f"{op}: needs raw texts, {self.name} has features only")
        if labels and self.labels is not None:
            split = self.split
            used = split.train if rows == "train" else np.concatenate([split.query, split.database, split.train])
            bare = np.unique(used[~self.labels[used].any(axis=1)])
            if len(bare):
                raise ValueError(
                    f"{op}: needs a label on every pair, {len(bare)} of {self.name} have none, "
                    f"the first is row {bare[0]} (id {self.ids[bare[0]]})"
                )

    @property
    def image_paths(self) -> tuple[Path, ...] | None:
        """Files of the raw pictures, when each is a file of its own; None otherwise (see `picture`)."""
        if self.pictures is None or any(picture is None or picture.member is not None for picture in self.pictures):
            return None
        return tuple(picture.path for picture in self.pictures if picture is not None)

    def picture(self, i: int) -> Any:
        """The raw picture of pair i as a PIL image in RGB.

        Raises:
            ValueError: this data set has features only, or this pair no picture.
        """
        if self.pictures is None:
            raise ValueError(f"{self.name}: needs pictures, this data set has image features only")
        picture = self.pictures[i]
        if picture is None:
            raise ValueError(f"{self.name}: row {i} (id {self.ids[i]}) has no picture")
        return picture.open()

    def subset(self, rows: Any, *, name: str | None = None) -> PairedDataset:
        """Some of the pairs, in the order given, in memory; the split is carried over.

        Args:
            rows: row numbers, or booleans [n]. Each of query, database and train must keep at least one.
        """
        kept = _checks.row_numbers(self.name, "rows", rows, len(self))
        new = np.full(len(self), -1, np.int64)
        new[kept] = np.arange(len(kept))
        parts = [new[part][new[part] >= 0] for part in (self.split.query, self.split.database, self.split.train)]
        changed: dict[str, Any] = {"name": name or self.name, "tree": self.tree and self.tree.take(kept)}
        for field_name in ("image", "text", "labels", "image_local", "text_local"):
            array = getattr(self, field_name)
            changed[field_name] = None if array is None else array[kept]
        for field_name in ("ids", "pictures", "texts"):
            values = getattr(self, field_name)
            changed[field_name] = None if values is None else tuple(values[i] for i in kept)
        return replace(self, split=Split(*parts), **changed)

    def validation_split(self, fraction: float = 0.2, seed: int = 0) -> PairedDataset:
        """The same pairs with queries drawn from the training rows, to choose settings without a look at the queries.

        A share of each class is drawn (of the rarest class of a pair with several); the rest of the training rows is
        trained on, the rest of the database searched, and the queries of this split take no part. Text features were
        fitted on all the training rows, so their vocabulary knows the words of the drawn ones.

        Args:
            fraction: share of the training rows, between 0 and 1.
            seed: which of the possible draws; the same on every machine.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"{self.name}: validation_split: fraction must be between 0 and 1, got {fraction!r}")
        train = self.split.train
        groups = np.zeros(len(train), np.int64) if self.labels is None else rarest_label(self.labels[train])
        drawn = train[draw(groups, [self.ids[i] for i in train], fraction, seed)]
        split = Split(drawn, np.setdiff1d(self.split.database, drawn), np.setdiff1d(train, drawn))
        return replace(self, name=f"{self.name}-validation", derived_from=self.base_name, split=split)

    def checksum(self) -> str:
        """16 hexadecimal digits of SHA-256 over features, labels, label tree and split: the same data, the same number.

        Raw items are not read for it where there are features. Raw pictures alone count by the ids, raw texts alone
        by what they say; features whose digest is known (see `checked`) by that. Made once.
        """
        return self._checksum

    def split_checksum(self) -> str:
        """16 hexadecimal digits of SHA-256 over the ids of queries, database and training rows, part by part."""
        return self._split_checksum

    @cached_property
    def _checksum(self) -> str:
        return _checksums.of_data(self)

    @cached_property
    def _split_checksum(self) -> str:
        return _checksums.of_split(self.split, self.ids)

    def provenance(self) -> dict[str, Any]:
        """What a result file says of the data that it was measured on; JSON-able."""
        return {
            "data": self.name,
            "data_options": dict(self.options),
            "data_checksum": self.checksum(),
            "split_checksum": self.split_checksum(),
        }

    def info(self) -> dict[str, Any]:
        """Counts, label balance and provenance, JSON-able."""
        from fasthash.data._info import info  # late: only the command line and reports ask

        return info(self)
