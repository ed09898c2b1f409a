"""Published tables as data: every value with its source, its protocol and how well each is known."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Metric = Literal["map_all", "map_at_k", "map_at_k_hitonly", "map_at_k_minR", "map_first_k_relevant"]
Bits = Annotated[int, Field(ge=1, le=4096)]
Value = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Part):
    """Where a table was printed."""

    authors: str
    title: str
    venue: str
    year: int
    where: str  # "table 1", "tables 3 and 4, CNN-F"

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}, {f'{self.venue} ' if self.venue else ''}{self.year}, {self.where}"


class Protocol(_Part):
    """How the values of a table were measured. None: not known here."""

    metric: Metric
    k: Size | None
    ties: str
    database: str
    train_in_database: bool | None
    epoch: str | None
    seeds: Size | None
    relevance: str

    @property
    def text(self) -> str:
        """map_at_k, k = 50"""
        return self.metric if self.k is None else f"{self.metric}, k = {self.k:,}"


class Data(_Part):
    """A data set as a table used it. None: not known here."""

    name: str
    title: str
    pairs: Size | None
    query: Size | None
    train: Size | None
    database: Size | None
    classes: Size | None
    image: str
    text: str
    evidence: Annotated[str, Field(pattern="^[CPSM]+$")]  # of sizes and features
    aliases: tuple[str, ...] = ()


class Row(_Part):
    """The values of one method on one data set in one direction."""

    method: str
    data: str
    direction: Literal["i2t", "t2i"]
    values: dict[Bits, Value] = Field(min_length=1)  # bits -> value
    rerun: bool = False  # run by the authors of the table, not by those of the method
    note: str = ""


class PublishedTable(_Part):
    """One table of a paper."""

    name: str
    title: str
    source: Source
    protocol: Protocol
    notes: tuple[str, ...]
    data: tuple[Data, ...]
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> PublishedTable:
        known = [one.name for one in self.data]
        seen = set()
        for row in self.rows:
            if row.data not in known:
                raise ValueError(f"row {row.method} names the data {row.data}, known are {', '.join(known)}")
            key = (row.method, row.data, row.direction)
            if key in seen:
                raise ValueError(f"row {row.method} on {row.data}, {row.direction}, is there twice")
            seen.add(key)
        return self

    @property
    def bits(self) -> tuple[int, ...]:
        """Every code length of the table, ascending."""
        return tuple(sorted({bits for row in self.rows for bits in row.values}))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in the order of the table."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    def value(self, method: str, data: str, bits: int, direction: str) -> float | None:
        """One value; None where the table has none."""
        rows = [row for row in self.rows if (row.method, row.data, row.direction) == (method, data, direction)]
        return rows[0].values.get(bits) if rows else None

    def data_like(self, name: str) -> Data | None:
        """The data set of this table that goes by a name: its own, its title or another usual one."""
        wanted = _plain(name)
        for one in self.data:
            if wanted in map(_plain, (one.name, one.title, *one.aliases)):
                return one
        return None


class _File(_Part):
    format: Literal["fasthash.published"]
    version: Literal[1]
    evidence: dict[str, str]
    tables: tuple[PublishedTable, ...]


@functools.cache
def _file() -> _File:
    text = resources.files("fasthash.published").joinpath("tables.json").read_text(encoding="utf-8")
    try:
        return _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"published: tables.json is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None


def names() -> tuple[str, ...]:
    """Every published table by name."""
    return tuple(table.name for table in _file().tables)


def evidence() -> dict[str, str]:
    """What the letters of `Data.evidence` mean."""
    return dict(_file().evidence)


def load(name: str) -> PublishedTable:
    """A published table by name.

    Raises:
        ValueError: there is no such table.
    """
    for table in _file().tables:
        if table.name == name:
            return table
    raise ValueError(f"published: name must be one of {', '.join(names())}, got {name!r}")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
