"""fasthash index build, export, import, info."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.commands import DataSet, RunArg, data_for

index_app = typer.Typer(no_args_is_help=True, help="Search indexes: build them, hand them over, take them in.")
app.add_typer(index_app, name="index")

_PLACES = "FILE.faiss, .usearch, .parquet (or a folder of such), .npy, lance:FOLDER#TABLE, postgresql://...#TABLE"
Bits = Annotated[int | None, typer.Option(help="Code length, where SOURCE does not say it or has whole bytes only.")]
Side = Annotated[str, typer.Option(help="Whose codes of a run: image or text.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at TARGET.")]


@index_app.command("build", epilog="Example: fasthash index build runs/emoji-dcmh-64")
def index_build(
    run: RunArg,
    data: Annotated[str | None, typer.Option(help="Data set to index; default the run's own.")] = None,
    data_set: DataSet = None,
    json_: JSON = False,
) -> None:
    """Encode every item of a data set and write RUN/index/."""
    from fasthash.models import HashModel
    from fasthash.retrieval import Retriever

    model = HashModel.load(run)
    dataset = data_for(model, data, data_set)
    name = dataset.name
    retriever = Retriever.build(model, dataset)
    retriever.save(run / "index")
    if json_:
        print_json({"index": str(run / "index"), "items": len(retriever.items), "bits": model.bits, "data": name})
    else:
        out.print(f"{escape(str(run / 'index'))}: {len(retriever.items)} items of {name}, {model.bits} bits")


@index_app.command("export", epilog="Example: fasthash index export runs/emoji-dcmh-64 codes.faiss --kind hnsw")
def index_export(
    source: Annotated[str, typer.Argument(help="An index file, a folder of shards, or a run with an index.")],
    target: Annotated[
        str,
        typer.Argument(
            help="FILE.faiss, FILE.usearch, FILE.parquet, FILE.safetensors, a FOLDER for shards, lance:FOLDER#TABLE, "
            "postgresql://...#TABLE."
        ),
    ],
    side: Side = "image",
    kind: Annotated[
        str | None, typer.Option(help="flat; of .faiss and postgresql also hnsw and ivf, of lance ivf.")
    ] = None,
    pad: Annotated[bool, typer.Option("--pad", help="FAISS: codes of other lengths than multiples of 8 too.")] = False,
    overwrite: Overwrite = False,
    json_: JSON = False,
) -> None:
    """Hand codes and ids over to another system, every bit kept."""
    from fasthash.interop import transfer

    if not transfer.is_own(source):
        raise ValueError(
            f"index export: SOURCE must be an index, shards or a run, got {transfer.shown(source)}: see index import"
        )
    _moved(source, target, {"side": side}, {"kind": kind, "pad": pad, "overwrite": overwrite}, json_)


@index_app.command("import", epilog="Example: fasthash index import codes/ index.safetensors")
def index_import(
    source: Annotated[str, typer.Argument(help=f"{_PLACES}.")],
    target: Annotated[str, typer.Argument(help="FILE.safetensors, or a FOLDER for shards.")],
    bits: Bits = None,
    overwrite: Overwrite = False,
    json_: JSON = False,
) -> None:
    """Take codes and ids of another system into an index file, or a folder of shards (any size)."""
    from fasthash.interop import transfer

    if not transfer.is_own(target):
        raise ValueError(
            f"index import: TARGET must be FILE.safetensors or a folder for shards, got {transfer.shown(target)}"
        )
    _moved(source, target, {"bits": bits}, {"overwrite": overwrite}, json_)


@index_app.command("info", epilog="Example: fasthash index info index.safetensors")
def index_info(
    path: Annotated[str, typer.Argument(help=f"An index, shards or a run; or {_PLACES}.")],
    bits: Bits = None,
    side: Side = "image",
    json_: JSON = False,
) -> None:
    """Code length, number of codes, their ids, and what kind of place it is."""
    from fasthash.interop import transfer

    info = transfer.describe(path, bits=bits, side=side)
    if json_:
        return print_json(info)
    table = Table(show_header=False)
    for key, value in info.items():
        text = f"{value:,}" if key in ("codes", "bytes") else "-" if value is None else str(value)
        table.add_row(key, escape(text))
    out.print(table)


def _moved(source: str, target: str, opened: dict[str, Any], written: dict[str, Any], json_: bool) -> None:
    from fasthash.interop import transfer

    codes = transfer.open_codes(source, **opened)
    transfer.write_codes(codes, target, **written, progress=not json_)
    if json_:
        print_json(
            {
                "source": transfer.shown(source),
                "target": transfer.shown(target),
                "codes": len(codes),
                "bits": codes.bits,
            }
        )
    else:
        out.print(f"{escape(transfer.shown(target))}: {len(codes):,} codes of {codes.bits} bits")
