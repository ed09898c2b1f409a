"""The typer application, and how errors reach the user."""

from __future__ import annotations

import json
import os
import sys
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


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    from fasthash.cli import commands, demo  # noqa: F401  (their decorators fill the app)

    command = typer.main.get_command(app)
    try:
        code = command.main(args=spread(argv, "--bits"), prog_name="fasthash", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", 130)
    except BrokenPipeError:  # `fasthash ... | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, RuntimeError, FloatingPointError) as error:
        return _fail(str(error), 2)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # click's usage errors
            return _fail(error.format_message(), 2)
        if type(error).__name__ == "Abort":
            return _fail("interrupted", 130)
        raise


def spread(argv: list[str], option: str) -> list[str]:
    """``--bits 16 32 64`` as ``--bits 16 --bits 32 --bits 64``, which is what the parser takes."""
    spread_out: list[str] = []
    inside = False
    for word in argv:
        if inside and word.isdecimal() and spread_out[-1] != option:
            spread_out.append(option)
        elif not word.isdecimal():
            inside = word == option
        spread_out.append(word)
    return spread_out


def _fail(message: str, code: int) -> int:
    if os.environ.get("FASTHASH_TRACEBACK"):
        raise
    print("fasthash: " + " ".join(message.split()), file=sys.stderr)
    return code


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
