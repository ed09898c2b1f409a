"""fasthash encode: a few items here, or a corpus on Ray."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.commands import RunArg

_CORPUS = "A corpus (--ray)"  # heading of its options in --help


def _option(help: str, *names: str, **bounds: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_CORPUS, **bounds)


@app.command(epilog="Example: fasthash encode runs/emoji-dcmh-64 --text 'red heart'")
def encode(
    run: RunArg,
    text: Annotated[list[str] | None, typer.Option(help="A text; repeatable.")] = None,
    picture: Annotated[list[Path] | None, typer.Option(help="A picture file; repeatable.")] = None,
    features: Annotated[Path | None, typer.Option(help=r".npy of features \[n, width]; with --side and --out.")] = None,
    side: Annotated[
        str | None, typer.Option(help="image (default) or text: whose features they are; with --ray what is encoded.")
    ] = None,
    out_: Annotated[
        Path | None,
        typer.Option("--out", help="Write packed codes as .npy instead of printing; with --ray the folder of parts."),
    ] = None,
    ray: Annotated[
        list[Path] | None,
        _option("Parquet, webdataset shards or pictures: a file or folder; repeatable. Needs --out.", "--ray"),
    ] = None,
    kind: Annotated[str | None, _option("parquet, webdataset or pictures; default what is there.")] = None,
    column: Annotated[str | None, _option("Column, or suffix in shards; default the one with a usual name.")] = None,
    id_column: Annotated[str | None, _option("Column of ids, or none; default id where there is one.")] = None,
    batch_size: Annotated[int | None, _option("Rows in the network at once; default fitted to memory.", min=1)] = None,
    concurrency: Annotated[int | None, _option("Actors; default one for each GPU, or else each CPU.", min=1)] = None,
    gpus: Annotated[float | None, _option("GPUs of an actor; default 1 where there are some.", min=0)] = None,
    rows_per_file: Annotated[int | None, _option("Rows of a part, the unit of resuming.", min=1)] = None,
    damaged: Annotated[str | None, _option("Rows that cannot be read: refuse (default), or skip.")] = None,
    shards: Annotated[int | None, _option("Also write OUT/shards, so many, for search.", min=1)] = None,
    overwrite: Annotated[bool, _option("Replace another encoding in --out.", "--overwrite")] = False,
    json_: JSON = False,
) -> None:
    """Encode texts, pictures or features to packed codes; with --ray a whole corpus, on one machine or a cluster.

    With --ray nothing else names items: no --text, --picture or --features. After Ctrl-C or a kill the same command
    goes on from the parts that are done. RAY_ADDRESS names a cluster; without it Ray starts on this machine.
    """
    given = {
        "kind": kind, "column": column, "id_column": id_column, "batch_size": batch_size, "concurrency": concurrency,
        "gpus": gpus, "rows_per_file": rows_per_file, "damaged": damaged, "shards": shards,
    }  # fmt: skip
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options |= {"overwrite": True} if overwrite else {}
    if ray:
        _refuse_items(text, picture, features)
        _encode_corpus(run, ray, out_, side, options, json_)
    elif options:
        raise ValueError(f"encode: --{next(iter(options)).replace('_', '-')} is for a corpus: it needs --ray")
    else:
        _encode_items(run, text, picture, features, side, out_, json_)


def _refuse_items(text: Any, picture: Any, features: Any) -> None:
    for name, value in (("text", text), ("picture", picture), ("features", features)):
        if value:
            raise ValueError(f"encode: --ray encodes a corpus and cannot be combined with --{name}")


def _encode_items(
    run: Path,
    text: list[str] | None,
    picture: list[Path] | None,
    features: Path | None,
    side: str | None,
    out_: Path | None,
    json_: bool,
) -> None:
    from fasthash.encoding import encode_inputs

    rows = encode_inputs(run, texts=text, pictures=picture, features=features, side=side, out=out_)
    if json_:
        print_json({"codes": [code.tobytes().hex() for _, code in rows], "items": [name for name, _ in rows]})
    elif out_ is not None:
        out.print(f"{escape(str(out_))}: {len(rows)} codes")
    else:
        for name, code in rows:
            out.print(f"{code.tobytes().hex()}  {escape(name)}")


def _encode_corpus(
    run: Path, places: list[Path], out_: Path | None, side: str | None, options: dict[str, Any], json_: bool
) -> None:
    from fasthash.distributed import encode as encode_corpus

    if out_ is None:
        raise ValueError("encode: --ray needs --out, the folder of the parts")
    with contextlib.redirect_stdout(sys.stderr):  # Ray tells of dead workers on stdout
        made = encode_corpus(places, run, out=out_, side=side or "image", progress=not json_, **options)
    if json_:
        return print_json(made.to_dict())
    said = f"{made.rows:,} codes of {made.bits} bits"
    if made.computed:
        came_back = f", {made.restarts} restarted" if made.restarts else ""
        rate = f"{made.computed:,} rows in {made.seconds:.1f} s, {made.rows_per_second:,.0f} rows/s"
        said += f" ({rate}, actors: {made.actors}{came_back})"
    else:
        said += ", done before"
    out.print(f"{escape(str(out_))}: {said}")
    if made.skipped:
        _, place, why = made.damaged[0]
        out.print(escape(f"rows that could not be read: {made.skipped:,}, named in encode.json; first {place}: {why}"))
    if made.shards is not None:
        line = f"fasthash.distributed.ShardedIndex.load({shlex.quote(str(made.shards))!r})"
        out.print(escape(f"Search it: {line}"), style="dim")
