"""One command line from words to exit code, and how errors reach the user."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from fasthash.cli import commands, compare, data, demo, embed, encode, evaluate, index, published, report, sweep  # noqa: F401  (their decorators fill the app)
from fasthash.cli._app import app


class Interrupted(Exception):
    """Ctrl-C with what a command says of it: the parser would swallow a KeyboardInterrupt's words."""


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    command = typer.main.get_command(app)
    invoke = command.invoke

    def heard(context: Any) -> Any:
        try:
            return invoke(context)
        except KeyboardInterrupt as stop:
            raise Interrupted(str(stop)) from None

    command.invoke = heard  # type: ignore[method-assign,assignment]
    try:
        if argv[:1] == ["demo"]:
            argv = spread(argv, "--bits")
        elif argv[:1] == ["compare"]:
            argv = compare.spread_words(argv)
        elif argv[:1] == ["sweep"]:
            argv = sweep.spread_words(argv)
        code = command.main(args=argv, prog_name="fasthash", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, Interrupted) as stop:
        return _fail(str(stop) or "interrupted", 130)
    except BrokenPipeError:  # `fasthash ... | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, RuntimeError, FloatingPointError) as error:
        return _fail(str(error), 2)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its help, as with --help
            getattr(error, "ctx").get_help()  # noqa: B009  (rich prints it; the class is typer's own)
            return 2
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
    if code == 130 and os.environ.get("RANK", "0") != "0":  # of a run of several processes the first one tells it
        return code
    print("fasthash: " + " ".join(message.split()), file=sys.stderr)
    return code
