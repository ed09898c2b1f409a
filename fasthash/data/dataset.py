"""Image-text pairs with labels and a split: what every method is trained on and every number is measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data import _checks
from fasthash.data.splits import Split, draw, rarest_label
from fasthash.data.tree import LabelTree, one_hot
from fasthash.features import Extractor, Picture


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PairedDataset:
    """n pairs. Row i of every field belongs to pair i; ids never change, whatever subset is taken.

    Raises:
        ValueError: a field does not fit the others; one line with the data set, the field, what was expected and came.
    """

    name: str
    image: NDArray[np.float32]  # [n, p_image]
    text: NDArray[np.float32]  # [n, p_text]
    split: Split
    ids: tuple[str, ...]  # [n], distinct
    labels: NDArray[np.uint8] | None = None  # [n, c] multi-hot; of the finest layer where there is a tree
    class_names: tuple[str, ...] = ()  # [c]
    tree: LabelTree | None = None
    image_local: NDArray[np.float32] | None = None  # [n, r, p], features of picture regions; zeros where there is none
    text_local: NDArray[np.float32] | None = None  # [n, t, p], features of words; zeros behind the last one
    pictures: tuple[Picture, ...] | None = None  # [n], where the raw pictures lie
    texts: tuple[str, ...] | None = None  # [n], the raw texts
    image_extractor: Extractor | None = None  # None: the features came ready-made, new pictures cannot be encoded
    text_extractor: Extractor | None = None
    notes: tuple[str, ...] = ()  # what a reader of a result should know
    source: str = ""
    licence: str = ""
    derived_from: str | None = None  # the named set that this one is a split of
    options: Mapping[str, Any] = field(default_factory=dict)  # what `load` was given beside the name

    def __post_init__(self) -> None:
        _checks.check_features(self.name, "image", self.image, None)
        n = len(self.image)
        _checks.check_features(self.name, "text", self.text, n)
        _checks.check_local(self.name, "image_local", self.image_local, n)
        _checks.check_local(self.name, "text_local", self.text_local, n)
        _checks.check_labels(self.name, self.labels, self.class_names, n)
        _checks.check_tree(self.name, self.tree, self.labels, self.class_names)
        _checks.check_names(self.name, "ids", self.ids, n, unique=True)
        _checks.check_names(self.name, "pictures", self.pictures, n)
        _checks.check_names(self.name, "texts", self.texts, n)
        _checks.check_split(self.name, self.split, n)
        for side, extractor in (("image", self.image_extractor), ("text", self.text_extractor)):
            width = getattr(self, side).shape[1]
            if extractor is not None and extractor.width != width:
                raise ValueError(
                    f"{self.name}: {side}_extractor must be {width} wide like {side}, got {extractor.width}"
                )

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
            image, text: real numbers [n, p_image], [n, p_text].
            query: row numbers of the queries, or booleans [n].
            labels: multi-hot 0/1 [n, c], or class ids [n], or None.
            database: as `query`; default: all the rows that are not queries.
            train: as `query`; default: the database.
            class_names, ids: default: numbers.
            fields: the other fields of PairedDataset.
        """
        image, text = np.asarray(image, np.float32), np.asarray(text, np.float32)
        n = len(image)
        query = _rows(name, "query", query, n)
        database = np.setdiff1d(np.arange(n), query) if database is None else _rows(name, "database", database, n)
        train = database if train is None else _rows(name, "train", train, n)
        hot = None if labels is None else _multi_hot(name, np.asarray(labels), class_names)
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
        return len(self.image)

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else f"{len(self.class_names)} classes"
        return (
            f"PairedDataset({self.name!r}: {len(self)} pairs, image {self.image.shape[1]}, text {self.text.shape[1]}, "
            f"{labels}, {len(self.split.query)} queries, {len(self.split.database)} in the database)"
        )

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
        if self.pictures is None or any(picture.member is not None for picture in self.pictures):
            return None
        return tuple(picture.path for picture in self.pictures)

    def picture(self, i: int) -> Any:
        """The raw picture of pair i as a PIL image in RGB.

        Raises:
            ValueError: this data set has features only.
        """
        if self.pictures is None:
            raise ValueError(f"{self.name}: needs pictures, this data set has image features only")
        return self.pictures[i].open()

    def subset(self, rows: Any, *, name: str | None = None) -> PairedDataset:
        """Some of the pairs, in the order given; the split is carried over.

        Args:
            rows: row numbers, or booleans [n]. Each of query, database and train must keep at least one.
        """
        kept = _rows(self.name, "rows", rows, len(self))
        new = np.full(len(self), -1, np.int64)
        new[kept] = np.arange(len(kept))
        parts = [new[part][new[part] >= 0] for part in (self.split.query, self.split.database, self.split.train)]
        return replace(
            self, name=name or self.name, image=self.image[kept], text=self.text[kept], split=Split(*parts),
            labels=None if self.labels is None else self.labels[kept], tree=self.tree and self.tree.take(kept),
            ids=tuple(self.ids[i] for i in kept), pictures=self.pictures and tuple(self.pictures[i] for i in kept),
            texts=self.texts and tuple(self.texts[i] for i in kept),
            image_local=None if self.image_local is None else self.image_local[kept],
            text_local=None if self.text_local is None else self.text_local[kept],
        )  # fmt: skip

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

        Raw pictures and texts are not read for it.
        """
        digest = hashlib.sha256()
        split = (self.split.query, self.split.database, self.split.train)
        for array in (self.image, self.text, self.labels, *split, self.image_local, self.text_local):
            if array is not None:
                digest.update(f"{array.dtype.str} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        for layer in () if self.tree is None else self.tree.layers:
            digest.update(f"{layer.name} {layer.classes}".encode())
            digest.update(np.ascontiguousarray(layer.ids).data)
        return digest.hexdigest()[:16]

    def split_checksum(self) -> str:
        """16 hexadecimal digits of SHA-256 over the ids of queries, database and training rows, part by part."""
        digest = hashlib.sha256()
        for part in (self.split.query, self.split.database, self.split.train):
            digest.update(f"{len(part)}\0".encode())
            for row in part:
                digest.update(f"{self.ids[row]}\0".encode())
        return digest.hexdigest()[:16]

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


def _rows(name: str, field: str, rows: Any, n: int) -> NDArray[np.int64]:
    """Row numbers from row numbers or booleans; their range and repeats are checked here, since indexing follows."""
    array = np.asarray(rows)
    if array.dtype == np.bool_:
        if array.shape != (n,):
            raise ValueError(f"{name}: {field} as booleans must be [{n}], got shape {array.shape}")
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name}: {field} must be row numbers or booleans [{n}], got {array.dtype} {array.shape}")
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= n or len(np.unique(array)) != len(array)):
        raise ValueError(f"{name}: {field} must be distinct row numbers from 0 to {n - 1}, got others")
    return array


def _multi_hot(name: str, labels: NDArray[Any], class_names: Sequence[str] | None) -> NDArray[np.uint8]:
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and len(labels) and labels.min() >= 0:
        ids = labels.astype(np.int64)
        return one_hot(ids, max(len(class_names or ()), int(ids.max()) + 1))
    if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"{name}: labels must be multi-hot 0/1 [n, c] or class ids [n] from 0, got {labels.dtype} {labels.shape}"
        )
    return labels.astype(np.uint8)
