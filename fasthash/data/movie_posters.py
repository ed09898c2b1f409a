"""Film posters with plot texts and several genres each; the split comes with the data."""

from __future__ import annotations

import json
import os

import numpy as np

from fasthash.data._features import image_network, text_features, unknown_note
from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split
from fasthash.features._progress import Progress

ITEMS = "items.jsonl"


def load(
    *, folder: DataFolder, cache: str | os.PathLike[str] | None, progress: Progress, text: str = "bow"
) -> PairedDataset:
    """See `fasthash.data.load`: films with at least one of the 18 genres, in the file's order."""
    labels, genres, ids, query, database = folder.npz(
        "labels.npz", "labels", "genre_names", "ids", "query_index", "database_index"
    )
    plots = _plots(folder, [str(name) for name in ids])
    kept = np.flatnonzero(labels.any(axis=1))
    row = np.full(len(labels), -1, np.int64)
    row[kept] = np.arange(len(kept))
    query, rest = (row[part][row[part] >= 0] for part in (query, database))
    members = [f"images/{ids[i]}.jpg" for i in kept]
    texts = [plots[i] for i in kept]
    text_rows, text_extractor = text_features(folder.name, text, texts, rest, min_count=3)
    left_out = len(labels) - len(kept)
    return PairedDataset(
        name=folder.name, image=folder.features_by_name("features_efflite0.npz", members), text=text_rows,
        split=Split(query, rest, rest), ids=tuple(str(ids[i]) for i in kept), labels=labels[kept],
        class_names=tuple(map(str, genres)), pictures=folder.pictures(members), texts=tuple(texts),
        image_extractor=image_network("squeeze"), text_extractor=text_extractor,
        notes=(f"{left_out} films with none of the {len(genres)} genres left out", *unknown_note(text_rows)),
        source="posters and genres by IMDb id, plot texts of TMDB, joined through MovieLens (Harper and Konstan, 2015)",
        licence="none stated; posters and texts belong to studios and TMDB: research only, not to be passed on",
    )  # fmt: skip


def _plots(folder: DataFolder, ids: list[str]) -> list[str]:
    try:
        items = [json.loads(line) for line in folder.text(ITEMS).splitlines()]
        found = [(item["id"], item["overview"]) for item in items]
    except (ValueError, KeyError, TypeError) as error:
        raise folder.damaged(ITEMS, error) from None
    if [name for name, _ in found] != ids:
        raise folder.damaged(ITEMS, f"its {len(found)} items are not the {len(ids)} of labels.npz, in their order")
    return [plot for _, plot in found]
