"""fasthash demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fasthash.cli._app import JSON, app, out, print_json


@app.command(epilog="Example: fasthash demo --bits 16 32 64 --out demo-output")
def demo(
    bits: Annotated[list[int] | None, typer.Option(help="Code lengths, as in --bits 16 32 64; default 64.")] = None,
    out_: Annotated[Path, typer.Option("--out", help="Folder for runs, indexes and the page.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Seed of every run.")] = 0,
    json_: JSON = False,
) -> None:
    """The whole path on the embedded data: train, evaluate, index, search, one HTML page."""
    from dataclasses import asdict

    from fasthash import report
    from fasthash.demo import run_demo

    def say(line: str) -> None:
        if not json_:
            out.print(line, style="dim")

    result = run_demo(out_, bits=bits or [64], seed=seed, progress=not json_, say=say)
    if json_:
        scores = [asdict(score) for score in result.scores]
        return print_json({"scores": scores, "page": str(result.page), "seconds": round(result.seconds, 1)})
    out.print(report.score_table(result.scores))
    run = result.runs[-1].folder
    out.print(f"page: {result.page}  ({result.seconds:.0f} s in all)")
    out.print(f"next: fasthash search {run} 'wild animal'", style="dim")
