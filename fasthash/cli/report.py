"""fasthash report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.commands import DataSet, RunArg, data_for


@app.command(epilog="Example: fasthash report runs/emoji-dcmh-64")
def report(
    run: RunArg,
    data: Annotated[str | None, typer.Option(help="Another data set.")] = None,
    data_set: DataSet = None,
    out_: Annotated[Path | None, typer.Option("--out", help="The file to write; default RUN/index.html.")] = None,
    layout: Annotated[str, typer.Option(help="Codes in the plane: tsne, umap (when installed) or none.")] = "tsne",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the queries shown and of the layout.")] = 0,
    json_: JSON = False,
) -> None:
    """One self-contained HTML page of a run: scores, curves, searches with pictures, categories, codes, training."""
    from fasthash.models import HashModel
    from fasthash.report.run_page import write_run_page

    dataset = data_for(HashModel.load(run), data, data_set)
    command = shlex.join(["fasthash", *sys.argv[1:]])
    path = write_run_page(run, dataset, out_, layout=layout, seed=seed, command=command)
    size = path.stat().st_size
    if json_:
        print_json({"page": str(path), "bytes": size})
    else:
        out.print(f"{escape(str(path))}: {size / 1e6:.1f} MB")
