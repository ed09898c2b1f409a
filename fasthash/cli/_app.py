"""The typer application that the commands register with, and what they share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

import fasthash

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(soft_wrap=True, highlight=False)
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Cross-modal hashing: learn binary codes for images and texts, search them exactly, measure them honestly."""
    if version:
        print(f"fasthash {fasthash.__version__}")
        raise typer.Exit
