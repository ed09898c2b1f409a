"""The page of a data set: how many of what, the balance of its labels, its features, and a contact sheet of pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data import PairedDataset
from fasthash.report.content import Credit
from fasthash.report.page import render, write_whole
from fasthash.report.pictures import Picture, Pictures
from fasthash.report.searches import Shown

PAIRS = 48  # of the contact sheet
_CAPTION = 220  # letters of a text in the contact sheet


@dataclass(frozen=True)
class Pair:
    """One pair of the contact sheet."""

    id: str
    text: str
    label: str
    part: str  # query, training, database, or none of them
    picture: Picture | None = None
    missing: str = ""  # why there is no picture


@dataclass(frozen=True)
class DataPage:
    """What the page shows; made by `data_page`."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    classes: Sequence[tuple[str, int, float]]  # name, pairs, share of the largest class
    layer: str  # whose classes they are: "label", or the finest layer's name
    labels: Sequence[tuple[str, str]]  # facts of the labels
    features: Sequence[tuple[str, str, str, str]]  # side, set, width, what made them
    splits: Sequence[tuple[str, str, str, str, str]]  # name, queries, database, training, notes
    skipped: Sequence[tuple[str, str, str, str]]  # kind, what was done, how many, the first ids
    pairs: Sequence[Pair]
    sheet: str  # in words: which pairs are shown
    notes: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    credits: Sequence[Credit] = ()


def write_data_page(
    data: PairedDataset, info: Mapping[str, Any], path: str | os.PathLike[str], *, seed: int = 0, command: str = ""
) -> Path:
    """Write the page, whole or not at all; its folder is made when missing.

    Args:
        data: the data set.
        info: what is told of it: `PairedDataset.info`, for a prepared folder with its features, splits, problems.
        path: the file to write.
        seed: which pairs the contact sheet shows.
        command: named on the page as the way to make it again.
    """
    pictures = Pictures()
    page = data_page(data, info, pictures, seed=seed, command=command)
    return write_whole(path, render_data_page(page, pictures).encode("utf-8"), "write_data_page")


def render_data_page(page: DataPage, pictures: Pictures) -> str:
    """The page as HTML. The same page gives the same text, to the byte."""
    parts = {"pairs": page.pairs, "labels": page.classes, "features": page.features, "splits": page.splits}
    parts |= {"problems": page.skipped}
    values = {
        "page": page,
        "sections": [(name, name.capitalize()) for name, there in parts.items() if there],
        "pictures": pictures.all(),
    }
    return render("data.html.j2", values, more_styles=["comparison.css", "data.css"])


def data_page(
    data: PairedDataset, info: Mapping[str, Any], pictures: Pictures, *, seed: int = 0, command: str = ""
) -> DataPage:
    """What the page shows; the contact sheet's pictures are collected in ``pictures``."""
    rows = _drawn(data, seed)
    sizes = [("pairs", info["pairs"]), ("queries", info["queries"]), ("database", info["database"])]
    sizes += [("training", info["train"])]
    sizes += [("classes", info["classes"])] if "classes" in info else []
    counts = sorted(info.get("class_counts", {}).items(), key=lambda item: (-item[1], item[0]))
    most = max([count for _, count in counts], default=1) or 1
    return DataPage(
        title=data.name,
        lead=data.source,
        facts=[(name, f"{value:,}") for name, value in sizes],
        classes=[(name, count, 100 * count / most) for name, count in counts],
        layer="label" if data.tree is None else data.tree.layers[-1].name,
        labels=_label_facts(info),
        features=_features(info),
        splits=_splits(info),
        skipped=[_problem(one) for one in info.get("skipped", ())],
        pairs=_pairs(data, rows, pictures),
        sheet=f"{len(rows)} of {len(data):,} pairs, drawn at random (seed {seed}), with all of their captions.",
        notes=data.notes,
        provenance={
            "command": command or f"fasthash data info {data.name} --page ...",
            "checksum": str(info.get("checksum", "")),
            "licence": data.licence,
        },
        credits=[Credit(data.source)] if data.source else [],
    )


def _drawn(data: PairedDataset, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(len(data), min(PAIRS, len(data)), replace=False).tolist())


def _pairs(data: PairedDataset, rows: list[int], pictures: Pictures) -> list[Pair]:
    if data.pictures is None and data.texts is None:
        return []
    shown = Shown(data)
    parts = _parts(data)
    found = []
    for row in rows:
        picture, missing = None, ""
        if data.pictures is not None:
            try:
                picture = pictures.add(shown.picture(row))
            except (OSError, ValueError) as error:  # told beside the pair: the others are worth a look all the same
                missing = "missing" if isinstance(error, FileNotFoundError) else "not readable"
        text = shown.text(row, _CAPTION) if data.texts is not None else ""
        found.append(Pair(str(data.ids[row]), text, shown.label(row), parts(row), picture, missing))
    return found


def _parts(data: PairedDataset) -> Any:
    """Row -> which part of the split it is in."""

    def has(rows: NDArray[np.int64]) -> set[int]:
        return set(rows.tolist())

    query, train, database = (has(rows) for rows in (data.split.query, data.split.train, data.split.database))

    def part(row: int) -> str:
        if row in query:
            return "query"
        return "training" if row in train else "database" if row in database else "in no part"

    return part


def _label_facts(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "classes" not in info:
        return []
    facts = [
        ("labels of a pair, on average", f"{info['labels_per_pair']:.2f}"),
        ("pairs without a label", f"{info['pairs_without_label']:,}"),
        ("relevant pairs of query and item", f"{100 * info['relevant_share']:.1f} %"),
    ]
    facts += [(f"classes of {name}", str(count)) for name, count in info.get("layers", {}).items()]
    return facts


def _features(info: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    sets = info.get("feature_sets")
    if sets is None:  # of a data set that is not prepared: the one set that it has
        found = []
        for side in ("image", "text"):
            if info.get(f"{side}_width"):
                found.append((side, "", f"{info[f'{side}_width']:,}", info[f"{side}_features"] or "ready-made"))
        return found
    return [
        (side, name, f"{one['width']:,}", str(one["encoder"].get("kind", "")))
        for side, several in sets.items()
        for name, one in several.items()
    ]


def _splits(info: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    return [
        (name, f"{one['query']:,}", f"{one['database']:,}", f"{one['train']:,}", " ".join(one.get("notes", ())))
        for name, one in info.get("splits", {}).items()
    ]


def _problem(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    ids = list(one.get("ids", ()))
    more = "" if len(ids) <= 3 else ", ..."
    done = {"skip": "left out", "keep": "kept"}.get(str(one["policy"]), str(one["policy"]))
    return str(one["kind"]), done, f"{one['count']:,}", ", ".join(ids[:3]) + more
