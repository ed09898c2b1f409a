"""fasthash compare."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json

SEVERAL = ("--data", "--bits", "--seeds")  # options that take several words


def spread_words(argv: list[str]) -> list[str]:
    """``--data a b --bits 16 32`` as ``--data a --data b --bits 16 --bits 32``, which is what the parser takes."""
    found: list[str] = []
    option = ""
    for word in argv:
        if word.startswith("-"):
            option = word if word in SEVERAL else ""
            if not option:
                found.append(word)
        elif option:
            found += [option, word]
        else:
            found.append(word)
    return found


@app.command(
    epilog="Example: fasthash compare dcmh 'djsrh\\[beta=0.5]' cca random --data wiki emoji --bits 16 32 64 --jobs 2"
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
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each process.")] = 1,
    page: Annotated[Path | None, typer.Option(help="Another folder for compare.md and its pictures.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json_: JSON = False,
) -> None:
    """Train methods on data sets at several lengths and seeds: one table, one page. The same command goes on."""
    from fasthash.compare import Plan, run_compare

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
    if json_:
        print_json(_record(compared, out_))
    else:
        _show(compared, out_)
    if compared.failures:
        raise typer.Exit(1)


def _show(compared: Any, folder: Path) -> None:
    for data in compared.shown.data:
        for part in data.parts:
            out.print(_table(part.grids[0], f"{data.name}, {part.title}" if part.title else data.name))
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


def _table(grid: Any, title: str) -> Table:
    """One grid for the terminal."""
    from fasthash.report.content import DIRECTIONS

    table = Table("method", title=escape(f"{title}: {grid.measure}"), title_justify="left")
    for bits in grid.bits:
        for direction in DIRECTIONS:
            table.add_column(f"{bits} {direction}", justify="right", no_wrap=True)
    for row in grid.rows:
        found = [row.values.get((bits, d)) for bits in grid.bits for d in DIRECTIONS]
        cells = ["–" if v is None else (f"[bold]{v.text}[/bold]" if v.best else v.text) for v in found]
        note = f" [dim]({escape(row.note)})[/dim]" if row.note else ""
        table.add_row(escape(row.name) + note, *cells, style="dim" if row.reference else "")
    return table
