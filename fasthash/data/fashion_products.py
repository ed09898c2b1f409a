"""Product photos with product names and a three-layer label tree; the split comes with the data."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from fasthash.data._features import image_network, text_features, unknown_note
from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree
from fasthash.features._progress import Progress

LAYERS = ("masterCategory", "subCategory", "articleType")  # coarse to fine
TABLE = "products.csv"


def load(
    *,
    folder: DataFolder,
    cache: str | os.PathLike[str] | None,
    progress: Progress,
    text: str = "bow",
    layers: str | Sequence[str] = LAYERS,
) -> PairedDataset:
    """See `fasthash.data.load`: the rows of the benchmark subset, in the table's order."""
    chosen = _layers(layers)
    rows = _read(folder)
    names = [row["productDisplayName"] for row in rows]
    members = [f"images/{row['id']}.jpg" for row in rows]
    tree = LabelTree.from_names(**{layer: [row[layer] for row in rows] for layer in chosen})
    query = np.array([row["split"] == "query" for row in rows])
    rest = np.flatnonzero(~query)
    text_rows, text_extractor = text_features(
        folder.name, text, names, rest, min_count=2, weighting="binary", norm=None
    )
    return PairedDataset(
        name=folder.name, image=folder.features_by_name("features_efflite0.npz", members), text=text_rows,
        split=Split(np.flatnonzero(query), rest, rest), ids=tuple(row["id"] for row in rows),
        labels=tree.layers[-1].one_hot, class_names=tree.layers[-1].classes, tree=tree,
        pictures=folder.pictures(members), texts=tuple(names), image_extractor=image_network("squeeze"),
        text_extractor=text_extractor, notes=unknown_note(text_rows),
        source="Fashion Product Images (P. Aggarwal, 2019), the 30 article types with 60 or more products",
        licence="no licence stated; the photos are a retailer's: research only, not to be passed on",
    )  # fmt: skip


def _layers(layers: str | Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(layers.split(",")) if isinstance(layers, str) else tuple(layers)
    if not chosen or list(chosen) != [layer for layer in LAYERS if layer in chosen]:
        raise ValueError(f"fashion_products: layers must be some of {', '.join(LAYERS)} in this order, got {layers!r}")
    return chosen


def _read(folder: DataFolder) -> list[dict[str, str]]:
    wanted = {"id", "productDisplayName", "bench", "split", *LAYERS}
    table = csv.DictReader(io.StringIO(folder.text(TABLE)))
    absent = wanted - set(table.fieldnames or ())
    if absent:
        raise folder.damaged(TABLE, f"no column {', '.join(sorted(absent))}")
    rows = list(table)
    short = next((i for i, row in enumerate(rows) if any(row[column] is None for column in wanted)), None)
    if short is not None:
        raise folder.damaged(TABLE, f"line {short + 2} is cut short")
    kept = [row for row in rows if row["bench"] == "1"]
    if {row["split"] for row in kept} != {"query", "database"}:
        raise folder.damaged(TABLE, "the rows with bench=1 must be split into query and database")
    return kept
