"""fasthash published list and show."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json

published_app = typer.Typer(no_args_is_help=True, help="Tables of published papers, with their protocols.")
app.add_typer(published_app, name="published")


@published_app.command("list", epilog="Example: fasthash published list")
def published_list(json_: JSON = False) -> None:
    """The tables by name, what they measure and where they were printed."""
    from fasthash import published

    tables = [published.load(name) for name in published.names()]
    if json_:
        return print_json({t.name: {"title": t.title, "source": str(t.source)} for t in tables})
    table = Table("table", "what", "data", "measure", "printed in")
    for one in tables:
        data = ", ".join(data.name for data in one.data)
        printed = f"{one.source.venue} {one.source.year}".strip()
        table.add_row(one.name, escape(one.title), data, one.protocol.text, escape(printed))
    out.print(table)


@published_app.command("show", epilog="Example: fasthash published show djsrh-table")
def published_show(name: Annotated[str, typer.Argument(help="A table.")], json_: JSON = False) -> None:
    """One table: its values, its protocol, and what is known of it."""
    from fasthash import published

    chosen = published.load(name)
    if json_:
        return print_json(chosen.model_dump(mode="json"))
    print_beside(published.alone(chosen), protocol=True)


def print_beside(shown: Any, *, protocol: bool = False) -> None:
    """A published table in the terminal, with ours in it if there are any, and how it was measured or what differs."""
    from fasthash.published import evidence

    table = shown.table
    out.print(escape(f"{table.title}: {table.protocol.text}. {table.source}"), style="bold")
    for side in shown.sides:
        out.print(_table(shown, side))
    if protocol:
        known = evidence()
        for key, value in table.protocol.model_dump().items():
            out.print(escape(f"{key.replace('_', ' ')}: {'not known' if value is None else value}"))
        for data in table.data:
            marks = ", ".join(known[letter] for letter in data.evidence)
            out.print(escape(f"{data.title}: {_sizes(data)}; images: {data.image}; texts: {data.text} ({marks})"))
    for note in table.notes:
        out.print(escape(note), style="dim")
    if shown.warnings:
        out.print("Not measured alike:", style="bold")
    for warning in shown.warnings:
        out.print(escape(f"- {warning}"), style="yellow")


def _table(shown: Any, side: Any) -> Table:
    from fasthash.published import line_text
    from fasthash.report.content import DIRECTIONS

    table = Table("method", title=escape(f"{side.data}: {DIRECTIONS[side.direction]}"), title_justify="left")
    for bits in shown.bits:
        table.add_column(f"{bits} bits", justify="right")
    for line in side.lines:
        note = f" [dim]({escape(line.note)})[/dim]" if line.note else ""
        name = f"{escape(line.method)} (ours)" if line.ours else escape(line.method) + note
        table.add_row(name, *(line_text(line, bits) for bits in shown.bits), style="bold" if line.ours else "")
    return table


def _sizes(data: Any) -> str:
    parts = {"queries": data.query, "training pairs": data.train, "items in the database": data.database}
    known = [f"{size:,} {what}" for what, size in parts.items() if size is not None]
    return ", ".join(known) or "split not known"
