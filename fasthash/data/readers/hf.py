"""Hugging Face data sets: saved to a folder, made from local files by a builder, or by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fasthash.data.gathered import Gathered
from fasthash.data.readers._arrow import OPTIONS, ArrowRows
from fasthash.data.readers._columns import SPLIT_WORDS, name_of, part_word
from fasthash.data.readers._registry import reader
from fasthash.data.readers._roles import NONE
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar

_OP = "hf"
_SAVED = ("dataset_dict.json", "state.json")


def _detect(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in _SAVED)


@reader(
    "hf",
    "a Hugging Face data set: a folder of save_to_disk, local files through a builder, or a name (needs the network)",
    {
        **OPTIONS,
        "config": "name of the configuration, for a data set by name",
        "parts": "which splits are read, such as train,test (default: all)",
        "builder": "imagefolder, json, csv or parquet: how local files are read",
        "revision": "of a data set by name: a branch, tag or commit",
    },
    detect=_detect,
    on_disk=False,
)
def read(where: Any, *, name: str | None, progress: Progress, **options: Any) -> Gathered:
    """See `readers.read`."""
    datasets = require("datasets", "datasets", "datasets", "reading Hugging Face data sets")
    with _bars(datasets, bool(progress) and sys.stderr.isatty()):
        found = _loaded(datasets, where, options)
    parts = {"": found} if not isinstance(found, dict) else dict(found)
    wanted = options.get("parts")
    if wanted is not None:
        names = [part.strip() for part in str(wanted).split(",")]
        unknown = [part for part in names if part not in parts]
        if unknown:
            raise ValueError(f"{_OP}: parts: {where} has {', '.join(parts)}, got {unknown[0]!r}")
        parts = {part: parts[part] for part in names}
    words = {part: part_word(part) for part in parts}
    if len(parts) > 1 and options.get("split") != NONE and not all(words.values()):
        raise ValueError(
            f"{_OP}: {where} has the splits {', '.join(parts)}, which must be called {', '.join(SPLIT_WORDS)} to make "
            f"queries and others: choose some with parts=..., or draw a split anew with split=none"
        )
    first = next(iter(parts.values()))
    schema = first.features.arrow_schema
    for part, data in parts.items():
        if data.features.arrow_schema.names != schema.names or data.features.type != first.features.type:
            raise ValueError(f"{_OP}: split {part} must have the columns of the others, got {data.features.type}")
    rows = ArrowRows(f"{_OP}: {where}", schema, options, _class_names(datasets, first.features))
    total, done = sum(map(len, parts.values())), 0
    title = name or name_of(str(where).rstrip("/").rpartition("/")[2] or str(where))
    with progress_bar(f"{title}: reading", total, progress) as report:
        for part, data in parts.items():
            for table in data.select_columns(rows.columns).with_format("arrow").iter(rows.batch):
                rows.add(table, part or "data", Path(), words[part] if len(parts) > 1 else None)
                report(done := done + table.num_rows)
    return rows.finish(title)


def _loaded(datasets: Any, where: Any, options: dict[str, Any]) -> Any:
    place, builder = Path(str(where)).expanduser(), options.get("builder")
    try:
        if place.is_dir() and _detect(place):
            return datasets.load_from_disk(str(place))
        if builder is not None:
            if not place.exists():
                raise FileNotFoundError("no such file or folder")
            data = {"data_dir": str(place)} if place.is_dir() else {"data_files": str(place)}
            return datasets.load_dataset(str(builder), **data)
        if place.exists():
            raise ValueError("no data set that save_to_disk wrote: name what reads it, such as builder=imagefolder")
        return datasets.load_dataset(str(where), options.get("config"), revision=options.get("revision"))
    except MemoryError:
        raise
    except Exception as error:  # the package raises many kinds, of the network, of files and its own
        line = " ".join(str(error).split()) or type(error).__name__
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{_OP}: {where}: {line}") from None


@contextmanager
def _bars(datasets: Any, shown: bool) -> Iterator[None]:
    """The package's own bars, of downloads and builders, go by `progress` too."""
    if shown or datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def _class_names(datasets: Any, features: Any) -> dict[str, Sequence[str]]:
    found = {}
    for column, feature in features.items():
        inner = getattr(feature, "feature", feature)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, datasets.ClassLabel) and inner.names:
            found[column] = inner.names
    return found
