"""fasthash embed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.commands import parse_settings

Options = list[str] | None


@app.command(epilog="Example: fasthash embed data/photos --image clip:models/clip --text clip:models/clip")
def embed(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A prepared folder, or a known data set with --out.")],
    image: Annotated[str | None, typer.Option(help="Image encoder, such as clip:FOLDER or imagenet.")] = None,
    text: Annotated[str | None, typer.Option(help="Text encoder, such as clip:FOLDER, minilm or bow.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the features; default the encoder's first word.")] = None,
    split: Annotated[str | None, typer.Option(help="Whose training rows bow is fitted on; default the first.")] = None,
    image_set: Annotated[Options, typer.Option(help="option=value of the image encoder; repeatable.")] = None,
    text_set: Annotated[Options, typer.Option(help="option=value of the text encoder; repeatable.")] = None,
    captions: Annotated[
        str, typer.Option(help="Of pairs with several: join, first, or mean of the features.")
    ] = "join",
    damaged: Annotated[str, typer.Option(help="Pictures that cannot be read: refuse, or zeros.")] = "refuse",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Items in the network at a time.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.")] = "32-true",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read and decode.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the rows that are done.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace features of this name.")] = False,
    out_: Annotated[Path | None, typer.Option("--out", help="Prepare a known data set here first.")] = None,
    json_: JSON = False,
) -> None:
    """Run encoders over a prepared data set once and keep the features, for every method to train on.

    After Ctrl-C the same command goes on from the rows that are done. On several GPUs start it with torchrun:
    torchrun --nproc-per-node 4 -m fasthash embed ...
    """
    from fasthash.embedding import embed as run

    folder = _folder(data, out_, not json_)
    made = run(
        folder, image=image, text=text, name=name, split=split, image_options=_options(image_set, "--image-set"),
        text_options=_options(text_set, "--text-set"), captions=captions, damaged=damaged, batch_size=batch_size,
        device=device, precision=precision, workers=workers, resume=resume, overwrite=overwrite, progress=not json_,
    )  # fmt: skip
    if not made.first:
        return
    if json_:
        return print_json(made.to_dict())
    table = Table("features", "rows", "width", "computed now", "seconds", "rows/s")
    for one in made.sets:
        now = [f"{one.computed:,}", f"{one.seconds:.1f}", f"{one.rows_per_second:,.0f}"]
        table.add_row(
            f"{one.side} {escape(one.name)}", f"{one.rows:,}", str(one.width), *(now if one.computed else "---")
        )
    out.print(table)
    if made.processes > 1:
        out.print(f"computed by the first of {made.processes} processes; the others took as many rows each")
    for one in made.sets:
        if one.zeros:
            out.print(f"{one.zeros:,} pictures could not be read: their {escape(one.name)} features are zeros")
    chosen = " ".join(f"--data-set {one.side}={one.name}" for one in made.sets)
    line = f"fasthash train METHOD {shlex.quote(str(folder))} {chosen}"
    out.print(escape(f"Train on them: {line}"), style="dim")


def _folder(data: str, out_: Path | None, progress: bool) -> Path:
    """The prepared folder; made first where a known data set is named."""
    from fasthash.data import names
    from fasthash.data.prepared import is_prepared

    if out_ is None:
        if data in names() and not is_prepared(data):
            raise ValueError(
                f"embed: {data} is a known data set, not a prepared folder: say where to prepare it (--out)"
            )
        return Path(data)
    if data not in names():
        raise ValueError(f"embed: --out is for known data sets, got {data!r}: use `fasthash data prepare`")
    if not is_prepared(out_):
        from fasthash.data.preparing import prepare

        prepare(data, out_, progress=progress)
    return out_


def _options(settings: Options, flag: str) -> dict[str, Any]:
    """``option=value`` pairs; whole numbers and none as such."""
    written = parse_settings(settings or [], flag)
    words: dict[str, Any] = {"none": None}
    return {key: int(value) if value.isdecimal() else words.get(value.lower(), value) for key, value in written.items()}
