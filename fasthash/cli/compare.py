"""fasthash compare."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.published import print_beside

SEVERAL = ("--data", "--bits", "--seeds")  # options that take several words
METHOD_WIDTH, VALUE_WIDTH = 16, len("0.000 ± 0.000")  # of the columns of a table, in letters


def spread_words(argv: list[str]) -> list[str]:
    """``--data a b --bits 16 32`` as ``--data a --data b --bits 16 --bits 32``, which is what the parser takes.

    Behind ``--bits=16`` only whole numbers go on, as any other word may be a method.
    """
    found: list[str] = []
    option, attached, bare = "", False, ""  # bare: an option that has no value yet
    for word in argv:
        number = re.fullmatch(r"-?\d+", word) is not None
        if word.startswith("-") and not (option and number):
            _check_value(bare)
            name, equals, _ = word.partition("=")
            option, attached = (name if name in SEVERAL else ""), bool(equals)
            bare = "" if attached else option
            if attached or not option:
                found.append(word)
        elif option and (number or not attached):
            found += [option, word]
            bare = ""
        else:
            option = ""
            found.append(word)
    _check_value(bare)
    return found


def _check_value(option: str) -> None:
    if option:
        raise ValueError(f"compare: {option} needs at least one value")


@app.command(
    epilog="Example: fasthash compare dcmh 'djsrh\\[beta=0.5]' cca random --data emoji --bits 16 32 64 --jobs 2"
)
def compare(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD...",
            help="Methods, with options as 'dcmh\\[epochs=60,text_hidden=1024,512]'; also random, cca, ridge.",
        ),
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="Data sets, as in --data wiki 'emoji\\[text=both]'.")] = None,
    bits: Annotated[list[int] | None, typer.Option(help="Code lengths; default 16 32 64.")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="How many seeds, or which ones; default 3: 0 1 2.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A plan in JSON, in place of methods, data, bits and seeds.")
    ] = None,
    out_: Annotated[Path, typer.Option("--out", help="Folder of runs, tables and page.")] = Path("runs/compare"),
    jobs: Annotated[
        int | None, typer.Option(help="Processes in all; default one for each CUDA device, or one.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process.")] = 1,
    page: Annotated[Path | None, typer.Option(help="Another folder for compare.md, pictures and --published.")] = None,
    published: Annotated[
        str | None, typer.Option(help="A published table to set the rows beside; `fasthash published list` names them.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json_: JSON = False,
) -> None:
    """Train methods on data sets at several lengths and seeds: tables, a page. Stopped, the same command goes on."""
    from fasthash.compare import Plan, run_compare
    from fasthash.compare.published import beside_published, write_beside
    from fasthash.published import load as load_published

    known = None if published is None else load_published(published)  # a misspelt name is told before anything runs
    if plan is not None:
        given = {"METHOD": methods, "--data": data, "--bits": bits, "--seeds": seeds}
        for name, value in given.items():
            if value:
                raise ValueError(f"compare: --plan takes the place of {name}; give one of them")
        chosen = Plan.read(plan)
    else:
        chosen = _plan_of(methods, data, bits, seeds)

    def say(line: str) -> None:
        if not json_:
            out.print(escape(line), style="dim")

    command = shlex.join(["fasthash", *sys.argv[1:]]) if sys.argv[1:2] == ["compare"] else "fasthash compare"
    compared = run_compare(
        chosen, out_, jobs=jobs, threads=threads, page=page, device=device, progress=not json_, say=say, command=command
    )
    shown = None if known is None else beside_published(compared, known)
    if shown is not None:
        compared.files += [write_beside(shown, folder) for folder in (out_, page) if folder is not None]
    if json_:
        print_json(_record(compared, out_) | ({} if shown is None else {"published": shown.to_dict()}))
    else:
        _show(compared, out_)
        if shown is not None:
            print_beside(shown)
    if compared.failures:
        raise typer.Exit(1)


def _show(compared: Any, folder: Path) -> None:
    for data in compared.shown.data:
        for part in data.parts:
            for table in _tables(part.grids[0], f"{data.name}, {part.title}" if part.title else data.name):
                out.print(table)
            for note in part.grids[0].notes:
                out.print(escape(note), style="dim")
    for goal in compared.shown.goals:
        out.print(escape(f"{goal.margin}: {goal.data}, {goal.what}: {goal.wanted} ({goal.seeds})"))
    for cell, why in compared.failures:
        out.print(escape(f"failed: {cell}: {why}"), style="red")
    out.print(escape(f"page: {folder / 'index.html'}  table: {folder / 'compare.md'}"))


def _plan_of(methods: Any, data: Any, bits: Any, seeds: Any) -> Any:
    from fasthash.compare import Plan

    if not methods:
        raise ValueError("compare: name at least one method, or a plan (--plan)")
    if not data:
        raise ValueError("compare: name at least one data set (--data)")
    values: dict[str, Any] = {"rows": methods, "data": data}
    values |= {"bits": bits} if bits else {}
    values |= {"seeds": seeds[0] if len(seeds) == 1 else seeds} if seeds else {}
    return Plan.make(**values)


def _record(compared: Any, folder: Path) -> dict[str, Any]:
    import json

    record: dict[str, Any] = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    record["files"] = [str(path) for path in compared.files]
    record["reused"] = compared.reused
    return record


def _tables(grid: Any, title: str, width: int | None = None) -> list[Table]:
    """One grid for the terminal: a table for each direction, several where the lengths do not fit beside each other."""
    from fasthash.report.content import DIRECTIONS

    # a column has a blank on either side and a line behind it; the first one has a line before it as well
    room = (out.width if width is None else width) - (METHOD_WIDTH + 4)
    step = max(1, room // (VALUE_WIDTH + 3))
    bits = list(grid.bits)
    chunks = [bits[start : start + step] for start in range(0, len(bits), step)]
    return [
        _table(grid.rows, chunk, direction, f"{title}: {grid.measure}, {DIRECTIONS[direction]}")
        for direction in DIRECTIONS
        for chunk in chunks
    ]


def _table(rows: Any, bits: list[int], direction: str, title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("method", min_width=METHOD_WIDTH, overflow="fold")
    for b in bits:
        table.add_column(f"{b} bits", justify="right", no_wrap=True)
    for row in rows:
        found = [row.values.get((b, direction)) for b in bits]
        cells = ["–" if v is None else (f"[bold]{v.text}[/bold]" if v.best else v.text) for v in found]
        note = f" [dim]({escape(row.note)})[/dim]" if row.note else ""
        table.add_row(escape(row.name) + note, *cells, style="dim" if row.reference else "")
    return table
