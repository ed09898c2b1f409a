"""A few photos of MS COCO 2017 with captions and object classes: for testing, far too few to compare methods."""

from __future__ import annotations

import json
import os

import numpy as np

from fasthash.data._features import image_network, text_features, unknown_note
from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split
from fasthash.features._progress import Progress

FILE = "coco_mini.json"


def load(
    *, folder: DataFolder, cache: str | os.PathLike[str] | None, progress: Progress, text: str = "bow"
) -> PairedDataset:
    """See `fasthash.data.load`: the text of a photo is its five captions; validation photos are the queries."""
    try:
        content = json.loads(folder.text(FILE))
        classes = {row["id"]: i for i, row in enumerate(content["categories"])}
        photos = [(row["file_name"], row["split"], row["captions"], row["category_ids"]) for row in content["images"]]
        labels = np.zeros((len(photos), len(classes)), np.uint8)
        for i, (_, _, _, found) in enumerate(photos):
            labels[i, [classes[label] for label in found]] = 1
        names = tuple(row["name"] for row in content["categories"])
    except (ValueError, KeyError, TypeError) as error:
        raise folder.damaged(FILE, error) from None
    query = np.array([split == "val" for _, split, _, _ in photos])
    rest = np.flatnonzero(~query)
    texts = tuple(" ".join(captions) for _, _, captions, _ in photos)
    members = [f"images/{file}" for file, _, _, _ in photos]
    text_rows, text_extractor = text_features(folder.name, text, texts, rest)
    return PairedDataset(
        name=folder.name, image=folder.features_by_name("features_efflite0.npz", members), text=text_rows,
        split=Split(np.flatnonzero(query), rest, rest), ids=tuple(file for file, _, _, _ in photos), labels=labels,
        class_names=names, pictures=folder.pictures(members), texts=texts, image_extractor=image_network("crop"),
        text_extractor=text_extractor,
        notes=("chosen so that every class occurs, not drawn at random", *unknown_note(text_rows)),
        source="T.-Y. Lin et al., Microsoft COCO, ECCV 2014",
        licence="annotations CC BY 4.0; each photo under its Flickr licence: not to be passed on",
    )  # fmt: skip
