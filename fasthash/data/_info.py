"""What `PairedDataset.info` tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fasthash.data.dataset import PairedDataset

_QUERIES, _ROWS = 256, 8192  # queries and items compared at a time; rows of features looked at together


def info(data: PairedDataset) -> dict[str, Any]:
    """Counts, label balance and provenance, JSON-able."""
    out: dict[str, Any] = {
        "name": data.name,
        "pairs": len(data),
        "queries": len(data.split.query),
        "database": len(data.split.database),
        "train": len(data.split.train),
        "image_width": data.width("image"),
        "text_width": data.width("text"),
        "zero_text_rows": None if data.text is None else _zero_rows(data.text),
        "image_features": _kind(data.image_extractor),
        "text_features": _kind(data.text_extractor),
        "pictures": data.pictures is not None,
        "texts": data.texts is not None,
        "checksum": data.checksum(),
        "notes": list(data.notes),
        "source": data.source,
        "licence": data.licence,
    }
    if data.labels is not None:
        out |= _label_info(data, data.labels)
    if data.tree is not None:
        out["layers"] = {layer.name: len(layer.classes) for layer in data.tree.layers}
    return out


def _label_info(data: PairedDataset, labels: NDArray[np.uint8]) -> dict[str, Any]:
    counts = labels.sum(axis=0, dtype=np.int64)
    per_pair = labels.sum(axis=1, dtype=np.int64)
    return {
        "classes": len(data.class_names),
        "labels_per_pair": round(float(per_pair.mean()), 4),
        "pairs_without_label": int((per_pair == 0).sum()),
        "class_counts": {name: int(n) for name, n in zip(data.class_names, counts, strict=True)},
        # a random ranking's mAP is close to the share of relevant pairs: what a result has to be read against
        "relevant_share": round(relevant_share(labels[data.split.query], labels[data.split.database]), 4),
    }


def relevant_share(query: NDArray[np.uint8], database: NDArray[np.uint8]) -> float:
    """Share of the query-database pairs with a label in common."""
    hits = 0
    for first in range(0, len(database), _ROWS):
        wide = database[first : first + _ROWS].astype(np.float32).T
        for start in range(0, len(query), _QUERIES):
            hits += int(np.count_nonzero(query[start : start + _QUERIES].astype(np.float32) @ wide))
    return hits / (len(query) * len(database))


def _zero_rows(features: NDArray[np.float32]) -> int:
    parts = (features[start : start + _ROWS] for start in range(0, len(features), _ROWS))
    return sum(int((~part.any(axis=1)).sum()) for part in parts)


def _kind(extractor: Any) -> str | None:
    return None if extractor is None else str(extractor.config()["kind"])
