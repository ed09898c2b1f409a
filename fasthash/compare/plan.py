"""What a comparison measures: data sets, rows of the table, code lengths, seeds, and what must hold."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fasthash import methods
from fasthash.codes import MAX_BITS
from fasthash.compare.items import DATABASE, VALIDATION, Item, parse_item
from fasthash.compare.peers import PEERS
from fasthash.data import names as data_names
from fasthash.data import prepared_folder
from fasthash.evaluation import DIRECTIONS

MEASURES = {
    "map_all": "mAP over the whole database",
    "map_at_50": "mAP of the first 50",
    "ndcg": "nDCG over the whole database, graded by the common layers of the label tree",
    "map_all_any": "mAP over the whole database, relevant what shares the coarsest class",
}
TREE_MEASURES = ("ndcg", "map_all_any")  # of data with a label tree alone
REAL_MEASURES = ("map_all", "map_at_50")  # of rows of real values
MAX_SEEDS = 100  # as a count: a larger number is rather meant as a seed

Bits = Annotated[int, Field(ge=1, le=MAX_BITS)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Row(_Part):
    """A method with its options, as one line of the tables."""

    # name or name[option=value,...]; with the option database=learned, training pairs in the database have the codes
    # that training gave them, not those of their encoders
    method: str
    name: str = ""  # what the tables call it; default: ``method`` as it is written
    data: tuple[str, ...] | None = None  # the data sets it runs on; None: all
    bits: tuple[Bits, ...] | None = None  # None: those of the plan
    note: str = ""

    @property
    def item(self) -> Item:
        """The method and its own options."""
        return self._item.without(DATABASE)

    @property
    def learned(self) -> bool:
        """Whether training pairs are searched by the codes that training gave them."""
        return self._item.options.get(DATABASE) == "learned"

    @property
    def label(self) -> str:
        return self.name or self._item.text

    @property
    def _item(self) -> Item:
        return parse_item(self.method, "compare: a method")


class Table(_Part):
    """Some rows side by side; bold marks the best among them."""

    title: str
    rows: tuple[str, ...] | None = None  # labels; None: all
    data: tuple[str, ...] | None = None


class Target(_Part):
    """What must hold: a row reaches ``at_least``, or it is better than the row ``over``.

    Both compare means over all seeds of the plan. With ``by`` at 0 the row has to be ahead of ``over``, a tie does not
    do; otherwise it is to be ahead by ``by`` or more, and a ``by`` below 0 lets it stay behind by that much.
    """

    data: str
    row: str
    at_least: float | None = None
    over: str | None = None
    by: float = 0.0
    bits: tuple[Bits, ...] | None = None  # None: every length of the row
    directions: tuple[str, ...] = DIRECTIONS
    measure: str = "map_all"

    @model_validator(mode="after")
    def _check(self) -> Target:
        if (self.at_least is None) == (self.over is None):
            raise ValueError("a target needs either at_least or over")
        if self.measure not in MEASURES:
            raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {self.measure!r}")
        if not self.directions or not set(self.directions) <= set(DIRECTIONS):
            raise ValueError(f"directions must be some of {', '.join(DIRECTIONS)}, got {self.directions!r}")
        return self


class Plan(_Part):
    """A whole comparison; see benchmarks/compare.json for one in use."""

    data: tuple[str, ...] = Field(min_length=1)  # name or name[option=value,...] each
    rows: tuple[Row, ...] = Field(min_length=1)
    bits: tuple[Bits, ...] = Field((16, 32, 64), min_length=1)
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    tables: tuple[Table, ...] = ()  # none: one table of all rows
    targets: tuple[Target, ...] = ()
    title: str = "Methods compared"
    lead: str = ""

    @field_validator("rows", mode="before")
    @classmethod
    def _short_rows(cls, rows: Any) -> Any:
        return (
            [{"method": row} if isinstance(row, str) else row for row in rows]
            if isinstance(rows, (list, tuple))
            else rows
        )

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, seeds: Any) -> Any:
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            if not 1 <= seeds <= MAX_SEEDS:
                bound = "1 or more" if seeds < 1 else f"at most {MAX_SEEDS}"
                raise ValueError(f"seeds must be {bound}, or a list of distinct seeds, got {seeds}")
            return tuple(range(seeds))
        return seeds

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must be 1 or more, or a list of distinct seeds, got {', '.join(map(str, seeds))}")
        return seeds

    @classmethod
    def make(cls, source: str = "compare", /, **values: Any) -> Plan:
        """A plan from plain values; ValueError in one line that starts with ``source``."""
        try:
            plan = cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ")
            got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
            place = "" if not where or said.startswith(f"{where} ") else f"{where}: "
            raise ValueError(f"{source}: {place}{said}{got}") from None
        _check_names(plan, source)
        return plan

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """A plan from a JSON file."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"compare: no plan at {path}") from None
        except OSError as error:
            raise ValueError(f"compare: the plan {path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"compare: {path} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"compare: {path} must hold one JSON object, got {type(values).__name__}")
        return cls.make(str(path), **values)

    def data_items(self) -> dict[str, Item]:
        """Label -> data set. A label is the name alone where no other entry has it and the queries are its own."""
        items = [parse_item(text, "compare: a data set") for text in self.data]
        counts = [sum(other.name == item.name for other in items) for item in items]
        alone = [n == 1 and VALIDATION not in item.options for n, item in zip(counts, items, strict=True)]
        return {item.name if short else item.text: item for short, item in zip(alone, items, strict=True)}

    def rows_of(self, data: str) -> list[Row]:
        """The rows that run on a data set, by its label."""
        return [row for row in self.rows if row.data is None or data in row.data]

    def bits_of(self, row: Row) -> tuple[int, ...]:
        """Its code lengths, ascending."""
        return tuple(sorted(set(row.bits or self.bits)))

    def tables_of(self, data: str) -> list[tuple[str, list[Row]]]:
        """(title, rows) of the tables of a data set; tables without a row are left out."""
        rows = self.rows_of(data)
        tables = self.tables or (Table(title=""),)
        chosen = [
            (t.title, [r for r in rows if t.rows is None or r.label in t.rows])
            for t in tables
            if t.data is None or data in t.data
        ]
        return [(title, found) for title, found in chosen if found]

    def picture(self, data: str, title: str) -> str:
        """File name, without suffix, of the picture of a table; data with one table alone leave its title out."""
        title = title if len(self.tables_of(data)) > 1 else ""
        return re.sub(r"\W+", "_", f"compare_{data}_{title}").strip("_").lower()


