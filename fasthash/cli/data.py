"""fasthash data list, info, formats, splits, prepare."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.commands import DataSet, data_options, parse_settings, plain

data_app = typer.Typer(no_args_is_help=True, help="Data sets: those that are known, and yours.")
app.add_typer(data_app, name="data")


@data_app.command("list", epilog="Example: fasthash data list")
def data_list(json_: JSON = False) -> None:
    """Known data sets, what each needs, and whether it is here."""
    from dataclasses import asdict

    from fasthash.data import names

    known = names()
    if json_:
        return print_json({name: asdict(info) | {"available": info.available} for name, info in known.items()})
    table = Table("data set", "what it is", "needs", "here")
    for name, info in known.items():
        table.add_row(name, escape(info.summary), escape(info.needs or "nothing"), escape(info.reason or "yes"))
    out.print(table)


@data_app.command("info", epilog="Example: fasthash data info emoji --page emoji.html")
def data_info(
    name: Annotated[str, typer.Argument(metavar="DATA", help="A data set, or a prepared folder.")],
    data_set: DataSet = None,
    page: Annotated[Path | None, typer.Option(help="Write a page with label balance and a contact sheet.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which pairs the contact sheet shows.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Compare a prepared folder's files with checksums.")] = False,
    json_: JSON = False,
) -> None:
    """Counts, features, labels and their balance, splits, source and licence; a page of them with --page."""
    from fasthash.data import load
    from fasthash.data.facts import facts

    dataset = load(name, progress=not json_, **data_options(name, data_set))
    info = facts(dataset, verify=verify)
    if page is not None:
        from fasthash.report.data_page import write_data_page

        command = shlex.join(["fasthash", *sys.argv[1:]])
        write_data_page(dataset, info, page, seed=seed, command=command)
    if json_:
        return print_json(info | ({} if page is None else {"page": str(page)}))
    table = Table(show_header=False)
    for key, value in info.items():
        table.add_row(key, escape(plain(value)))
    out.print(table)
    if page is not None:
        out.print(f"{escape(str(page))}: {page.stat().st_size / 1e6:.1f} MB")


@data_app.command("formats", epilog="Example: fasthash data formats dcmh")
def data_formats(
    layout: Annotated[str | None, typer.Argument(help="One layout, with its options.")] = None, json_: JSON = False
) -> None:
    """Layouts of files that `data prepare` reads; of one, the options that --set takes."""
    from fasthash.data import readers

    kinds = readers.kinds()
    if layout is not None and layout not in kinds:
        raise ValueError(f"data formats: layout must be one of {', '.join(kinds)}, got {layout!r}")
    if json_:
        values = {name: {"summary": one.summary, "options": dict(one.options)} for name, one in kinds.items()}
        return print_json(values if layout is None else values[layout])
    if layout is not None:
        out.print(escape(kinds[layout].summary))
        table = _table("--set", "what it takes")
        for option, what in kinds[layout].options.items():
            table.add_row(f"{option}=", escape(what))
        return out.print(table)
    table = _table("--as", "what it reads", "options")
    for name, one in kinds.items():
        table.add_row(name, escape(one.summary), ", ".join(one.options) or "-")
    out.print(table)


@data_app.command("splits", epilog="Example: fasthash data splits")
def data_splits(json_: JSON = False) -> None:
    """Standard splits that `data prepare --split` rebuilds, with the counts that it checks."""
    from fasthash.data import protocols

    known = protocols.protocols()
    if json_:
        return print_json({name: one.to_dict() for name, one in known.items()})
    table = _table("--split", "pairs", "classes", "queries", "training", "database", "drawn")
    for name, one in known.items():
        numbers = [one.pairs, one.classes, one.query, one.train, one.database]
        table.add_row(name, *("any" if number is None else f"{number:,}" for number in numbers), escape(one.summary))
    out.print(table)


def _table(first: str, *others: str) -> Table:
    """A table whose first column, what a user types, is not broken into lines."""
    table = Table()
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title)
    return table


@data_app.command("prepare", epilog="Example: fasthash data prepare photos/ --skip missing-picture --out data/photos")
def data_prepare(
    where: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder or file, or a known data set.")],
    out_: Annotated[Path, typer.Option("--out", help="The prepared folder to make.")],
    as_: Annotated[str, typer.Option("--as", help="Layout; `fasthash data formats` lists them.")] = "auto",
    name: Annotated[str | None, typer.Option(help="Name of the data set; presets go by it.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="option=value of the reader; repeatable.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Standard split (`fasthash data splits`); repeatable, first is default."),
    ] = None,
    query: Annotated[int | None, typer.Option(min=1, help="Draw a split with so many queries.")] = None,
    train: Annotated[int | None, typer.Option(min=1, help="Training pairs of that split; default all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of splits that are drawn.")] = 0,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out pairs with this problem; repeatable.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Keep pairs with this problem; repeatable.")] = None,
    refuse: Annotated[
        list[str] | None, typer.Option(help="Refuse what is kept by default: leak, zero-features.")
    ] = None,
    decode: Annotated[bool, typer.Option(help="Open every picture once, not only look for it.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prepared folder.")] = False,
    json_: JSON = False,
) -> None:
    """Read pairs in any layout, check them, and write one documented layout that every command takes.

    Problems (missing or damaged pictures, repeated ids, empty texts, pairs without a label, queries in the database...)
    are counted and named, and nothing is written until each is skipped or kept by an option.
    """
    from fasthash.data import names
    from fasthash.data.preparing import prepare

    policies = _policies(skip=skip or [], keep=keep or [], refuse=refuse or [])
    known = where in names() and not Path(where).exists()
    options = data_options(where, set_, "--set") if known else dict(parse_settings(set_ or []))
    done = prepare(
        where, out_, kind=as_, name=name, options=options, splits=split or (), query=query, train=train, seed=seed,
        policies=policies, decode=decode, overwrite=overwrite, progress=not json_,
    )  # fmt: skip
    record = done.folder.record
    if json_:
        return print_json(
            {"folder": str(out_), "read": done.read, "problems": done.problems.to_dict(), **_told(record)}
        )
    out.print(f"{escape(str(out_))}: {record.rows:,} of {done.read:,} pairs of {escape(record.name)}")
    held = [f"{len(record.class_names)} classes"] if record.labels else ["no labels"]
    held += [f"{side} features {name}" for side in ("image", "text") for name in record.features(side)]
    out.print(f"  {escape(', '.join([*(c for c in record.columns if c != 'member'), *held]))}")
    for note in record.notes:
        out.print(f"  {escape(note)}")
    for split_name, sizes in record.splits.items():
        numbers = f"{sizes.query:,} queries, {sizes.database:,} in the database, {sizes.train:,} for training"
        out.print(f"  split {escape(split_name)}: {numbers}")
        for note in sizes.notes:
            out.print(f"    {escape(note)}")
    place = shlex.quote(str(out_))
    if record.image and record.text:
        line = f"fasthash train METHOD {place}"
    else:
        wanted = [f"--{side} ENCODER" for side in ("image", "text") if not record.features(side)]
        line = f"fasthash embed {place} {' '.join(wanted)}"
    out.print(escape(f"Look at it: fasthash data info {place} --page pairs.html; then: {line}"), style="dim")


def _policies(**wanted: list[str]) -> dict[str, str]:
    """Kind of problem -> what was asked to be done about it."""
    policies: dict[str, str] = {}
    for policy, kinds in wanted.items():
        for kind in kinds:
            if policies.setdefault(kind, policy) != policy:
                raise ValueError(f"data prepare: {kind} must get one of --skip, --keep and --refuse, got two")
    return policies


def _told(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = record.model_dump(mode="json", exclude={"files"})
    return values
