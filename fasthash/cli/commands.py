"""train, methods, search, doctor."""

from __future__ import annotations

import os
import shlex
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; default runs/DATA-METHOD-BITS.")]
DataSet = Annotated[
    list[str] | None, typer.Option("--data-set", help="option=value of the data set, such as text=both; repeatable.")
]
LETTERS = 120  # of a text in a table of hits
RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]


def parse_settings(settings: list[str], flag: str = "--set") -> dict[str, str]:
    """``name=value`` pairs as a dictionary of what was written."""
    options: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ValueError(f"{flag}: expected option=value, got {setting!r}")
        key = name.strip().replace("-", "_")
        if key in options:
            raise ValueError(f"{flag}: option {key} is given twice")
        options[key] = value.strip()
    return options


def data_options(name: str, settings: list[str] | None, flag: str = "--data-set") -> dict[str, Any]:
    """Options of a data set from ``name=value`` pairs; what reads as a number is one."""
    from fasthash.data import names

    written = parse_settings(settings or [], flag)
    options: dict[str, Any] = {}
    known = names()
    for key, value in written.items():
        if name in known and key not in known[name].options:
            raise ValueError(f"{flag}: {name} has the options {', '.join(known[name].options) or 'none'}, got {key!r}")
        options[key] = _number(value)
    return options


def _number(value: str) -> Any:
    if value.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


@app.command(epilog="Example: fasthash train dcmh emoji --bits 64 --set epochs=60")
def train(
    method: Annotated[str, typer.Argument(help="A method; `fasthash methods` names them.")],
    data: Annotated[str, typer.Argument(help="A data set (`fasthash data list`), or a prepared folder.")],
    bits: Annotated[int, typer.Option(help="Code length in bits.")] = 64,
    set_: Annotated[list[str] | None, typer.Option("--set", help="option=value of the method; repeatable.")] = None,
    data_set: DataSet = None,
    seed: Annotated[int, typer.Option(help="Initialisation and shuffles follow from it.")] = 0,
    out_: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    eval_every: Annotated[int | None, typer.Option(help="Epochs between evaluations; default a tenth.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="Lightning Fabric's, such as 32-true or bf16-mixed.")] = "32-true",
    accumulate: Annotated[int, typer.Option(help="Parts of a batch in the networks at once; the same loss.")] = 1,
    compile_: Annotated[bool, typer.Option("--compile", help="Networks through torch.compile.")] = False,
    devices: Annotated[int | None, typer.Option(help="Processes of this machine, one for each GPU.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines; start the same on each.")] = None,
    json_: JSON = False,
) -> None:
    """Train a method; write model, scores, history and TensorBoard log to a folder.

    On several GPUs: --devices 4. On several machines: --nodes 2 on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK in
    the environment. Or with torchrun: torchrun --nproc-per-node 4 -m fasthash train ...
    """
    from fasthash import methods
    from fasthash.data import load
    from fasthash.training import train as train_method

    folder = out_ or Path("runs") / f"{Path(data).name}-{method}-{bits}"
    kind = methods.get(method)
    options = methods.options_from_text(kind, parse_settings(set_ or []))
    methods.resolve_options(kind, data, options)  # a misspelt option is told before features are made
    dataset = load(data, progress=_is_first() and not json_, **data_options(data, data_set))
    run = train_method(
        method, dataset, bits=bits, seed=seed, out=folder, resume=resume, eval_every=eval_every, device=device,
        precision=precision, accumulate=accumulate, compile=compile_, devices=devices, nodes=nodes,
        progress=not json_, **options,
    )  # fmt: skip
    if not _is_first():
        return
    result = {"run": str(folder), "method": method, "data": data, "seconds": round(run.seconds, 2)}
    result["scores"] = None if run.scores is None else run.scores.to_dict()
    if json_:
        print_json(result)
    else:
        if run.scores is not None:
            out.print(score_table(run.scores.to_dict()))
        out.print(f"{escape(str(folder))}: trained in {run.seconds:.1f} s")
        if run.model.text_extractor is not None:
            place = shlex.quote(str(folder))
            line = f"Search it: fasthash index build {place} && fasthash search {place} 'two words'"
            out.print(escape(line), style="dim")


def _is_first() -> bool:
    """Whether this is the one of a run's processes that prints."""
    return os.environ.get("RANK", "0") == "0"


@app.command(epilog="Example: fasthash methods --json")
def methods(json_: JSON = False) -> None:
    """The methods, with paper, supervision, options and presets."""
    from dataclasses import asdict

    from fasthash import methods as known

    if json_:
        return print_json({name: asdict(info) for name, info in known.names().items()})
    table = Table("method", "supervision", "paper", "options (the paper's defaults)", "presets")
    for name, info in known.names().items():
        options = ", ".join(f"{key}={value}" for key, value in info.options.items())
        table.add_row(name, info.supervision, info.paper, escape(options), ", ".join(info.presets) or "-")
    out.print(table)


@app.command(epilog="Example: fasthash search runs/emoji-dcmh-64 'red heart' -k 5")
def search(
    run: RunArg,
    query: Annotated[str, typer.Argument(help="Words, or the path of a picture.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits.")] = 10,
    json_: JSON = False,
) -> None:
    """Find pictures by words, or words by a picture, in RUN/index/."""
    from dataclasses import asdict

    from fasthash.encoding import is_picture
    from fasthash.models import HashModel
    from fasthash.retrieval import Retriever

    retriever = Retriever.load(HashModel.load(run), run / "index")
    hits = retriever.search_image(Path(query), k) if is_picture(query) else retriever.search_text(query, k)
    if json_:
        return print_json([asdict(hit.item) | {"row": hit.row, "distance": hit.distance} for hit in hits])
    table = Table("distance", "item", "text", "label")
    for hit in hits:
        text = textwrap.shorten(hit.item.text, LETTERS, placeholder=" …")  # --json has all of it
        table.add_row(str(hit.distance), escape(hit.item.id), escape(text), escape(hit.item.label))
    out.print(table)


@app.command(epilog="Example: fasthash doctor")
def doctor(json_: JSON = False) -> None:
    """What can run here, and for what cannot, the reason."""
    from fasthash.doctor import examine

    report = examine()
    if json_:
        return print_json(report)
    for section, rows in report.items():
        table = Table(title=section, title_justify="left", show_header=False)
        for key, value in rows.items():
            table.add_row(key, escape(plain(value)))
        out.print(table)


def data_for(model: Any, name: str | None, settings: list[str] | None) -> Any:
    """The data set a command works on: the run's own with its options, or the one named on the command line."""
    from fasthash.data import load
    from fasthash.retrieval import data_of

    if name is None and not settings:
        return data_of(model)
    chosen = name or str(model.info.get("data"))
    return load(chosen, **data_options(chosen, settings))


def plain(value: Any) -> str:
    """A value of a report as lines of text."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "\n".join(plain(item) for item in value)
    return "-" if value is None else str(value)


def score_table(scores: dict[str, Any]) -> Table:
    """The mAPs of `Evaluation.to_dict` in both directions."""
    title = f"{scores['data']}, {scores['bits']} bits, {scores['queries']} queries, {scores['database']} items"
    table = Table("mAP", "image→text", "text→image", title=title, title_justify="left")
    for name, both in scores["map"].items():
        table.add_row(name, f"{both['i2t']:.4f}", f"{both['t2i']:.4f}")
    return table