def _check_database(where: str, row: Row) -> None:
    """ValueError unless the row's method has what its option ``database`` asks for."""
    found = parse_item(row.method, where).options.get(DATABASE)
    if found not in (None, "encoded", "learned"):
        raise ValueError(f"{where}: {DATABASE} must be encoded or learned, got {found!r}")
    able = [name for name in methods.names() if methods.get(name).learns_codes]
    if row.learned and row.item.name not in able:
        raise ValueError(
            f"{where}: {DATABASE}=learned needs a method that learns codes, {', '.join(able)}; got {row.item.name!r}"
        )


def _check_names(plan: Plan, source: str) -> None:
    """ValueError unless every name in the plan stands for something in it, and for one thing alone."""
    items = plan.data_items()
    if len(items) < len(plan.data):
        raise ValueError(f"{source}: data: each data set may be named once, got {', '.join(plan.data)}")
    known = data_names()
    for item in items.values():
        if item.name not in known and prepared_folder(item.name) is None:
            raise ValueError(f"{source}: data must be of {', '.join(known)}, or a prepared folder, got {item.name!r}")
    labels = [row.label for row in plan.rows]
    for row in plan.rows:
        if row.item.name not in {*methods.names(), *PEERS}:
            every = ", ".join([*methods.names(), *PEERS])
            raise ValueError(f"{source}: unknown method {row.item.name!r}; known: {every}")
        _check_database(f"{source}: row {row.label!r}", row)
        if labels.count(row.label) > 1:
            raise ValueError(f"{source}: rows: {row.label!r} is there twice; give one of them another name")
    for table in plan.tables:
        _check_known(f"{source}: table {table.title!r}: rows", table.rows, labels)
        _check_known(f"{source}: table {table.title!r}: data", table.data, items)
    for row in plan.rows:
        _check_known(f"{source}: row {row.label!r}: data", row.data, items)
    for target in plan.targets:
        where = f"{source}: target of {target.row!r} on {target.data!r}"
        _check_known(f"{where}: data", (target.data,), items)
        on_data = {row.label: row for row in plan.rows_of(target.data)}
        named = (target.row, *([target.over] if target.over else []))
        _check_known(f"{where}: row", named, on_data)
        _check_measured(where, plan, target, [on_data[name] for name in named])
    _check_pictures(plan, source)


def _check_measured(where: str, plan: Plan, target: Target, rows: Sequence[Row]) -> None:
    """ValueError unless both rows are measured where the target looks."""
    wanted = target.bits or plan.bits_of(rows[0])
    for row in rows:
        if row.item.name in PEERS and PEERS[row.item.name].values is not None:  # the same at every length
            if target.measure not in REAL_MEASURES:
                known = ", ".join(REAL_MEASURES)
                raise ValueError(f"{where}: measure of {row.label!r} must be of {known}, got {target.measure!r}")
            continue
        for bits in wanted:
            if bits not in plan.bits_of(row):
                known = ", ".join(map(str, plan.bits_of(row)))
                raise ValueError(f"{where}: bits of {row.label!r} must be of {known}, got {bits}")


def _check_pictures(plan: Plan, source: str) -> None:
    """ValueError when two tables would be drawn into the same file."""
    seen: dict[str, str] = {}
    for data in plan.data_items():
        for title, _ in plan.tables_of(data):
            name, table = plan.picture(data, title), f"{title!r} on {data}"
            if name in seen:
                raise ValueError(f"{source}: tables: {seen[name]} and {table} give the same picture {name}.png")
            seen[name] = table


def _check_known(what: str, given: Sequence[str] | None, known: Any) -> None:
    for name in given or ():
        if name not in known:
            raise ValueError(f"{what} must be of {', '.join(known)}; got {name!r}")
