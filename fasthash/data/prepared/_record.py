"""``dataset.json``: what a prepared folder says of itself, and of every other file in it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasthash._files import replace_file

FILE = "dataset.json"
FORMAT = "fasthash.data"
VERSION = 1
SIDES = ("image", "text")
_BLOCK = 1 << 22


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a later fasthash may add fields


class FileFacts(_Part):
    """Size and checksum of one file."""

    bytes: int = Field(ge=0)
    sha256: str


class SplitFacts(_Part):
    """How many pairs each part of a split has."""

    query: int = Field(ge=1)
    database: int = Field(ge=1)
    train: int = Field(ge=1)
    notes: tuple[str, ...] = ()


class FeatureFacts(_Part):
    """One set of features of a side."""

    width: int = Field(ge=1)
    encoder: dict[str, Any]  # what made them; "kind" names it
    fitted_on: str | None = None  # the split whose training rows it was fitted on
    extractor: bool = False  # whether the encoder stands beside the features, so that new items can be encoded


class LayerFacts(_Part):
    """One layer of a label tree, coarse layers first."""

    name: str
    classes: tuple[str, ...]


class Skipped(_Part):
    """Pairs that were left out when the folder was made, because that was asked for; or kept in spite of a problem."""

    kind: str
    policy: str
    count: int
    ids: tuple[str, ...] = ()


class Record(_Part):
    """The content of ``dataset.json``."""

    format: Literal["fasthash.data"] = "fasthash.data"
    version: int = VERSION
    name: str
    rows: int = Field(ge=1)
    columns: tuple[str, ...]  # of items.parquet beside id
    labels: bool = False
    class_names: tuple[str, ...] = ()
    layers: tuple[LayerFacts, ...] = ()
    splits: dict[str, SplitFacts]  # the first is the default
    image: dict[str, FeatureFacts] = {}  # sets of features by name; the first is the default
    text: dict[str, FeatureFacts] = {}
    notes: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    origin: dict[str, Any] = {}  # reader, path and options that it was made with
    skipped: tuple[Skipped, ...] = ()
    made: dict[str, Any] = {}  # versions and time
    files: dict[str, FileFacts] = {}  # all but this one, by path below the folder

    def features(self, side: str) -> dict[str, FeatureFacts]:
        return self.image if side == "image" else self.text


def read_record(folder: Path, op: str = "data.load") -> Record:
    """What ``dataset.json`` says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, another format, a newer version, a field missing; one line.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{op}: no prepared data set at {folder}: {FILE} is missing") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ValueError(f"{op}: {path} cannot be read: {error}") from None
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        _check_version(text, path, op)  # a newer one may have other fields
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{op}: {path} is damaged or another file: {place or 'content'}: {first['msg']}") from None
    _check_version(text, path, op)
    return record


def _check_version(text: str, path: Path, op: str) -> None:
    try:
        version = json.loads(text).get("version")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(version, int) and version > VERSION:
        raise ValueError(f"{op}: {path} has format version {version}, this fasthash reads up to {VERSION}")


def write_record(folder: Path, record: Record) -> None:
    """Put ``dataset.json`` in its place, whole or not at all."""
    text = record.model_dump_json(indent=1, exclude_defaults=False) + "\n"
    replace_file(folder / FILE, lambda path: path.write_text(text, encoding="utf-8"))


def facts_of(path: Path) -> FileFacts:
    """Size and SHA-256 of a file, read once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        size = os.fstat(file.fileno()).st_size
    return FileFacts(bytes=size, sha256=digest.hexdigest())


def check_files(folder: Path, record: Record, *, contents: bool = False, op: str = "data.load") -> None:
    """Every file is there and has its size; with ``contents`` also its checksum, which reads everything.

    Raises:
        FileNotFoundError, ValueError: the first one that is not; names it, what was expected and what was found.
    """
    for name, said in record.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise FileNotFoundError(f"{op}: {path} is missing, {FILE} names it") from None
        if size != said.bytes:
            raise ValueError(f"{op}: {path} must have {said.bytes:,} bytes as {FILE} says, got {size:,}")
        if contents:
            found = facts_of(path).sha256
            if found != said.sha256:
                raise ValueError(
                    f"{op}: {path} is not the file that was written: SHA-256 {found[:16]}..., expected"
                    f" {said.sha256[:16]}..."
                )
