"""What is told of a data set: `PairedDataset.info`, and of a prepared folder its features, splits and problems."""

from __future__ import annotations

from typing import Any

from fasthash.data.dataset import PairedDataset

_SHOWN = 3  # ids of pairs that were left out; dataset.json has all


def facts(data: PairedDataset, *, verify: bool = False) -> dict[str, Any]:
    """Everything there is to tell, JSON-able.

    Args:
        data: as `load` gave it.
        verify: compare the files of a prepared folder with their checksums, which reads them all.
    Raises:
        ValueError: a file of a prepared folder is not the one that was written; ``verify`` without a prepared folder.
    """
    info = data.info()
    where = data.options.get("folder")
    if where is None:
        if verify:
            raise ValueError(f"data info: verify is for prepared folders, got {data.name}")
        return info
    from fasthash.data.prepared import Folder

    folder = Folder(str(where), op="data info")
    if verify:
        folder.verify()
    record = folder.record.model_dump(mode="json")
    info |= {"folder": str(folder.path), "splits": record["splits"], "origin": record["origin"], "made": record["made"]}
    info["feature_sets"] = {side: record[side] for side in ("image", "text")}
    info["skipped"] = [one | {"ids": one["ids"][:_SHOWN]} for one in record["skipped"]]
    info["bytes"] = {name: one["bytes"] for name, one in record["files"].items()}
    return info
