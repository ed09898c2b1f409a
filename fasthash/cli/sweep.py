"""fasthash sweep."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json

SHOWN = 12  # settings in the terminal; the files have all


def spread_words(argv: list[str]) -> list[str]:
    """``--over beta 0:1:0.1 eta 0:1:0.2`` as ``--over beta=0:1:0.1 --over eta=0:1:0.2``; ``--seeds 0 1`` likewise."""
    found: list[str] = []
    words = iter(range(len(argv)))
    for place in words:
        word = argv[place]
        if word not in ("--over", "--seeds"):
            found.append(word)
            continue
        own = argv[place + 1 : next((i for i in range(place + 1, len(argv)) if argv[i].startswith("--")), len(argv))]
        values = _pairs(own) if word == "--over" else own
        if not values:
            what = "an option and its values" if word == "--over" else "at least one value"
            raise ValueError(f"sweep: {word} needs {what}")
        found += [part for value in values for part in (word, value)]
        for _ in own:
            next(words)
    return found


def _pairs(words: list[str]) -> list[str]:
    """``beta 0:1:0.1`` and ``beta=0:1:0.1``, any number of either."""
    found = []
    rest = iter(words)
    for word in rest:
        if "=" in word:
            found.append(word)
            continue
        values = next(rest, None)
        if values is None or "=" in values:
            raise ValueError(f"sweep: --over {word} lacks its values, such as 0:1:0.1 or 0.1,0.5")
        found.append(f"{word}={values}")
    return found


@app.command(epilog="Example: fasthash sweep djsrh wiki --over beta 0:1:0.1 --over eta 0:1:0.2 --bits 64 --jobs 2")
def sweep(
    method: Annotated[str, typer.Argument(help="A method, with options that stay as 'djsrh\\[epochs=60]'.")],
    data: Annotated[str, typer.Argument(help="A data set, as in wiki or 'emoji\\[text=both]'.")],
    over: Annotated[
        list[str],
        typer.Option(
            metavar="OPTION VALUES",
            help="What to go through: a:b:step, a:b:xF (F times the one before), or a,b,c; several options follow each "
            "other or repeat --over.",
        ),
    ],
    bits: Annotated[int, typer.Option(help="Code length in bits.")] = 64,
    seeds: Annotated[list[int] | None, typer.Option(help="How many seeds, or which ones; default 3: 0 1 2.")] = None,
    each: Annotated[bool, typer.Option("--each", help="Each option alone, the others at the preset.")] = False,
    measure: Annotated[str, typer.Option(help="map_all, map_at_50, ndcg or map_all_any.")] = "map_all",
    validation: Annotated[float, typer.Option(help="Share of the training rows drawn as queries.")] = 0.2,
    out_: Annotated[
        Path | None, typer.Option("--out", help="Folder of runs, tables and page; default runs/sweep-DATA-METHOD.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes in all; default one for each CUDA device, or one.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json_: JSON = False,
) -> None:
    """How much a method depends on its options, on queries drawn from the training data: curves, heat maps, tables.

    The queries of the data set take no part. Stopped, the same command goes on.
    """
    from fasthash.compare.items import parse_item
    from fasthash.compare.ranges import parse_axis
    from fasthash.compare.sweep import run_sweep

    axes = [parse_axis(*word.partition("=")[::2]) for word in over]
    names = [parse_item(text, f"sweep: {what}").name for text, what in ((data, "the data set"), (method, "the method"))]
    folder = out_ or Path("runs") / f"sweep-{names[0]}-{names[1]}"

    def say(line: str) -> None:
        if not json_:
            out.print(escape(line), style="dim")

    given = {} if not seeds else {"seeds": seeds[0] if len(seeds) == 1 else seeds}
    command = shlex.join(["fasthash", *sys.argv[1:]]) if sys.argv[1:2] == ["sweep"] else "fasthash sweep"
    swept = run_sweep(
        method, data, axes, folder, bits=bits, each=each, measure=measure, validation=validation, jobs=jobs,
        threads=threads, device=device, progress=not json_, say=say, command=command, **given,
    )  # fmt: skip
    if json_:
        print_json(_record(swept, folder))
    else:
        _show(swept, folder)
    if swept.compared.failures:
        raise typer.Exit(1)


def _record(swept: Any, folder: Path) -> dict[str, Any]:
    import json

    record: dict[str, Any] = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    return record | {"files": [str(path) for path in swept.files], "reused": swept.compared.reused}


def _show(swept: Any, folder: Path) -> None:
    from fasthash.compare.sweep_output import page_of
    from fasthash.report.sweep_page import COLUMNS

    shown = page_of(swept)
    table = Table(title=escape(f"{shown.title}: {shown.measure}"), title_justify="left")
    for name in shown.options:
        table.add_column(name, overflow="fold")
    for name in COLUMNS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for row in shown.rows[:SHOWN]:
        values = [row.points.get(name) for name in COLUMNS]
        cells = ["–" if v is None else (f"[bold]{v.text}[/bold]" if v.best else v.text) for v in values]
        note = f" [dim]({escape(row.note)})[/dim]" if row.note else ""
        table.add_row(*map(escape, row.values[:-1]), escape(row.values[-1]) + note, *cells)
    out.print(table)
    if len(shown.rows) > SHOWN:
        out.print(f"and {len(shown.rows) - SHOWN} settings more, in {escape(str(folder / 'sweep.md'))}", style="dim")
    out.print(escape(swept.words()))
    for cell, why in swept.compared.failures:
        out.print(escape(f"failed: {cell}: {why}"), style="red")
    out.print(escape(f"page: {folder / 'index.html'}  table: {folder / 'sweep.md'}"))
