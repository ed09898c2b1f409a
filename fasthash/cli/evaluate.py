"""fasthash evaluate: a run, or anybody's codes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fasthash.cli._app import JSON, app, out, print_json
from fasthash.cli.commands import DataSet, data_for, data_options, score_table

_FILES = "Codes out of files"
_READ = "How they are read"
_WHAT = "What is measured"
RADIUS = 2  # of the hash lookup, unless told otherwise


def _file(what: str) -> Any:
    return typer.Option(metavar="FILE", help=what, rich_help_panel=_FILES)


@app.command(
    epilog="Example: fasthash evaluate --query q.npy --database d.npy --query-labels lq.npy --database-labels ld.npy"
)
def evaluate(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN | FILE",
            help="Folder of a finished run; or one file (.npz, .mat, .safetensors) whose arrays are named query, "
            "database, query_labels, database_labels, or query_image, query_text, database_image, database_text; or "
            "a .npy of the queries' codes, with the rest as options.",
        ),
    ] = None,
    query: Annotated[
        str | None, _file("Codes of the queries: FILE, or FILE:NAME where it holds several arrays.")
    ] = None,
    database: Annotated[str | None, _file("Codes of the database.")] = None,
    query_image: Annotated[str | None, _file("For both directions: codes of the queries' images,")] = None,
    query_text: Annotated[str | None, _file("of the queries' texts,")] = None,
    database_image: Annotated[str | None, _file("of the database's images,")] = None,
    database_text: Annotated[str | None, _file("of the database's texts.")] = None,
    image: Annotated[str | None, _file("With --data: codes of all its images, in its order,")] = None,
    text: Annotated[str | None, _file("and of all its texts; its split says which are queries.")] = None,
    query_labels: Annotated[str | None, _file("Class ids or multi-hot rows of the queries.")] = None,
    database_labels: Annotated[str | None, _file("Those of the database.")] = None,
    bits: Annotated[
        int | None, typer.Option(help="Code length; default: from the width.", rich_help_panel=_READ)
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            help="Of the codes: packed, bits, signs or real; default: from the values.", rich_help_panel=_READ
        ),
    ] = None,
    label_form: Annotated[
        str | None,
        typer.Option(help="Of the labels: ids or multi-hot; default: from the shape.", rich_help_panel=_READ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A data set for its labels and split; for a run, another one.")
    ] = None,
    data_set: DataSet = None,
    relevance: Annotated[
        str | None, typer.Option(help="With labels in layers: finest (default), any or layer:K.", rich_help_panel=_WHAT)
    ] = None,
    without_train: Annotated[
        bool, typer.Option("--without-train", help="Training pairs are not searched.", rich_help_panel=_WHAT)
    ] = False,
    learned_database: Annotated[
        bool,
        typer.Option(
            "--learned-database",
            help="Training pairs are searched by the codes that training gave them, of a run whose method learns some.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="A definition of mAP, a paper such as djsrh for its own, or papers for all of theirs; repeatable. "
            "Default: map_all and map_at_k.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    ties: Annotated[
        list[str] | None,
        typer.Option(
            help="expected, stable, optimistic or pessimistic; repeatable. Default: expected and stable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", "--k", help="Cut of the protocols that have one; default 50.", rich_help_panel=_WHAT),
    ] = None,
    no_relevant: Annotated[
        str, typer.Option(help="Queries without a relevant item: zero or skip.", rich_help_panel=_WHAT)
    ] = "zero",
    radius: Annotated[int, typer.Option(help="Of the hash lookup.", rich_help_panel=_WHAT)] = RADIUS,
    interval: Annotated[
        float | None,
        typer.Option(help="Level of bootstrap intervals over the queries, such as 0.95.", rich_help_panel=_WHAT),
    ] = None,
    json_: JSON = False,
) -> None:
    """Score codes: mAP under every protocol asked for, hash lookup, nDCG, and whether the codes have collapsed.

    The codes are those of a run, or anybody's: .npy, .npz, .mat or .safetensors files of packed uint8, booleans, 0/1,
    -1/+1, or real values, of which the signs are taken.
    """
    from fasthash import scoring
    from fasthash._machine import now, provenance
    from fasthash.data import load
    from fasthash.evaluation import PROTOCOLS
    from fasthash.evaluation import evaluate as score_by_products
    from fasthash.models import HashModel, QuantizedModel
    from fasthash.models.learned import LearnedCodes

    started, clock = now(), time.monotonic()
    given = {
        "query": query, "database": database, "query_image": query_image, "query_text": query_text,
        "database_image": database_image, "database_text": database_text, "image": image, "text": text,
        "query_labels": query_labels, "database_labels": database_labels,
    }  # fmt: skip
    files = {role: where for role, where in given.items() if where is not None}
    read: dict[str, Any] = {"bits": bits, "form": form, "label_form": label_form}
    wanted = scoring.Wanted(
        measures=scoring.measures_of(protocol or ("map_all", "map_at_k"), ties or None, k, no_relevant),
        radius=radius, no_relevant=no_relevant, level=interval, relevance=relevance or "finest",
        database="without_train" if without_train else "learned" if learned_database else "all",
    )  # fmt: skip
    if without_train and learned_database:
        raise ValueError("evaluate: --without-train leaves out the pairs that --learned-database is about; give one")
    if source is None and not files:
        raise ValueError("evaluate: name a run, or files of codes (--query, --database, --query-labels, ...)")
    if source is not None and _is_run(source):
        for name in (*files, *(name for name, value in read.items() if value is not None)):
            raise ValueError(f"evaluate: --{name.replace('_', '-')} is for codes out of files, got the run {source}")
        model = HashModel.load(source)
        known = data_for(model, data, data_set)
        learned = LearnedCodes.load(Path(source)) if learned_database else None
        if learned is not None and known.checksum() != model.info.get("data_checksum"):
            raise ValueError(
                f"evaluate: --learned-database is about the data {source} was trained on, got {known.name}"
            )
        if isinstance(model, QuantizedModel):
            if interval is not None or radius != RADIUS:
                raise ValueError(f"evaluate: --interval and --radius are of Hamming distances, {source} has none")
            scored = score_by_products(
                model, known, wanted.measures or PROTOCOLS, relevance=wanted.relevance, database=wanted.database,
                no_relevant=no_relevant,
            ).to_dict()  # fmt: skip
            record = provenance(started=started, seconds=time.monotonic() - clock)
            return print_json({"source": source, **scored, "provenance": record}) if json_ else _show_mean(scored)
        scores = scoring.score_model(model, known, wanted=wanted, learned=learned)
    else:
        if data_set and data is None:
            raise ValueError("evaluate: --data-set needs --data")
        files = (scoring.of_archive(source) if source is not None else {}) | files
        other = None if data is None else load(data, progress=not json_, **data_options(data, data_set))
        scores = scoring.score_files(files, data=other, wanted=wanted, **read)
    if json_:
        record = provenance(started=started, seconds=time.monotonic() - clock)
        print_json({"source": source, **scores.to_dict(), "provenance": record})
    else:
        _show(scores, intervals=interval is not None)


def _show_mean(scores: dict[str, Any]) -> None:
    """Scores of codes that are ranked by inner products: the means alone."""
    out.print(score_table(scores))
    out.print("ranked by inner products of real queries with decoded items", style="dim")


def _is_run(source: str) -> bool:
    """Whether the argument is a run's folder rather than a file of codes."""
    from fasthash.scoring import SUFFIXES

    return not Path(source).is_file() and Path(source).suffix not in SUFFIXES


