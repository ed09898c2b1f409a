"""A Parquet file, or a folder of them: pictures, texts, labels and embeddings in columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fasthash.data.gathered import Gathered
from fasthash.data.readers._arrow import OPTIONS, ArrowRows, arrow
from fasthash.data.readers._columns import files_below, name_of, part_word
from fasthash.data.readers._registry import reader
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar

_OP = "parquet"
_SUFFIXES = (".parquet", ".pq")


def _detect(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in _SUFFIXES
    if (path / "dataset.json").exists():  # a prepared folder is read as it is
        return False
    return next(files_below(path, _SUFFIXES), None) is not None


@reader(
    "parquet",
    "a Parquet file or a folder of parts; pictures as paths, bytes or as Hugging Face writes them; embeddings too",
    OPTIONS,
    detect=_detect,
    general=True,
)
def read(where: Path, *, name: str | None, progress: Progress, **options: Any) -> Gathered:
    """See `readers.read`."""
    pq = require("pyarrow.parquet", "pyarrow", "data", "reading Parquet files")
    paths = [where] if where.is_file() else [where / file for file in files_below(where, _SUFFIXES)]
    if not paths:
        raise FileNotFoundError(f"{_OP}: {where} has no file *.parquet")
    heads = [_opened(path, pq) for path in paths]
    schema, total = heads[0].schema_arrow, sum(head.metadata.num_rows for head in heads)
    for path, head in zip(paths, heads, strict=True):
        head.close()
        if not head.schema_arrow.equals(schema):
            raise ValueError(
                f"{_OP}: {path} must have the columns and types of {paths[0]}, got {_unlike(head, schema)}"
            )
    rows = ArrowRows(f"{_OP}: {where.name}", schema, options, _class_names(schema))
    parts = [part_word(path.name) or part_word(path.parent.name) for path in paths]
    parts = parts if all(parts) else [None] * len(parts)
    done = 0
    with progress_bar(f"{name or name_of(where)}: reading", total, progress) as report:
        for path, part in zip(paths, parts, strict=True):
            label = path.name if where.is_file() else path.relative_to(where).as_posix()
            with _opened(path, pq) as file:
                try:
                    for batch in file.iter_batches(rows.batch, columns=rows.columns):
                        rows.add(batch, label, path.parent, part)
                        report(done := done + len(batch))
                except (OSError, arrow().ArrowException) as error:
                    if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the file's content
                        raise
                    raise ValueError(f"{_OP}: {path} is damaged: {_line(error)}") from None
    return rows.finish(name or name_of(where))


def _opened(path: Path, pq: Any) -> Any:
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # with it, all that was read stays in memory
    except PermissionError:
        raise PermissionError(f"{_OP}: {path} may not be read") from None
    except (OSError, arrow().ArrowException) as error:
        raise ValueError(f"{_OP}: {path} is damaged or no Parquet file: {_line(error)}") from None


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _unlike(head: Any, schema: Any) -> str:
    own = head.schema_arrow
    for field in own:
        if field.name not in schema.names or schema.field(field.name).type != field.type:
            return f"{field.name}: {field.type}"
    return (
        f"no {next(name for name in schema.names if name not in own.names)}"
        if len(own) < len(schema)
        else "another order"
    )


def _class_names(schema: Any) -> dict[str, Sequence[str]]:
    """Names of class numbers, where Hugging Face wrote them beside the columns."""
    try:
        features: Mapping[str, Any] = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for column, feature in features.items():
        feature = feature.get("feature", feature) if isinstance(feature, dict) else feature
        feature = feature[0] if isinstance(feature, list) and feature else feature
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
            found[column] = feature["names"]
    return found
