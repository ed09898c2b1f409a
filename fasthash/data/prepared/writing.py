"""A gathered data set into a prepared folder: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fasthash
from fasthash._machine import now
from fasthash.data.gathered import Gathered
from fasthash.data.prepared._items import write_items
from fasthash.data.prepared._record import (
    FILE,
    FeatureFacts,
    LayerFacts,
    Record,
    Skipped,
    SplitFacts,
    facts_of,
    write_record,
)
from fasthash.data.prepared.folder import LABELS, NAME, Folder, keep_extractor
from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree
from fasthash.features import Extractor
from fasthash.features._packages import require
from fasthash.features.matrix_file import write_matrix

_OP = "data prepare"
_ROWS = 8192  # of features, written at a time
PICTURES = "pictures"  # a folder of pictures that a reader wrote before the rest


def write(
    gathered: Gathered,
    folder: str | os.PathLike[str],
    *,
    splits: Mapping[str, Split],
    split_notes: Mapping[str, Sequence[str]] | None = None,
    extractors: Mapping[str, Extractor] | None = None,
    origin: Mapping[str, Any] | None = None,
    skipped: Sequence[Skipped] = (),
    overwrite: bool = False,
) -> Folder:
    """Write a prepared folder.

    Args:
        gathered: checked data (see `problems.apply`).
        folder: new, or a prepared one with ``overwrite``.
        splits: by name, the default first; at least one.
        split_notes: what a reader of a result should know of a split.
        extractors: side -> what makes such features of new items; one that was fitted was so on the first split.
        origin: JSON-able; where the data came from.
        skipped: what was left out or kept in spite of a problem.
        overwrite: replace a prepared folder of this name, with its features.
    Raises:
        ValueError, FileExistsError: something else stands there; a bad name; no split; values that do not fit.
        OSError: the disk is full...: nothing is left behind, and what stood there before still stands.
    """
    home = Path(folder).expanduser().absolute()
    if not NAME.fullmatch(gathered.name):
        raise ValueError(f"{_OP}: name must be letters, digits, '-', '_' and '.', got {gathered.name!r}")
    if not splits:
        raise ValueError(f"{_OP}: splits must hold at least one split, got none")
    check_place(home, overwrite)
    home.parent.mkdir(parents=True, exist_ok=True)
    part = home.with_name(f".{home.name}-{os.urandom(4).hex()}.tmp")
    part.mkdir()
    try:
        record = _fill(part, home, gathered, splits, split_notes or {}, extractors or {}, dict(origin or {}), skipped)
        write_record(part, record)
        _put(part, home)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Folder(home, op=_OP)


def check_place(folder: str | os.PathLike[str], overwrite: bool) -> None:
    """Whether a prepared folder may be written there: asked before the long work too.

    Raises:
        FileExistsError: something else stands there, or a prepared folder that is not to be replaced.
    """
    home = Path(folder).expanduser().absolute()
    if home.exists() and not home.is_dir():
        raise FileExistsError(f"{_OP}: {home} must be a folder, got a file")
    if not home.exists() or not (held := {path.name for path in home.iterdir()} - {PICTURES}):
        return
    if FILE not in held:
        raise FileExistsError(f"{_OP}: {home} must be new or empty, it holds {sorted(held)[0]} and no {FILE}")
    if not overwrite:
        raise FileExistsError(f"{_OP}: {home} is prepared already: --overwrite makes it anew, features included")


def _put(part: Path, home: Path) -> None:
    """The finished folder in its place; pictures that stand there already move over."""
    old = home.with_name(f".{home.name}-{os.urandom(4).hex()}.old")
    if not home.exists():
        os.replace(part, home)
        return
    os.replace(home, old)
    try:
        if (old / PICTURES).exists():
            os.replace(old / PICTURES, part / PICTURES)
        os.replace(part, home)
    except BaseException:
        if (part / PICTURES).exists():
            os.replace(part / PICTURES, old / PICTURES)
        os.replace(old, home)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(
    part: Path,
    home: Path,
    gathered: Gathered,
    splits: Mapping[str, Split],
    notes: Mapping[str, Sequence[str]],
    extractors: Mapping[str, Extractor],
    origin: dict[str, Any],
    skipped: Sequence[Skipped],
) -> Record:
    n = len(gathered)
    columns = write_items(part, n, gathered.ids, gathered.pictures, gathered.texts, home=home)
    class_names, layers = _write_labels(part, gathered)
    for name, split in splits.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"{_OP}: a split's name must be letters, digits, '-', '_' and '.', got {name!r}")
        (part / "splits").mkdir(exist_ok=True)
        parts = {field: getattr(split, field).astype(np.int64) for field in ("query", "database", "train")}
        _save(part / "splits" / f"{name}.safetensors", parts)
    sets: dict[str, dict[str, FeatureFacts]] = {}
    for side in ("image", "text"):
        features, name = getattr(gathered, side), getattr(gathered, f"{side}_features")
        if features is None:
            sets[side] = {}
            continue
        facts = _write_features(part, side, name, features)
        extractor = extractors.get(side)
        if extractor is not None:
            kept = keep_extractor(extractor, part / "features" / side / name)
            fitted_on = next(iter(splits)) if len(kept) > 1 else None  # it has arrays of its own: it was fitted
            facts = facts.model_copy(update={"encoder": extractor.config(), "extractor": True, "fitted_on": fitted_on})
        sets[side] = {name: facts}
    files = {path.relative_to(part).as_posix(): facts_of(path) for path in sorted(part.rglob("*")) if path.is_file()}
    return Record(
        name=gathered.name, rows=n, columns=columns, labels=(part / LABELS).exists(), class_names=class_names,
        layers=layers, image=sets["image"], text=sets["text"], notes=gathered.notes, source=gathered.source,
        licence=gathered.licence, origin=origin, skipped=tuple(skipped), files=files,
        made={"fasthash": fasthash.__version__, "at": now()},
        splits={
            name: SplitFacts(
                query=len(x.query), database=len(x.database), train=len(x.train), notes=tuple(notes.get(name, ()))
            )
            for name, x in splits.items()
        },
    )  # fmt: skip


def _write_labels(part: Path, gathered: Gathered) -> tuple[tuple[str, ...], tuple[LayerFacts, ...]]:
    """``labels.safetensors`` where there are labels; returns the classes and the layers of the tree."""
    if gathered.layers:
        tree = LabelTree.from_names(**gathered.layers)
        finest = tree.layers[-1]
        _save(part / LABELS, {"labels": finest.one_hot} | {f"layer.{x.name}": x.ids for x in tree.layers})
        return finest.classes, tuple(LayerFacts(name=x.name, classes=x.classes) for x in tree.layers)
    if gathered.labels is None:
        return (), ()
    labels = np.asarray(gathered.labels)
    if labels.ndim != 2 or labels.dtype != np.uint8 or (labels.size and labels.max() > 1):
        raise ValueError(f"{_OP}: labels must be multi-hot uint8 [n, c], got {labels.dtype} {labels.shape}")
    if len(gathered.class_names) not in (0, labels.shape[1]):
        raise ValueError(
            f"{_OP}: class_names must be {labels.shape[1]} like the columns of labels, got {len(gathered.class_names)}"
        )
    _save(part / LABELS, {"labels": labels})
    return gathered.class_names or tuple(map(str, range(labels.shape[1]))), ()


def _write_features(part: Path, side: str, name: str, features: NDArray[Any]) -> FeatureFacts:
    (part / "features" / side).mkdir(parents=True, exist_ok=True)
    if features.ndim != 2 or not (np.issubdtype(features.dtype, np.number) or features.dtype == np.bool_):
        raise ValueError(f"{_OP}: {side} features must be numbers [n, width], got {features.dtype} {features.shape}")
    encoder = {"kind": "given", "name": name}
    path = part / "features" / side / f"{name}.safetensors"
    write_matrix(path, _blocks(side, features), len(features), features.shape[1], {"side": side, "set": name})
    return FeatureFacts(width=features.shape[1], encoder=encoder)


def _blocks(side: str, features: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(features), _ROWS):
        given = np.asarray(features[start : start + _ROWS])
        with np.errstate(over="ignore"):
            block = np.ascontiguousarray(given, np.float32)
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise ValueError(f"{_OP}: {side} features must be finite in float32, row {start + bad[0]} is not")
        yield block


def _save(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    save = require("safetensors.numpy", "safetensors", "data", "prepared data").save_file
    failure = require("safetensors", "safetensors", "data", "prepared data").SafetensorError
    try:
        save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, str(path))
    except failure as error:  # a full disk is no OSError to safetensors
        raise OSError(f"{_OP}: {path} cannot be written: {error}") from None