def _show(scores: Any, *, intervals: bool) -> None:
    from fasthash.report.content import DIRECTIONS

    heads = {name: DIRECTIONS.get(name, "") for name in scores.directions}  # "": nothing is said of images and texts
    of = "" if scores.data is None else f"{scores.data}, "
    relevance = "" if scores.relevance in (None, "finest") else f", relevance {scores.relevance}"
    told = {"all": "", "without_train": ", training pairs left out", "learned": ", training pairs by learned codes"}
    searched = told[scores.searched]
    title = f"{of}{scores.bits} bits, {scores.nq:,} queries, {scores.nb:,} items{relevance}{searched}"
    table = Table("measure", "ties", title=escape(title), title_justify="left")
    table.columns[0].overflow = "fold"
    for head in heads.values():
        table.add_column(head or "value", justify="right", no_wrap=True)
    for row in _rows(list(scores.directions.values())):
        table.add_row(*row)
    out.print(table)
    _show_queries(scores)
    if intervals:
        _show_without_interval(scores)
    for name, head in heads.items():
        said = str(scores.directions[name].separation)
        out.print(escape(f"{head}: {said}" if head else said))
    for sign in scores.signs:
        out.print(escape(f"COLLAPSED: {sign}"), style="bold red")
    for role, stats in scores.codes.items():
        out.print(escape(f"{_words(role)}: {stats}"))
    for role, array in scores.files.items():
        said = f"{array.values.dtype}, {scores.read_as[role]}"
        out.print(escape(f"{_words(role)}: {array.text} (sha256 {array.checksum}), {said}"), style="dim")


def _rows(found: list[Any]) -> list[list[str]]:
    """Measure, ties and a value for each direction."""
    rows = []
    for name, first in found[0].summary.scores.items():
        cut = "" if first.k is None else f", k = {first.k:,}"
        paper = f"{name}: " if name in _papers() else ""
        rows.append([f"{paper}{first.protocol}{cut}", first.ties, *(_value(one, name) for one in found)])
    graded = f"nDCG by {'layers' if found[0].ndcg.graded_by == 'layers' else 'common labels'}"
    rows.append([graded, "expected", *(f"{one.ndcg.value:.4f}" for one in found)])
    for part in ("precision", "recall"):
        values = [f"{getattr(one.summary.lookup, part):.4f}" for one in found]
        rows.append([f"{part} within radius {found[0].summary.lookup.radius}", "–", *values])
    rows.append(["area under precision-recall", "–", *(f"{one.summary.pr.area:.4f}" for one in found)])
    return rows


def _value(found: Any, name: str) -> str:
    """A mAP, with its interval if there is one."""
    interval = found.intervals.get(name)
    value = f"{found.summary.scores[name].value:.4f}"
    return value if interval is None else f"{value} [{interval.low:.4f}, {interval.high:.4f}]"


def _papers() -> Any:
    from fasthash.metrics import papers

    return papers()


def _show_queries(scores: Any) -> None:
    """How many queries have nothing to find, and what became of them."""
    found = next(iter(scores.directions.values())).summary
    without = int((found.histograms.total_relevant == 0).sum())
    if without:
        treated = {"zero": "count as 0", "skip": "are left out"}
        others = [name for name, score in found.scores.items() if score.no_relevant != found.no_relevant]
        other = f"; in {', '.join(others)} they {treated[found.scores[others[0]].no_relevant]}" if others else ""
        out.print(f"{without:,} queries have no relevant item and {treated[found.no_relevant]}{other}")


def _show_without_interval(scores: Any) -> None:
    found = scores.directions.values()
    names = dict.fromkeys(name for one in found for name in one.summary.scores if name not in one.intervals)
    if names:
        out.print(f"no interval for {', '.join(names)}: which queries its mean is over is left open, or none is")


def _words(role: str) -> str:
    return role.replace("_", " ")
