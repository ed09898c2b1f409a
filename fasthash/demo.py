"""The whole path on the embedded data: train, evaluate, index, search, one page."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fasthash
from fasthash import codes, data, evaluation, report
from fasthash.data import PairedDataset
from fasthash.retrieval import Found, Retriever
from fasthash.training import Run, train

METHODS = ("djsrh", "dcmh")
# words -> the classes whose pictures answer them; the words stand in no item of the training rows as they are
TEXT_QUERIES: dict[str, tuple[str, ...]] = {
    "red heart": ("heart",),
    "wild animal": (
        "animal-mammal",
        "animal-bird",
        "animal-reptile",
        "animal-marine",
        "animal-amphibian",
        "animal-bug",
    ),
    "train station": ("transport-ground",),
}
PICTURE_QUERY = "hamburger"  # a held-out picture's name, else the first held-out picture
HITS = 12


@dataclass(frozen=True)
class DemoResult:
    """What the demo made: one row per method and length, the runs, and where the page stands."""

    scores: list[report.Score]
    runs: list[Run]
    page: Path
    seconds: float


def run_demo(
    out: str | Path,
    *,
    bits: Sequence[int] = (64,),
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **overrides: Any,
) -> DemoResult:
    """Train every demo method at every length on `emoji`, score, index, search, and write ``out/index.html``.

    Args:
        out: folder for runs, indexes and the page; finished runs in it are used again, interrupted ones go on.
        bits: code lengths; the searches on the page use the longest.
        seed: of every run and of the random codes.
        progress: show progress bars.
        say: gets one line per stage.
        overrides: options given to every method (tests use fewer epochs).
    """
    started = time.monotonic()
    lengths = sorted({codes.check_bits(b, "demo") for b in bits})
    if not lengths:
        raise ValueError("demo: bits must name at least one code length, got none")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    say("reading emoji: pictures, names, labels, image features")
    # bag of words and word vectors: words that no training name holds, such as "wild animal", mean something then
    dataset = data.load("emoji", text="both", progress=progress)
    runs = []
    for b in lengths:
        for method in METHODS:
            say(f"training {method} at {b} bits")
            folder = out / "runs" / f"{dataset.name}-{method}-{b}"
            runs.append(
                train(method, dataset, bits=b, seed=seed, out=folder, resume=True, progress=progress, **overrides)
            )
    random = [evaluation.score(evaluation.random_codes(dataset, b, seed), dataset) for b in lengths]
    say("building indexes and searching")
    best = [run for run in runs if run.model.bits == lengths[-1]]
    queries = [query for run in best for query in _answer(run, dataset)]
    scores = [_score_row(run) for run in runs]
    scores += [report.Score(report.RANDOM, e.codes.bits, e.i2t, e.t2i) for e in random]
    seconds = time.monotonic() - started
    page = out / "index.html"
    report.write_page(_page(dataset, runs, random, scores, queries, seed, seconds), page)
    return DemoResult(scores, runs, page, seconds)


def _score_row(run: Run) -> report.Score:
    assert run.scores is not None
    supervised = fasthash.methods.names()[run.method].supervision
    note = "unsupervised" if supervised == "none" else f"supervised by {supervised}"
    return report.Score(run.method, run.model.bits, run.scores.i2t, run.scores.t2i, run.seconds, note)


def _answer(run: Run, dataset: PairedDataset) -> list[report.Query]:
    retriever = Retriever.build(run.model, dataset)
    assert run.folder is not None
    retriever.save(run.folder / "index")
    queries = []
    for words, classes in TEXT_QUERIES.items():
        micro = _search_time(retriever, words)
        shown = [_hit(f, dataset, f.item.label in classes) for f in retriever.search_text(words, HITS)]
        note = f"relevant: pictures of the subcategories {', '.join(classes)}" if len(classes) > 1 else ""
        label = classes[0] if len(classes) == 1 else ""
        queries.append(
            report.Query("text", words, None, label, run.method, run.model.bits, shown, microseconds=micro, note=note)
        )
    row = _held_out_row(dataset)
    item = retriever.items[row]
    found_by_picture = retriever.search_row(row, HITS, side="image")
    shown = [_hit(found, dataset, found.item.label == item.label) for found in found_by_picture]
    note = "a held-out picture against the codes of all names; the pictures of the names found are shown"
    queries.append(
        report.Query("image", item.text, _png(dataset, row), item.label, run.method, run.model.bits, shown, note=note)
    )
    return queries


def _search_time(retriever: Retriever, words: str) -> float:
    """Median time of the index search alone in microseconds, without encoding the words."""
    code = retriever.model.encode_text([words])
    times = []
    for _ in range(21):
        started = time.perf_counter()
        retriever.images.search(code, HITS)
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times)


def _held_out_row(dataset: PairedDataset) -> int:
    assert dataset.texts is not None
    held_out = dataset.split.query.tolist()
    return next((row for row in held_out if dataset.texts[row] == PICTURE_QUERY), held_out[0])


def _hit(found: Found, dataset: PairedDataset, relevant: bool) -> report.Hit:
    return report.Hit(_png(dataset, found.row), found.item.text, found.item.label, found.distance, relevant)


def _png(dataset: PairedDataset, row: int) -> bytes:
    assert dataset.pictures is not None
    picture = dataset.pictures[row]
    assert picture is not None
    return picture.read()


def _page(
    dataset: PairedDataset,
    runs: list[Run],
    random: list[evaluation.Evaluation],
    scores: list[report.Score],
    queries: list[report.Query],
    seed: int,
    seconds: float,
) -> report.Page:
    n_query, n_database = len(dataset.split.query), len(dataset.split.database)
    lengths = ", ".join(str(b) for b in sorted({run.model.bits for run in runs}))
    lead = (
        "Pictures and their names learn the same binary code; a short code per item then finds pictures from words, "
        "and words from pictures. Everything below was trained, indexed and searched on this machine by one command."
    )
    facts = [
        ("pairs", f"{len(dataset):,}"),
        ("held-out queries", f"{n_query:,}"),
        ("database", f"{n_database:,}"),
        ("classes", len(dataset.class_names)),
        ("bits", lengths),
        ("total time", f"{seconds:.0f} s"),
    ]
    curves = {d: [*(_curve(_evaluated(run), run.method, d) for run in runs)] for d in evaluation.DIRECTIONS}
    for direction in curves:
        curves[direction] += [_curve(e, report.RANDOM, direction) for e in random]
    provenance = {
        "command": f"fasthash demo --bits {lengths.replace(',', '')} --seed {seed}",
        "fasthash": fasthash.__version__,
        "data checksum": dataset.checksum(),
        "protocol": "mAP over the whole database, finest label, ties in expectation; held-out queries",
        "NumPy": np.__version__,
    }
    return report.Page(
        title="Words find pictures",
        lead=lead,
        facts=facts,
        scores=scores,
        curves=curves,
        histories=[_history(run) for run in runs],
        queries=queries,
        credits=[
            report.Credit(
                "Pictures: Twemoji, copyright Twitter, Inc and other contributors, CC BY 4.0.",
                "https://creativecommons.org/licenses/by/4.0/",
            )
        ],
        provenance=provenance,
    )


def _evaluated(run: Run) -> evaluation.Evaluation:
    assert run.scores is not None
    return run.scores


def _curve(scores: evaluation.Evaluation, method: str, direction: str) -> report.Curve:
    pr = scores.summaries[direction].pr
    some = pr.retrieved > 0
    bits = scores.codes.bits
    return report.Curve(f"{method}, {bits} bits", pr.recall[some], pr.precision[some], method=method, bits=bits)


def _history(run: Run) -> report.History:
    bits = run.model.bits
    return report.History.of_entries(f"{run.method}, {bits} bits", run.history, run.method, bits)
