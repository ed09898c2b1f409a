"""What is asked for, checked before anything is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasthash._arguments import whole_number
from fasthash.distributed.encoding import _dataset
from fasthash.distributed.encoding._cells import FEATURES, PICTURES, TEXTS
from fasthash.distributed.encoding._listing import list_corpus
from fasthash.distributed.encoding._models import SharedModel, share
from fasthash.distributed.encoding._sources import Corpus
from fasthash.models import HashModel

ROWS = {FEATURES: 65_536, PICTURES: 4_096, TEXTS: 4_096}  # of a part; multiples of the rows a network takes at once
_MOST = 1 << 30


@dataclass(frozen=True)
class Options:
    """Of `encode`, as they are given."""

    side: str
    kind: str | None
    column: str | None
    id_column: str | None
    batch_size: int | None
    concurrency: int | None
    gpus: float | None
    rows_per_file: int | None
    damaged: str

    def __post_init__(self) -> None:
        for name, allowed in (("side", ("image", "text")), ("damaged", ("refuse", "skip"))):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"encode: {name} must be {' or '.join(allowed)}, got {value!r}")
        for name in ("batch_size", "concurrency", "rows_per_file"):
            if getattr(self, name) is not None:
                whole_number(getattr(self, name), 1, _MOST, "encode", name)
        gpus = self.gpus
        if gpus is not None and (isinstance(gpus, bool) or not isinstance(gpus, (int, float)) or not 0 <= gpus < _MOST):
            raise ValueError(f"encode: gpus must be a number from 0, got {gpus!r}")


@dataclass(frozen=True)
class Asked:
    """A model, a corpus, and how one is to encode the other.

    Args:
        share: makes what workers load the model from, once Ray runs.
        rows: of a part.
    """

    model: HashModel
    share: Callable[[], SharedModel]
    source: Corpus | _dataset.Source
    rows: int
    options: Options

    @classmethod
    def of(cls, dataset: Any, model: Any, options: Options, out: Path, setup: Callable[[], object] | None) -> Asked:
        """Raises: as `encode`; a corpus on disk is looked at without Ray."""
        loaded, shared = share(model, setup)
        loaded.require_hamming("encode")
        source = _source(dataset, loaded, options, out)
        return cls(loaded, shared, source, options.rows_per_file or ROWS[source.what], options)

    @property
    def width(self) -> int:
        """Of the features that the model takes."""
        return _width(self.model, self.options.side)

    def key(self, checksum: str) -> dict[str, Any]:
        """JSON-able: what the parts follow from."""
        about = {"model": checksum, "bits": self.model.bits, "side": self.options.side, "rows_per_file": self.rows}
        return {**about, "source": self.source.described()}


def _source(dataset: Any, model: HashModel, options: Options, out: Path) -> Corpus | _dataset.Source:
    side, takes, columns = options.side, _taken(model, options.side), (options.column, options.id_column)
    if _dataset.is_dataset(dataset):
        if options.kind is not None:
            raise ValueError("encode: kind is for files and folders, got one with a ray.data.Dataset")
        return _dataset.source_of(dataset, side=side, takes=takes, column=columns[0], id_column=columns[1])
    several = isinstance(dataset, (list, tuple)) and all(isinstance(one, (str, os.PathLike)) for one in dataset)
    if not several and not isinstance(dataset, (str, os.PathLike)):
        raise TypeError(f"encode: dataset must be paths or a ray.data.Dataset, got {type(dataset).__name__}")
    for place in dataset if several else [dataset]:
        if out.resolve() == Path(place).resolve() or Path(place).resolve() in out.resolve().parents:
            raise ValueError(f"encode: out must lie outside of the corpus, got {out} within {place}")
    source = list_corpus(
        dataset, kind=options.kind, side=side, takes=takes, width=_width(model, side), column=columns[0],
        id_column=columns[1],
    )  # fmt: skip
    if source.rows == 0:
        raise ValueError(f"encode: nothing to encode: {source.place} has 0 rows")
    return source


def _taken(model: HashModel, side: str) -> tuple[str, ...]:
    """What a model encodes of a side: pictures or texts, or features and, if it knows how, what they are made of."""
    raw = PICTURES if side == "image" else TEXTS
    if model.takes(side) != FEATURES:
        return (raw,)
    known = model.image_extractor if side == "image" else model.text_extractor
    return (FEATURES,) if known is None else (FEATURES, raw)


def _width(model: HashModel, side: str) -> int:
    found: int = (model.image if side == "image" else model.text).config.width
    return found
