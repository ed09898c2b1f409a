"""The command line: parses and prints; everything it shows is computed below."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``fasthash``: exit code 0, 2 for bad input (one line on stderr), 130 after Ctrl-C."""
    try:
        from fasthash.cli._run import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "click"):
            raise
        sys.exit(f"fasthash: the command line needs {error.name}: pip install 'fasthash[cli]'")
    sys.exit(run(sys.argv[1:]))
