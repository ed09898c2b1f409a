"""webdataset shards: .tar files whose members of one key are a pair; pictures stay where they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers._columns import (
    GIVEN,
    SUFFIXES,
    PictureMembers,
    choice,
    files_below,
    name_of,
    part_word,
    split_of,
    words,
)
from fasthash.data.readers._registry import reader
from fasthash.data.readers._roles import (
    NONE,
    OPTIONS,
    USUAL,
    Made,
    Roles,
    captions_of,
    cell_of,
    label_matrix,
    labels_of,
)
from fasthash.features._progress import Progress, progress_bar
from fasthash.features._tar import TarMember, scan

_OP = "webdataset"
_KEY = re.compile(r"((?:.*/)?[^./][^/.]*)\.([^/]+)")  # folders and name up to the first dot, then the suffix
_WORDS = ("txt", "caption", "captions", "text", "title", "cls", "label", "labels", "class", "id", "key", "split")
_USUAL = {usual for role, all_of in USUAL.items() if role != "image" for usual in all_of} | set(_WORDS)
_OWN = {"text": "txt", "labels": "cls"}  # suffixes that go before fields of the .json
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def _detect(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".tar"
    return next(files_below(path, (".tar",)), None) is not None


@reader(
    "webdataset",
    "webdataset shards: a .tar, a folder of them, or a pattern such as train-{000..127}.tar",
    {
        "image": "the suffix of the pictures, where a key has several (none: no pictures)",
        "text": "the suffix, or field of the .json, with the captions (default: txt, caption, ...; none: no texts)",
        "labels": "likewise of the labels (default: cls, label, ...; none: no labels)",
        **{option: OPTIONS[option] for option in ("separator", "layers", "id", "split")},
        "keys": "shard: ids are SHARD/KEY, for shards that repeat keys; key: ids are the keys",
    },
    detect=_detect,
    on_disk=False,
)
def read(where: Any, *, name: str | None, progress: Progress, **options: Any) -> Gathered:
    """See `readers.read`."""
    keys = options.get("keys")
    if keys is not None:
        choice(_OP, "keys", keys, ("key", "shard"))
    shards = _shards(str(where))
    pairs = _Pairs(options)
    title = name or name_of(re.sub(r"[-_.]*\{.*", "", str(where)) or "data")
    with progress_bar(f"{title}: shards", len(shards), progress) as report:
        for number, shard in enumerate(shards):
            pairs.add(number, shard)
            report(number + 1)
    return pairs.finish(title, shards, keys, str(where))


class _Pairs:
    """What the shards hold, key by key. Only the fields that may have a role are kept."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        given = [
            word for option in ("text", "labels", "layers", "id", "split") for word in words(options.get(option, ""))
        ]
        self.wanted = _USUAL | set(given)
        image = options.get("image")
        self.image = None if image is None else str(image).lower().lstrip(".")
        self.keys: list[str] = []
        self.which: list[int] = []
        self.members: list[str] = []
        self.columns: dict[str, list[Any]] = {}
        self.unread: set[str] = set()

    def add(self, number: int, shard: Path) -> None:
        """All keys of a shard."""
        current = None
        with shard.open("rb") as file:
            for member in scan(shard):
                found = _KEY.fullmatch(member.name)
                if found is None:
                    continue  # hidden files, and those without a suffix: no part of a pair, as webdataset has it
                key, suffix = found.group(1).removeprefix("./"), found.group(2)
                if key != current:
                    current = key
                    self.keys.append(key)
                    self.which.append(number)
                    self.members.append("")
                    for column in self.columns.values():
                        column.append(None)
                self._part(shard, file, member, suffix.lower())

    def _part(self, shard: Path, file: IO[bytes], member: TarMember, suffix: str) -> None:
        if suffix == self.image or (self.image is None and os.path.splitext(f"x.{suffix}")[1] in SUFFIXES):
            if self.members[-1]:
                raise ValueError(
                    f"{_OP}: {shard.name}:{member.name}: a second picture of {self.keys[-1]}: choose with image=SUFFIX"
                )
            self.members[-1] = member.address
        elif suffix == "json":
            for field, value in self._json(shard, file, member).items():
                if field in self.wanted:
                    self._set(field, value)
                else:
                    self.unread.add(f"json:{field}")
        elif suffix in self.wanted:
            text = _text(shard, file, member)
            self._set(suffix, [line for line in text.splitlines() if line.strip()] if suffix in _WORDS[:5] else text)
        else:
            self.unread.add(suffix)

    def _set(self, field: str, value: Any) -> None:
        column = self.columns.setdefault(field, [None] * len(self.keys))
        if column[-1] is None:  # a file of its own goes before the same field of the .json that follows
            column[-1] = value

    def _json(self, shard: Path, file: IO[bytes], member: TarMember) -> dict[str, Any]:
        place = f"{_OP}: {shard.name}:{member.name}"
        try:
            content = json.loads(_text(shard, file, member))
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error) if str(error).startswith(_OP) else f"{place}: must be JSON: {error}") from None
        if not isinstance(content, dict):
            raise ValueError(f"{place}: must be an object {{...}}, got {type(content).__name__}")
        return content

    def finish(self, name: str, shards: list[Path], keys: str | None, where: str) -> Gathered:
        """All of it."""
        n = len(self.keys)
        if not n:
            raise ValueError(f"{_OP}: {where} must hold members KEY.SUFFIX, got none")
        where_from = Made([self.which, self.keys], lambda shard, key: f"{shards[shard].name}:{key}")
        given = {option: value for option, value in self.options.items() if option not in ("image", "keys")}
        own = {role: suffix for role, suffix in _OWN.items() if suffix in self.columns}
        roles = Roles.find(tuple(self.columns), {"image": NONE} | own | given, f"{_OP}: {where}")
        has_pictures = self.image != NONE and any(self.members)
        if not has_pictures and not roles.text:
            raise ValueError(
                f"{_OP}: {where} has neither pictures nor texts; there are {', '.join(sorted(self.unread))}"
            )
        labels, class_names = self._labels(roles, where_from)
        ids: Sequence[str] = self._ids(keys, shards) if roles.id is None else Made([self.columns[roles.id]], cell_of)
        splits, notes = self._splits(roles, shards, where_from)
        unread = (f"members and fields that were not read: {', '.join(sorted(self.unread))}",) if self.unread else ()
        return Gathered(
            name=name, ids=ids, texts=self._texts(roles, where_from), labels=labels, class_names=class_names,
            splits=splits, where=where_from,
            pictures=PictureMembers(shards, np.array(self.which, np.int32), self.members) if has_pictures else None,
            layers={layer: [cell_of(cell) for cell in self.columns[layer]] for layer in roles.layers},
            notes=(*notes, *roles.unused(tuple(self.columns)), *unread),
        )  # fmt: skip

    def _ids(self, keys: str | None, shards: list[Path]) -> Sequence[str]:
        if keys == "shard":
            return Made([self.which, self.keys], lambda shard, key: f"{shards[shard].name.partition('.')[0]}/{key}")
        if keys is None and len(set(self.keys)) < len(self.keys):
            first: dict[str, int] = {}
            for shard, key in zip(self.which, self.keys, strict=True):
                if first.setdefault(key, shard) != shard:
                    raise ValueError(
                        f"{_OP}: key {key} is in {shards[first[key]].name} and in {shards[shard].name}: keys=shard "
                        f"makes ids SHARD/KEY of them, keys=key leaves them as they are"
                    )
        return self.keys

    def _labels(self, roles: Roles, places: Made) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
        if roles.labels is None:
            return None, ()
        separator = self.options.get("separator")
        column = self.columns[roles.labels]
        rows = [self._cell(places, row, labels_of, cell, separator) for row, cell in enumerate(column)]
        return label_matrix(rows)

    def _texts(self, roles: Roles, places: Made) -> list[tuple[str, ...]] | None:
        if not roles.text:
            return None
        cells = zip(*(self.columns[text] for text in roles.text), strict=True)
        return [self._cell(places, row, captions_of, *of) for row, of in enumerate(cells)]

    def _cell(self, places: Made, row: int, make: Any, *cells: Any) -> Any:
        try:
            return make(*cells)
        except ValueError as error:
            raise ValueError(f"{_OP}: {places[row]}: {error}") from None

    def _splits(self, roles: Roles, shards: list[Path], places: Made) -> tuple[dict[str, Any], tuple[str, ...]]:
        if roles.split is not None:
            parts = [cell_of(cell) for cell in self.columns[roles.split]]
        else:
            of = [part_word(shard.name) or part_word(shard.parent.name) for shard in shards]
            if not all(of) or len(set(of)) < 2 or self.options.get("split") == NONE:
                return {}, ()
            parts = [str(of[shard]) for shard in self.which]
        split, notes = split_of(parts, _OP, places.__getitem__)
        return {GIVEN: split}, notes


def _text(shard: Path, file: IO[bytes], member: TarMember) -> str:
    file.seek(member.offset)
    try:
        return file.read(member.size).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{_OP}: {shard.name}:{member.name}: must be UTF-8, other bytes are in it") from None


def _shards(where: str) -> list[Path]:
    place = Path(where).expanduser()
    if place.is_dir():
        found = [place / file for file in files_below(place, (".tar",))]
        if not found:
            raise FileNotFoundError(f"{_OP}: {where} has no .tar")
        return found
    found = [Path(name).expanduser() for name in _expanded(where)]
    for path in found:
        if not path.is_file():
            raise FileNotFoundError(f"{_OP}: no such file: {path}")
    return found


def _expanded(pattern: str) -> Iterator[str]:
    """Names that a pattern with braces stands for: {000..127} and {a,b}."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if i % 2 == 0 else _alternatives(piece) for i, piece in enumerate(pieces)]
    return map("".join, product(*choices))


def _alternatives(inside: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers.groups()
    return [f"{i:0{len(first)}d}" for i in range(int(first), int(last) + 1)]
