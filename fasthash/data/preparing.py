"""Anybody's files into a prepared folder: read, split, look for problems, write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fasthash.data import problems, protocols, readers
from fasthash.data.dataset import PairedDataset
from fasthash.data.gathered import Gathered
from fasthash.data.prepared import Folder, Skipped, check_place, write
from fasthash.data.registry import load, names
from fasthash.data.splits import Split
from fasthash.features import Extractor
from fasthash.features._progress import Progress

_OP = "data prepare"
OWN, DRAWN = "own", "drawn"  # names of the splits that a known data set brings, and that are drawn here
_QUERIES = 2000  # drawn at most, where nothing is said
_IDS = 100_000  # of skipped pairs, kept in the record


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made and found."""

    folder: Folder
    problems: problems.Problems
    read: int  # pairs that were found, of which the folder holds those that were not skipped
    skipped: tuple[Skipped, ...]


def prepare(
    where: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: str = "auto",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    splits: Sequence[str] = (),
    query: int | None = None,
    train: int | None = None,
    seed: int = 0,
    policies: Mapping[str, str] | None = None,
    decode: bool = True,
    overwrite: bool = False,
    progress: Progress = True,
) -> Prepared:
    """Read pairs in any known layout, check them, and write a prepared folder.

    Args:
        where: a folder or file, or the name of a known data set, which is written with its features and split.
        out: the prepared folder; new, or with ``overwrite`` a prepared one.
        kind: of `readers.kinds()`, or "auto" for what the files look like.
        name: of the data set; default the reader's. Presets of methods go by it.
        options: of the reader, or of the known data set.
        splits: of `protocols.protocols()`, the first one the default; none: those of the source, else one is drawn.
        query, train: numbers of pairs for a split drawn by the hashes of the ids; default 2,000 or a tenth of the
            pairs, whichever is less, and all others.
        seed: of drawn splits.
        policies: kind of problem -> refuse, skip or keep; see `problems.kinds`.
        decode: open every picture once; otherwise only look whether it is there.
        overwrite: replace a prepared folder.
        progress: as in `load`.
    Raises:
        ValueError: problems that were not to be skipped or kept, all of them named with their counts; files, options
            or counts that are not as they should be. Nothing is written then.
    """
    policies = problems.resolve(policies)
    check_place(out, overwrite)
    options = dict(options or {})
    gathered, extractors, origin = _gathered(where, kind, name, options, progress)
    _check_sides(gathered)
    gathered, notes = _with_splits(gathered, splits, query, train, seed)
    found = problems.examine(gathered, open_pictures=decode, progress=progress)
    cleaned = problems.apply(gathered, found, policies)
    record = _records(cleaned)
    kept = cleaned.gathered
    origin |= {"splits": list(kept.splits), "seed": seed, "pictures": found.pictures}
    folder = write(
        kept, out, splits=kept.splits, split_notes=notes, extractors=extractors, origin=origin, skipped=record,
        overwrite=overwrite,
    )  # fmt: skip
    return Prepared(folder, found, len(gathered), record)


def _gathered(
    where: str | os.PathLike[str], kind: str, name: str | None, options: dict[str, Any], progress: Progress
) -> tuple[Gathered, dict[str, Extractor], dict[str, Any]]:
    """What was read, what makes its features where that is known, and from where it is."""
    text = os.fspath(where)
    if kind == "auto" and text in names() and not Path(text).exists():
        data = load(text, progress=progress, **options)
        gathered = gathered_of(data) if name is None else replace(gathered_of(data), name=name)
        made = {"image": data.image_extractor, "text": data.text_extractor}
        known = {side: extractor for side, extractor in made.items() if extractor is not None}
        return gathered, known, {"data": text, "options": options}
    kind = readers.detect(text) if kind == "auto" else kind
    gathered = readers.read(kind, where, name=name, progress=progress, **options)
    place = Path(text).expanduser()
    origin = {"reader": kind, "from": str(place.absolute()) if place.exists() else text, "options": options}
    return gathered, {}, origin


def _check_sides(gathered: Gathered) -> None:
    """A pair has two sides: files that name one alone were most likely not read as they were meant."""
    for side, raw, features in (("image", "pictures", gathered.pictures), ("text", "texts", gathered.texts)):
        if features is None and getattr(gathered, side) is None:
            read = ", ".join(gathered.columns())
            hint = "".join(f"; {note}" for note in gathered.notes)
            raise ValueError(
                f"{_OP}: {gathered.name}: neither {raw} nor {side} features were found, only {read}{hint}: say where"
                " they are by an option of the layout (`fasthash data formats LAYOUT`)"
            )


def _with_splits(
    gathered: Gathered, wanted: Sequence[str], query: int | None, train: int | None, seed: int
) -> tuple[Gathered, dict[str, tuple[str, ...]]]:
    """The data with the splits asked for in place of its own, and notes on each."""
    if wanted and (query is not None or train is not None):
        raise ValueError(f"{_OP}: query and train are for a split drawn here, got split {', '.join(wanted)} too")
    splits: dict[str, Split] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for one in wanted:
        if one in gathered.splits:
            splits[one] = gathered.splits[one]
        else:
            drawn = protocols.draw(one, gathered, seed=seed)
            splits[one], notes[one] = drawn.split, tuple(drawn.notes)
    if query is not None or train is not None or not (splits or gathered.splits):
        count = min(_QUERIES, max(1, len(gathered) // 10)) if query is None else query
        splits[DRAWN] = protocols.draw_split(gathered, query=count, train=train, seed=seed)
        notes[DRAWN] = (f"{count:,} queries drawn by hashes of the ids, seed {seed}",)
    return (replace(gathered, splits=splits) if splits else gathered), notes


def gathered_of(data: PairedDataset) -> Gathered:
    """A data set as its reader would have given it: what is written to hand it on, or to add features to it."""
    captions = None if data.texts is None else [(text,) if text.strip() else () for text in data.texts]
    layers: dict[str, list[str]] = {}
    if data.tree is not None:
        layers = {layer.name: [layer.classes[i] for i in layer.ids] for layer in data.tree.layers}
    return Gathered(
        name=data.name, ids=data.ids, pictures=data.pictures, texts=captions, image=data.image, text=data.text,
        image_features=_kind(data.image_extractor), text_features=_kind(data.text_extractor),
        labels=None if layers else data.labels, class_names=data.class_names, layers=layers, splits={OWN: data.split},
        notes=data.notes, source=data.source, licence=data.licence,
    )  # fmt: skip


def _kind(extractor: Any) -> str:
    return "given" if extractor is None else str(extractor.config()["kind"])


def _records(cleaned: problems.Cleaned) -> tuple[Skipped, ...]:
    return tuple(
        Skipped(kind=one.kind, policy=one.policy, count=one.count, ids=tuple(one.ids[:_IDS])) for one in cleaned.record
    )
